//! The checked policy. Every value here holds what its type promises: networks have no host bits set, every
//! zone and service that a rule names exists, ids are unique.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Service;

/// A whole policy: the merged zone file and its drop-ins.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Policy {
    /// What happens to packets that no rule allows.
    pub mode: Mode,
    /// Which interfaces are guarded; empty means all but loopback, hot-plugged ones too.
    pub interfaces: Vec<InterfaceSelector>,
    /// In file order. The reserved zones `host` and `unzoned` are not in it.
    pub zones: Vec<Zone>,
    /// Named services, in file order.
    pub services: Vec<(String, Vec<Service>)>,
    /// In file order; the order carries no meaning.
    pub rules: Vec<Rule>,
    /// Modes of single pairs of zones.
    pub pairs: Vec<PairMode>,
    /// Never blocked by any policy.
    pub failsafe: Failsafe,
    /// What a network needs to work at all.
    pub essentials: BTreeSet<Essential>,
    /// Sizes of the state tables.
    pub limits: Limits,
    /// Run before every apply; one that fails refuses the policy.
    pub tests: Vec<(Place, PolicyTest)>,
}

impl Policy {
    /// Whether sources of some zone may be seen on some interfaces only.
    #[must_use]
    pub fn binds_sources(&self) -> bool {
        self.zones.iter().any(|zone| !zone.interfaces.is_empty())
    }
}

/// Whether what no rule allows is dropped or only reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Drop it.
    #[default]
    Enforce,
    /// Let it pass, count and report it.
    Audit,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
        })
    }
}

/// One entry of `interfaces`: a shell-style glob and how its matches are guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceSelector {
    /// Shell-style glob over the interface's name.
    pub name: glob::Pattern,
    /// Which hook.
    pub hook: HookChoice,
    /// Who forwards established connections.
    pub forward: Forward,
}

/// Which hook guards an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookChoice {
    /// By what the interface is.
    #[default]
    Auto,
    /// XDP in the driver.
    Xdp,
    /// XDP in the stack.
    XdpGeneric,
    /// Traffic control.
    Tc,
}

/// Who forwards established connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forward {
    /// The kernel's own forwarding.
    #[default]
    Kernel,
    /// XDP redirects them past the kernel, as long as that forwards them unchanged.
    Shortcut,
}

/// A named set of networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Unique; never a reserved name.
    pub name: ZoneName,
    /// For people.
    pub description: Option<String>,
    /// At least one; no host bits set; no prefix stands in two zones.
    pub networks: Vec<IpNet>,
    /// Where sources of this zone may be seen (shell-style globs); empty means anywhere.
    pub interfaces: Vec<glob::Pattern>,
    /// May members talk to each other through us.
    pub intra_zone: IntraZone,
    /// Where the zone was written.
    pub place: Place,
}

/// May members of a zone talk to each other through us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IntraZone {
    /// Only by rule.
    #[default]
    Deny,
    /// Yes.
    Allow,
}

/// Name of a zone as people write it: `[a-z0-9][a-z0-9_-]*`, at most 63 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ZoneName(pub String);

impl ZoneName {
    /// Every address of this machine.
    pub const HOST: &'static str = "host";
    /// Whatever matches nothing.
    pub const UNZONED: &'static str = "unzoned";
    /// Stands in a rule for every zone.
    pub const ANY: &'static str = "any";
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A zone as a rule names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ZoneRef {
    /// Every zone, `host` and `unzoned` included.
    Any,
    /// One zone, reserved ones included.
    Zone(ZoneName),
}

impl fmt::Display for ZoneRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str(ZoneName::ANY),
            Self::Zone(name) => name.fmt(f),
        }
    }
}

/// Stable name of a rule: `[a-z0-9][a-z0-9-]*`. Counters and history hang on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(pub String);

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Allows connections from some zones to some zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Unique over all files.
    pub id: RuleId,
    /// Initiators. Never empty.
    pub from: Vec<ZoneRef>,
    /// Responders. Never empty.
    pub to: Vec<ZoneRef>,
    /// As written: names of services and literal services.
    pub services_written: Vec<String>,
    /// Resolved. Never empty.
    pub services: Vec<Service>,
    /// Why the rule exists. Given on every rule between two zones.
    pub reason: Option<String>,
    /// Who approved it. Given on every rule between two zones.
    pub approved_by: Option<String>,
    /// Ticket of the change.
    pub ticket: Option<String>,
    /// When the rule stops to allow; may lie in the past.
    pub expires: Option<Timestamp>,
    /// `Audit`: what only this rule allows passes and is reported as would-be dropped.
    pub mode: Mode,
    /// An event for each new connection, past the ordinary rate limit.
    pub log: bool,
    /// Where the rule was written.
    pub place: Place,
}

/// The mode of one pair of zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairMode {
    /// Initiator's zone.
    pub from: ZoneRef,
    /// Responder's zone.
    pub to: ZoneRef,
    /// What happens to what no rule allows.
    pub mode: Mode,
    /// Where it was written.
    pub place: Place,
}

/// Never blocked by any policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failsafe {
    /// Initiators; empty means that there is no failsafe.
    pub from: Vec<IpNet>,
    /// What they may reach.
    pub services: Vec<Service>,
}

/// What a network needs to work at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Essential {
    /// Address resolution, IPv4.
    Arp,
    /// Neighbour discovery, IPv6.
    Ndp,
    /// DHCP and `DHCPv6`, the client's side.
    DhcpClient,
    /// Multicast listener discovery, IPv6.
    Mld,
}

impl Essential {
    /// What a zone file that says nothing gets: all of them.
    pub const DEFAULT: [Self; 4] = [Self::Arp, Self::Ndp, Self::DhcpClient, Self::Mld];
}

/// Sizes of the state tables, in entries. Fixed memory, told at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Established connections that surely find room.
    pub connections: u32,
    /// Half-open connections, apart from the above.
    pub half_open: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 262_144, half_open: 65_536 }
    }
}

/// A statement about the policy that has to hold before it is put in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyTest {
    /// One question and its answer.
    Connection {
        /// Initiator.
        from: IpAddr,
        /// Responder.
        to: IpAddr,
        /// Exactly one protocol and port.
        service: Service,
        /// `true`: allowed.
        expect_allow: bool,
    },
    /// No rule lets any other zone in.
    Reach {
        /// The zone that is looked at.
        zone: ZoneName,
        /// The only zones that may reach it.
        only_from: Vec<ZoneName>,
    },
}

/// Where something was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// File as the user named it.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
