//! Policies come and go under open connections: trust is asked again, and only then.

use segd_common::addr::Addr;
use segd_common::event::Event;
use segd_common::image::Place;
use segd_common::packet::proto;
use segd_common::policy::{Question, judge};
use segd_common::reason::Reason;

use crate::frame::{ACK, Line, SYN, arp, line, query};
use crate::machine::Machine;
use crate::net::{ADMIN, ANNE, ANNE6, DMZ, HERE, HOST, LAN, Policy, SHOP, SHOP6, dmz, lan, local, tcp, udp};
use crate::seen::{Expect, gets};

const WEB: u32 = 2;
const CALL: Line = line(ANNE, 40_000, SHOP, 443);
const THERE: Expect = gets(Reason::Rule, LAN, DMZ).by(WEB);
const BACK: Expect = gets(Reason::Reply, LAN, DMZ).by(WEB);
const DENIED: Expect = gets(Reason::NoRule, LAN, DMZ);

fn web() -> Policy {
    Policy::new().allow(LAN, DMZ, tcp(443), WEB)
}

fn connected(policy: &Policy) -> Machine {
    let machine = Machine::under(policy);
    machine.send(lan(), &CALL.tcp(SYN, 100)).is(THERE.opens());
    machine.send(dmz(), &CALL.back().tcp(SYN | ACK, 900)).is(BACK);
    machine
}

#[test]
fn a_revoked_rule_cuts_its_connections_at_their_next_packet_from_either_side() {
    let mut machine = connected(&web());
    machine.publish(&Policy::new());
    machine.send(dmz(), &CALL.back().tcp(ACK, 901)).is(DENIED.told());
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(DENIED);
}

#[test]
fn f3_a_cut_reply_is_told_as_the_connection_it_belongs_to() {
    const PING: u32 = 4;
    for (from, to, request, reply) in [(ANNE, SHOP, 8, 0), (ANNE6, SHOP6, 128, 129)] {
        let mut machine = Machine::under(&web().allow(LAN, DMZ, (request_of(from), u16::from(request)), PING));
        let call = line(from, 40_000, to, 443);
        machine.send(lan(), &call.tcp(SYN, 100)).is(THERE.opens());
        machine.send(dmz(), &call.back().tcp(SYN | ACK, 900)).is(BACK);
        machine.send(lan(), &query(from, to, request, 7)).is(gets(Reason::Rule, LAN, DMZ).by(PING).opens());
        machine.send(dmz(), &query(to, from, reply, 7)).is(gets(Reason::Reply, LAN, DMZ).by(PING));
        machine.publish(&Policy::new());
        machine.send(dmz(), &call.back().tcp(ACK, 901)).is(DENIED.told());
        machine.send(dmz(), &query(to, from, reply, 7)).is(DENIED.told());
        let events = machine.events.borrow();
        let address = |text: &str| Addr::from(text.parse::<std::net::IpAddr>().unwrap());
        let told = |event: &Event| (event.src, event.dst, event.from, event.to, event.service);
        let [session, ping] = &events[events.len() - 2..] else { panic!("two events") };
        assert_eq!(told(session), (address(from), address(to), LAN, DMZ, 443));
        assert_eq!(session.sport, 40_000);
        assert_eq!(told(ping), (address(from), address(to), LAN, DMZ, u16::from(request)));
    }
}

fn request_of(address: &str) -> u8 {
    if address.contains(':') { proto::ICMPV6 } else { proto::ICMP }
}

#[test]
fn a_connection_that_was_cut_goes_on_when_it_is_allowed_again() {
    let mut machine = connected(&web());
    machine.publish(&Policy::new());
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(DENIED.told());
    machine.publish(&web());
    machine.send(dmz(), &CALL.back().tcp(ACK, 901)).is(BACK);
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(THERE);
}

#[test]
fn connections_of_other_rules_do_not_notice_and_count_on_under_their_rules_new_number() {
    let mut machine = connected(&web());
    machine.publish(&Policy::new().allow(DMZ, LAN, udp(53), 1).allow(LAN, DMZ, tcp(443), 7));
    machine.send(dmz(), &CALL.back().tcp(ACK, 901)).is(BACK.by(7));
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(THERE.by(7));
}

#[test]
fn a_rule_of_the_responders_side_does_not_keep_a_revoked_connection() {
    let mut machine = connected(&web());
    machine.publish(&Policy::new().allow(DMZ, LAN, tcp(40_000), 3));
    machine.send(dmz(), &CALL.back().tcp(ACK, 901)).is(DENIED.told());
}

#[test]
fn a_rule_ends_at_its_jiffy_without_anybody_publishing() {
    let machine = connected(&web().until(200_000));
    machine.now.set(199_999);
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(THERE);
    machine.send(dmz(), &CALL.back().tcp(ACK, 901)).is(BACK);
    machine.now.set(200_000);
    let expired = gets(Reason::Expired, LAN, DMZ).by(WEB);
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(expired.told());
    machine.send(dmz(), &CALL.back().tcp(ACK, 901)).is(expired);
    machine.send(lan(), &line(ANNE, 40_001, SHOP, 443).tcp(SYN, 1)).is(expired.told());
}

#[test]
fn when_a_rule_has_ended_the_next_one_for_the_service_holds() {
    let policy = web().until(200_000).allow(LAN, DMZ, tcp(443), 3);
    let machine = connected(&policy);
    machine.now.set(200_000);
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(THERE.by(3));
    machine.send(dmz(), &CALL.back().tcp(ACK, 901)).is(BACK.by(3));
}

