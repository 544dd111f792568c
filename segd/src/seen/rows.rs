//! What goes into the store and comes out of it, with names instead of numbers.

use std::net::IpAddr;

use jiff::Timestamp;
use segd_common::reason::Reason;

use super::Named;
use super::class::{Class, Count};

/// Connections of one class. Without addresses it stands for all of its pair of zones that found no class of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Minutes since 1970; 0 in a sum over several.
    pub minute: i64,
    /// Initiator's zone.
    pub from_zone: String,
    /// Responder's zone.
    pub to_zone: String,
    /// Who opened.
    pub src: Option<IpAddr>,
    /// Who was asked.
    pub dst: Option<IpAddr>,
    /// IP protocol.
    pub proto: u8,
    /// Responder's port, ICMP type or protocol number; 0: many.
    pub port: u16,
    /// Sender's port where it looks like an answer; else 0.
    pub src_port: u16,
    /// Why it passed or did not. Of a row without addresses that passed it is not known; then it is `rule`.
    pub reason: Reason,
    /// Why enforcement would have dropped it.
    pub would_be: Option<Reason>,
    /// The rule that allows it.
    pub rule: Option<String>,
    /// Connections, or blocked attempts without their retransmissions.
    pub flows: u64,
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
}

impl Row {
    /// A class with its names.
    pub(super) fn named(class: &Class, count: Count, names: &dyn Named) -> Self {
        let Class { minute, from, to, src, dst, proto, port, src_port, reason, would_be, rule } = class;
        let Count { flows, first, last } = count;
        Self {
            minute: *minute,
            from_zone: names.zone(*from),
            to_zone: names.zone(*to),
            src: *src,
            dst: *dst,
            proto: *proto,
            port: *port,
            src_port: *src_port,
            reason: *reason,
            would_be: *would_be,
            rule: rule.map(|rule| names.rule(rule)),
            flows,
            first,
            last,
        }
    }
}

/// Which rows.
#[derive(Clone, Debug)]
pub struct Asked {
    /// From this minute on.
    pub since: Timestamp,
    /// Only what was dropped, or would have been.
    pub blocked: bool,
    /// Only from this zone.
    pub from: Option<String>,
    /// Only to this zone.
    pub to: Option<String>,
}

impl Asked {
    /// Everything since then.
    #[must_use]
    pub const fn since(since: Timestamp) -> Self {
        Self { since, blocked: false, from: None, to: None }
    }
}

/// What a pair of zones did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairSum {
    /// Initiators' zone.
    pub from_zone: String,
    /// Responders' zone.
    pub to_zone: String,
    /// Packets by reason.
    pub packets: [u64; Reason::COUNT],
    /// Bytes of any reason.
    pub bytes: u64,
    /// New connections that passed.
    pub connections: u64,
    /// Distinct blocked connections.
    pub blocked_flows: u64,
}

impl PairSum {
    pub(super) const fn of(from_zone: String, to_zone: String) -> Self {
        Self { from_zone, to_zone, packets: [0; Reason::COUNT], bytes: 0, connections: 0, blocked_flows: 0 }
    }
}

/// The reason with this name.
pub(super) fn reason_named(name: &str) -> Option<Reason> {
    Reason::ALL.into_iter().find(|reason| reason.name() == name)
}
