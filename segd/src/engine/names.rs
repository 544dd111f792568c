//! Names for the kernel's numbers, and the lines made with them. A snapshot: replaced whole, never edited.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::api::types::FlowLine;
use crate::compile::Registry;
use crate::datapath::{Event, Flow};

/// What the numbers in counters, events and flows are called.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// Zones and rules.
    pub(super) registry: Registry,
    /// Interfaces by index.
    pub(super) interfaces: BTreeMap<u32, String>,
}

impl Names {
    /// The zone's name; a number that is nobody's is shown as such rather than hidden.
    pub(super) fn zone(&self, zone: u16) -> String {
        self.registry.zone_name(zone).map_or_else(|| format!("zone-{zone}"), str::to_owned)
    }

    /// The rule's name.
    pub(super) fn rule(&self, rule: Option<u32>) -> Option<String> {
        rule.map(|rule| self.registry.rule_id(rule).map_or_else(|| format!("rule-{rule}"), str::to_owned))
    }

    /// An event as `segctl flows` shows it.
    pub(super) fn event_line(&self, event: &Event) -> FlowLine {
        let Event { time, src, dst, proto, src_port, dst_port, from, to, verdict, reason, would_be, rule, ifindex } =
            event;
        FlowLine {
            time: *time,
            src: src.to_string(),
            dst: dst.to_string(),
            proto: protocol_name(*proto),
            src_port: *src_port,
            dst_port: *dst_port,
            from_zone: self.zone(*from),
            to_zone: self.zone(*to),
            verdict: (*verdict).into(),
            reason: reason.name().to_owned(),
            rule: self.rule(*rule),
            would_be: would_be.map(|reason| reason.name().to_owned()),
            state: None,
            interface: (*ifindex != 0).then(|| self.interface(*ifindex)),
            connections: None,
            first: None,
        }
    }

    /// An open connection as `segctl flows` shows it.
    pub(super) fn flow_line(&self, flow: &Flow, now: Timestamp) -> FlowLine {
        let Flow { src, dst, proto, src_port, dst_port, from, to, rule, reason, state, idle_secs } = flow;
        let idle = SignedDuration::from_secs(i64::try_from(*idle_secs).unwrap_or(i64::MAX));
        FlowLine {
            time: now.checked_sub(idle).unwrap_or(Timestamp::UNIX_EPOCH),
            src: src.to_string(),
            dst: dst.to_string(),
            proto: protocol_name(*proto),
            src_port: *src_port,
            dst_port: *dst_port,
            from_zone: self.zone(*from),
            to_zone: self.zone(*to),
            verdict: reason.verdict().into(),
            reason: reason.name().to_owned(),
            rule: self.rule(*rule),
            would_be: None,
            state: Some((*state).to_owned()),
            interface: None,
            connections: None,
            first: None,
        }
    }

    fn interface(&self, ifindex: u32) -> String {
        self.interfaces.get(&ifindex).cloned().unwrap_or_else(|| format!("#{ifindex}"))
    }
}

/// `tcp`, `udp`, `sctp`, `icmp`, `icmpv6`, or the protocol's number.
pub(super) fn protocol_name(protocol: u8) -> String {
    match protocol {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}
