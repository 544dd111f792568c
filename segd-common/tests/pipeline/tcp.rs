//! TCP: how a connection begins, goes on and ends, and what belongs to none.

use segd_common::flow::{State, flag};
use segd_common::reason::Reason;

use crate::frame::{ACK, FIN, Line, RST, SYN, line};
use crate::machine::{HZ, Machine};
use crate::net::{ANNE, ANNE6, DMZ, FAR, LAN, NET, Policy, SHOP, SHOP6, dmz, lan, net, tcp};
use crate::seen::gets;

const WEB: u32 = 2;
const CALL: Line = line(ANNE, 40_000, SHOP, 443);

fn shop() -> Machine {
    Machine::under(&Policy::new().allow(LAN, DMZ, tcp(443), WEB))
}

/// A connection that both sides have opened.
fn connected() -> Machine {
    let machine = shop();
    machine.send(lan(), &CALL.tcp(SYN, 100)).is(gets(Reason::Rule, LAN, DMZ).by(WEB).opens());
    machine.send(dmz(), &CALL.back().tcp(SYN | ACK, 900)).is(gets(Reason::Reply, LAN, DMZ).by(WEB));
    machine
}

fn state(machine: &Machine) -> State {
    match machine.states()[..] {
        [0] => State::HalfOpen,
        [1] => State::Established,
        [2] => State::Closing,
        ref other => panic!("one connection, not {other:?}"),
    }
}

#[test]
fn an_allowed_connection_goes_from_syn_to_its_end_under_its_rule() {
    let machine = shop();
    let (there, back) = (gets(Reason::Rule, LAN, DMZ).by(WEB), gets(Reason::Reply, LAN, DMZ).by(WEB));
    machine.send(lan(), &CALL.tcp(SYN, 100)).is(there.opens());
    assert_eq!(state(&machine), State::HalfOpen);
    machine.send(lan(), &CALL.tcp(SYN, 100)).is(there);
    machine.send(dmz(), &CALL.back().tcp(SYN | ACK, 900)).is(back);
    assert_eq!(state(&machine), State::Established);
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(there);
    machine.send(dmz(), &CALL.back().tcp(ACK, 901)).is(back);
    machine.send(lan(), &CALL.tcp(FIN | ACK, 102)).is(there);
    assert_eq!(state(&machine), State::Established);
    machine.send(dmz(), &CALL.back().tcp(FIN | ACK, 902)).is(back);
    assert_eq!(state(&machine), State::Closing);
    machine.send(lan(), &CALL.tcp(ACK, 103)).is(there);
}

#[test]
fn the_other_family_is_no_other_case() {
    let machine = shop();
    let call = line(ANNE6, 40_000, SHOP6, 443);
    machine.send(lan(), &call.tcp(SYN, 100)).is(gets(Reason::Rule, LAN, DMZ).by(WEB).opens());
    machine.send(dmz(), &call.back().tcp(SYN | ACK, 900)).is(gets(Reason::Reply, LAN, DMZ).by(WEB));
}

#[test]
fn what_no_rule_names_is_denied_and_told_once_however_often_it_tries() {
    let machine = shop();
    let ssh = line(ANNE, 40_000, SHOP, 22);
    machine.send(lan(), &ssh.tcp(SYN, 100)).is(gets(Reason::NoRule, LAN, DMZ).told());
    machine.send(lan(), &ssh.tcp(SYN, 100)).is(gets(Reason::NoRule, LAN, DMZ));
    machine.pass_secs(121);
    machine.send(lan(), &ssh.tcp(SYN, 100)).is(gets(Reason::NoRule, LAN, DMZ).told());
    // A rule has one direction, and one pair.
    machine.send(dmz(), &line(SHOP, 40_000, ANNE, 443).tcp(SYN, 1)).is(gets(Reason::NoRule, DMZ, LAN).told());
    machine.send(net(), &line(FAR, 40_000, SHOP, 443).tcp(SYN, 1)).is(gets(Reason::NoRule, NET, DMZ).told());
    assert_eq!(machine.states(), []);
}

#[test]
fn d1_flags_that_no_connection_has_are_refused_and_leave_no_state() {
    for flags in 0..=255 {
        let machine = shop();
        let kinds = flags & (SYN | ACK | FIN | RST);
        let sent = machine.send(lan(), &CALL.tcp(flags, 100));
        if kinds == SYN {
            sent.is(gets(Reason::Rule, LAN, DMZ).by(WEB).opens());
        } else if [ACK, RST, SYN | ACK, RST | ACK, FIN | ACK].contains(&kinds) {
            sent.is(gets(Reason::NoConnection, LAN, DMZ).told());
        } else {
            sent.is(gets(Reason::BadFlags, LAN, DMZ).told());
        }
        assert_eq!(machine.states().len(), usize::from(kinds == SYN), "flags {flags:#x}");
    }
}

