//! Tests of the compiler against models that are too simple to be wrong, and the makers of small policies for them.

mod compare;
mod cuts;
mod places;
mod registry;
mod rules;
mod stable;

use jiff::{SignedDuration, Timestamp};

use super::{Clock, Facts, Image, InterfaceFact, Registry, compile};
use crate::policy::{IntraZone, Mode, PairMode, Policy, Rule, RuleId, Service, Zone, ZoneName, ZoneRef};

pub(super) const HZ: u32 = 250;
pub(super) const JIFFIES: u64 = 1 << 33;

pub(super) fn now() -> Timestamp {
    "2026-11-01T12:00:00Z".parse().unwrap()
}

pub(super) fn hours(hours: i64) -> Timestamp {
    now() + SignedDuration::from_hours(hours)
}

/// A machine with one address and three interfaces.
pub(super) fn facts() -> Facts {
    let interface = |(slot, name): (u16, &str)| InterfaceFact {
        name: name.to_owned(),
        above: vec![],
        ifindex: u32::from(slot) + 10,
        slot,
    };
    Facts {
        host: vec!["192.0.2.1".parse().unwrap()],
        interfaces: [(1, "lan0"), (2, "lan1"), (300, "wan0")].into_iter().map(interface).collect(),
        cuts: Vec::new(),
        now: now(),
        clock: Clock { hz: HZ, jiffies: JIFFIES, at: now() },
    }
}

pub(super) fn zone(name: &str, networks: &[&str]) -> Zone {
    Zone {
        name: ZoneName(name.to_owned()),
        description: None,
        networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
        interfaces: Vec::new(),
        intra_zone: IntraZone::Deny,
        place: crate::policy::Place::default(),
    }
}

pub(super) fn reference(name: &str) -> ZoneRef {
    if name == "any" { ZoneRef::Any } else { ZoneRef::Zone(ZoneName(name.to_owned())) }
}

pub(super) fn rule(id: &str, from: &str, to: &str, services: &[&str]) -> Rule {
    Rule {
        id: RuleId(id.to_owned()),
        from: from.split(' ').map(reference).collect(),
        to: to.split(' ').map(reference).collect(),
        services_written: Vec::new(),
        services: services.iter().map(|service| service.parse::<Service>().unwrap()).collect(),
        reason: None,
        approved_by: None,
        ticket: None,
        expires: None,
        mode: Mode::Enforce,
        log: false,
        place: crate::policy::Place::default(),
    }
}

pub(super) fn pair(from: &str, to: &str, mode: Mode) -> PairMode {
    PairMode { from: reference(from), to: reference(to), mode, place: crate::policy::Place::default() }
}

pub(super) fn compiled(policy: &Policy) -> Image {
    compile(policy, &facts(), &mut Registry::default()).unwrap()
}
