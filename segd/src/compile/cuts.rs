//! Who is cut off, and until when: marks on addresses that are worth more than any rule. Of several that cover an address
//! the one that ends last holds. The addresses of this machine are never cut off.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use segd_common::image::{Place, slot, zone};
use segd_common::reason::Reason;

use super::marks::{Mark, Marks, Prefix, Strength};
use super::pages::{Kind, PageStore};
use super::{Clock, CompileError, Facts, Registry, leaf_of};
use crate::policy::ZoneName;

/// Somebody who is cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Who.
    pub whom: Whom,
    /// When it ends by itself; `None`: never.
    pub until: Option<Timestamp>,
}

/// An address, a network or a zone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whom {
    /// Every address of a network.
    Network(IpNet),
    /// Every address of a zone, as the policy has it.
    Zone(ZoneName),
}

/// When a mark ends. `Timestamp::MAX` stands for never.
type End = Timestamp;

/// The different ends; the mark with number n ends at the one before it, for 0 is no mark.
#[derive(Debug, Default)]
pub(super) struct Ends(BTreeMap<End, u32>);

/// What the marks of one prefix say: its zone, and when it ends to be cut off.
type Said = (Option<(Strength, u16)>, Option<End>);

/// What holds at a prefix, as its marks and those of the shorter ones say.
#[derive(Clone, Copy)]
struct Held {
    bits: u128,
    len: u8,
    zone: u16,
    until: Option<End>,
}

/// Adds the marks of whoever is cut off to the addresses' own.
pub(super) fn mark(marks: &mut Marks, facts: &Facts, registry: &Registry) -> Result<Ends, CompileError> {
    let live = || facts.cuts.iter().filter(|cut| cut.until.is_none_or(|end| end > facts.now));
    let mut zones: BTreeMap<u16, End> = BTreeMap::new();
    let mut networks: [BTreeMap<(u128, u8), End>; 2] = Default::default();
    for Cut { whom, until } in live() {
        let until = until.unwrap_or(Timestamp::MAX);
        match whom {
            Whom::Network(network) => {
                later(networks[usize::from(network.network().is_ipv6())].entry(key(*network)), until);
            }
            // A zone that the policy no longer has holds nobody.
            Whom::Zone(name) => {
                if let Some(number) = registry.zone_id(&name.0) {
                    later(zones.entry(number), until);
                }
            }
        }
    }
    let mut ends = Ends::default();
    if zones.is_empty() && networks.iter().all(BTreeMap::is_empty) {
        return Ok(ends);
    }
    let [v4, v6] = networks;
    let gathered = [(&mut marks.v4, v4), (&mut marks.v6, v6)]
        .map(|(family, networks)| (effective(family, &networks, &zones), family));
    for end in gathered.iter().flat_map(|(held, _)| held).filter_map(|(_, end)| *end) {
        ends.0.insert(end, 0);
    }
    if ends.0.len() > Place::CUTS as usize {
        return Err(CompileError::TooManyCuts);
    }
    ends.0.values_mut().zip(1..).for_each(|(number, next)| *number = next);
    for (held, family) in gathered {
        let mark = |((bits, len), end): ((u128, u8), Option<End>)| {
            let number = end.and_then(|end| ends.0.get(&end)).copied().unwrap_or(0);
            Prefix { bits, len, mark: Mark::Cut(number) }
        };
        family.extend(held.into_iter().map(mark));
        family.sort_unstable();
    }
    Ok(ends)
}

fn later<K: Ord>(entry: std::collections::btree_map::Entry<'_, K, End>, until: End) {
    let end = entry.or_insert(until);
    *end = until.max(*end);
}

fn key(network: IpNet) -> (u128, u8) {
    let bits = match network.network() {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    (bits, network.prefix_len())
}

/// The prefixes at which the end changes, and what it is there: from the shortest to the longest, with those that cover
/// each at hand.
fn effective(
    family: &[Prefix],
    networks: &BTreeMap<(u128, u8), End>,
    zones: &BTreeMap<u16, End>,
) -> Vec<((u128, u8), Option<End>)> {
    let mut said: BTreeMap<(u128, u8), Said> = BTreeMap::new();
    said.insert((0, 0), (None, None));
    for Prefix { bits, len, mark } in family {
        if let Mark::Zone(strength, number) = mark {
            let (zone, _) = said.entry((*bits, *len)).or_default();
            *zone = (*zone).max(Some((*strength, *number)));
        }
    }
    for (prefix, end) in networks {
        said.entry(*prefix).or_default().1 = Some(*end);
    }
    let ends = |held: &Held| match held.zone {
        zone::HOST => None,
        number => held.until.max(zones.get(&number).copied()),
    };
    let mut above = vec![Held { bits: 0, len: 0, zone: zone::UNZONED, until: None }];
    let mut changes = Vec::new();
    for ((bits, len), (zone, until)) in said {
        let covers = |held: &Held| held.len == 0 || (held.bits ^ bits) >> (128 - u32::from(held.len)) == 0;
        while above.len() > 1 && !above.last().is_some_and(covers) {
            above.pop();
        }
        let Some(parent) = above.last().copied() else { break };
        let zone = zone.map_or(parent.zone, |(_, number)| number);
        let held = Held { bits, len, zone, until: parent.until.max(until) };
        let was = if (bits, len) == (0, 0) { None } else { ends(&parent) };
        if ends(&held) != was {
            changes.push(((bits, len), ends(&held)));
        }
        above.push(held);
    }
    changes
}

impl Ends {
    /// Lays a slot for each end; returns what the row of the quarantine leads to, by the number of the mark.
    pub(super) fn lay(&self, store: &mut PageStore, clock: &Clock) -> Vec<(u16, segd_common::image::Ref)> {
        let record = |(end, number): (&End, &u32)| {
            let deadline = if *end == Timestamp::MAX { 0 } else { clock.deadline(*end) };
            let mut record = [0; segd_common::image::RECORD_WORDS];
            record[slot::FLAGS] = Reason::Quarantined as u32 | slot::VALID;
            record[slot::RULE] = slot::NO_RULE;
            record[slot::DEADLINE] = deadline as u32;
            record[slot::DEADLINE + 1] = (deadline >> 32) as u32;
            (record, u64::from(*number))
        };
        let records: Vec<_> = self.0.iter().map(record).collect();
        let at = store.pack(Kind::Slots, &records);
        self.0.values().zip(at).map(|(number, at)| (*number as u16, leaf_of(at))).collect()
    }
}
