//! Address translation, and this machine's own traffic: what is seen on the way out.

use segd_common::pipeline::{self, Work};
use segd_common::reason::Reason;
use segd_common::view::Slice;

use crate::frame::{ACK, Line, SYN, icmp_error, line};
use crate::machine::Machine;
use crate::net::{
    ADMIN, ANNE, DMZ, FAR, HERE, HOST, LAN, NET, Policy, SHOP, UNZONED, dmz, lan, local, net, onward, tcp, udp,
};
use crate::seen::{Expect, gets};

const WEB: u32 = 2;
const CALL: Line = line(ANNE, 40_000, FAR, 443);
/// The same, with its source translated.
const OUT: Line = line(HERE, 61_000, FAR, 443);
const THERE: Expect = gets(Reason::Rule, LAN, NET).by(WEB);
const BACK: Expect = gets(Reason::Reply, LAN, NET).by(WEB);

fn web() -> Policy {
    Policy::new().allow(LAN, NET, tcp(443), WEB)
}

/// A connection whose source is translated, up to its SYN-ACK.
fn translated() -> Machine {
    let machine = Machine::under(&web());
    machine.send(lan(), &CALL.tcp(SYN, 100)).is(THERE.opens());
    machine.send(onward(Some(LAN)), &OUT.tcp(SYN, 100)).is(THERE.opens());
    machine.send(net(), &OUT.back().tcp(SYN | ACK, 900)).is(BACK);
    machine.send(onward(Some(NET)), &CALL.back().tcp(SYN | ACK, 900)).is(BACK);
    machine
}

#[test]
fn a_forwarded_packet_is_counted_on_its_way_in_alone() {
    let machine = Machine::under(&web());
    machine.send(lan(), &CALL.tcp(SYN, 100)).is(THERE.opens());
    machine.send(onward(Some(LAN)), &CALL.tcp(SYN, 100)).is(THERE);
    machine.send(net(), &CALL.back().tcp(SYN | ACK, 900)).is(BACK);
    machine.send(onward(Some(NET)), &CALL.back().tcp(SYN | ACK, 900)).is(BACK);
    assert_eq!(machine.states(), [1]);
    assert_eq!(machine.flow_from(ANNE).if_from.get(), 1, "the way out leaves what the way in found out");
}

#[test]
fn e9_a_connection_with_a_translated_source_is_its_real_initiators_and_its_replies_come_in() {
    let machine = translated();
    machine.send(lan(), &CALL.tcp(ACK, 101)).is(THERE);
    machine.send(onward(Some(LAN)), &OUT.tcp(ACK, 101)).is(THERE);
    machine.send(net(), &OUT.back().tcp(ACK, 901)).is(BACK);
    assert_eq!(machine.states(), [1, 1]);
}

#[test]
fn e9_an_error_about_a_translated_connection_is_related() {
    let machine = translated();
    let related = gets(Reason::Related, LAN, NET).by(WEB);
    machine.send(net(), &icmp_error(FAR, 3, &OUT.tcp(ACK, 101))).is(related);
    machine.send(onward(Some(NET)), &icmp_error(FAR, 3, &CALL.tcp(ACK, 101))).is(related);
}

#[test]
fn e9_a_revoked_rule_cuts_a_translated_connection_on_all_its_ways() {
    let mut machine = translated();
    machine.publish(&Policy::new().allow(HOST, NET, tcp(443), 3));
    let denied = gets(Reason::NoRule, LAN, NET);
    machine.send(net(), &OUT.back().tcp(ACK, 901)).is(denied.told());
    machine.send(onward(Some(LAN)), &OUT.tcp(ACK, 101)).is(denied);
    machine.publish(&web());
    machine.send(net(), &OUT.back().tcp(ACK, 901)).is(BACK);
}

#[test]
fn e9_what_nobody_noted_on_its_way_in_is_nobodys_and_not_this_machines() {
    for policy in [web(), Policy::new().allow(HOST, NET, tcp(443), 3)] {
        let machine = Machine::under(&policy);
        machine.send(onward(None), &OUT.tcp(SYN, 100)).is(gets(Reason::NoRule, UNZONED, NET).told());
        machine.send(onward(None), &OUT.tcp(ACK, 100)).is(gets(Reason::NoConnection, UNZONED, NET).told());
    }
}

#[test]
fn what_is_forwarded_does_not_go_on_with_what_this_machine_sends_in_the_same_name() {
    // Sent with an address that is another's, as transparent proxies do.
    let (ours, reply) = (line(ANNE, 5353, SHOP, 53), gets(Reason::Reply, HOST, DMZ).by(1));
    for forwarded in [None, Some(LAN)] {
        let mut machine = Machine::under(&Policy::new().allow(HOST, DMZ, udp(53), 1));
        machine.send(local(), &ours.udp()).is(gets(Reason::Rule, HOST, DMZ).by(1).opens());
        machine.send(dmz(), &ours.back().udp()).is(reply);
        machine.send(onward(forwarded), &ours.udp()).is(gets(Reason::NoRule, LAN, DMZ).told());
        machine.send(local(), &ours.udp()).is(gets(Reason::Rule, HOST, DMZ).by(1));
        machine.publish(&Policy::new().allow(HOST, DMZ, udp(53), 2));
        machine.send(onward(forwarded), &ours.udp()).is(gets(Reason::NoRule, LAN, DMZ));
        machine.send(local(), &ours.udp()).is(gets(Reason::Rule, HOST, DMZ).by(2));
    }
}

