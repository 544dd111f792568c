//! Counters as whatever build may have laid them out: a set that is left may be another build's. The order is the same in all
//! of them, and a reason's number has one meaning for ever; the room for reasons may differ.

use std::os::fd::AsFd;
use std::path::Path;

use aya::maps::MapData;
use segd_common::count::REASONS;

use super::counters::{PAIR_WORDS, RULE_WORDS, sum_words};
use super::raw::{Mapping, lookup};
use super::share::open;

/// A counter map in which each CPU has its own.
pub(super) struct Counted {
    map: MapData,
    words: usize,
    cpus: usize,
    entries: u32,
}

impl Counted {
    /// The one that is pinned there, if it is there.
    pub(super) fn open(maps: &Path, name: &str) -> Option<Self> {
        let (map, words, entries) = opened(maps, name)?;
        Some(Self { map, words, cpus: aya::util::nr_cpus().ok()?, entries })
    }

    pub(super) const fn entries(&self) -> u32 {
        self.entries
    }

    /// What all CPUs counted for a pair; `None`: its words say nothing to this build.
    pub(super) fn pair(&self, entry: u32) -> Option<[u64; PAIR_WORDS]> {
        let all = self.read(entry)?;
        Some(sum_words(all.chunks_exact(self.words).map(pair_of).collect::<Option<Vec<_>>>()?.iter()))
    }

    /// What each CPU counted for a rule.
    pub(super) fn rule(&self, entry: u32) -> Option<Vec<[u64; RULE_WORDS]>> {
        self.read(entry)?.chunks_exact(self.words).map(rule_of).collect()
    }

    fn read(&self, entry: u32) -> Option<Vec<u64>> {
        let mut all = vec![0; self.words * self.cpus];
        lookup(self.map.fd().as_fd(), entry, &mut all).ok()?;
        Some(all)
    }
}

/// Each entry of an array map of words.
pub(super) fn each(maps: &Path, name: &str, mut visit: impl FnMut(u32, &[u64])) {
    let Some((map, words, entries)) = opened(maps, name) else { return };
    let Ok(mapping) = Mapping::<u64>::new(map.fd().as_fd(), words * entries as usize) else { return };
    for entry in 0..entries {
        let start = entry as usize * words;
        let values: Vec<u64> = (start..start + words).filter_map(|word| mapping.read(word)).collect();
        visit(entry, &values);
    }
}

fn opened(maps: &Path, name: &str) -> Option<(MapData, usize, u32)> {
    let map = open(maps, name)?;
    let info = map.info().ok()?;
    let words = (info.value_size() as usize).div_ceil(8);
    Some((map, words, info.max_entries()))
}

/// Packets, bytes and blocked connections by reason, then connections. What is counted for a reason that this build has no room
/// for has no name here.
pub(super) fn pair_of(words: &[u64]) -> Option<[u64; PAIR_WORDS]> {
    let (connections, by_reason) = words.split_last()?;
    let room = by_reason.len() / 3;
    if room == 0 || room * 3 != by_reason.len() {
        return None;
    }
    Some(std::array::from_fn(|word| match (word / REASONS, word % REASONS) {
        (3, _) => *connections,
        (part, reason) if reason < room => by_reason[part * room + reason],
        _ => 0,
    }))
}

/// Packets, bytes, connections, and when it was last hit.
pub(super) fn rule_of(words: &[u64]) -> Option<[u64; RULE_WORDS]> {
    words.get(..RULE_WORDS)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pair's words with this room for reasons: each says where it stands.
    fn laid(room: usize) -> Vec<u64> {
        (0..3 * room).map(|word| (word / room * 1000 + word % room) as u64 + 1).chain([77]).collect()
    }

    #[test]
    fn a_pair_reads_the_same_whatever_room_its_build_had_for_reasons() {
        for room in [REASONS / 2, REASONS, 2 * REASONS] {
            let read = pair_of(&laid(room)).unwrap();
            for part in 0..3 {
                for reason in 0..REASONS {
                    let counted = if reason < room { (part * 1000 + reason) as u64 + 1 } else { 0 };
                    assert_eq!(read[part * REASONS + reason], counted, "room {room}, part {part}, reason {reason}");
                }
            }
            assert_eq!(read[3 * REASONS], 77, "room {room}");
        }
    }

    #[test]
    fn words_that_no_build_lays_out_so_say_nothing() {
        for words in [0, 1, 2, 3, 5, 3 * REASONS, 3 * REASONS + 2] {
            assert_eq!(pair_of(&vec![9; words]), None, "{words} words");
        }
        assert_eq!(rule_of(&[1, 2, 3]), None);
        assert_eq!(rule_of(&[1, 2, 3, 4, 5]), Some([1, 2, 3, 4]));
    }
}
