//! Reading the counters: each CPU has its own, and here they are summed.

use std::collections::BTreeSet;

use aya::Pod;
use aya::maps::PerCpuValues;
use jiff::Timestamp;
use segd_common::count::REASONS;
use segd_common::reason::Reason;

use super::DatapathError;
use super::ledger::add_rule;
use super::raw::lookup_from;
use super::set::MapSet;
use crate::compile::{Clock, Freed};

/// All counters.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Of pairs of zones that have seen a packet.
    pub pairs: Vec<PairCounters>,
    /// Of rules, by number.
    pub rules: Vec<RuleCounters>,
    /// Events that found no room or no allowance.
    pub events_lost: u64,
}

/// Counters of one pair of zones, from the initiator to the responder; arrays by [`Reason`].
#[derive(Clone, Debug)]
pub struct PairCounters {
    /// Initiator's zone.
    pub from: u16,
    /// Responder's zone.
    pub to: u16,
    /// Packets.
    pub packets: [u64; Reason::COUNT],
    /// Bytes of their frames.
    pub bytes: [u64; Reason::COUNT],
    /// Blocked connections.
    pub blocked_flows: [u64; Reason::COUNT],
    /// New allowed connections.
    pub connections: u64,
}

/// Counters of one rule.
#[derive(Clone, Debug)]
pub struct RuleCounters {
    /// Number of the rule.
    pub rule: u32,
    /// Packets of its connections, both ways.
    pub packets: u64,
    /// Bytes of its connections, both ways.
    pub bytes: u64,
    /// Connections it let in.
    pub connections: u64,
    /// When it last let a packet pass.
    pub last_hit: Option<Timestamp>,
}

/// Words of one CPU's counters of a pair.
pub(super) const PAIR_WORDS: usize = 3 * REASONS + 1;
/// Words of one CPU's counters of a rule; the last is no sum but a time.
pub(super) const RULE_WORDS: usize = 4;
/// A large policy has a hundred thousand rules; a call for each would be most of a scrape.
const RULES_AT_ONCE: usize = 1024;

pub(super) fn read(set: &MapSet, clock: &Clock) -> Result<Counters, DatapathError> {
    Ok(Counters { pairs: pairs(set)?, rules: rules(set, clock)?, events_lost: lost(set)? })
}

pub(super) fn pairs(set: &MapSet) -> Result<Vec<PairCounters>, DatapathError> {
    let map = set.per_cpu::<[u64; PAIR_WORDS]>("PAIR_COUNTERS")?;
    let counted = |slot: u32| match map.get(&slot, 0) {
        Ok(values) => Ok(sum(&values)),
        Err(error) => Err(DatapathError::map("read PAIR_COUNTERS", &error)),
    };
    let zones = set.sizes.zones as usize;
    let mut all = set.ledger.pairs.clone();
    for index in 0..set.pair_slots.len() {
        let slot = set.pair_slots.read(index).unwrap_or(0) as u32;
        if slot != 0 {
            let zones = ((index / zones) as u16, (index % zones) as u16);
            add(all.entry(zones).or_insert([0; PAIR_WORDS]), &counted(slot)?);
        }
    }
    let rest = counted(0)?;
    if rest != [0; PAIR_WORDS] {
        // Pairs that found no slot of their own are shown where nobody can take them for a zone's.
        add(all.entry((0, 0)).or_insert([0; PAIR_WORDS]), &rest);
    }
    // What was counted for a number that nobody has any more is zero.
    let told = all.iter().filter(|(_, words)| **words != [0; PAIR_WORDS]);
    Ok(told.map(|((from, to), words)| pair(*from, *to, words)).collect())
}

pub(super) fn add<const N: usize>(into: &mut [u64; N], counted: &[u64; N]) {
    into.iter_mut().zip(counted).for_each(|(into, counted)| *into = into.wrapping_add(*counted));
}

