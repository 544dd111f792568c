//! ICMP: queries, their replies, errors about connections, and what belongs to nothing.

use segd_common::packet::proto;
use segd_common::reason::Reason;

use crate::frame::{ACK, Line, RST, SYN, icmp, icmp_error, icmp_error_to, line, query};
use crate::machine::Machine;
use crate::net::{ANNE, ANNE6, DMZ, FAR, HERE, HOST, LAN, NET, Policy, SHOP, SHOP6, dmz, lan, local, net, tcp, udp};
use crate::seen::gets;

const PING: u32 = 4;
const WEB: u32 = 2;
const CALL: Line = line(ANNE, 40_000, SHOP, 443);

fn ping() -> Machine {
    Machine::under(&Policy::new().allow(LAN, DMZ, (proto::ICMP, 8), PING).allow(LAN, DMZ, (proto::ICMPV6, 128), PING))
}

#[test]
fn an_echo_is_answered_with_its_own_id_only() {
    for (from, to, request, reply) in [(ANNE, SHOP, 8, 0), (ANNE6, SHOP6, 128, 129)] {
        let machine = ping();
        machine.send(dmz(), &query(to, from, reply, 7)).is(gets(Reason::NoConnection, DMZ, LAN).told());
        machine.send(lan(), &query(from, to, request, 7)).is(gets(Reason::Rule, LAN, DMZ).by(PING).opens());
        machine.send(dmz(), &query(to, from, reply, 7)).is(gets(Reason::Reply, LAN, DMZ).by(PING));
        machine.send(lan(), &query(from, to, request, 7)).is(gets(Reason::Rule, LAN, DMZ).by(PING));
        machine.send(dmz(), &query(to, from, reply, 8)).is(gets(Reason::NoConnection, DMZ, LAN).told());
    }
}

#[test]
fn d8_an_echo_request_against_the_grain_is_no_reply_whatever_its_id() {
    for (from, to, request) in [(ANNE, SHOP, 8), (ANNE6, SHOP6, 128)] {
        for (id, reason) in [(7, Reason::NoRule), (u16::from(request) << 8 | 0xff, Reason::NoConnection)] {
            let machine = ping();
            machine.send(lan(), &query(from, to, request, id)).is(gets(Reason::Rule, LAN, DMZ).by(PING).opens());
            machine.send(dmz(), &query(to, from, request, id)).is(gets(reason, DMZ, LAN).told());
            assert_eq!(machine.states(), [0]);
        }
    }
}

#[test]
fn a_policy_judges_the_type() {
    let machine = ping();
    machine.send(lan(), &query(ANNE, SHOP, 13, 1)).is(gets(Reason::NoConnection, LAN, DMZ).told());
    machine.send(lan(), &icmp(ANNE, SHOP, &[5, 0, 0, 0, 0, 0, 0, 0])).is(gets(Reason::NoConnection, LAN, DMZ).told());
    machine.send(lan(), &icmp(ANNE, SHOP, &[40, 0, 0, 0, 0, 0, 0, 0])).is(gets(Reason::NoRule, LAN, DMZ).told());
    let clocks = Machine::under(&Policy::new().allow(LAN, DMZ, (proto::ICMP, 13), PING));
    clocks.send(lan(), &query(ANNE, SHOP, 13, 1)).is(gets(Reason::Rule, LAN, DMZ).by(PING).opens());
    clocks.send(dmz(), &query(SHOP, ANNE, 14, 1)).is(gets(Reason::Reply, LAN, DMZ).by(PING));
}

fn talking(policy: Policy) -> Machine {
    let machine = Machine::under(&policy.allow(LAN, DMZ, tcp(443), WEB).allow(LAN, DMZ, udp(53), 1));
    machine.send(lan(), &CALL.tcp(SYN, 100)).is(gets(Reason::Rule, LAN, DMZ).by(WEB).opens());
    machine.send(dmz(), &CALL.back().tcp(SYN | ACK, 900)).is(gets(Reason::Reply, LAN, DMZ).by(WEB));
    machine
}

#[test]
fn an_error_about_a_live_connection_is_related_whoever_sends_it_and_to_either_side() {
    let machine = talking(Policy::new());
    let related = gets(Reason::Related, LAN, DMZ).by(WEB);
    machine.send(dmz(), &icmp_error(SHOP, 3, &CALL.tcp(ACK, 101))).is(related);
    machine.send(net(), &icmp_error(FAR, 11, &CALL.tcp(ACK, 101))).is(related);
    machine.send(lan(), &icmp_error(ANNE, 3, &CALL.back().tcp(ACK, 901))).is(related);
    machine.send(local(), &icmp_error(HERE, 11, &CALL.tcp(ACK, 101))).is(related);
    assert_eq!(machine.states(), [1]);
}

