//! Where connections stand: plain arrays, eight tags to a bucket, two buckets for each key. One look-up serves both
//! directions. A live session is never evicted: a connection that is half-open, over or expired makes room, or nobody does.

use core::cell::Cell;

use super::{BUSY, Birth, Direction, Flow, FlowKey};
use crate::env::Env;

/// Ways of a bucket.
pub const WAYS: u32 = 8;

/// Eight 16-bit tags; 0 is a free way.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Bucket(pub [Cell<u64>; 2]);

/// A connection that was found.
#[derive(Clone, Copy)]
#[repr(align(8))]
pub struct Found<'a> {
    /// Its entry.
    pub flow: &'a Flow,
    /// Which side sent the packet.
    pub direction: Direction,
}

/// The two buckets and the tag of a hash.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Spot {
    first: u32,
    second: u32,
    tag: u16,
}

impl Spot {
    #[inline(always)]
    fn of(hash: u64, mask: u32) -> Self {
        let tag = (hash >> 48) as u16;
        Self { first: hash as u32 & mask, second: (hash >> 24) as u32 & mask, tag: if tag == 0 { 1 } else { tag } }
    }

    /// The way that a search for room begins with, in its low bits; so a flood wears out all ways alike.
    #[inline(always)]
    const fn start(hash: u64) -> u32 {
        (hash >> 16) as u32
    }

    /// The entry at which it begins: where the connection most likely stands, or else the next one will.
    #[inline(always)]
    const fn likely(&self, hash: u64) -> u32 {
        self.first * WAYS + (Self::start(hash) & (WAYS - 1))
    }
}

const LANES: u64 = 0x0001_0001_0001_0001;

/// The top bits of those of four lanes that hold `tag`; lanes above one that does may be in it by mistake.
#[inline(always)]
fn holding(tags: u64, tag: u16) -> u64 {
    let difference = tags ^ LANES.wrapping_mul(u64::from(tag));
    difference.wrapping_sub(LANES) & !difference & (LANES << 15)
}

/// The number of the lowest lane whose top bit is set.
#[inline(always)]
const fn lowest(lanes: u64) -> u32 {
    if lanes & 0x8000 != 0 {
        0
    } else if lanes & 0x8000_0000 != 0 {
        1
    } else if lanes & 0x8000_0000_0000 != 0 {
        2
    } else {
        3
    }
}

#[inline(always)]
fn lane(tags: u64, lane: u32) -> u16 {
    (tags >> (lane * 16)) as u16
}

/// The connection of a packet, alive or not.
#[inline(always)]
pub fn find<'a, E: Env>(env: &'a E, key: &FlowKey, hash: u64, mask: u32) -> Option<Found<'a>> {
    let found = env.seek(key, hash, mask);
    if found == 0 {
        return None;
    }
    let direction = if found & SEEK_REPLY != 0 { Direction::Reply } else { Direction::Forward };
    Some(Found { flow: env.flow(found as u32)?, direction })
}

/// What a quick look finds.
pub(crate) enum Glance<'a> {
    /// The connection.
    Found(Found<'a>),
    /// There is none.
    Nothing,
    /// A tag was the key's and its connection another one: only [`find`] knows.
    Unclear,
}

/// Looks where a connection most likely stands: at the way that a search for room begins with, then at the first way of each
/// half bucket that has the key's tag. Short enough to stand in line.
#[inline(always)]
pub(crate) fn glance<'a, E: Env>(env: &'a E, key: &FlowKey, hash: u64, mask: u32) -> Glance<'a> {
    let spot = Spot::of(hash, mask);
    if let Some(flow) = env.flow(spot.likely(hash))
        && let Some(direction) = key.side_of(flow)
    {
        return Glance::Found(Found { flow, direction });
    }
    for number in [spot.first, spot.second] {
        let Some(bucket) = env.bucket(number) else { return Glance::Unclear };
        for (half, tags) in bucket.0.iter().enumerate() {
            let held = holding(tags.get(), spot.tag);
            if held == 0 {
                continue;
            }
            let place = number * WAYS + half as u32 * 4 + lowest(held);
            let Some(flow) = env.flow(place) else { return Glance::Unclear };
            return match key.side_of(flow) {
                Some(direction) => Glance::Found(Found { flow, direction }),
                None => Glance::Unclear,
            };
        }
    }
    Glance::Nothing
}

const SEEK_FOUND: u64 = 1 << 32;
const SEEK_REPLY: u64 = 1 << 33;

#[inline(always)]
const fn sought(place: u32, direction: Direction) -> u64 {
    let reply = if direction as u8 == Direction::Reply as u8 { SEEK_REPLY } else { 0 };
    SEEK_FOUND | reply | place as u64
}

