//! Fragments: the first is judged by its ports, the rest gets what it got, and nothing contradicts it.

use segd_common::packet::proto;
use segd_common::reason::Reason;

use crate::frame::{Line, Piece, SYN, line};
use crate::machine::Machine;
use crate::net::{ANNE, ANNE6, DMZ, LAN, Policy, SHOP, SHOP6, dmz, lan, local, tcp, udp};
use crate::seen::{Expect, gets};

const NAMES: u32 = 1;
const ASK: Line = line(ANNE, 5353, SHOP, 53);
const LATER: Expect = gets(Reason::Rule, LAN, DMZ).by(NAMES);
const OPENS: Expect = LATER.opens();
const STRAY: Expect = gets(Reason::NoConnection, LAN, DMZ);
const REFUSED: Expect = gets(Reason::Fragment, LAN, DMZ);

fn policy() -> Policy {
    Policy::new().allow(LAN, DMZ, udp(53), NAMES).allow(LAN, DMZ, tcp(443), 2)
}

fn machine() -> Machine {
    Machine::under(&policy())
}

/// The first fragment of a UDP datagram: its header and 24 bytes.
fn first(ends: Line, id: u16) -> Vec<u8> {
    Piece { id, start: 0, more: true }.of(ends, proto::UDP, &[&ends.datagram(1000)[..8], &[0; 24]].concat())
}

/// A later one, with eight bytes for each unit.
fn later(ends: Line, id: u16, units: std::ops::Range<u16>) -> Vec<u8> {
    piece(ends, id, units, true)
}

fn piece(ends: Line, id: u16, units: std::ops::Range<u16>, more: bool) -> Vec<u8> {
    let bytes = vec![0; units.len() * 8];
    Piece { id, start: units.start * 8, more }.of(ends, proto::UDP, &bytes)
}

#[test]
fn the_rest_of_a_datagram_gets_what_its_first_fragment_got() {
    for ask in [ASK, line(ANNE6, 5353, SHOP6, 53)] {
        let machine = machine();
        machine.send(lan(), &first(ask, 9)).is(OPENS);
        machine.send(lan(), &later(ask, 9, 4..8)).is(LATER);
        machine.send(lan(), &piece(ask, 9, 8..9, false)).is(LATER);
        let answer = gets(Reason::Reply, LAN, DMZ).by(NAMES);
        machine.send(dmz(), &first(ask.back(), 77)).is(answer);
        machine.send(dmz(), &piece(ask.back(), 77, 4..8, false)).is(answer);
        assert_eq!(machine.states(), [1]);
    }
}

#[test]
fn the_rest_of_a_denied_datagram_belongs_to_nothing() {
    let machine = machine();
    let other = line(ANNE, 5353, SHOP, 54);
    machine.send(lan(), &first(other, 9)).is(gets(Reason::NoRule, LAN, DMZ).told());
    machine.send(lan(), &later(other, 9, 4..8)).is(STRAY.told());
}

#[test]
fn b1_a_rest_whose_first_was_never_seen_belongs_to_nothing() {
    let machine = machine();
    machine.send(lan(), &later(ASK, 9, 4..8)).is(STRAY.told());
    machine.send(lan(), &first(ASK, 10)).is(OPENS);
    machine.send(lan(), &later(ASK, 9, 4..8)).is(STRAY);
    machine.send(lan(), &later(line("10.1.0.6", 5353, SHOP, 53), 10, 4..8)).is(STRAY.told());
    machine.send(dmz(), &later(ASK, 10, 4..8)).is(STRAY.told());
}

#[test]
fn b2_a_first_fragment_without_the_whole_header_is_refused() {
    let call = line(ANNE, 40_000, SHOP, 443);
    for size in [8, 16] {
        let machine = machine();
        let frame = Piece { id: 9, start: 0, more: true }.of(call, proto::TCP, &call.segment(SYN, 1)[..size]);
        machine.send(lan(), &frame).is(REFUSED.told());
        assert_eq!(machine.states(), []);
    }
    let machine = machine();
    let whole = [call.segment(SYN, 1), vec![0; 4]].concat();
    machine.send(lan(), &Piece { id: 9, start: 0, more: true }.of(call, proto::TCP, &whole)).is(gets(
        Reason::Rule,
        LAN,
        DMZ,
    )
    .by(2)
    .opens());
}

#[test]
fn b3_a_rest_that_comes_before_its_first_is_dropped_and_the_first_judged_as_ever() {
    let machine = machine();
    machine.send(lan(), &later(ASK, 9, 4..8)).is(STRAY.told());
    machine.send(lan(), &first(ASK, 9)).is(OPENS);
    machine.send(lan(), &later(ASK, 9, 4..8)).is(LATER);
}

