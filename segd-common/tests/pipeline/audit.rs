//! Modes that only watch: everything is counted and told as if it were dropped, and passes.

use segd_common::reason::Reason;

use crate::frame::{ACK, Line, SYN, ip, line};
use crate::machine::Machine;
use crate::net::{ANNE, DMZ, LAN, NET, Policy, SHOP, UNZONED, dmz, lan, tcp};
use crate::seen::{Expect, gets};

const WEB: u32 = 2;
const CALL: Line = line(ANNE, 40_000, SHOP, 443);
const OTHER: Line = line(ANNE, 40_000, SHOP, 22);

const fn watched(from: u16, to: u16) -> Expect {
    gets(Reason::Audit, from, to).instead_of(Reason::NoRule)
}

#[test]
fn a_watched_pair_passes_what_no_rule_names_and_remembers_its_connections() {
    let policy = Policy::new().allow(LAN, DMZ, tcp(443), WEB).rest(LAN, DMZ, Reason::Audit);
    let machine = Machine::under(&policy);
    machine.send(lan(), &CALL.tcp(SYN, 1)).is(gets(Reason::Rule, LAN, DMZ).by(WEB).opens());
    machine.send(lan(), &OTHER.tcp(SYN, 1)).is(watched(LAN, DMZ).opens());
    machine.send(dmz(), &OTHER.back().tcp(SYN | ACK, 1)).is(watched(LAN, DMZ));
    machine.send(lan(), &OTHER.tcp(ACK, 2)).is(watched(LAN, DMZ));
    machine.send(dmz(), &OTHER.back().tcp(ACK, 2)).is(watched(LAN, DMZ));
    // The other direction is another pair.
    machine.send(dmz(), &line(SHOP, 1, ANNE, 9).tcp(SYN, 1)).is(gets(Reason::NoRule, DMZ, LAN).told());
}

#[test]
fn a_watched_pair_passes_what_belongs_to_nothing_in_either_direction() {
    let machine = Machine::under(&Policy::new().rest(LAN, DMZ, Reason::Audit));
    let stray = |from, to| gets(Reason::Audit, from, to).instead_of(Reason::NoConnection);
    machine.send(lan(), &OTHER.tcp(ACK, 1)).is(stray(LAN, DMZ).told());
    machine.send(lan(), &OTHER.tcp(ACK, 1)).is(stray(LAN, DMZ));
    machine.send(dmz(), &CALL.back().tcp(ACK, 1)).is(stray(DMZ, LAN).told());
}

#[test]
fn enforcing_a_watched_pair_cuts_only_what_no_rule_allows() {
    let rules = Policy::new().allow(LAN, DMZ, tcp(443), WEB);
    let mut machine = Machine::under(&rules.clone().rest(LAN, DMZ, Reason::Audit));
    machine.send(lan(), &CALL.tcp(SYN, 1)).is(gets(Reason::Rule, LAN, DMZ).by(WEB).opens());
    machine.send(lan(), &OTHER.tcp(SYN, 1)).is(watched(LAN, DMZ).opens());
    machine.publish(&rules);
    machine.send(dmz(), &CALL.back().tcp(SYN | ACK, 1)).is(gets(Reason::Reply, LAN, DMZ).by(WEB));
    machine.send(dmz(), &OTHER.back().tcp(SYN | ACK, 1)).is(gets(Reason::NoRule, LAN, DMZ).told());
}

#[test]
fn a_watching_rule_counts_as_itself() {
    let machine = Machine::under(&Policy::new().watch(LAN, DMZ, tcp(443), WEB));
    machine.send(lan(), &CALL.tcp(SYN, 1)).is(watched(LAN, DMZ).by(WEB).opens());
    machine.send(dmz(), &CALL.back().tcp(SYN | ACK, 1)).is(watched(LAN, DMZ).by(WEB));
}

