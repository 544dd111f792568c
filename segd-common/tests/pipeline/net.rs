//! The network that the tests stand in: a machine between three zones, each on an interface of its own, and policies for it.

use segd_common::image::{Locator, Place, Ref, Root, rule_set, slot, zone};
use segd_common::packet::{Essential, proto};
use segd_common::parse::Framing;
use segd_common::pipeline::{Hook, Sighting};
use segd_common::reason::Reason;

use crate::image::{Grant, Image, Service, network};
use crate::machine::Machine;

pub(crate) const UNZONED: u16 = zone::UNZONED;
pub(crate) const HOST: u16 = zone::HOST;
pub(crate) const LAN: u16 = 3;
pub(crate) const DMZ: u16 = 4;
pub(crate) const NET: u16 = 5;

/// This machine, as each zone knows it.
pub(crate) const HERE: &str = "10.0.0.1";
pub(crate) const HERE6: &str = "fd00::1";
/// In `LAN`.
pub(crate) const ANNE: &str = "10.1.0.5";
pub(crate) const ANNE6: &str = "fd01::5";
pub(crate) const ADMIN: &str = "10.1.9.9";
/// In `DMZ`.
pub(crate) const SHOP: &str = "10.2.0.7";
pub(crate) const SHOP6: &str = "fd02::7";
/// In `NET`.
pub(crate) const FAR: &str = "198.51.100.3";
/// In no zone.
pub(crate) const LOST: &str = "203.0.113.1";

const BAD: u32 = Place::BAD_SOURCE | Place::BAD_DESTINATION;

const ADDRESSES: &[(&str, u32)] = &[
    ("10.0.0.1/32", HOST as u32),
    ("fd00::1/128", HOST as u32),
    ("fe80::1/128", HOST as u32 | Place::LINK_LOCAL),
    ("10.1.0.0/16", LAN as u32),
    ("10.1.9.0/24", LAN as u32 | Place::FAILSAFE),
    ("fd01::/16", LAN as u32),
    ("10.2.0.0/16", DMZ as u32),
    ("fd02::/16", DMZ as u32),
    ("198.51.100.0/24", NET as u32),
    ("0.0.0.0/8", BAD),
    ("127.0.0.0/8", BAD),
    ("224.0.0.0/4", Place::BAD_SOURCE | Place::MULTICAST),
    ("240.0.0.0/4", Place::BAD_SOURCE),
    ("255.255.255.255/32", Place::BAD_SOURCE | Place::MULTICAST),
    ("::/128", BAD),
    ("::1/128", BAD),
    ("ff00::/8", Place::BAD_SOURCE | Place::MULTICAST),
    ("fe80::/10", Place::LINK_LOCAL),
];

pub(crate) const fn tcp(port: u16) -> Service {
    (proto::TCP, port)
}

pub(crate) const fn udp(port: u16) -> Service {
    (proto::UDP, port)
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    from: u16,
    to: u16,
    service: Service,
    reason: Reason,
    number: u32,
    deadline: u64,
}

/// A policy for this network.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    rules: Vec<Rule>,
    rest: Vec<(u16, u16, Reason)>,
    failsafe: Vec<Service>,
    flags: u32,
    essentials: u32,
}

impl Policy {
    /// Default deny, and nothing else; the essentials are on.
    pub(crate) fn new() -> Self {
        let shapes = [
            Essential::Arp,
            Essential::Ndp,
            Essential::NdpRouter,
            Essential::DhcpRequest,
            Essential::DhcpReply,
            Essential::Mld,
        ];
        let essentials = shapes.iter().fold(0, |bits, shape| bits | 1 << (*shape as u32));
        Self { rules: Vec::new(), rest: Vec::new(), failsafe: Vec::new(), flags: 0, essentials }
    }

    /// One more rule. Rules of the same pair and service follow each other: the second holds when the first has ended.
    pub(crate) fn allow(self, from: u16, to: u16, service: Service, number: u32) -> Self {
        self.rule(Rule { from, to, service, reason: Reason::Rule, number, deadline: 0 })
    }

    /// A rule that only watches.
    pub(crate) fn watch(self, from: u16, to: u16, service: Service, number: u32) -> Self {
        self.rule(Rule { from, to, service, reason: Reason::Audit, number, deadline: 0 })
    }

    fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// When the latest rule ends, in jiffies.
    pub(crate) fn until(mut self, deadline: u64) -> Self {
        self.rules.last_mut().expect("a rule to end").deadline = deadline;
        self
    }

    /// What no rule of a pair names passes for this reason: `audit` or `intra-zone`.
    pub(crate) fn rest(mut self, from: u16, to: u16, reason: Reason) -> Self {
        self.rest.push((from, to, reason));
        self
    }

    pub(crate) fn failsafe(mut self, service: Service) -> Self {
        self.failsafe.push(service);
        self
    }

    /// The whole policy only watches.
    pub(crate) fn audit(mut self) -> Self {
        self.flags |= Root::AUDIT;
        self
    }

    pub(crate) fn without_essentials(mut self) -> Self {
        self.essentials = 0;
        self
    }

