//! What a zone file says, and what it means for one new connection.

use std::net::IpAddr;

use super::address::{Network, TUNNELS};
use super::why::Why;

/// A zone, as a rule or a packet names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// In rules: everybody.
    Any,
    /// This machine.
    Host,
    /// Whatever is in no zone.
    Unzoned,
    /// The zone with this number in its name.
    Zone(u16),
}

impl Who {
    /// Its name in a zone file.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Any => "any".into(),
            Self::Host => "host".into(),
            Self::Unzoned => "unzoned".into(),
            Self::Zone(number) => format!("z{number}"),
        }
    }
}

/// Enforce or only watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Drop.
    Enforce,
    /// Pass and report.
    Audit,
}

/// A set of networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Number in its name.
    pub number: u16,
    /// At least one.
    pub networks: Vec<Network>,
    /// Names, or beginnings of names with a `*` behind; empty: anywhere.
    pub interfaces: Vec<String>,
    /// Members may talk to each other.
    pub intra_zone: bool,
}

/// What rules allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Ports of this protocol (6, 17 or 132), both ends included.
    Ports(u8, u16, u16),
    /// `icmp`, or one type of it.
    Icmp(Option<u8>),
    /// `icmpv6`, or one type of it.
    Icmpv6(Option<u8>),
    /// Any other protocol.
    Protocol(u8),
    /// Everything.
    Any,
}

/// Allows connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Number in its id.
    pub number: u16,
    /// Initiators.
    pub from: Vec<Who>,
    /// Responders.
    pub to: Vec<Who>,
    /// What.
    pub services: Vec<Service>,
    /// Seconds from now; may be negative.
    pub expires: Option<i64>,
    /// Only watch.
    pub mode: Mode,
    /// Tell each connection.
    pub log: bool,
}

/// Mode of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Initiator's zone.
    pub from: Who,
    /// Responder's zone.
    pub to: Who,
    /// Its mode.
    pub mode: Mode,
}

/// Never blocked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failsafe {
    /// Initiators.
    pub from: Vec<Network>,
    /// What they may reach.
    pub services: Vec<Service>,
}

/// What a network needs: `arp`, `ndp`, `dhcp-client`, `mld`.
pub const ESSENTIALS: [&str; 4] = ["arp", "ndp", "dhcp-client", "mld"];

/// A zone file, and the machine that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Of the whole policy.
    pub mode: Mode,
    /// In file order.
    pub zones: Vec<Zone>,
    /// In file order.
    pub rules: Vec<Rule>,
    /// In file order.
    pub pairs: Vec<Pair>,
    /// Never blocked.
    pub failsafe: Failsafe,
    /// Of [`ESSENTIALS`].
    pub essentials: Vec<&'static str>,
    /// Addresses of this machine.
    pub host: Vec<IpAddr>,
}

/// One end of a connection that is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Its zone.
    pub zone: Who,
    /// Whether its address is on the failsafe list.
    pub failsafe: bool,
}

/// What the policy says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Why.
    pub why: Why,
    /// The rule that allows it, or that has run out, by its number.
    pub rule: Option<u16>,
}

impl Service {
    /// Whether it means this protocol and port, type or number. "All of ICMP" leaves out what changes routes and what is
    /// obsolete: source quench, redirect, timestamp, information, address mask.
    #[must_use]
    pub fn means(self, protocol: u8, key: u16) -> bool {
        match self {
            Self::Ports(mine, low, high) => mine == protocol && low <= key && key <= high,
            Self::Icmp(Some(kind)) => protocol == 1 && key == u16::from(kind),
            Self::Icmpv6(Some(kind)) => protocol == 58 && key == u16::from(kind),
            Self::Icmp(None) => protocol == 1 && !matches!(key, 4 | 5 | 13..=18),
            Self::Icmpv6(None) => protocol == 58 && key != 137,
            Self::Protocol(number) => protocol == number,
            Self::Any if protocol == 1 => Self::Icmp(None).means(protocol, key),
            Self::Any if protocol == 58 => Self::Icmpv6(None).means(protocol, key),
            Self::Any => true,
        }
    }
}

impl Rule {
    fn speaks_of(&self, from: Who, to: Who) -> bool {
        let names = |side: &[Who], who: Who| side.iter().any(|named| *named == Who::Any || *named == who);
        names(&self.from, from) && names(&self.to, to)
    }

    fn has_run_out(&self) -> bool {
        self.expires.is_some_and(|seconds| seconds <= 0)
    }

    fn end(&self) -> i64 {
        self.expires.unwrap_or(i64::MAX)
    }
}

impl Policy {
    /// Everything denied.
    #[must_use]
    pub fn empty(host: Vec<IpAddr>) -> Self {
        Self {
            mode: Mode::Enforce,
            zones: Vec::new(),
            rules: Vec::new(),
            pairs: Vec::new(),
            failsafe: Failsafe::default(),
            essentials: ESSENTIALS.to_vec(),
            host,
        }
    }