#[test]
fn a_policy_that_only_watches_drops_nothing_whatever_the_reason() {
    let machine = Machine::under(&Policy::new().allow(LAN, DMZ, tcp(443), WEB).audit());
    let instead = |from, to, would| gets(Reason::Audit, from, to).instead_of(would).told();
    machine.send(lan(), &CALL.tcp(SYN, 1)).is(gets(Reason::Rule, LAN, DMZ).by(WEB).opens());
    machine.send(dmz(), &CALL.back().tcp(SYN | ACK, 1)).is(gets(Reason::Reply, LAN, DMZ).by(WEB));
    machine.send(lan(), &OTHER.tcp(SYN, 1)).is(instead(LAN, DMZ, Reason::NoRule));
    machine.send(lan(), &OTHER.tcp(SYN, 1)).is(watched(LAN, DMZ));
    machine.send(dmz(), &OTHER.tcp(SYN, 1)).is(instead(LAN, DMZ, Reason::SpoofedSource));
    machine.send(lan(), &OTHER.tcp(ACK, 1)).is(instead(LAN, DMZ, Reason::NoConnection));
    machine.send(lan(), &OTHER.tcp(0, 1)).is(instead(LAN, DMZ, Reason::BadFlags));
    machine.send(lan(), &ip(ANNE, SHOP, 47, &[0; 8])).is(instead(LAN, DMZ, Reason::UnsupportedProtocol));
    machine.send(lan(), &[0; 10]).is(instead(UNZONED, UNZONED, Reason::Truncated));
    machine.send(dmz(), &line(SHOP, 1, "198.51.100.1", 9).udp()).is(instead(DMZ, NET, Reason::NoRule));
}

#[test]
fn enforcing_a_watching_policy_cuts_none_of_the_connections_that_rules_allow() {
    let rules = Policy::new().allow(LAN, DMZ, tcp(443), WEB);
    let mut machine = Machine::under(&rules.clone().audit());
    machine.send(lan(), &CALL.tcp(SYN, 1)).is(gets(Reason::Rule, LAN, DMZ).by(WEB).opens());
    machine.publish(&rules);
    machine.send(dmz(), &CALL.back().tcp(SYN | ACK, 1)).is(gets(Reason::Reply, LAN, DMZ).by(WEB));
    machine.send(lan(), &CALL.tcp(ACK, 2)).is(gets(Reason::Rule, LAN, DMZ).by(WEB));
}

/// What was open before anybody watched, and was not heard in the first minute.
#[test]
fn a_watching_policy_takes_in_what_rules_allow_from_its_middle_and_enforcing_cuts_none_of_it() {
    let rules = Policy::new().allow(LAN, DMZ, tcp(443), WEB);
    let (forward, back) = (gets(Reason::Rule, LAN, DMZ).by(WEB), gets(Reason::Reply, LAN, DMZ).by(WEB));
    for watching in [rules.clone().audit(), rules.clone().rest(LAN, DMZ, Reason::Audit)] {
        for initiator_first in [true, false] {
            let mut machine = Machine::under(&watching);
            if initiator_first {
                machine.send(lan(), &CALL.tcp(ACK, 0x7000_0000)).is(forward.opens());
            } else {
                machine.send(dmz(), &CALL.back().tcp(ACK, 0x3000_0000)).is(back.opens());
            }
            machine.publish(&rules);
            machine.send(dmz(), &CALL.back().tcp(ACK, 0x3000_0001)).is(back);
            machine.send(lan(), &CALL.tcp(ACK, 0x7000_0001)).is(forward);
        }
    }
}

#[test]
fn what_no_rule_allows_is_told_as_belonging_to_nothing_and_is_not_taken_in() {
    let rules = Policy::new().allow(LAN, DMZ, tcp(443), WEB);
    let stray = |from, to| gets(Reason::Audit, from, to).instead_of(Reason::NoConnection);
    for watching in [rules.clone().audit(), rules.clone().rest(LAN, DMZ, Reason::Audit)] {
        let machine = Machine::under(&watching);
        machine.send(lan(), &OTHER.tcp(ACK, 1)).is(stray(LAN, DMZ).told());
        machine.send(dmz(), &OTHER.back().tcp(ACK, 1)).is(stray(DMZ, LAN).told());
        assert_eq!(machine.states(), []);
    }
    let watched_rule = Machine::under(&Policy::new().watch(LAN, DMZ, tcp(443), WEB).audit());
    watched_rule.send(dmz(), &CALL.back().tcp(ACK, 1)).is(stray(DMZ, LAN).told());
    assert_eq!(watched_rule.states(), []);
}

#[test]
fn a_segment_on_a_pair_that_is_enforced_needs_its_connection_however_others_are_watched() {
    let machine = Machine::under(&Policy::new().allow(LAN, DMZ, tcp(443), WEB).rest(LAN, NET, Reason::Audit));
    machine.send(lan(), &CALL.tcp(ACK, 1)).is(gets(Reason::NoConnection, LAN, DMZ).told());
    machine.send(dmz(), &CALL.back().tcp(ACK, 1)).is(gets(Reason::NoConnection, DMZ, LAN).told());
    assert_eq!(machine.states(), []);
}
