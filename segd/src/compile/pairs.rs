//! The pair trie, the rule sets that it leads to, and the tries from services to slots: tables, or a chain of skip records
//! where there are few services. It decides nothing: the plan has.

use std::collections::{BTreeMap, HashMap};

use segd_common::image::{Locator, PAGE_WORDS, RECORD_WORDS, Ref, rule_set, skip, zone};

use super::leaf_of;
use super::pages::{Kind, PageStore, Record};
use super::plan::{Plan, RuleSet, ZoneFacts};
use super::services::{CLASSES, has_ports};
use super::slots::Slots;
use super::strength::{Grant, Segment};

/// Lays everything between two zones and a slot; returns the pair trie and the failsafe's rule set.
/// `quarantine` is the row of the zone that has no addresses.
pub(super) fn lay(store: &mut PageStore, plan: &Plan, slots: &Slots, quarantine: Vec<(u16, Ref)>) -> (Ref, Locator) {
    let mut services = Services { store, slots, known: HashMap::new() };
    services.lay_chains(plan);
    let records: Vec<Record> = plan.sets.iter().map(|set| services.record(set)).collect();
    let failsafe = plan.failsafe.as_ref().map(|set| services.record(set));
    let failsafe = failsafe.map_or(Locator::NONE, |record| store.pack(Kind::RuleSets, &[(record, 0)])[0]);
    let sets = lay_sets(store, plan, &records);
    (lay_rows(store, plan, &sets, quarantine), failsafe)
}

/// Packs the rule sets in the order of the first pair of zones that has them; returns them by index.
fn lay_sets(store: &mut PageStore, plan: &Plan, records: &[Record]) -> Vec<Locator> {
    let mut seen = vec![false; records.len()];
    let mut order: Vec<(u64, usize)> = Vec::with_capacity(records.len());
    let by_number = by_number(plan);
    for from in &by_number {
        for to in &by_number {
            let Some(set) = (plan.rows[*from][*to] as usize).checked_sub(1) else { continue };
            if !std::mem::replace(&mut seen[set], true) {
                order.push((u64::from(plan.zones[*from].number) << 16 | u64::from(plan.zones[*to].number), set));
            }
        }
    }
    let packed: Vec<(Record, u64)> = order.iter().map(|(pair, set)| (records[*set], *pair)).collect();
    let mut at = vec![Locator::NONE; records.len()];
    for ((_, set), locator) in order.iter().zip(store.pack(Kind::RuleSets, &packed)) {
        at[*set] = locator;
    }
    at
}

/// Indexes of the zones in the order of their numbers, which does not change when a file is turned around.
fn by_number(plan: &Plan) -> Vec<usize> {
    let mut order: Vec<usize> = (0..plan.zones.len()).collect();
    order.sort_by_key(|zone| plan.zones[*zone].number);
    order
}

fn lay_rows(store: &mut PageStore, plan: &Plan, sets: &[Locator], quarantine: Vec<(u16, Ref)>) -> Ref {
    let wide = plan.wide();
    let mut known: HashMap<*const u32, Ref> = HashMap::new();
    let mut rows = Vec::with_capacity(plan.rows.len());
    for (row, zone) in plan.rows.iter().zip(&plan.zones) {
        let laid = *known.entry(row.as_ptr()).or_insert_with(|| {
            let entry = |(zone, set): (&ZoneFacts, &u32)| {
                let at = (*set as usize).checked_sub(1).map_or(Locator::NONE, |set| sets[set]);
                (zone.number, leaf_of(at))
            };
            let entries = plan.zones.iter().zip(row.iter()).map(entry);
            by_zone(store, wide, Kind::Locators, entries, Ref::leaf(0))
        });
        rows.push((zone.number, laid));
    }
    if !quarantine.is_empty() {
        let row = by_zone(store, wide, Kind::Locators, quarantine.into_iter(), Ref::leaf(0));
        rows.push((zone::QUARANTINE, row));
    }
    by_zone(store, wide, Kind::Locators, rows.into_iter(), Ref::leaf(0))
}

/// Tables over a zone's number, of one byte or of two. What no entry has is `otherwise`.
// The name says zone; an interface slot is a number of two bytes too.
pub(super) fn by_zone(
    store: &mut PageStore,
    wide: bool,
    kind: Kind,
    entries: impl Iterator<Item = (u16, Ref)>,
    otherwise: Ref,
) -> Ref {
    let mut tables = HashMap::new();
    for (number, entry) in entries {
        let [high, low] = number.to_be_bytes();
        tables.entry(high).or_insert([otherwise; PAGE_WORDS])[usize::from(low)] = entry;
    }
    if !wide {
        return tables.get(&0).map_or(otherwise, |table| store.table(kind, table));
    }
    let mut top = [otherwise; PAGE_WORDS];
    for high in 0..=u8::MAX {
        if let Some(table) = tables.get(&high) {
            top[usize::from(high)] = store.table(kind, table);
        }
    }
    store.table(kind, &top)
}

