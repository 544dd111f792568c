//! Reading the counters: each CPU has its own, and here they are summed.

use aya::Pod;
use aya::maps::PerCpuValues;
use jiff::Timestamp;
use segd_common::count::REASONS;
use segd_common::reason::Reason;

use super::DatapathError;
use super::set::MapSet;
use crate::compile::Clock;

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

pub(super) fn read(set: &MapSet, clock: &Clock) -> Result<Counters, DatapathError> {
    Ok(Counters { pairs: pairs(set)?, rules: rules(set, clock)?, events_lost: lost(set)? })
}

pub(super) fn pairs(set: &MapSet) -> Result<Vec<PairCounters>, DatapathError> {
    let map = set.per_cpu::<[u64; PAIR_WORDS]>("PAIR_COUNTERS")?;
    let zones = set.sizes.zones as usize;
    let mut pairs = Vec::new();
    for index in 0..set.pair_slots.len() {
        let slot = set.pair_slots.read(index).unwrap_or(0) as u32;
        if slot != 0 {
            let values = map.get(&slot, 0).map_err(|error| DatapathError::map("read PAIR_COUNTERS", &error))?;
            pairs.push(pair((index / zones) as u16, (index % zones) as u16, &sum(&values)));
        }
    }
    let rest = map.get(&0, 0).map_err(|error| DatapathError::map("read PAIR_COUNTERS", &error))?;
    let rest = sum(&rest);
    if rest.iter().any(|count| *count != 0) {
        // Pairs that found no slot of their own are shown where nobody can take them for a zone's.
        match pairs.iter_mut().find(|pair| pair.from == 0 && pair.to == 0) {
            Some(unzoned) => unzoned.add(&pair(0, 0, &rest)),
            None => pairs.push(pair(0, 0, &rest)),
        }
    }
    Ok(pairs)
}

impl PairCounters {
    fn add(&mut self, other: &Self) {
        let Self { from: _, to: _, packets, bytes, blocked_flows, connections } = other;
        let add = |into: &mut [u64; Reason::COUNT], from: &[u64; Reason::COUNT]| {
            into.iter_mut().zip(from).for_each(|(into, from)| *into += from);
        };
        add(&mut self.packets, packets);
        add(&mut self.bytes, bytes);
        add(&mut self.blocked_flows, blocked_flows);
        self.connections += connections;
    }
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

fn sum<const N: usize>(values: &PerCpuValues<[u64; N]>) -> [u64; N]
where
    [u64; N]: Pod,
{
    values.iter().fold([0; N], |mut sum, cpu| {
        sum.iter_mut().zip(cpu).for_each(|(sum, value)| *sum = sum.wrapping_add(*value));
        sum
    })
}

fn rules(set: &MapSet, clock: &Clock) -> Result<Vec<RuleCounters>, DatapathError> {
    let map = set.per_cpu::<[u64; 4]>("RULE_COUNTERS")?;
    let mut rules = Vec::new();
    for rule in 0..set.sizes.rules {
        let values = map.get(&rule, 0).map_err(|error| DatapathError::map("read RULE_COUNTERS", &error))?;
        let [packets, bytes, connections, _] = sum(&values);
        let last = values.iter().map(|cpu| cpu[3]).max().unwrap_or(0);
        if packets != 0 || connections != 0 {
            let last_hit = (last != 0).then(|| clock.time(last));
            rules.push(RuleCounters { rule, packets, bytes, connections, last_hit });
        }
    }
    Ok(rules)
}

fn lost(set: &MapSet) -> Result<u64, DatapathError> {
    let map = set.per_cpu::<[u64; 2]>("EVENT_BUDGET")?;
    let values = map.get(&0, 0).map_err(|error| DatapathError::map("read EVENT_BUDGET", &error))?;
    Ok(sum(&values)[1])
}