/// Where a connection stands: its entry's number, and in the high word that there is one, and whether the key is the
/// responder's. One word, as a function of the kernel's can return it. 0: there is none.
#[inline(always)]
pub fn seek<E: Env>(env: &E, key: &FlowKey, hash: u64, mask: u32) -> u64 {
    let spot = Spot::of(hash, mask);
    // Looked at first although tags would rule it out: a new connection will be written there, and three lines that are far
    // away are waited for at the same time. Without its tag it is only believed when it is complete: an entry whose tag could
    // not be set is worth nothing, whatever stands in it.
    let likely = spot.likely(hash);
    if let Some(flow) = env.flow(likely)
        && !matches!(flow.generation.get(), 0 | BUSY)
        && let Some(direction) = key.side_of(flow)
    {
        return sought(likely, direction);
    }
    for number in [spot.first, spot.second] {
        let Some(bucket) = env.bucket(number) else { return 0 };
        for (half, tags) in bucket.0.iter().enumerate() {
            let tags = tags.get();
            if holding(tags, spot.tag) == 0 {
                continue;
            }
            for way in 0..4 {
                if lane(tags, way) != spot.tag {
                    continue;
                }
                let place = number * WAYS + half as u32 * 4 + way;
                let Some(flow) = env.flow(place) else { return 0 };
                if let Some(direction) = key.side_of(flow) {
                    return sought(place, direction);
                }
            }
        }
    }
    0
}

/// Finds room for a new connection and writes it there. `false`: there is none.
#[inline(always)]
pub fn create<E: Env>(env: &E, birth: &Birth, mask: u32, hz: u32) -> bool {
    let spot = Spot::of(birth.hash.get(), mask);
    if settle(env, birth, spot, &Free) {
        return true;
    }
    settle(env, birth, spot, &Evict { now: birth.now.get(), hz })
}

/// Which ways a search may take.
trait Choice {
    fn tags(&self, tags: u64) -> bool;
    fn way(&self, tag: u16, flow: &Flow) -> bool;
}

/// Ways that nobody has.
struct Free;

impl Choice for Free {
    #[inline(always)]
    fn tags(&self, tags: u64) -> bool {
        holding(tags, 0) != 0
    }
    #[inline(always)]
    fn way(&self, tag: u16, _flow: &Flow) -> bool {
        tag == 0
    }
}

/// Ways of connections that are half-open, over or forgotten.
struct Evict {
    now: u64,
    hz: u32,
}

impl Choice for Evict {
    #[inline(always)]
    fn tags(&self, _tags: u64) -> bool {
        true
    }
    #[inline(always)]
    fn way(&self, _tag: u16, flow: &Flow) -> bool {
        flow.may_be_evicted(self.now, self.hz)
    }
}

/// The search starts at the way that the hash picks.
#[inline(always)]
fn settle<E: Env, C: Choice>(env: &E, birth: &Birth, spot: Spot, choice: &C) -> bool {
    let start = Spot::start(birth.hash.get());
    for number in [spot.first, spot.second] {
        let Some(bucket) = env.bucket(number) else { return false };
        for turn in 0..2 {
            let half = (start >> 2).wrapping_add(turn) & 1;
            let Some(tags) = bucket.0.get(half as usize) else { return false };
            if !choice.tags(tags.get()) {
                continue;
            }
            for step in 0..4 {
                let way = start.wrapping_add(step) & 3;
                let Some(flow) = env.flow(number * WAYS + half * 4 + way) else { return false };
                if choice.way(lane(tags.get(), way), flow)
                    && take(env, birth, flow, &Way { tags, number: way, tag: spot.tag })
                {
                    return true;
                }
            }
        }
    }
    false
}

/// One way of a bucket, and the tag it is to get.
struct Way<'a> {
    tags: &'a Cell<u64>,
    number: u32,
    tag: u16,
}

/// Claims the entry, writes it, sets its tag, and gives it its generation last: until then no packet takes it for valid.
#[inline(always)]
fn take<E: Env>(env: &E, birth: &Birth, flow: &Flow, way: &Way<'_>) -> bool {
    let old = flow.generation.get();
    if old == BUSY || !env.swap_generation(&flow.generation, old, BUSY) {
        return false;
    }
    flow.write(birth);
    let shift = way.number * 16;
    let mut tagged = false;
    for _ in 0..4 {
        let tags = way.tags.get();
        let new = tags & !(0xffff << shift) | u64::from(way.tag) << shift;
        if env.swap_tags(way.tags, tags, new) {
            tagged = true;
            break;
        }
    }
    let generation = if tagged { birth.generation.get() } else { 0 };
    env.swap_generation(&flow.generation, BUSY, generation) && tagged
}