#[test]
fn nobody_goes_on_with_a_connection_that_another_has_opened_between_the_same_ends() {
    let same = line(ANNE, 5353, SHOP, 53);
    let (ours, theirs) = (gets(Reason::Rule, HOST, DMZ).by(1), gets(Reason::Rule, LAN, DMZ).by(2));
    // This machine has opened it; then the address's owner comes in.
    let mut machine = Machine::under(&Policy::new().allow(HOST, DMZ, udp(53), 1));
    machine.send(local(), &same.udp()).is(ours.opens());
    machine.send(lan(), &same.udp()).is(gets(Reason::NoRule, LAN, DMZ).told());
    machine.publish(&Policy::new().allow(HOST, DMZ, udp(53), 1).allow(LAN, DMZ, udp(53), 2));
    for _ in 0..2 {
        machine.send(lan(), &same.udp()).is(theirs);
        machine.send(local(), &same.udp()).is(ours);
        machine.send(dmz(), &same.back().udp()).is(gets(Reason::Reply, HOST, DMZ).by(1));
    }
    // The other way round.
    let mut machine = Machine::under(&Policy::new().allow(LAN, DMZ, udp(53), 2));
    machine.send(lan(), &same.udp()).is(theirs.opens());
    machine.send(local(), &same.udp()).is(gets(Reason::NoRule, HOST, DMZ).told());
    machine.publish(&Policy::new().allow(HOST, DMZ, udp(53), 1).allow(LAN, DMZ, udp(53), 2));
    for _ in 0..2 {
        machine.send(local(), &same.udp()).is(ours);
        machine.send(lan(), &same.udp()).is(theirs);
        machine.send(dmz(), &same.back().udp()).is(gets(Reason::Reply, LAN, DMZ).by(2));
    }
}

#[test]
fn a_translated_source_does_not_get_the_failsafe_of_the_address_it_now_has() {
    let machine = Machine::under(&Policy::new().failsafe(tcp(22)));
    let out = line(ADMIN, 61_000, SHOP, 22);
    machine.send(onward(Some(NET)), &out.tcp(SYN, 1)).is(gets(Reason::NoRule, NET, DMZ).told());
    machine.send(onward(Some(LAN)), &out.tcp(SYN, 1)).is(gets(Reason::Failsafe, LAN, DMZ).opens());
}

#[test]
fn e10_a_forwarded_port_is_judged_by_the_address_that_the_packet_reaches() {
    let (seen, real) = (line(FAR, 40_000, HERE, 8443), line(FAR, 40_000, SHOP, 443));
    let policy = Policy::new().allow(NET, HOST, tcp(8443), 0);
    let machine = Machine::under(&policy);
    machine.send(net(), &seen.tcp(SYN, 1)).is(gets(Reason::Rule, NET, HOST).by(0).opens());
    machine.send(onward(Some(NET)), &real.tcp(SYN, 1)).is(gets(Reason::NoRule, NET, DMZ).told());
    let machine = Machine::under(&policy.allow(NET, DMZ, tcp(443), WEB));
    machine.send(net(), &seen.tcp(SYN, 1)).is(gets(Reason::Rule, NET, HOST).by(0).opens());
    machine.send(onward(Some(NET)), &real.tcp(SYN, 1)).is(gets(Reason::Rule, NET, DMZ).by(WEB).opens());
    machine.send(dmz(), &real.back().tcp(SYN | ACK, 9)).is(gets(Reason::Reply, NET, DMZ).by(WEB));
    machine.send(onward(Some(DMZ)), &seen.back().tcp(SYN | ACK, 9)).is(gets(Reason::Reply, NET, HOST).by(0));
    machine.send(net(), &seen.tcp(ACK, 2)).is(gets(Reason::Rule, NET, HOST).by(0));
    machine.send(onward(Some(NET)), &real.tcp(ACK, 2)).is(gets(Reason::Rule, NET, DMZ).by(WEB));
}

#[test]
fn e1_what_this_machine_starts_is_judged_from_host_whatever_address_it_uses() {
    let machine = Machine::under(&Policy::new().allow(HOST, DMZ, udp(53), 1));
    for source in [HERE, "10.2.0.99"] {
        let ask = line(source, 5353, SHOP, 53);
        machine.send(local(), &ask.udp()).is(gets(Reason::Rule, HOST, DMZ).by(1).opens());
        let other = line(source, 5353, FAR, 53);
        machine.send(local(), &other.udp()).is(gets(Reason::NoRule, HOST, NET).told());
    }
    let ask = line(HERE, 5353, SHOP, 53);
    machine.send(dmz(), &ask.back().udp()).is(gets(Reason::Reply, HOST, DMZ).by(1));
}

#[test]
fn what_comes_to_this_machine_is_answered_by_it() {
    let machine = Machine::under(&Policy::new().allow(LAN, HOST, tcp(22), 0));
    let ssh = line(ANNE, 40_000, HERE, 22);
    machine.send(lan(), &ssh.tcp(SYN, 1)).is(gets(Reason::Rule, LAN, HOST).by(0).opens());
    machine.send(local(), &ssh.back().tcp(SYN | ACK, 9)).is(gets(Reason::Reply, LAN, HOST).by(0));
    machine.send(lan(), &ssh.tcp(ACK, 2)).is(gets(Reason::Rule, LAN, HOST).by(0));
}

#[test]
fn the_note_for_the_way_out_is_the_zone_of_the_source() {
    let machine = Machine::under(&web());
    let zone = |frame: &[u8]| pipeline::source_zone(&machine, &Slice(frame), lan().framing, &mut Work::new());
    assert_eq!(zone(&CALL.tcp(SYN, 1)), LAN);
    assert_eq!(zone(&CALL.back().tcp(SYN, 1)), NET);
    assert_eq!(zone(&[]), UNZONED);
}
