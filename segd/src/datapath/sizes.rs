//! How large the maps are made. Fixed when they are made: a policy that outgrows them gets larger ones at the next start.

use serde::{Deserialize, Serialize};

use crate::compile::{Image, Registry};
use crate::policy::Policy;

/// Entries of the maps whose size depends on the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Zones that the pair counters have room for; a power of two.
    pub zones: u32,
    /// Rules that have counters.
    pub rules: u32,
    /// Pages of the image map, of 1 KiB.
    pub pages: u32,
    /// Buckets of the connection table, of eight connections; a power of two.
    pub buckets: u32,
    /// `limits.connections`, for the capacity that is shown.
    pub connections: u32,
    /// `limits.half_open`, likewise.
    pub half_open: u32,
}

/// Pages beyond those of the policy, for small changes.
const SPARE_PAGES: u32 = 256;
/// The image map grows in steps of a megabyte.
const PAGES_STEP: u32 = 1024;
const ZONES_AT_LEAST: u32 = 16;
const RULES_AT_LEAST: u32 = 1024;
/// Pairs that get counters of their own; there is one set of these for each CPU.
const PAIRS_AT_MOST: u32 = 8192;

impl Sizes {
    /// Room for a policy, and for one that grew to twice its size.
    #[must_use]
    pub fn for_policy(policy: &Policy, image: &Image, registry: &Registry) -> Self {
        let (zones, rules) = registry.ends();
        let limits = policy.limits;
        Self {
            zones: (zones * 2).next_power_of_two().max(ZONES_AT_LEAST),
            rules: (rules * 2).next_power_of_two().max(RULES_AT_LEAST),
            pages: (image.page_count() * 2 + SPARE_PAGES).next_multiple_of(PAGES_STEP),
            buckets: limits.connections.saturating_add(limits.half_open).div_ceil(8).next_power_of_two().max(64),
            connections: limits.connections,
            half_open: limits.half_open,
        }
    }

    /// Room for two policies at one time.
    #[must_use]
    pub fn with(self, other: &Self) -> Self {
        Self {
            zones: self.zones.max(other.zones),
            rules: self.rules.max(other.rules),
            pages: (self.pages + other.pages).next_power_of_two(),
            ..self
        }
    }

    /// Pairs of zones.
    pub(super) const fn pairs(&self) -> u32 {
        self.zones * self.zones
    }

    /// Sets of pair counters; the first is for pairs that found no room.
    pub(super) fn pair_counters(&self) -> u32 {
        self.pairs().min(PAIRS_AT_MOST) + 1
    }

    /// These sizes, where they serve a policy for which `wanted` would be made, and else the wanted ones. A map that stays as
    /// large as it is can be shared.
    pub(super) fn grown_to(&self, wanted: &Self) -> Self {
        let enough = |have: u32, wanted: u32| if have >= wanted / 2 { have } else { wanted };
        Self {
            zones: enough(self.zones, wanted.zones),
            rules: enough(self.rules, wanted.rules),
            pages: enough(self.pages, wanted.pages),
            ..*wanted
        }
    }

    /// Whether maps of this size serve a policy for which `wanted` would be made. Those have room for twice the policy, so
    /// half of it is enough. A connection table of another size does not serve: its entries would stand in the wrong
    /// buckets.
    pub(super) const fn serve(&self, wanted: &Self) -> bool {
        self.zones >= wanted.zones / 2
            && self.rules >= wanted.rules / 2
            && self.pages >= wanted.pages / 2
            && self.buckets == wanted.buckets
    }
}
