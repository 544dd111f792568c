//! What the decision asks of the outside: maps, the clock, two atomic steps and a place for events. The kernel programs
//! bind it to maps; tests and the daemon bind it to memory.

use core::cell::Cell;

use crate::control::Control;
use crate::count::{BlockedBucket, EventBudget, PairCounters, RuleCounters};
use crate::event::Event;
use crate::flow::{Bucket, Flow};
use crate::fragment::Datagram;
use crate::image::Page;

/// Access to the policy image.
pub trait Pages {
    /// The page with this number; `None` beyond the map's end.
    fn page(&self, number: u32) -> Option<&Page>;
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
    /// Compare and swap on four tags.
    fn swap_tags(&self, tags: &Cell<u64>, old: u64, new: u64) -> bool;
    /// Compare and swap on a generation, with full ordering.
    fn swap_generation(&self, generation: &Cell<u32>, old: u32, new: u32) -> bool;
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
