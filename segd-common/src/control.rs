//! The one value that says which policy holds. It is the only entry of an array map of its own.

use crate::image::Root;

/// Places for roots: the current one, the previous one, and the next while it is written.
pub const ROOTS: usize = 4;

/// What every packet reads first. Written by the daemon only; the selector is written last, by one store.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Control {
    /// Bits 0 to 7: current root; 8 to 15: previous root; 16 to 63: jiffies after which the previous one holds again, 0
    /// for never. One word, so that no packet sees half a change, and nobody has to be alive for the way back.
    pub selector: u64,
    /// Makes the places of connections unpredictable.
    pub seed: u64,
    /// Until these jiffies connections that were open before the first start are adopted; 0: never.
    pub adopt_until: u64,
    /// Buckets of the connection table, less one; a power of two, less one.
    pub bucket_mask: u32,
    /// Jiffies of a second.
    pub hz: u32,
    /// Zones that the pair counters have room for.
    pub zones: u32,
    /// Events a second and CPU; more are counted as lost.
    pub event_rate: u32,
    /// Policies.
    pub roots: [Root; ROOTS],
}

const _: () = assert!(size_of::<Control>() == 40 + ROOTS * 32);

impl Control {
    /// The selector of a root that needs no confirmation.
    #[must_use]
    pub const fn selector(current: u8, previous: u8, deadline: u64) -> u64 {
        current as u64 | (previous as u64) << 8 | deadline << 16
    }

    /// The policy that holds at `now`.
    #[inline(always)]
    #[must_use]
    pub fn root(&self, now: u64) -> Option<&Root> {
        let selector = self.selector;
        let deadline = selector >> 16;
        let back = deadline != 0 && now >= deadline;
        let index = if back { selector >> 8 } else { selector } & 0xff;
        self.roots.get(index as usize)
    }
}
