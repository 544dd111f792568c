//! Policies of chance: nested and overlapping zones of both families, ranges, lists, `any`, modes, ends.

use std::collections::HashSet;
use std::net::IpAddr;

use super::ground::{INTERFACES, RULES, ZONES};
use super::random::Random;
use crate::model::address::{bits, from_bits};
use crate::model::policy::ESSENTIALS;
use crate::model::{Failsafe, Mode, Network, Pair, Policy, Rule, Service, Who, Zone};

/// This machine's addresses.
pub(super) fn host() -> Vec<IpAddr> {
    ["10.1.0.1", "10.2.0.1", "192.0.2.1", "fd00:1::1", "fd00:2::1", "fe80::1"]
        .map(|text| text.parse().expect("an address"))
        .to_vec()
}

const V4_LENGTHS: [u8; 14] = [0, 8, 9, 12, 15, 16, 17, 20, 23, 24, 25, 30, 31, 32];
const V6_LENGTHS: [u8; 12] = [0, 7, 16, 32, 33, 48, 56, 64, 65, 120, 127, 128];

/// An address of the small universe in which everything happens: zones and packets meet there.
pub(super) fn address(random: &mut Random, ipv4: bool) -> IpAddr {
    let (net, sub, low) = (random.between(1, 3) as u8, random.below(3) as u8, random.below(6) as u8);
    let low = if random.percent(10) { random.number() as u8 } else { low };
    if ipv4 {
        let first = if random.percent(8) { 192 } else { 10 };
        return [first, net, sub, low].into();
    }
    let head = match random.below(20) {
        0 => 0x2002_0a01_0000_0000,
        1 => 0x2001_0000_0a01_0000,
        2 => 0x2001_0db8_0000_0000,
        3 => 0,
        _ => 0xfd00_0000_0000_0000 | u64::from(net) << 32,
    };
    from_bits(u128::from(head | u64::from(sub)) << 64 | u128::from(low), false)
}

fn network(random: &mut Random) -> Network {
    let ipv4 = random.percent(50);
    let length = *if ipv4 { random.pick(&V4_LENGTHS) } else { random.pick(&V6_LENGTHS) };
    Network::around(address(random, ipv4), length)
}

fn zones(random: &mut Random) -> Vec<Zone> {
    let mut taken = HashSet::new();
    let mut zones = Vec::new();
    let count = random.between(1, usize::from(ZONES));
    for number in 0..count as u16 {
        let count = random.between(1, 3);
        let networks: Vec<Network> = (0..count).map(|_| network(random)).filter(|net| taken.insert(*net)).collect();
        if networks.is_empty() {
            continue;
        }
        let interfaces = match random.below(10) {
            0 => vec![(*random.pick(&INTERFACES)).to_owned()],
            1 => vec!["lan*".to_owned()],
            2 => vec!["wan0".to_owned(), "lan0".to_owned()],
            _ => Vec::new(),
        };
        zones.push(Zone { number, networks, interfaces, intra_zone: random.percent(25) });
    }
    zones
}

fn who(random: &mut Random, zones: &[Zone]) -> Who {
    match random.below(20) {
        0 => Who::Any,
        1 | 2 => Who::Host,
        3 => Who::Unzoned,
        _ => random.maybe(zones).map_or(Who::Unzoned, |zone| Who::Zone(zone.number)),
    }
}

fn side(random: &mut Random, zones: &[Zone]) -> Vec<Who> {
    let count = if random.percent(70) { 1 } else { random.between(2, 3) };
    let mut side: Vec<Who> = (0..count).map(|_| who(random, zones)).collect();
    side.sort_unstable();
    side.dedup();
    if side.contains(&Who::Any) { vec![Who::Any] } else { side }
}

/// Ports at which ranges begin and end, and which packets ask for.
pub(super) const PORTS: [u16; 14] = [0, 1, 22, 53, 67, 68, 80, 443, 546, 547, 1023, 1024, 65534, 65535];

fn service(random: &mut Random) -> Service {
    let port = |random: &mut Random| {
        if random.percent(85) { *random.pick(&PORTS) } else { random.number() as u16 }
    };
    match random.below(24) {
        0 => Service::Any,
        1 => Service::Icmp(None),
        2 => Service::Icmpv6(None),
        3 => Service::Icmp(Some(*random.pick(&[8, 0, 3, 5, 13, 17, 40]))),
        4 => Service::Icmp(Some(8)),
        5 => Service::Icmpv6(Some(*random.pick(&[128, 129, 1, 134, 137, 200]))),
        6 => Service::Icmpv6(Some(128)),
        7 => Service::Protocol(*random.pick(&[47, 50, 4, 41, 0, 253, 255])),
        8 => Service::Protocol(47),
        _ => {
            let protocol = *random.pick(&[6, 6, 6, 17, 17, 132]);
            let (one, other) = (port(random), port(random));
            let other = if random.percent(60) { one } else { other };
            Service::Ports(protocol, one.min(other), one.max(other))
        }
    }
}

