//! What maps counted that are gone: a counter map that grows begins at zero, and these sums are added to it. Pinned beside it.
//! Only the daemon writes them, and never while the kernel may: so nothing is lost between a reading and a writing.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::maps::Array;

use super::DatapathError;
use super::counted::{Counted, each, pair_of, rule_of};
use super::counters::{PAIR_WORDS, RULE_WORDS, add, sum_rule};
use super::raw::{Mapping, create_array, pin};
use super::share::{array, open, same};

pub(super) const PAIR_LEDGER: &str = "PAIR_LEDGER";
pub(super) const RULE_LEDGER: &str = "RULE_LEDGER";

/// Sums by zones and by rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    pub(super) pairs: BTreeMap<(u16, u16), [u64; PAIR_WORDS]>,
    pub(super) rules: BTreeMap<u32, [u64; RULE_WORDS]>,
}

/// A pair as it stands in the map: a mark and its zones in the first word, then its sums.
type PairEntry = [u64; 1 + PAIR_WORDS];
const TAKEN: u64 = 1 << 32;

impl Ledger {
    /// What is written in the ledgers of `maps`.
    pub(super) fn read(maps: &Path) -> Self {
        let mut ledger = Self::default();
        each(maps, PAIR_LEDGER, |_, entry| {
            if let [mark, words @ ..] = entry
                && mark & TAKEN != 0
                && let Some(sums) = pair_of(words)
            {
                ledger.pairs.insert(((mark >> 16) as u16, *mark as u16), sums);
            }
        });
        each(maps, RULE_LEDGER, |rule, entry| {
            if let Some(sums) = rule_of(entry).filter(|sums| *sums != [0; RULE_WORDS]) {
                ledger.rules.insert(rule, sums);
            }
        });
        ledger
    }

    /// Everything that the set in `from` counted and that `to` does not go on counting in the same map: the final word once
    /// no program uses `from` any more, and the same however often it is asked then.
    pub(super) fn left_by(from: &Path, to: &Path) -> Self {
        let (mut all, written) = (Self::read(from), Self::read(to));
        if same(from, to, "PAIR_COUNTERS") {
            all.pairs = written.pairs;
        } else {
            all.add_pairs(from);
        }
        if same(from, to, "RULE_COUNTERS") {
            all.rules = written.rules;
        } else {
            all.add_rules(from);
        }
        all
    }

    fn add_pairs(&mut self, from: &Path) {
        let Some(counters) = Counted::open(from, "PAIR_COUNTERS") else { return };
        let Some(slots) = array::<u64>(from, "PAIR_SLOTS") else { return };
        let zones = slots.len().isqrt().max(1);
        for pair in 0..slots.len() {
            // The kernel's part of the word is its low half.
            match slots.get(&pair, 0).map(|slot| slot as u32) {
                Ok(slot) if slot != 0 => {
                    self.add_pair(((pair / zones) as u16, (pair % zones) as u16), &counters, slot);
                }
                _ => {}
            }
        }
        // Pairs that had found no slot of their own.
        self.add_pair((0, 0), &counters, 0);
    }

    fn add_pair(&mut self, zones: (u16, u16), counters: &Counted, slot: u32) {
        if let Some(counted) = counters.pair(slot).filter(|counted| *counted != [0; PAIR_WORDS]) {
            add(self.pairs.entry(zones).or_insert([0; PAIR_WORDS]), &counted);
        }
    }

    fn add_rules(&mut self, from: &Path) {
        let Some(counters) = Counted::open(from, "RULE_COUNTERS") else { return };
        for rule in 0..counters.entries() {
            let Some(values) = counters.rule(rule) else { continue };
            let counted = sum_rule(values.iter());
            if counted != [0; RULE_WORDS] {
                add_rule(self.rules.entry(rule).or_default(), &counted);
            }
        }
    }

    /// Writes it into the ledgers of `maps`, whole.
    pub(super) fn write(&self, maps: &Path) -> Result<(), DatapathError> {
        let mut pairs: Vec<(u64, [u64; PAIR_WORDS])> = Vec::new();
        for ((from, to), sums) in &self.pairs {
            pairs.push((TAKEN | u64::from(*from) << 16 | u64::from(*to), *sums));
        }
        let mut pairs = pairs.into_iter();
        rewrite(maps, PAIR_LEDGER, |_| -> PairEntry {
            let (mark, sums) = pairs.next().unwrap_or((0, [0; PAIR_WORDS]));
            std::array::from_fn(|word| if word == 0 { mark } else { sums[word - 1] })
        })?;
        rewrite(maps, RULE_LEDGER, |rule| self.rules.get(&rule).copied().unwrap_or_default())
    }

    /// Where they are pinned.
    pub(super) fn places(maps: &Path) -> [PathBuf; 2] {
        [PAIR_LEDGER, RULE_LEDGER].map(|name| maps.join(name))
    }

    /// Makes the ledgers that `maps` lacks.
    pub(super) fn make(maps: &Path, pairs: u32, rules: u32) -> Result<(), DatapathError> {
        for (name, value, entries) in
            [(PAIR_LEDGER, size_of::<PairEntry>(), pairs), (RULE_LEDGER, size_of::<[u64; RULE_WORDS]>(), rules)]
        {
            let path = maps.join(name);
            if !path.exists() {
                let made = create_array(value as u32, entries).and_then(|map| pin(&map, &path));
                made.map_err(|source| DatapathError::system(format!("make {}", path.display()), source))?;
            }
        }
        Ok(())
    }
}

/// The last word of a rule's counters is no sum but a time: the latest holds.
pub(super) fn add_rule(into: &mut [u64; RULE_WORDS], counted: &[u64; RULE_WORDS]) {
    let latest = into[RULE_WORDS - 1].max(counted[RULE_WORDS - 1]);
    add(into, counted);
    into[RULE_WORDS - 1] = latest;
}

fn map<T: aya::Pod>(maps: &Path, name: &str) -> Option<Result<Mapping<T>, io::Error>> {
    let map = open(maps, name)?;
    let entries = Array::<_, T>::try_from(aya::maps::Map::Array(map)).ok()?.len();
    let map = open(maps, name)?;
    Some(Mapping::new(map.fd().as_fd(), entries as usize))
}

fn rewrite<T: aya::Pod>(maps: &Path, name: &'static str, mut value: impl FnMut(u32) -> T) -> Result<(), DatapathError> {
    let Some(mapping) = map::<T>(maps, name) else { return Err(DatapathError::Missing(name)) };
    let mapping = mapping.map_err(|source| DatapathError::system(format!("map {name} into memory"), source))?;
    (0..mapping.len()).for_each(|index| mapping.write(index, value(index as u32)));
    Ok(())
}
