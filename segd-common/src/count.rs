//! Counters, each in a slot of its own CPU, and the table that tells a blocked connection from its retransmissions.

use core::cell::Cell;

use crate::clock::since;
use crate::env::Env;
use crate::reason::Reason;

/// Room for reasons; larger than their number, so that a new one is no new layout, and a power of two, so that an index can
/// be masked.
pub const REASONS: usize = 32;

const _: () = assert!(Reason::COUNT <= REASONS);

/// One CPU's counters of one zone pair, from the initiator to the responder. Indexed by [`Reason`]. The next build's daemon
/// reads them on: the order stays, whatever the room for reasons.
#[derive(Debug)]
#[repr(C)]
pub struct PairCounters {
    /// Packets; a segmentation-offload packet counts as the frames it stands for.
    pub packets: [Cell<u64>; REASONS],
    /// Bytes of their frames.
    pub bytes: [Cell<u64>; REASONS],
    /// Blocked connections, without their retransmissions.
    pub blocked: [Cell<u64>; REASONS],
    /// New allowed connections.
    pub connections: Cell<u64>,
}

const _: () = assert!(size_of::<PairCounters>() == 8 * (3 * REASONS + 1));

/// One CPU's counters of one rule. What is added comes last: the next build's daemon reads them on.
#[derive(Debug)]
#[repr(C)]
pub struct RuleCounters {
    /// Packets of its connections, both ways.
    pub packets: Cell<u64>,
    /// Bytes of its connections, both ways.
    pub bytes: Cell<u64>,
    /// Connections it let in.
    pub connections: Cell<u64>,
    /// Jiffies of the last packet; 0: none yet.
    pub last_hit: Cell<u64>,
}

/// One CPU's allowance of events.
#[derive(Debug)]
#[repr(C)]
pub struct EventBudget {
    /// Events that may still be sent.
    pub tokens: Cell<u32>,
    /// Low word of the jiffies of the last refill.
    pub refilled: Cell<u32>,
    /// Events that were not sent.
    pub lost: Cell<u64>,
}

/// Blocked connections of one hash: four of them, each a 32-bit tag and the low word of the jiffies it was last seen.
#[derive(Debug)]
#[repr(C)]
pub struct BlockedBucket(pub [Cell<u64>; 4]);

/// Buckets of the table of blocked connections: 512 KiB.
pub const BLOCKED_BUCKETS: u32 = 1 << 14;

/// Seconds after which a blocked connection that tries again is a new one. TCP's pauses between SYNs grow to 64 s.
const BLOCKED_SECS: u32 = 120;

#[inline(always)]
pub(crate) fn add(cell: &Cell<u64>, value: u64) {
    cell.set(cell.get().wrapping_add(value));
}

/// Whether this is the first packet of a blocked connection.
#[inline(always)]
pub(crate) fn first_blocked<E: Env>(env: &E, hash: u64, now: u64, hz: u32) -> bool {
    let Some(bucket) = env.blocked(hash as u32 & (BLOCKED_BUCKETS - 1)) else { return true };
    let tag = hash >> 32 | 1;
    let entry = tag << 32 | u64::from(now as u32);
    for cell in &bucket.0 {
        let there = cell.get();
        if there >> 32 == tag {
            cell.set(entry);
            return since(now, there as u32) >= hz * BLOCKED_SECS;
        }
        // Ways fill up in their order, and are never emptied.
        if there == 0 {
            cell.set(entry);
            return true;
        }
    }
    // Any of the four, as the hash says: a search for the oldest would cost more, in branches that nobody can predict, than
    // all the rest of a flood's packet.
    let [a, b, c, d] = &bucket.0;
    match hash as u32 >> 30 {
        0 => a.set(entry),
        1 => b.set(entry),
        2 => c.set(entry),
        _ => d.set(entry),
    }
    true
}

/// Whether an event may be sent now. Tokens come back at `rate` a second, and no more than a second's worth is kept; an
/// event leaves `spared` of them to others.
#[inline(always)]
pub(crate) fn may_emit(budget: &EventBudget, now: u64, rate: u32, spared: u32, hz: u32) -> bool {
    // One CPU's own, and full the first time: no stamp is ahead of it, and 0 is no age to be forgiven.
    if (now as u32).wrapping_sub(budget.refilled.get()) >= hz {
        budget.tokens.set(rate);
        budget.refilled.set(now as u32);
    }
    let tokens = budget.tokens.get();
    if tokens <= spared {
        add(&budget.lost, 1);
        return false;
    }
    budget.tokens.set(tokens - 1);
    true
}