#[test]
fn d3_segments_without_a_connection_belong_to_nothing() {
    for flags in [ACK, SYN | ACK, RST, RST | ACK, FIN | ACK] {
        let machine = shop();
        machine.send(lan(), &CALL.tcp(flags, 100)).is(gets(Reason::NoConnection, LAN, DMZ).told());
        machine.send(dmz(), &CALL.back().tcp(flags, 100)).is(gets(Reason::NoConnection, DMZ, LAN).told());
        assert_eq!(machine.states(), []);
    }
}

#[test]
fn d4_a_syn_from_the_responders_side_is_no_reply() {
    let machine = shop();
    machine.send(lan(), &CALL.tcp(SYN, 100)).is(gets(Reason::Rule, LAN, DMZ).by(WEB).opens());
    machine.send(dmz(), &CALL.back().tcp(SYN, 900)).is(gets(Reason::NoConnection, DMZ, LAN).told());
    assert_eq!(state(&machine), State::HalfOpen);
}

#[test]
fn d3_a_syn_ack_of_the_initiators_belongs_to_nothing_though_its_connection_lives() {
    let machine = connected();
    machine.send(lan(), &CALL.tcp(SYN | ACK, 101)).is(gets(Reason::NoConnection, LAN, DMZ).told());
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(gets(Reason::Rule, LAN, DMZ).by(WEB));
}

#[test]
fn d5_a_reset_or_an_end_far_out_of_the_window_changes_nothing() {
    let machine = connected();
    for flags in [RST, FIN | ACK] {
        machine.send(lan(), &CALL.tcp(flags, 0x4000_0000)).is(gets(Reason::Rule, LAN, DMZ).by(WEB));
        machine.send(dmz(), &CALL.back().tcp(flags, 0xc000_0000)).is(gets(Reason::Reply, LAN, DMZ).by(WEB));
        assert_eq!(state(&machine), State::Established);
        assert_eq!(machine.flow_from(ANNE).flags.get() & (flag::FIN_FROM | flag::FIN_TO), 0);
    }
    machine.pass_secs(3600);
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(gets(Reason::Rule, LAN, DMZ).by(WEB));
}

#[test]
fn a_reset_inside_the_window_ends_the_connection() {
    for (at, frame) in [(lan(), CALL.tcp(RST, 101)), (dmz(), CALL.back().tcp(RST | ACK, 901))] {
        let machine = connected();
        assert!(machine.judge(at, &frame).passes());
        assert_eq!(state(&machine), State::Closing);
        machine.pass_secs(61);
        machine.send(lan(), &CALL.tcp(ACK, 102)).is(gets(Reason::NoConnection, LAN, DMZ).told());
    }
}

#[test]
fn a_refused_syn_is_over_at_once() {
    let machine = shop();
    machine.send(lan(), &CALL.tcp(SYN, 100)).is(gets(Reason::Rule, LAN, DMZ).by(WEB).opens());
    machine.send(dmz(), &CALL.back().tcp(RST | ACK, 0)).is(gets(Reason::Reply, LAN, DMZ).by(WEB));
    assert_eq!(state(&machine), State::Closing);
}

#[test]
fn d6_ports_of_a_finished_connection_are_judged_afresh_from_either_side() {
    let machine = connected();
    assert!(machine.judge(lan(), &CALL.tcp(RST, 101)).passes());
    machine.send(dmz(), &CALL.back().tcp(SYN, 5)).is(gets(Reason::NoRule, DMZ, LAN).told());
    assert_eq!(state(&machine), State::Closing);
    machine.send(lan(), &CALL.tcp(SYN, 7_000_000)).is(gets(Reason::Rule, LAN, DMZ).by(WEB).opens());
    assert_eq!(state(&machine), State::HalfOpen);
    machine.send(dmz(), &CALL.back().tcp(SYN | ACK, 5)).is(gets(Reason::Reply, LAN, DMZ).by(WEB));
    assert_eq!(state(&machine), State::Established);
}

#[test]
fn d6_the_other_side_may_open_the_same_ports_by_a_rule_of_its_own() {
    let both = Policy::new().allow(LAN, DMZ, tcp(443), WEB).allow(DMZ, LAN, tcp(40_000), 3);
    let machine = Machine::under(&both);
    machine.send(lan(), &CALL.tcp(SYN, 100)).is(gets(Reason::Rule, LAN, DMZ).by(WEB).opens());
    machine.send(dmz(), &CALL.back().tcp(RST | ACK, 0)).is(gets(Reason::Reply, LAN, DMZ).by(WEB));
    machine.send(dmz(), &CALL.back().tcp(SYN, 5)).is(gets(Reason::Rule, DMZ, LAN).by(3).opens());
    machine.send(lan(), &CALL.tcp(SYN | ACK, 9)).is(gets(Reason::Reply, DMZ, LAN).by(3));
}