#[test]
fn b4_offset_one_rewrites_ports_or_flags_and_kills_the_datagram() {
    let call = line(ANNE, 40_000, SHOP, 443);
    let machine = machine();
    let whole = [call.segment(SYN, 1), vec![0; 4]].concat();
    let by_web = gets(Reason::Rule, LAN, DMZ).by(2);
    machine.send(lan(), &Piece { id: 9, start: 0, more: true }.of(call, proto::TCP, &whole)).is(by_web.opens());
    let rewrite = Piece { id: 9, start: 8, more: true }.of(call, proto::TCP, &[0; 16]);
    machine.send(lan(), &rewrite).is(REFUSED.told());
    machine.send(lan(), &Piece { id: 9, start: 24, more: false }.of(call, proto::TCP, &[0; 8])).is(REFUSED);
}

#[test]
fn c7_overlapping_fragments_are_refused_with_all_that_follows() {
    for ask in [ASK, line(ANNE6, 5353, SHOP6, 53)] {
        for overlap in [1..2, 3..5, 7..9, 5..6, 4..9] {
            let machine = machine();
            machine.send(lan(), &first(ask, 9)).is(OPENS);
            machine.send(lan(), &later(ask, 9, 4..8)).is(LATER);
            machine.send(lan(), &later(ask, 9, overlap)).is(REFUSED.told());
            machine.send(lan(), &later(ask, 9, 20..21)).is(REFUSED);
        }
    }
}

#[test]
fn the_few_bytes_behind_the_last_whole_unit_are_not_sent_twice() {
    for ask in [ASK, line(ANNE6, 5353, SHOP6, 53)] {
        let machine = machine();
        machine.send(lan(), &first(ask, 9)).is(OPENS);
        let last = Piece { id: 9, start: 32, more: false };
        machine.send(lan(), &last.of(ask, proto::UDP, &[0; 12])).is(LATER);
        machine.send(lan(), &later(ask, 9, 5..6)).is(REFUSED.told());
    }
}

#[test]
fn b5_an_exact_copy_gets_what_its_original_got() {
    let machine = machine();
    machine.send(lan(), &first(ASK, 9)).is(OPENS);
    machine.send(lan(), &first(ASK, 9)).is(LATER);
    machine.send(lan(), &later(ASK, 9, 4..8)).is(LATER);
    machine.send(lan(), &later(ASK, 9, 4..8)).is(LATER);
    machine.send(lan(), &later(ASK, 9, 8..12)).is(LATER);
    machine.send(lan(), &later(ASK, 9, 4..8)).is(LATER);
}

#[test]
fn b5_what_ends_elsewhere_or_is_the_last_as_well_is_no_copy() {
    for ask in [ASK, line(ANNE6, 5353, SHOP6, 53)] {
        let last = |bytes: usize, more: bool| Piece { id: 9, start: 32, more }.of(ask, proto::UDP, &vec![7; bytes]);
        for (other, more) in [(11, false), (13, false), (16, false), (16, true)] {
            let machine = machine();
            machine.send(lan(), &first(ask, 9)).is(OPENS);
            machine.send(lan(), &later(ask, 9, 8..12)).is(LATER);
            machine.send(lan(), &last(12, false)).is(LATER);
            machine.send(lan(), &last(12, false)).is(LATER);
            machine.send(lan(), &last(other, more)).is(REFUSED.told());
        }
    }
}

#[test]
fn fragments_may_come_in_any_order_behind_the_first() {
    let machine = machine();
    machine.send(lan(), &first(ASK, 9)).is(OPENS);
    for units in [16..20, 8..12, 4..8, 24..28, 12..16, 21..23, 20..21, 23..24] {
        machine.send(lan(), &later(ASK, 9, units)).is(LATER);
    }
    machine.send(lan(), &later(ASK, 9, 27..28)).is(REFUSED.told());
}

#[test]
fn gaps_that_nobody_can_remember_kill_the_datagram() {
    let machine = machine();
    machine.send(lan(), &first(ASK, 9)).is(OPENS);
    for start in [6, 10, 14, 18] {
        machine.send(lan(), &later(ASK, 9, start..start + 2)).is(LATER);
    }
    machine.send(lan(), &later(ASK, 9, 22..24)).is(REFUSED.told());
    machine.send(lan(), &later(ASK, 9, 4..6)).is(REFUSED);
}

#[test]
fn b6_a_second_first_with_other_ports_kills_the_datagram() {
    for other in [line(ANNE, 5353, SHOP, 54), line(ANNE, 5354, SHOP, 53)] {
        let machine = machine();
        machine.send(lan(), &first(ASK, 9)).is(OPENS);
        machine.send(lan(), &first(other, 9)).is(REFUSED.told());
        machine.send(lan(), &later(ASK, 9, 4..8)).is(REFUSED.told());
        machine.send(lan(), &first(ASK, 9)).is(REFUSED.told());
    }
}