    fn lay(&self, image: &mut Image, generation: u32) -> Root {
        let zones = |v4| {
            let mine = ADDRESSES.iter().map(|(text, place)| (network(text), *place));
            let mine = mine.filter(move |((family, ..), _)| *family == v4);
            mine.map(|((_, key, bits), place)| (key, bits, place)).collect()
        };
        let (v4, v6) = (image.trie(0, zones(true)), image.trie(0, zones(false)));
        let seen = [(LAN, 1), (DMZ, 2), (NET, 3)].map(|(zone, own): (u16, u16)| {
            let key = |interface: u16| [zone.to_be_bytes(), interface.to_be_bytes()].concat();
            [(key(0), 16, 0), (key(own), 32, 1)]
        });
        let seen = image.trie(1, seen.concat());
        let pairs = self.pairs(image);
        let failsafe = self.lay_failsafe(image);
        Root { generation, v4, v6, pairs, seen, failsafe, flags: self.flags, essentials: self.essentials }
    }

    fn pairs(&self, image: &mut Image) -> Ref {
        let named = self.rules.iter().map(|rule| (rule.from, rule.to));
        let mut pairs: Vec<_> = named.chain(self.rest.iter().map(|(from, to, _)| (*from, *to))).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let entries = pairs.iter().map(|(from, to)| (vec![*from as u8, *to as u8], 16, self.pair(image, *from, *to).0));
        let entries = entries.collect();
        image.trie(0, entries)
    }

    fn pair(&self, image: &mut Image, from: u16, to: u16) -> Locator {
        let mut services: Vec<(Service, Locator)> = Vec::new();
        for rule in self.rules.iter().rev().filter(|rule| (rule.from, rule.to) == (from, to)) {
            let later = services.iter().position(|(service, _)| *service == rule.service);
            let then = later.map_or(Locator::NONE, |place| services.remove(place).1);
            let grant = Grant { reason: rule.reason, rule: rule.number, deadline: rule.deadline, then };
            services.push((rule.service, image.slot(grant)));
        }
        let rest = self.rest.iter().find(|(a, b, _)| (*a, *b) == (from, to)).map(|(.., reason)| *reason);
        let grant = |reason| Grant { reason, rule: slot::NO_RULE, deadline: 0, then: Locator::NONE };
        let default = rest.map_or(Locator::NONE, |reason| image.slot(grant(reason)));
        let flags = if rest == Some(Reason::Audit) { rule_set::AUDIT } else { 0 };
        image.rule_set(&services, default, flags)
    }

    fn lay_failsafe(&self, image: &mut Image) -> Locator {
        if self.failsafe.is_empty() {
            return Locator::NONE;
        }
        let grant = Grant { reason: Reason::Failsafe, rule: slot::NO_RULE, deadline: 0, then: Locator::NONE };
        let slot = image.slot(grant);
        let services: Vec<_> = self.failsafe.iter().map(|service| (*service, slot)).collect();
        image.rule_set(&services, Locator::NONE, 0)
    }
}

impl Machine {
    /// A machine under this policy, with room for 2048 connections.
    pub(crate) fn under(policy: &Policy) -> Self {
        Self::small(policy, 256)
    }

    /// The same, with this many buckets of eight.
    pub(crate) fn small(policy: &Policy, buckets: u32) -> Self {
        let mut machine = Self::new(buckets);
        machine.publish(policy);
        machine
    }

    /// Puts a policy in force.
    pub(crate) fn publish(&mut self, policy: &Policy) {
        self.publish_until(policy, 0);
    }

    /// Puts a policy in force that has to be confirmed before these jiffies.
    pub(crate) fn publish_until(&mut self, policy: &Policy, deadline: u64) {
        let generation = self.control().roots.iter().map(|root| root.generation).max().unwrap_or(0) + 1;
        let mut image = Image::onto(std::mem::take(&mut self.pages));
        let root = policy.lay(&mut image, generation);
        self.pages = image.pages;
        let previous = self.control().selector as u8;
        let place = generation as u8 % 4;
        self.control().roots[usize::from(place)] = root;
        self.control().selector = segd_common::control::Control::selector(place, previous, deadline);
    }
}

fn sighting(hook: Hook, interface: u16) -> Sighting {
    let framing = Framing::ETHERNET;
    Sighting { hook, framing, interface, ifindex: u32::from(interface) + 10, ..Sighting::NOWHERE }
}

/// On its way in from `LAN`.
pub(crate) fn lan() -> Sighting {
    sighting(Hook::Ingress, 1)
}

/// On its way in from `DMZ`.
pub(crate) fn dmz() -> Sighting {
    sighting(Hook::Ingress, 2)
}

/// On its way in from `NET`.
pub(crate) fn net() -> Sighting {
    sighting(Hook::Ingress, 3)
}

/// Started by this machine.
pub(crate) fn local() -> Sighting {
    sighting(Hook::Local, 2)
}

/// On its way out, forwarded; on its way in the source was of this zone.
pub(crate) fn onward(tagged: Option<u16>) -> Sighting {
    Sighting { tagged, ..sighting(Hook::Forward, 3) }
}
