//! What is known of addresses, as one list of marked prefixes: zones, this machine's addresses, and what never is on a wire.

use std::net::IpAddr;

use ipnet::IpNet;
use segd_common::image::{Place, zone};

use super::{CompileError, Facts, Registry};
use crate::policy::Policy;

/// What a prefix says of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    /// The zone, unless a longer prefix says another. Of equal prefixes the later in this order holds.
    Zone(Strength, u16),
    /// Flags of [`Place`], on top of whatever else holds.
    Flags(u32),
    /// The number of the mark of a cut-off host, in the place of that of a shorter prefix.
    Cut(u32),
}

/// Which of equal prefixes holds: the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strength {
    /// Belongs to no zone, though a shorter prefix is in one.
    Withheld,
    /// A zone's network.
    Named,
    /// An address of this machine.
    Host,
}

/// A marked prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prefix {
    /// Left-aligned; bits beyond the length are 0.
    pub(super) bits: u128,
    /// 0 to 32, or 0 to 128.
    pub(super) len: u8,
    /// What it says.
    pub(super) mark: Mark,
}

/// Marked prefixes of both families, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) v4: Vec<Prefix>,
    pub(super) v6: Vec<Prefix>,
}

/// `::ffff:0:0/96` is IPv4 in disguise; "this network" and loopback stay inside a machine (RFC 6890).
const MARTIANS: &[(&str, u32)] = &[
    ("0.0.0.0/8", Place::BAD_SOURCE | Place::BAD_DESTINATION),
    ("127.0.0.0/8", Place::BAD_SOURCE | Place::BAD_DESTINATION),
    ("224.0.0.0/4", Place::BAD_SOURCE | Place::MULTICAST),
    ("240.0.0.0/4", Place::BAD_SOURCE),
    ("255.255.255.255/32", Place::MULTICAST),
    ("::/128", Place::BAD_SOURCE | Place::BAD_DESTINATION),
    ("::1/128", Place::BAD_SOURCE | Place::BAD_DESTINATION),
    ("::ffff:0:0/96", Place::BAD_SOURCE | Place::BAD_DESTINATION),
    ("ff00::/8", Place::BAD_SOURCE | Place::MULTICAST),
    ("fe80::/10", Place::LINK_LOCAL),
];

/// 6to4, Teredo and IPv4-compatible addresses hide an IPv4 address that no zone was asked about: a shorter prefix, such as
/// `::/0`, does not cover them.
const TUNNELS: &[&str] = &["2002::/16", "2001::/32", "::/96"];

/// Gathers the marks of a policy on this machine.
pub(super) fn gather(policy: &Policy, facts: &Facts, registry: &Registry) -> Result<Marks, CompileError> {
    let mut marks = Marks::default();
    for zone in &policy.zones {
        let unknown = || CompileError::UnknownZone { zone: zone.name.clone(), place: zone.place.clone() };
        let number = registry.zone_id(&zone.name.0).ok_or_else(unknown)?;
        zone.networks.iter().for_each(|network| marks.add(*network, Mark::Zone(Strength::Named, number)));
    }
    facts.host.iter().for_each(|address| marks.add((*address).into(), Mark::Zone(Strength::Host, zone::HOST)));
    policy.failsafe.from.iter().for_each(|network| marks.add(*network, Mark::Flags(Place::FAILSAFE)));
    for (network, flags) in MARTIANS {
        marks.add(known(network), Mark::Flags(*flags));
    }
    for network in TUNNELS {
        marks.add(known(network), Mark::Zone(Strength::Withheld, zone::UNZONED));
    }
    marks.v4.sort_unstable();
    marks.v6.sort_unstable();
    Ok(marks)
}

fn known(network: &str) -> IpNet {
    network.parse().expect("the prefixes of this file are well-formed")
}

impl Marks {
    fn add(&mut self, network: IpNet, mark: Mark) {
        let (family, bits) = match network.network() {
            IpAddr::V4(address) => (&mut self.v4, u128::from(address.to_bits()) << 96),
            IpAddr::V6(address) => (&mut self.v6, address.to_bits()),
        };
        family.push(Prefix { bits, len: network.prefix_len(), mark });
    }
}

impl Mark {
    /// A place, as this mark changes it.
    pub(super) const fn on(self, place: u32) -> u32 {
        match self {
            Self::Zone(_, number) => place & !0xffff | number as u32,
            Self::Flags(flags) => place | flags,
            Self::Cut(number) => place & !(Place::CUTS << Place::CUT_SHIFT) | number << Place::CUT_SHIFT,
        }
    }
}

impl Prefix {
    /// The byte of the key at `depth`.
    pub(super) const fn byte(&self, depth: u32) -> usize {
        (self.bits >> (120 - depth * 8)) as usize & 0xff
    }
}