fn services(random: &mut Random) -> Vec<Service> {
    let count = random.between(1, 4);
    let mut services: Vec<Service> = Vec::new();
    for _ in 0..count {
        let service = service(random);
        if !services.contains(&service) {
            services.push(service);
        }
    }
    services
}

fn rule(random: &mut Random, number: u16, zones: &[Zone]) -> Rule {
    Rule {
        number,
        from: side(random, zones),
        to: side(random, zones),
        services: services(random),
        expires: match random.below(10) {
            0 => Some(-3600),
            1 => Some(-60),
            2 => Some(86_400),
            3 => Some(172_800),
            _ => None,
        },
        mode: if random.percent(15) { Mode::Audit } else { Mode::Enforce },
        log: random.percent(10),
    }
}

fn pair(random: &mut Random, zones: &[Zone]) -> Pair {
    let mode = if random.percent(75) { Mode::Audit } else { Mode::Enforce };
    Pair { from: who(random, zones), to: who(random, zones), mode }
}

/// A policy.
#[must_use]
pub fn policy(random: &mut Random) -> Policy {
    let zones = zones(random);
    let rules = random.between(0, usize::from(RULES)) as u16;
    let rules = (0..rules).map(|number| rule(random, number, &zones)).collect();
    let mut pairs: Vec<Pair> = Vec::new();
    for _ in 0..if random.percent(30) { random.between(1, 3) } else { 0 } {
        let pair = pair(random, &zones);
        if pairs.iter().all(|other| (other.from, other.to) != (pair.from, pair.to)) {
            pairs.push(pair);
        }
    }
    let failsafe = if random.percent(25) {
        Failsafe { from: vec![network(random)], services: services(random) }
    } else {
        Failsafe::default()
    };
    let essentials = if random.percent(80) {
        ESSENTIALS.to_vec()
    } else {
        ESSENTIALS.into_iter().filter(|_| random.percent(50)).collect()
    };
    let mode = if random.percent(5) { Mode::Audit } else { Mode::Enforce };
    Policy { mode, zones, rules, pairs, failsafe, essentials, host: host() }
}

/// The same policy after somebody has worked on it.
pub(super) fn changed(random: &mut Random, policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    for _ in 0..random.between(1, 3) {
        match random.below(9) {
            0 | 1 if !policy.rules.is_empty() => drop(policy.rules.remove(random.below(policy.rules.len()))),
            2 if policy.rules.len() > 1 => {
                let rule = random.below(policy.rules.len());
                policy.rules[rule].expires = if random.percent(70) { Some(-1) } else { None };
            }
            3 => {
                if let Some(free) = (0..RULES).find(|number| policy.rules.iter().all(|rule| rule.number != *number)) {
                    policy.rules.push(rule(random, free, &policy.zones));
                }
            }
            4 => {
                if let Some(zone) = random.maybe(&policy.zones).cloned() {
                    let network = network(random);
                    if policy.zones.iter().all(|zone| !zone.networks.contains(&network)) {
                        let zone = policy.zones.iter_mut().find(|other| other.number == zone.number);
                        if let Some(zone) = zone {
                            zone.networks.push(network);
                        }
                    }
                }
            }
            5 => policy.mode = if policy.mode == Mode::Audit { Mode::Enforce } else { policy.mode },
            6 => policy.pairs = vec![pair(random, &policy.zones)],
            7 => policy.host.truncate(random.between(1, policy.host.len())),
            _ => policy.rules.iter_mut().for_each(|rule| rule.log = !rule.log),
        }
    }
    policy
}

/// An address that this policy has something to say of: in one of its networks, at their ends, just beside them, or any.
pub(super) fn address_near(random: &mut Random, policy: &Policy, ipv4: bool) -> IpAddr {
    let networks: Vec<Network> = policy
        .zones
        .iter()
        .flat_map(|zone| &zone.networks)
        .chain(&policy.failsafe.from)
        .copied()
        .filter(|network| network.address.is_ipv4() == ipv4)
        .collect();
    match (random.below(10), random.maybe(&networks)) {
        (0, Some(network)) => network.address,
        (1, Some(network)) => network.last(),
        (2, Some(network)) => from_bits(bits(network.address).wrapping_sub(1), ipv4),
        (3, Some(network)) => from_bits(bits(network.last()).wrapping_add(1), ipv4),
        (4, _) => {
            let ours: Vec<IpAddr> = policy.host.iter().copied().filter(|address| address.is_ipv4() == ipv4).collect();
            random.maybe(&ours).copied().unwrap_or_else(|| address(random, ipv4))
        }
        _ => address(random, ipv4),
    }
}

/// An address of this zone, if one is found soon.
pub(super) fn member(random: &mut Random, policy: &Policy, zone: Who, ipv4: bool) -> IpAddr {
    let mut found = address_near(random, policy, ipv4);
    for _ in 0..12 {
        if zone == Who::Any || policy.zone_of(found) == zone {
            break;
        }
        found = address_near(random, policy, ipv4);
    }
    found
}