#[test]
fn the_ports_that_an_error_quotes_stand_behind_the_quoted_options() {
    let machine = talking(Policy::new());
    let mut sent = CALL.tcp(ACK, 101);
    // Another word of header, of no-ops.
    (sent[14], sent[17]) = (0x46, sent[17] + 4);
    sent.splice(34..34, [1; 4]);
    machine.send(dmz(), &icmp_error(SHOP, 3, &sent)).is(gets(Reason::Related, LAN, DMZ).by(WEB));
}

#[test]
fn d9_an_error_that_goes_to_another_than_it_quotes_is_not_related() {
    let machine = talking(Policy::new());
    let stray = gets(Reason::NoConnection, DMZ, LAN).told();
    machine.send(dmz(), &icmp_error_to(SHOP, "10.1.0.6", 3, &CALL.tcp(ACK, 101))).is(stray);
    for kind in [4, 5] {
        machine.send(dmz(), &icmp_error(SHOP, kind, &CALL.tcp(ACK, 101))).is(stray);
    }
}

#[test]
fn d9_an_error_to_the_right_one_that_quotes_somebody_elses_packet_is_not_related() {
    let machine = talking(Policy::new());
    let other = line("10.1.0.6", 40_000, SHOP, 443);
    let stray = gets(Reason::NoConnection, DMZ, LAN).told();
    machine.send(dmz(), &icmp_error_to(SHOP, ANNE, 3, &other.tcp(ACK, 101))).is(stray);
    let call = line(ANNE6, 40_000, SHOP6, 443);
    machine.send(lan(), &call.tcp(SYN, 100)).is(gets(Reason::Rule, LAN, DMZ).by(WEB).opens());
    let other = line("fd01::6", 40_000, SHOP6, 443);
    machine.send(dmz(), &icmp_error_to(SHOP6, ANNE6, 1, &other.tcp(ACK, 101))).is(stray);
}

#[test]
fn d9_an_error_about_nothing_that_lives_is_not_related() {
    let machine = talking(Policy::new());
    let stray = gets(Reason::NoConnection, DMZ, LAN).told();
    let other = line(ANNE, 40_001, SHOP, 443);
    machine.send(dmz(), &icmp_error(SHOP, 3, &other.tcp(ACK, 101))).is(stray);
    assert!(machine.judge(lan(), &CALL.tcp(RST, 101)).passes());
    machine.pass_secs(61);
    // Another quoted connection between the same ends is the same event: nothing more is told.
    machine.send(dmz(), &icmp_error(SHOP, 3, &CALL.tcp(ACK, 101))).is(gets(Reason::NoConnection, DMZ, LAN));
}

#[test]
fn an_error_about_a_connection_whose_rule_is_gone_is_dropped() {
    let mut machine = talking(Policy::new());
    machine.publish(&Policy::new());
    machine.send(dmz(), &icmp_error(SHOP, 3, &CALL.tcp(ACK, 101))).is(gets(Reason::NoRule, LAN, DMZ).told());
}

#[test]
fn c17_packet_too_big_reaches_the_sender_of_a_live_connection() {
    let machine = talking(Policy::new());
    let call = line(ANNE6, 40_000, SHOP6, 443);
    machine.send(lan(), &call.tcp(SYN, 100)).is(gets(Reason::Rule, LAN, DMZ).by(WEB).opens());
    machine.send(dmz(), &icmp_error("fd02::1", 2, &call.tcp(ACK, 101))).is(gets(Reason::Related, LAN, DMZ).by(WEB));
    let other = line(ANNE6, 40_001, SHOP6, 443);
    machine.send(dmz(), &icmp_error("fd02::1", 2, &other.tcp(ACK, 1))).is(gets(Reason::NoConnection, DMZ, LAN).told());
}

#[test]
fn an_error_about_an_unanswered_question_is_related_and_answers_nothing() {
    let machine = talking(Policy::new());
    let ask = line(ANNE, 5353, SHOP, 53);
    machine.send(lan(), &ask.udp()).is(gets(Reason::Rule, LAN, DMZ).by(1).opens());
    machine.send(dmz(), &icmp_error(SHOP, 3, &ask.udp())).is(gets(Reason::Related, LAN, DMZ).by(1));
    let mut states = machine.states();
    states.sort_unstable();
    assert_eq!(states, [0, 1]);
}

#[test]
fn errors_of_this_machine_about_its_own_connections_are_related() {
    let machine = Machine::under(&Policy::new().allow(NET, HOST, udp(53), 1));
    let ask = line(FAR, 5353, HERE, 53);
    machine.send(net(), &ask.udp()).is(gets(Reason::Rule, NET, HOST).by(1).opens());
    machine.send(local(), &icmp_error(HERE, 3, &ask.udp())).is(gets(Reason::Related, NET, HOST).by(1));
}