#[test]
fn when_a_rule_has_ended_a_watching_one_says_why_it_would_have_been_dropped() {
    let machine = connected(&web().until(200_000).watch(LAN, DMZ, tcp(443), 3));
    machine.now.set(200_000);
    let watched = gets(Reason::Audit, LAN, DMZ).by(3).instead_of(Reason::Expired);
    machine.send(lan(), &line(ANNE, 40_001, SHOP, 443).tcp(SYN, 1)).is(watched.opens());
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(watched);
}

#[test]
fn f13_a_policy_that_nobody_confirms_gives_way_to_the_one_before() {
    let mut machine = connected(&web());
    machine.publish_until(&Policy::new(), 200_000);
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(DENIED.told());
    machine.now.set(199_999);
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(DENIED.told());
    machine.now.set(200_000);
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(THERE);
    machine.send(dmz(), &CALL.back().tcp(ACK, 901)).is(BACK);
}

#[test]
fn a_connection_that_only_the_unconfirmed_policy_allowed_is_cut_with_it() {
    let mut machine = Machine::under(&Policy::new());
    machine.publish_until(&web(), 200_000);
    machine.send(lan(), &CALL.tcp(SYN, 100)).is(THERE.opens());
    machine.send(dmz(), &CALL.back().tcp(SYN | ACK, 900)).is(BACK);
    machine.now.set(200_000);
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(DENIED.told());
}

#[test]
fn f7_without_a_policy_or_with_a_page_missing_everything_is_dropped() {
    let mut machine = Machine::under(&web());
    machine.pages.truncate(1);
    assert!(!machine.judge(lan(), &CALL.tcp(SYN, 100)).passes());
    machine.control().selector = 9;
    assert!(!machine.judge(lan(), &CALL.tcp(SYN, 100)).passes());
    machine.control = None;
    assert!(!machine.judge(lan(), &CALL.tcp(SYN, 100)).passes());
}

#[test]
fn the_failsafe_is_allowed_under_every_policy_and_for_its_own_addresses_only() {
    let machine = Machine::under(&Policy::new().failsafe(tcp(22)));
    let call = line(ADMIN, 40_000, SHOP, 22);
    machine.send(lan(), &call.tcp(SYN, 1)).is(gets(Reason::Failsafe, LAN, DMZ).opens());
    machine.send(dmz(), &call.back().tcp(SYN | ACK, 1)).is(gets(Reason::Reply, LAN, DMZ));
    machine.send(lan(), &line(ADMIN, 40_000, SHOP, 23).tcp(SYN, 1)).is(DENIED.told());
    machine.send(lan(), &line(ANNE, 40_000, SHOP, 22).tcp(SYN, 1)).is(DENIED.told());
}

#[test]
fn what_the_failsafe_does_not_name_is_judged_as_anybodys() {
    let machine = Machine::under(&web().failsafe(tcp(22)));
    machine.send(lan(), &line(ADMIN, 40_000, SHOP, 443).tcp(SYN, 1)).is(THERE.opens());
}

#[test]
fn a_failsafe_that_names_this_machine_gives_it_no_right() {
    let mut machine = Machine::under(&Policy::new().failsafe(tcp(22)));
    let root = *machine.control().root(0).expect("a policy");
    let question = |zone: u16| {
        let from = Place(u32::from(zone) | Place::FAILSAFE);
        Question { from, to: Place(u32::from(DMZ)), proto: proto::TCP, service: 22 }
    };
    assert_eq!(judge(&machine, &root, &question(LAN), 1).reason, Reason::Failsafe);
    assert_eq!(judge(&machine, &root, &question(HOST), 1).reason, Reason::NoRule);
}

#[test]
fn a_wrong_list_of_interfaces_does_not_lock_the_failsafe_out_and_opens_nothing_else() {
    let mut machine = Machine::under(&web().failsafe(tcp(22)));
    let call = line(ADMIN, 40_000, HERE, 22);
    machine.send(dmz(), &call.tcp(SYN, 1)).is(gets(Reason::Failsafe, LAN, HOST).opens());
    machine.send(local(), &call.back().tcp(SYN | ACK, 1)).is(gets(Reason::Reply, LAN, HOST));
    machine.send(dmz(), &call.tcp(ACK, 2)).is(gets(Reason::Failsafe, LAN, HOST));
    machine.publish(&Policy::new().failsafe(tcp(22)));
    machine.send(dmz(), &call.tcp(ACK, 2)).is(gets(Reason::Failsafe, LAN, HOST));
    machine.send(dmz(), &arp(1, ADMIN, HERE)).is(gets(Reason::Essential, LAN, HOST));
    machine.publish(&web().failsafe(tcp(22)));
    machine.send(dmz(), &line(ADMIN, 1, SHOP, 443).tcp(SYN, 1)).is(gets(Reason::SpoofedSource, LAN, DMZ).told());
    machine.send(dmz(), &line(ANNE, 1, HERE, 22).tcp(SYN, 1)).is(gets(Reason::SpoofedSource, LAN, HOST).told());
}

#[test]
fn the_zone_itself_may_let_its_members_talk() {
    let machine = Machine::under(&Policy::new().rest(LAN, LAN, Reason::IntraZone));
    let call = line(ANNE, 40_000, "10.1.0.6", 9);
    machine.send(lan(), &call.tcp(SYN, 1)).is(gets(Reason::IntraZone, LAN, LAN).opens());
    machine.send(lan(), &call.back().tcp(SYN | ACK, 1)).is(gets(Reason::Reply, LAN, LAN));
}
