//! A policy as a zone file. It writes; it must never read.

use std::fmt::{self, Write};

use jiff::{SignedDuration, Timestamp};

use super::policy::{Mode, Policy, Rule, Service, Who};

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |protocol: u8| match protocol {
            6 => "tcp",
            17 => "udp",
            _ => "sctp",
        };
        match *self {
            Self::Ports(protocol, low, high) if low == high => write!(f, "{}/{low}", name(protocol)),
            Self::Ports(protocol, low, high) => write!(f, "{}/{low}-{high}", name(protocol)),
            Self::Icmp(None) => f.write_str("icmp"),
            Self::Icmp(Some(kind)) => write!(f, "icmp/{kind}"),
            Self::Icmpv6(None) => f.write_str("icmpv6"),
            Self::Icmpv6(Some(kind)) => write!(f, "icmpv6/{kind}"),
            Self::Protocol(number) => write!(f, "proto/{number}"),
            Self::Any => f.write_str("any"),
        }
    }
}

const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Audit => "audit",
    }
}

fn list<T>(items: &[T], mut word: impl FnMut(&T) -> String) -> String {
    format!("[{}]", items.iter().map(&mut word).collect::<Vec<_>>().join(", "))
}

fn quoted<T: ToString>(item: &T) -> String {
    format!("\"{}\"", item.to_string())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "lists hand out references")]
fn who(who: &Who) -> String {
    who.name()
}

impl Policy {
    /// The zone file; expiries count from `now`.
    #[must_use]
    pub fn to_yaml(&self, now: Timestamp) -> String {
        let mut out = format!("version: 1\nmode: {}\n", mode(self.mode));
        out.push_str(if self.zones.is_empty() { "zones: {}\n" } else { "zones:\n" });
        for zone in &self.zones {
            let intra = if zone.intra_zone { ", intra_zone: allow" } else { "" };
            let networks = list(&zone.networks, quoted);
            let interfaces = match zone.interfaces.as_slice() {
                [] => String::new(),
                names => format!(", interfaces: {}", list(names, quoted)),
            };
            let _ = writeln!(out, "  z{}: {{ networks: {networks}{interfaces}{intra} }}", zone.number);
        }
        out.push_str(if self.rules.is_empty() { "rules: []\n" } else { "rules:\n" });
        self.rules.iter().for_each(|rule| out.push_str(&rule.to_yaml(now)));
        if !self.pairs.is_empty() {
            out.push_str("pairs:\n");
        }
        for pair in &self.pairs {
            let _ =
                writeln!(out, "  - {{ from: {}, to: {}, mode: {} }}", who(&pair.from), who(&pair.to), mode(pair.mode));
        }
        if !self.failsafe.services.is_empty() {
            let (from, services) = (list(&self.failsafe.from, quoted), list(&self.failsafe.services, quoted));
            let _ = writeln!(out, "failsafe: {{ from: {from}, services: {services} }}");
        }
        let _ = writeln!(out, "essentials: {}", list(&self.essentials, ToString::to_string));
        out
    }
}

impl Rule {
    fn to_yaml(&self, now: Timestamp) -> String {
        let expires = match self.expires {
            Some(seconds) => {
                let end = Timestamp::from_second(now.as_second()).unwrap_or(now) + SignedDuration::from_secs(seconds);
                format!(", expires: {end}")
            }
            None => String::new(),
        };
        let (from, to) = (list(&self.from, who), list(&self.to, who));
        let services = list(&self.services, quoted);
        format!(
            "  - {{ id: r{}, from: {from}, to: {to}, services: {services}, mode: {}, log: {}{expires}, reason: Drawn by lot, \
             approved_by: chance@example.com }}\n",
            self.number,
            mode(self.mode),
            self.log
        )
    }
}
