//! What the decision asks of the outside: maps, the clock, two atomic steps and a place for events. The kernel programs
//! bind it to maps; tests and the daemon bind it to memory.

use core::cell::Cell;

use crate::control::Control;
use crate::count::{BlockedBucket, EventBudget, PairCounters, RuleCounters};
use crate::event::Event;
use crate::flow::{self, Birth, Bucket, Flow, FlowKey};
use crate::fragment::Datagram;
use crate::image::{self, Key, Page, Ref};

/// Access to the policy image.
pub trait Pages {
    /// The page with this number; `None` beyond the map's end.
    fn page(&self, number: u32) -> Option<&Page>;
    /// [`crate::image::walk`]. The kernel programs put it into a function that is verified once, and not at each call.
    #[inline(always)]
    fn walk(&self, start: Ref, key: Key) -> Option<u32>
    where
        Self: Sized,
    {
        image::walk(self, start, key)
    }
}

/// The same pages, walked in line as far as tables go: for what nearly every packet asks.
pub(crate) struct Inline<'a, P>(pub(crate) &'a P);

impl<P: Pages> Pages for Inline<'_, P> {
    #[inline(always)]
    fn page(&self, number: u32) -> Option<&Page> {
        self.0.page(number)
    }
    #[inline(always)]
    fn walk(&self, start: Ref, key: Key) -> Option<u32> {
        image::walk_near(self.0, start, key)
    }
}

/// Everything else. An `Option` that is `None` where a map ought to have a value makes the caller deny.
pub trait Env: Pages {
    /// Jiffies since boot.
    fn now(&self) -> u64;
    /// The one control value.
    fn control(&self) -> Option<&Control>;
    /// A bucket of the connection table.
    fn bucket(&self, number: u32) -> Option<&Bucket>;
    /// An entry of the connection table: bucket × 8 + way.
    fn flow(&self, number: u32) -> Option<&Flow>;
    /// `value`, which is below the power of two `bound`. The kernel's compiler may know why and leave the check out; the
    /// verifier does not, and wants to see it.
    fn below(&self, value: u32, bound: u32) -> u32;
    /// What was written to the [`crate::pipeline::Work`] before is read from memory after this. The verifier does not follow
    /// values through it: the ways that lead here meet, and what comes is followed once.
    fn meet(&self);
    /// Compare and swap on four tags.
    fn swap_tags(&self, tags: &Cell<u64>, old: u64, new: u64) -> bool;
    /// Compare and swap on a generation, with full ordering.
    fn swap_generation(&self, generation: &Cell<u32>, old: u32, new: u32) -> bool;
    /// [`flow::seek`], likewise.
    #[inline(always)]
    fn seek(&self, key: &FlowKey, hash: u64, mask: u32) -> u64
    where
        Self: Sized,
    {
        flow::seek(self, key, hash, mask)
    }
    /// [`flow::create`], likewise. `birth` is the one of the [`crate::pipeline::Work`].
    #[inline(always)]
    fn create(&self, birth: &Birth, mask: u32, hz: u32) -> bool
    where
        Self: Sized,
    {
        flow::create(self, birth, mask, hz)
    }
    /// A place of the datagram table.
    fn datagram(&self, number: u32) -> Option<&Datagram>;
    /// A bucket of the table of blocked connections.
    fn blocked(&self, number: u32) -> Option<&BlockedBucket>;
    /// Where a zone pair's counters are: from × zones + to.
    fn pair_slot(&self, pair: u32) -> Option<&Cell<u32>>;
    /// Gives a pair its counters; returns the slot that it has afterwards.
    fn claim_pair_slot(&self, slot: &Cell<u32>) -> u32;
    /// This CPU's counters in a slot.
    fn pair_counters(&self, slot: u32) -> Option<&PairCounters>;
    /// This CPU's counters of a rule.
    fn rule_counters(&self, rule: u32) -> Option<&RuleCounters>;
    /// This CPU's allowance of events.
    fn event_budget(&self) -> Option<&EventBudget>;
    /// Hands an event to the daemon; `false`: there was no room.
    fn emit(&self, event: &Event) -> bool;
}