fn pair(from: u16, to: u16, words: &[u64; PAIR_WORDS]) -> PairCounters {
    let part = |start: usize| std::array::from_fn(|reason| words[start + reason]);
    PairCounters {
        from,
        to,
        packets: part(0),
        bytes: part(REASONS),
        blocked_flows: part(2 * REASONS),
        connections: words[3 * REASONS],
    }
}

pub(super) fn sum<const N: usize>(values: &PerCpuValues<[u64; N]>) -> [u64; N]
where
    [u64; N]: Pod,
{
    sum_words(values.iter())
}

pub(super) fn sum_words<'a, const N: usize>(values: impl Iterator<Item = &'a [u64; N]>) -> [u64; N] {
    values.fold([0; N], |mut sum, cpu| {
        add(&mut sum, cpu);
        sum
    })
}

/// What all CPUs counted for a rule.
pub(super) fn sum_rule<'a>(values: impl Iterator<Item = &'a [u64; RULE_WORDS]>) -> [u64; RULE_WORDS] {
    values.fold([0; RULE_WORDS], |mut sum, cpu| {
        add_rule(&mut sum, cpu);
        sum
    })
}

fn rules(set: &MapSet, clock: &Clock) -> Result<Vec<RuleCounters>, DatapathError> {
    let failed = |source| DatapathError::system("read RULE_COUNTERS", source);
    let cpus = aya::util::nr_cpus().map_err(|(what, source)| DatapathError::system(what, source))?;
    let (map, words) = (set.array("RULE_COUNTERS")?, RULE_WORDS * cpus);
    let (mut rules, mut batch) = (Vec::new(), vec![0; words * RULES_AT_ONCE.min(set.sizes.rules as usize)]);
    for first in (0..set.sizes.rules).step_by(RULES_AT_ONCE) {
        let read = lookup_from(map, first, words, &mut batch).map_err(failed)?;
        for (rule, values) in (first..).zip(batch.chunks_exact(words)).take(read) {
            let mut words = sum_rule(values.as_chunks().0.iter());
            if let Some(before) = set.ledger.rules.get(&rule) {
                add_rule(&mut words, before);
            }
            let [packets, bytes, connections, last] = words;
            if packets != 0 || connections != 0 {
                let last_hit = (last != 0).then(|| clock.time(last));
                rules.push(RuleCounters { rule, packets, bytes, connections, last_hit });
            }
        }
    }
    Ok(rules)
}

/// Sets what was counted for these numbers to zero. No program counts by them: the policy in force does not name them.
pub(super) fn clear(set: &mut MapSet, freed: &Freed) -> Result<(), DatapathError> {
    let Freed { zones, rules } = freed;
    let room = set.sizes.zones;
    let of = |zone: u32| (0..room).flat_map(move |other| [(zone, other), (other, zone)]);
    let numbers = zones.iter().map(|zone| u32::from(*zone)).filter(|zone| *zone < room);
    for (from, to) in numbers.flat_map(of).collect::<BTreeSet<_>>() {
        let slot = set.pair_slots.read((from * room + to) as usize).unwrap_or(0) as u32;
        if slot != 0 {
            set.set_per_cpu("PAIR_COUNTERS", slot, [0_u64; PAIR_WORDS])?;
        }
    }
    let room = set.sizes.rules;
    for rule in rules.iter().filter(|rule| **rule < room) {
        set.set_per_cpu("RULE_COUNTERS", *rule, [0_u64; RULE_WORDS])?;
    }
    set.ledger.pairs.retain(|(from, to), _| !zones.contains(from) && !zones.contains(to));
    set.ledger.rules.retain(|rule, _| !rules.contains(rule));
    Ok(())
}

fn lost(set: &MapSet) -> Result<u64, DatapathError> {
    let map = set.per_cpu::<[u64; 2]>("EVENT_BUDGET")?;
    let values = map.get(&0, 0).map_err(|error| DatapathError::map("read EVENT_BUDGET", &error))?;
    Ok(sum(&values)[1])
}