    /// The zone with the longest prefix; this machine's own addresses beat a zone's equal prefix.
    #[must_use]
    pub fn zone_of(&self, address: IpAddr) -> Who {
        if self.host.contains(&address) {
            return Who::Host;
        }
        let withheld = TUNNELS.iter().map(|network| (network, Who::Unzoned));
        let zones = self.zones.iter().flat_map(|zone| zone.networks.iter().map(|net| (net, Who::Zone(zone.number))));
        let longest = withheld.chain(zones).filter(|(network, _)| network.contains(address));
        // Of equally long ones the last: a zone that names a tunnel's prefix has it.
        longest.max_by_key(|(network, _)| network.length).map_or(Who::Unzoned, |(_, who)| who)
    }

    /// An address as one end of a connection. What this machine sends is from `host`, and needs no failsafe.
    #[must_use]
    pub fn end(&self, address: IpAddr) -> End {
        let zone = self.zone_of(address);
        let listed = self.failsafe.from.iter().any(|network| network.contains(address));
        End { zone, failsafe: listed && zone != Who::Host && !self.failsafe.services.is_empty() }
    }

    /// Whether a source of this zone may be seen on an interface.
    #[must_use]
    pub fn may_be_seen(&self, zone: Who, interface: &str) -> bool {
        let Some(zone) = self.zones.iter().find(|candidate| Who::Zone(candidate.number) == zone) else { return true };
        zone.interfaces.is_empty()
            || zone.interfaces.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(beginning) => interface.starts_with(beginning),
                None => pattern == interface,
            })
    }

    /// Whether the failsafe list names a service.
    #[must_use]
    pub fn is_failsafe_service(&self, protocol: u8, key: u16) -> bool {
        self.failsafe.services.iter().any(|service| service.means(protocol, key))
    }

    /// Whether this pair is only watched. What names both zones goes before what names one, and that before what names
    /// none; of two as close, enforce holds. A policy that only watches softens every pair.
    #[must_use]
    pub fn is_watched(&self, from: Who, to: Who) -> bool {
        if self.mode == Mode::Audit {
            return true;
        }
        let about = self
            .pairs
            .iter()
            .filter(|pair| (pair.from == from || pair.from == Who::Any) && (pair.to == to || pair.to == Who::Any));
        let closest = about.max_by_key(|pair| {
            let named = u8::from(pair.from != Who::Any) + u8::from(pair.to != Who::Any);
            (named, pair.mode == Mode::Enforce)
        });
        closest.is_some_and(|pair| pair.mode == Mode::Audit)
    }

    /// Whether the file says anything of this pair that could let something pass.
    #[must_use]
    pub fn speaks_of(&self, from: Who, to: Who) -> bool {
        self.rules.iter().any(|rule| rule.speaks_of(from, to))
            || self.is_watched(from, to)
            || self.is_open_inside(from, to)
    }

    fn is_open_inside(&self, from: Who, to: Who) -> bool {
        from == to && self.zones.iter().any(|zone| Who::Zone(zone.number) == from && zone.intra_zone)
    }

    /// May this connection be opened?
    #[must_use]
    pub fn says(&self, from: End, to: End, protocol: u8, key: u16) -> Said {
        if from.failsafe && self.is_failsafe_service(protocol, key) {
            return Said { why: Why::Failsafe, rule: None };
        }
        let covers = |rule: &&Rule| {
            rule.speaks_of(from.zone, to.zone) && rule.services.iter().any(|service| service.means(protocol, key))
        };
        // The one that lasts longest speaks; of two that last as long, the first in the file.
        let strongest = |mode: Mode| {
            let live = self.rules.iter().filter(covers).filter(|rule| rule.mode == mode && !rule.has_run_out());
            live.rev().max_by_key(|rule| rule.end())
        };
        if let Some(rule) = strongest(Mode::Enforce) {
            return Said { why: Why::Rule, rule: Some(rule.number) };
        }
        if let Some(rule) = strongest(Mode::Audit) {
            return Said { why: Why::Audit, rule: Some(rule.number) };
        }
        if self.is_open_inside(from.zone, to.zone) {
            return Said { why: Why::IntraZone, rule: None };
        }
        if self.is_watched(from.zone, to.zone) {
            return Said { why: Why::Audit, rule: None };
        }
        // The one that ran out last; of two that ended together an enforced one, then the first in the file.
        let ended = self.rules.iter().filter(covers);
        if let Some(rule) = ended.rev().max_by_key(|rule| (rule.end(), rule.mode == Mode::Enforce)) {
            return Said { why: Why::Expired, rule: Some(rule.number) };
        }
        let known = matches!(protocol, 1 | 6 | 17 | 58 | 132);
        Said { why: if known { Why::NoRule } else { Why::UnsupportedProtocol }, rule: None }
    }
}
