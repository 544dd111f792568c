//! The first start on a live machine: for a while connections that were open before are adopted, if a rule allows them.

use segd_common::flow::State;
use segd_common::reason::Reason;

use crate::frame::{ACK, FIN, Line, RST, SYN, line};
use crate::machine::Machine;
use crate::net::{ANNE, DMZ, HERE, HOST, LAN, Policy, SHOP, dmz, lan, local, tcp, udp};
use crate::seen::{Expect, gets};

const WEB: u32 = 2;
const NAMES: u32 = 1;
const CALL: Line = line(ANNE, 40_000, SHOP, 443);
const ASK: Line = line(ANNE, 5353, SHOP, 53);
const THERE: Expect = gets(Reason::Rule, LAN, DMZ).by(WEB);
const BACK: Expect = gets(Reason::Reply, LAN, DMZ).by(WEB);

fn policy() -> Policy {
    Policy::new().allow(LAN, DMZ, tcp(443), WEB).allow(LAN, DMZ, udp(53), NAMES)
}

/// Adopts until the jiffy 115,000: a minute.
fn just_started() -> Machine {
    let mut machine = Machine::under(&policy());
    machine.control().adopt_until = 115_000;
    machine
}

#[test]
fn the_initiators_segment_brings_its_connection_in() {
    let machine = just_started();
    machine.send(lan(), &CALL.tcp(ACK, 0x7000_0000)).is(THERE.opens());
    machine.send(dmz(), &CALL.back().tcp(ACK, 0x3000_0000)).is(BACK);
    machine.send(lan(), &CALL.tcp(ACK, 0x7000_0001)).is(THERE);
}

#[test]
fn the_responders_segment_brings_it_in_as_the_initiators() {
    let machine = just_started();
    machine.send(dmz(), &CALL.back().tcp(ACK, 0x3000_0000)).is(BACK.opens());
    machine.send(lan(), &CALL.tcp(ACK, 0x7000_0000)).is(THERE);
    machine.send(dmz(), &CALL.back().tcp(ACK, 0x3000_0001)).is(BACK);
}

#[test]
fn an_adopted_connection_is_seen_to_end() {
    for (at, adopted) in [(lan(), CALL.tcp(ACK, 0x7000_0000)), (dmz(), CALL.back().tcp(ACK, 0x3000_0000))] {
        let machine = just_started();
        assert!(machine.judge(at, &adopted).opened);
        assert!(machine.judge(lan(), &CALL.tcp(ACK, 0x7000_0001)).passes());
        assert!(machine.judge(dmz(), &CALL.back().tcp(ACK, 0x3000_0001)).passes());
        assert!(machine.judge(lan(), &CALL.tcp(FIN | ACK, 0x7000_0001)).passes());
        assert!(machine.judge(dmz(), &CALL.back().tcp(FIN | ACK, 0x3000_0001)).passes());
        assert_eq!(machine.states(), [State::Closing as u8]);
    }
}

#[test]
fn a_reset_of_the_side_that_was_not_heard_yet_ends_nothing() {
    let (there, back) = (CALL.tcp(ACK, 0x7000_0000), CALL.back().tcp(ACK, 0x3000_0000));
    let resets = [CALL.back().tcp(RST, 5), CALL.tcp(RST, 5)];
    for ((at, adopted), (other, reset)) in
        [(lan(), there), (dmz(), back)].into_iter().zip([dmz(), lan()].into_iter().zip(resets))
    {
        let machine = just_started();
        assert!(machine.judge(at, &adopted).opened);
        assert!(machine.judge(other, &reset).passes());
        assert_eq!(machine.states(), [State::Established as u8]);
    }
}

#[test]
fn udp_is_adopted_from_either_side() {
    let machine = just_started();
    machine.send(dmz(), &ASK.back().udp()).is(gets(Reason::Reply, LAN, DMZ).by(NAMES).opens());
    machine.send(lan(), &ASK.udp()).is(gets(Reason::Rule, LAN, DMZ).by(NAMES));
}

#[test]
fn what_no_rule_allows_is_not_adopted() {
    let machine = just_started();
    let ssh = line(ANNE, 40_000, SHOP, 22);
    machine.send(lan(), &ssh.tcp(ACK, 1)).is(gets(Reason::NoConnection, LAN, DMZ).told());
    machine.send(dmz(), &ssh.back().tcp(ACK, 1)).is(gets(Reason::NoConnection, DMZ, LAN).told());
    machine.send(dmz(), &line(SHOP, 54, ANNE, 5353).udp()).is(gets(Reason::NoRule, DMZ, LAN).told());
    machine.send(dmz(), &CALL.back().tcp(SYN, 1)).is(gets(Reason::NoRule, DMZ, LAN).told());
    machine.send(dmz(), &CALL.tcp(ACK, 1)).is(gets(Reason::SpoofedSource, LAN, DMZ).told());
    assert_eq!(machine.states(), []);
}

#[test]
fn after_the_minute_a_segment_needs_its_connection() {
    let machine = just_started();
    machine.now.set(114_999);
    machine.send(lan(), &CALL.tcp(ACK, 1)).is(THERE.opens());
    machine.now.set(115_000);
    machine.send(lan(), &CALL.tcp(ACK, 1)).is(THERE);
    let other = line(ANNE, 40_001, SHOP, 443);
    machine.send(lan(), &other.tcp(ACK, 1)).is(gets(Reason::NoConnection, LAN, DMZ).told());
    machine.send(dmz(), &other.back().tcp(ACK, 1)).is(gets(Reason::NoConnection, DMZ, LAN).told());
}

#[test]
fn this_machines_own_connections_are_adopted_too() {
    let mut machine = Machine::under(&Policy::new().allow(LAN, HOST, tcp(22), 0).allow(HOST, DMZ, tcp(443), WEB));
    machine.control().adopt_until = 115_000;
    let (ssh, web) = (line(ANNE, 40_000, HERE, 22), line(HERE, 40_000, SHOP, 443));
    machine.send(local(), &ssh.back().tcp(ACK, 1)).is(gets(Reason::Reply, LAN, HOST).by(0).opens());
    machine.send(lan(), &ssh.tcp(ACK, 1)).is(gets(Reason::Rule, LAN, HOST).by(0));
    machine.send(dmz(), &web.back().tcp(ACK, 1)).is(gets(Reason::Reply, HOST, DMZ).by(WEB).opens());
    machine.send(local(), &web.tcp(ACK, 1)).is(gets(Reason::Rule, HOST, DMZ).by(WEB));
}

#[test]
fn a_connection_that_was_cut_is_not_adopted_by_a_rule_for_its_other_side() {
    let mut machine = just_started();
    machine.send(lan(), &CALL.tcp(SYN, 1)).is(THERE.opens());
    machine.publish(&Policy::new().allow(DMZ, LAN, tcp(40_000), 3));
    machine.send(lan(), &CALL.tcp(ACK, 2)).is(gets(Reason::NoRule, LAN, DMZ).told());
    machine.send(lan(), &CALL.tcp(ACK, 2)).is(gets(Reason::NoRule, LAN, DMZ));
    machine.send(dmz(), &CALL.back().tcp(ACK, 2)).is(gets(Reason::NoRule, LAN, DMZ));
}
