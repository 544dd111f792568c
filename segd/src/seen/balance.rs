//! What the counters say, by name, and what they say beyond the events. Pure.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use segd_common::reason::{Reason, Verdict};

use super::Named;
use super::rows::Row;
use crate::datapath::{Counters, PairCounters};

/// The events of a packet have come so long after it was counted.
pub(super) const SETTLING: SignedDuration = SignedDuration::from_secs(2);

/// From, to and what was counted.
pub(super) type Cell = (String, String, &'static str);

/// The counters of the zones' pairs, by name. Only what is not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Packets and bytes by reason.
    pub(super) traffic: BTreeMap<Cell, [u64; 2]>,
    /// New connections (under [`CONNECTIONS`]) and blocked ones by reason.
    pub(super) flows: BTreeMap<Cell, u64>,
}

/// Stands for the reason where connections of a pair are counted that passed, for whatever reason.
pub(super) const CONNECTIONS: &str = "connections";

impl Told {
    /// The counters with the names of now.
    #[must_use]
    pub fn of(counters: &Counters, names: &dyn Named) -> Self {
        let mut told = Self::default();
        for pair in &counters.pairs {
            let PairCounters { from, to, packets, bytes, blocked_flows, connections } = pair;
            let cell = |what| (names.zone(*from), names.zone(*to), what);
            for reason in Reason::ALL {
                let index = reason as usize;
                if packets[index] != 0 {
                    told.traffic.insert(cell(reason.name()), [packets[index], bytes[index]]);
                }
                if blocked_flows[index] != 0 {
                    told.flows.insert(cell(reason.name()), blocked_flows[index]);
                }
            }
            if *connections != 0 {
                told.flows.insert(cell(CONNECTIONS), *connections);
            }
        }
        told
    }
}

/// Which counter an event's row was counted by. An audited packet that opens nothing has none.
pub(super) fn counted_by(row: &Row) -> Option<Cell> {
    let cell = |what| Some((row.from_zone.clone(), row.to_zone.clone(), what));
    match (row.reason, row.reason.verdict()) {
        (reason, Verdict::Deny) => cell(reason.name()),
        (Reason::Audit, _) => match row.would_be {
            Some(Reason::NoRule | Reason::Expired | Reason::Quarantined) => cell(CONNECTIONS),
            _ => None,
        },
        _ => cell(CONNECTIONS),
    }
}

/// How much of `counted` nobody has told yet. A counter that is smaller than what was told began anew.
pub(super) const fn beyond(counted: u64, told: u64) -> u64 {
    counted.saturating_sub(told)
}

/// By how much a counter grew. One that is smaller than before began anew.
pub(super) const fn grown(now: u64, before: u64) -> u64 {
    if now >= before { now - before } else { now }
}
