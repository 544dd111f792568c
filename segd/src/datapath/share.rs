//! Which maps a larger set shares with the one before it: every map whose layout stays, but for the policy's own. What is shared
//! is not copied: connections, counters and the ring go on while the programs change over, and both sets see them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use aya::Pod;
use aya::maps::{Array, Map, MapData};
use segd_common::count::{BLOCKED_BUCKETS, BlockedBucket, EventBudget, PairCounters, RuleCounters};
use segd_common::flow::{Bucket, Flow, WAYS};
use segd_common::fragment::{DATAGRAMS, Datagram};
use segd_common::image::Page;
use segd_common::interface::{INTERFACES, Interface};

use super::ledger::{PAIR_LEDGER, RULE_LEDGER};
use super::{DatapathError, Sizes};

/// The ring of events: its size is the programs' own, and it outlives every set.
const RING: &str = "EVENTS";

/// A pin's map, if it is there.
pub(super) fn open(maps: &Path, name: &str) -> Option<MapData> {
    MapData::from_pin(maps.join(name)).ok()
}

pub(super) fn array<T: Pod>(maps: &Path, name: &str) -> Option<Array<MapData, T>> {
    Array::try_from(Map::Array(open(maps, name)?)).ok()
}

/// Size of a value and number of entries of a pinned map.
pub(super) fn layout(maps: &Path, name: &str) -> Option<(usize, u32)> {
    let info = open(maps, name)?.info().ok()?;
    Some((info.value_size() as usize, info.max_entries()))
}

/// Whether two folders pin one and the same map by this name.
pub(super) fn same(one: &Path, other: &Path, name: &str) -> bool {
    let inode = |maps: &Path| fs::metadata(maps.join(name)).map(|there| (there.dev(), there.ino())).ok();
    inode(one).is_some() && inode(one) == inode(other)
}

/// Maps that only make sense together, with the layout that they have in a set of these sizes.
fn groups(sizes: &Sizes) -> Vec<Vec<(&'static str, usize, u32)>> {
    vec![
        vec![("DATAGRAM", size_of::<Datagram>(), DATAGRAMS)],
        vec![("BLOCKED", size_of::<BlockedBucket>(), BLOCKED_BUCKETS)],
        vec![("INTERFACE", size_of::<Interface>(), INTERFACES)],
        vec![("EVENT_BUDGET", size_of::<EventBudget>(), 1)],
        vec![("BUCKETS", size_of::<Bucket>(), sizes.buckets), ("FLOWS", size_of::<Flow>(), sizes.buckets * WAYS)],
        vec![
            ("PAIR_SLOTS", 8, sizes.pairs()),
            ("PAIR_NEXT", 4, 1),
            ("PAIR_COUNTERS", size_of::<PairCounters>(), sizes.pair_counters()),
        ],
        vec![("RULE_COUNTERS", size_of::<RuleCounters>(), sizes.rules)],
    ]
}

/// Links what a set of these sizes can share from `current` into `next`.
pub(super) fn link(current: &Path, next: &Path, sizes: &Sizes) -> Result<(), DatapathError> {
    for group in groups(sizes) {
        let fits = |(name, value, entries): &(&str, usize, u32)| layout(current, name) == Some((*value, *entries));
        if group.iter().all(fits) {
            group.iter().try_for_each(|(name, ..)| link_one(current, next, name))?;
            let ledger = match group[0].0 {
                "PAIR_SLOTS" => Some(PAIR_LEDGER),
                "RULE_COUNTERS" => Some(RULE_LEDGER),
                _ => None,
            };
            ledger.filter(|name| current.join(name).exists()).map_or(Ok(()), |name| link_one(current, next, name))?;
        }
    }
    if current.join(RING).exists() { link_one(current, next, RING) } else { Ok(()) }
}

/// Links what another build's set counted into a folder of its own.
/// The maps live on by it, and are counted in for as long as that build's programs run.
pub(super) fn link_counters(from: &Path, before: &Path) -> Result<(), DatapathError> {
    fs::create_dir_all(before).map_err(|why| DatapathError::Pin {
        what: "make the folder of",
        path: before.into(),
        why: why.to_string(),
    })?;
    let counters = ["PAIR_SLOTS", "PAIR_COUNTERS", "RULE_COUNTERS", PAIR_LEDGER, RULE_LEDGER];
    counters.into_iter().filter(|name| from.join(name).exists()).try_for_each(|name| link_one(from, before, name))
}

/// Room for whatever the counters in a folder speak of, if there are any.
pub(super) fn room_for_counters(before: &Path, wanted: &Sizes) -> Sizes {
    let entries = |name| layout(before, name).map_or(0, |(_, entries)| entries);
    Sizes {
        zones: wanted.zones.max(entries("PAIR_SLOTS").isqrt()),
        rules: wanted.rules.max(entries("RULE_COUNTERS")),
        ..*wanted
    }
}

/// A second name for a pin: the map has both, and lives as long as one of them.
fn link_one(current: &Path, next: &Path, name: &str) -> Result<(), DatapathError> {
    fs::hard_link(current.join(name), next.join(name)).map_err(|why| DatapathError::Pin {
        what: "share",
        path: current.join(name),
        why: why.to_string(),
    })
}

/// The sizes of a set that is there, if its values have this build's layout. aya would take an incompatible pinned map
/// without a word, so it is looked at first.
pub(super) fn pinned_sizes(maps: &Path, wanted: &Sizes) -> Option<Sizes> {
    let entries =
        |name: &str, size: usize| layout(maps, name).filter(|(value, _)| *value == size).map(|(_, entries)| entries);
    Some(Sizes {
        zones: entries("PAIR_SLOTS", 8)?.isqrt(),
        rules: entries("RULE_COUNTERS", size_of::<RuleCounters>())?,
        pages: entries("IMAGE", size_of::<Page>())?,
        buckets: entries("BUCKETS", size_of::<Bucket>())?,
        ..*wanted
    })
}

/// Whether a set of these sizes is there, whole.
pub(super) fn is_whole(maps: &Path, sizes: &Sizes) -> bool {
    let fits = |(name, value, entries): &(&str, usize, u32)| layout(maps, name) == Some((*value, *entries));
    groups(sizes).iter().flatten().all(fits)
        && layout(maps, RING).is_some()
        && layout(maps, "CONTROL") == Some((size_of::<segd_common::control::Control>(), 1))
        && layout(maps, "IMAGE") == Some((size_of::<Page>(), sizes.pages))
}