/// Makes the tries from services to slots.
struct Services<'a, 'p> {
    store: &'a mut PageStore,
    slots: &'a Slots,
    /// Most rule sets share most of their tries.
    known: HashMap<Chain<'p>, Ref>,
}

/// So many single keys are a chain of skip records, of 32 bytes each, and not tables, of a kilobyte each.
const LONGEST_CHAIN: usize = 3;

/// Segments, and whether their keys are ports.
type Chain<'p> = (bool, &'p [Segment]);

/// Whether there are only single keys, and few of them.
fn is_chain(segments: &[Segment]) -> bool {
    (1..=LONGEST_CHAIN).contains(&segments.len()) && segments.iter().all(|Segment { span, .. }| span.low == span.high)
}

/// The key, and the rule that allows it: where it stands does not change when a file is turned around.
fn stable(plan: &Plan, Segment { span, grant }: &Segment) -> u64 {
    let rule = match grant {
        Grant::Failsafe => u32::MAX,
        Grant::Rule { rule, .. } => plan.rules[*rule as usize].number,
    };
    u64::from(rule) << 16 | u64::from(span.low)
}

impl<'p> Services<'_, 'p> {
    /// Lays what are chains, the last of each first: a page only points to pages before it.
    fn lay_chains(&mut self, plan: &'p Plan) {
        let mut chains: Vec<Chain<'_>> = Vec::new();
        for set in plan.sets.iter().chain(&plan.failsafe) {
            for (class, segments) in set.segments.iter().enumerate().filter(|(_, segments)| is_chain(segments)) {
                let chain = (has_ports(class), segments.as_slice());
                if self.known.insert(chain, Ref::leaf(0)).is_none() {
                    chains.push(chain);
                }
            }
        }
        for from_end in 1..=LONGEST_CHAIN {
            let mut records: Vec<(u64, Record, Chain<'_>)> = Vec::new();
            for chain in &chains {
                let (ports, segments) = chain;
                let Some(place) = segments.len().checked_sub(from_end) else { continue };
                let Segment { span, grant } = &segments[place];
                let mut record: Record = [0; RECORD_WORDS];
                record[skip::COUNT] = if *ports { 2 } else { 1 };
                record[skip::EXPECT] = u32::from(span.low) << if *ports { 16 } else { 24 };
                record[skip::OTHERWISE] = self.known[chain].0;
                record[skip::NEXT] = leaf_of(self.slots.of(*grant)).0;
                records.push((stable(plan, &segments[place]), record, *chain));
            }
            records.sort_by_key(|(stable, ..)| *stable);
            let packed: Vec<(Record, u64)> = records.iter().map(|(stable, record, _)| (*record, *stable)).collect();
            for ((_, _, chain), at) in records.iter().zip(self.store.pack(Kind::LocatorSkips, &packed)) {
                self.known.insert(*chain, Ref::skip(at));
            }
        }
    }

    fn record(&mut self, set: &'p RuleSet) -> Record {
        let mut record = [0; CLASSES + 2];
        for (class, segments) in set.segments.iter().enumerate() {
            record[class] = self.trie(has_ports(class), segments).0;
        }
        record[rule_set::DEFAULT] = self.slots.of_rest(set.rest).0;
        record[rule_set::FLAGS] = if set.audit { rule_set::AUDIT } else { 0 };
        record
    }

    fn trie(&mut self, ports: bool, segments: &'p [Segment]) -> Ref {
        if let Some(known) = self.known.get(&(ports, segments)) {
            return *known;
        }
        let trie = if ports { self.ports(segments) } else { self.numbers(segments) };
        self.known.insert((ports, segments), trie);
        trie
    }

    fn numbers(&mut self, segments: &[Segment]) -> Ref {
        let mut table = [Ref::leaf(0); PAGE_WORDS];
        for Segment { span, grant } in segments {
            table[usize::from(span.low)..=usize::from(span.high)].fill(leaf_of(self.slots.of(*grant)));
        }
        self.store.table(Kind::Locators, &table)
    }

    fn ports(&mut self, segments: &[Segment]) -> Ref {
        let mut top = [Ref::leaf(0); PAGE_WORDS];
        let mut bottom: BTreeMap<u16, [Ref; PAGE_WORDS]> = BTreeMap::new();
        for Segment { span, grant } in segments {
            let leaf = leaf_of(self.slots.of(*grant));
            for high in span.low >> 8..=span.high >> 8 {
                let low = span.low.max(high << 8) & 0xff;
                let last = span.high.min(high << 8 | 0xff) & 0xff;
                if (low, last) == (0, 0xff) {
                    top[usize::from(high)] = leaf;
                } else {
                    bottom.entry(high).or_insert([Ref::leaf(0); PAGE_WORDS])[usize::from(low)..=usize::from(last)]
                        .fill(leaf);
                }
            }
        }
        for (high, table) in bottom {
            top[usize::from(high)] = self.store.table(Kind::Locators, &table);
        }
        self.store.table(Kind::Locators, &top)
    }
}
