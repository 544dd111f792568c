//! What a set of maps counted, read before another set takes its place. A map that is not there, or has another layout, is
//! left out: counters then begin anew, and nothing else is lost.

use std::path::Path;

use aya::Pod;
use aya::maps::{Array, Map, MapData, PerCpuArray, PerCpuValues};
use segd_common::control::{Control, ROOTS};
use segd_common::image::Root;
use segd_common::interface::Interface;

use super::counters::PAIR_WORDS;
use super::set::unpack;

/// Counters and interfaces of a set.
#[derive(Default)]
pub(super) struct Carry {
    /// By zones.
    pub(super) pairs: Vec<CarriedPair>,
    /// Of pairs that had found no slot.
    pub(super) unplaced: Option<PerCpuValues<[u64; PAIR_WORDS]>>,
    /// By number.
    pub(super) rules: Vec<(u32, PerCpuValues<[u64; 4]>)>,
    /// What the programs knew.
    pub(super) interfaces: Vec<Interface>,
    /// The last generation that was in force: the next set counts on from it.
    pub(super) generation: u32,
}

/// From, to and what each CPU counted.
type CarriedPair = ((u32, u32), PerCpuValues<[u64; PAIR_WORDS]>);

/// [`Control`] in words; maps are read as plain words.
const CONTROL_WORDS: usize = size_of::<Control>() / 8;
const ROOT_WORDS: usize = size_of::<Root>() / 8;

impl Carry {
    /// Reads the set that is pinned in `maps`.
    pub(super) fn read(maps: &Path) -> Self {
        let mut carry = Self::default();
        if let Some(control) = array::<[u64; CONTROL_WORDS]>(maps, "CONTROL").and_then(|map| map.get(&0, 0).ok()) {
            // The roots stand at the end, and each begins with its generation.
            let generation = |place: usize| control[CONTROL_WORDS - (ROOTS - place) * ROOT_WORDS] as u32;
            carry.generation = (0..ROOTS).map(generation).max().unwrap_or(0);
        }
        if let Some(slots) = array(maps, "PAIR_SLOTS") {
            carry.read_pairs(maps, &slots);
        }
        if let Some(rules) = per_cpu::<[u64; 4]>(maps, "RULE_COUNTERS") {
            let used = |values: &PerCpuValues<[u64; 4]>| values.iter().any(|cpu| cpu.iter().any(|word| *word != 0));
            carry.rules =
                (0..rules.len()).filter_map(|rule| Some((rule, rules.get(&rule, 0).ok().filter(used)?))).collect();
        }
        if let Some(interfaces) = array::<u64>(maps, "INTERFACE") {
            carry.interfaces = interfaces.iter().flatten().map(unpack).filter(|known| known.ifindex != 0).collect();
        }
        carry
    }

    fn read_pairs(&mut self, maps: &Path, slots: &Array<MapData, u64>) {
        let Some(counters) = per_cpu::<[u64; PAIR_WORDS]>(maps, "PAIR_COUNTERS") else { return };
        let zones = slots.len().isqrt().max(1);
        for (pair, slot) in (0..).zip(slots.iter().flatten()).filter(|(_, slot)| *slot != 0) {
            let pair: u32 = pair;
            if let Ok(values) = counters.get(&(slot as u32), 0) {
                self.pairs.push(((pair / zones, pair % zones), values));
            }
        }
        self.unplaced = counters.get(&0, 0).ok();
    }
}

fn array<T: Pod>(maps: &Path, name: &str) -> Option<Array<MapData, T>> {
    Array::try_from(Map::Array(MapData::from_pin(maps.join(name)).ok()?)).ok()
}

fn per_cpu<T: Pod>(maps: &Path, name: &str) -> Option<PerCpuArray<MapData, T>> {
    PerCpuArray::try_from(Map::PerCpuArray(MapData::from_pin(maps.join(name)).ok()?)).ok()
}