#[test]
fn idle_connections_are_forgotten_a_half_open_one_soon() {
    let machine = shop();
    machine.send(lan(), &CALL.tcp(SYN, 100)).is(gets(Reason::Rule, LAN, DMZ).by(WEB).opens());
    machine.pass_secs(30);
    machine.send(dmz(), &CALL.back().tcp(SYN | ACK, 9)).is(gets(Reason::NoConnection, DMZ, LAN).told());
    let machine = connected();
    machine.pass_secs(5 * 24 * 3600 - 1);
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(gets(Reason::Rule, LAN, DMZ).by(WEB));
    machine.pass_secs(5 * 24 * 3600);
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(gets(Reason::NoConnection, LAN, DMZ).told());
}

#[test]
fn d15_a_reply_may_come_in_by_any_interface_that_its_source_may_be_seen_on() {
    let machine = connected();
    machine.send(net(), &CALL.back().tcp(ACK, 901)).is(gets(Reason::SpoofedSource, DMZ, LAN).told());
    let machine = Machine::under(&Policy::new().allow(LAN, 0, tcp(443), WEB));
    let call = line(ANNE, 1, crate::net::LOST, 443);
    machine.send(lan(), &call.tcp(SYN, 1)).is(gets(Reason::Rule, LAN, 0).by(WEB).opens());
    machine.send(dmz(), &call.back().tcp(SYN | ACK, 1)).is(gets(Reason::Reply, LAN, 0).by(WEB));
    machine.send(net(), &call.back().tcp(ACK, 2)).is(gets(Reason::Reply, LAN, 0).by(WEB));
}

#[test]
fn segments_of_an_offload_count_as_the_frames_they_stand_for() {
    let machine = connected();
    let mut at = lan();
    at.frames = 12;
    machine.send(at, &CALL.tcp(ACK, 101)).is(gets(Reason::Rule, LAN, DMZ).by(WEB));
}

#[test]
fn a_blocked_connection_that_tries_again_is_told_once_whatever_identification_its_packets_carry() {
    let machine = Machine::under(&Policy::new());
    let denied = gets(Reason::NoRule, LAN, DMZ);
    for (id, expected) in [(7u16, denied.told()), (8, denied), (9, denied)] {
        let mut frame = CALL.tcp(SYN, 100);
        frame[18..20].copy_from_slice(&id.to_be_bytes());
        machine.send(lan(), &frame).is(expected);
    }
}

#[test]
fn a_blocked_connection_is_a_new_one_only_after_a_rest_of_two_minutes() {
    let machine = Machine::under(&Policy::new());
    let denied = gets(Reason::NoRule, LAN, DMZ);
    for (rest_secs, expected) in [(0, denied.told()), (100, denied), (100, denied), (121, denied.told())] {
        machine.pass_secs(rest_secs);
        machine.send(lan(), &CALL.tcp(SYN, 100)).is(expected);
    }
}

/// Each reads the clock when it begins with a packet: what another one has noted since is later.
#[test]
fn what_another_cpu_has_noted_a_tick_later_is_not_an_age_old() {
    let machine = connected();
    machine.pass_secs(10);
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(gets(Reason::Rule, LAN, DMZ).by(WEB));
    let blocked = line(ANNE, 40_000, SHOP, 80).tcp(SYN, 1);
    machine.send(lan(), &blocked).is(gets(Reason::NoRule, LAN, DMZ).told());
    machine.now.set(machine.now.get() - 1);
    machine.send(dmz(), &CALL.back().tcp(ACK, 901)).is(gets(Reason::Reply, LAN, DMZ).by(WEB));
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(gets(Reason::Rule, LAN, DMZ).by(WEB));
    machine.send(lan(), &blocked).is(gets(Reason::NoRule, LAN, DMZ));
}

#[test]
fn every_packet_of_its_connections_is_a_hit_of_the_rule() {
    let machine = connected();
    let last_hit = || machine.rules[WEB as usize].last_hit.get();
    for (at, frame) in [(lan(), CALL.tcp(ACK, 101)), (dmz(), CALL.back().tcp(ACK, 901))] {
        machine.pass_secs(10);
        assert!(machine.judge(at, &frame).passes());
        assert_eq!(last_hit(), machine.now.get());
    }
    machine.pass_secs(10);
    assert!(!machine.judge(lan(), &line(ANNE, 40_000, SHOP, 80).tcp(SYN, 1)).passes());
    assert_eq!(last_hit(), machine.now.get() - 10 * u64::from(HZ), "what is dropped is none");
}