#[test]
fn b7_a_fragment_that_ends_beyond_every_datagram_or_inside_a_unit_is_refused() {
    let machine = machine();
    machine.send(lan(), &first(ASK, 9)).is(OPENS);
    let ends = [(65_528, vec![0; 16], false), (32, vec![0; 12], true), (40, vec![], true)];
    for (start, bytes, more) in ends {
        let outcome = machine.judge(lan(), &Piece { id: 9, start, more }.of(ASK, proto::UDP, &bytes));
        assert_eq!(outcome.reason, Reason::Fragment, "{start}");
    }
}

#[test]
fn a_first_fragment_is_remembered_for_half_a_minute_on_its_own_interface_and_hook() {
    let machine = machine();
    machine.send(lan(), &first(ASK, 9)).is(OPENS);
    machine.now.set(machine.now.get() - 1);
    // By a CPU that had read the clock before.
    machine.send(lan(), &later(ASK, 9, 16..20)).is(LATER);
    assert_eq!(machine.judge(local(), &later(ASK, 9, 4..8)).reason, Reason::NoConnection);
    assert_eq!(machine.judge(dmz(), &later(ASK, 9, 4..8)).reason, Reason::NoConnection);
    machine.pass_secs(30);
    machine.send(lan(), &later(ASK, 9, 4..8)).is(LATER);
    machine.pass_secs(1);
    assert_eq!(machine.judge(lan(), &later(ASK, 9, 8..12)).reason, Reason::NoConnection);
}

#[test]
fn the_rest_does_not_outlive_the_policy_or_the_rule_that_let_the_first_in() {
    let mut machine = machine();
    machine.send(lan(), &first(ASK, 9)).is(OPENS);
    machine.publish(&Policy::new());
    machine.send(lan(), &later(ASK, 9, 4..8)).is(STRAY.told());
    let machine = Machine::under(&Policy::new().allow(LAN, DMZ, udp(53), NAMES).until(100_100));
    machine.send(lan(), &first(ASK, 9)).is(OPENS);
    machine.pass(99);
    machine.send(lan(), &later(ASK, 9, 4..8)).is(LATER);
    machine.pass(1);
    machine.send(lan(), &later(ASK, 9, 8..12)).is(STRAY.told());
}

#[test]
fn a_first_that_comes_again_brings_the_rest_in_under_the_new_policy() {
    let mut machine = machine();
    machine.send(lan(), &first(ASK, 9)).is(OPENS);
    machine.publish(&policy());
    machine.send(lan(), &later(ASK, 9, 4..8)).is(STRAY.told());
    machine.send(lan(), &first(ASK, 9)).is(LATER);
    machine.send(lan(), &later(ASK, 9, 4..8)).is(LATER);
}

#[test]
fn c8_extension_headers_behind_the_fragment_header_do_not_part_a_datagram() {
    let ask = line(ANNE6, 5353, SHOP6, 53);
    let machine = machine();
    let options = [proto::UDP, 0, 1, 4, 0, 0, 0, 0];
    let bytes = [&options[..], &ask.datagram(1000)[..8], &[0; 16]].concat();
    machine.send(lan(), &Piece { id: 9, start: 0, more: true }.of(ask, 60, &bytes)).is(OPENS);
    machine.send(lan(), &Piece { id: 9, start: 32, more: false }.of(ask, 60, &[0; 8])).is(LATER);
    machine.send(lan(), &Piece { id: 9, start: 40, more: false }.of(ask, proto::UDP, &[0; 8])).is(LATER);
}

#[test]
fn c4_a_datagram_whose_only_fragment_is_all_of_it_is_like_any_other() {
    let ask = line(ANNE6, 5353, SHOP6, 53);
    let machine = machine();
    machine.send(lan(), &Piece { id: 9, start: 0, more: false }.of(ask, proto::UDP, &ask.datagram(4))).is(OPENS);
    machine.send(lan(), &later(ask, 9, 4..8)).is(STRAY.told());
}

#[test]
fn a_finished_datagrams_id_may_be_used_again_at_once() {
    let machine = machine();
    machine.send(lan(), &first(ASK, 9)).is(OPENS);
    machine.send(lan(), &piece(ASK, 9, 4..10, false)).is(LATER);
    machine.send(lan(), &first(ASK, 9)).is(LATER);
    machine.send(lan(), &piece(ASK, 9, 4..6, false)).is(LATER);
    let other = line(ANNE, 5400, SHOP, 53);
    machine.send(lan(), &first(other, 9)).is(OPENS);
    machine.send(lan(), &piece(other, 9, 4..8, false)).is(LATER);
}
