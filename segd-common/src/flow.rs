//! The connection table: plain arrays, eight tags to a bucket, two buckets for each key. One look-up serves both
//! directions. A live session is never evicted: a half-open connection or an expired one makes room, or nobody does.

use core::cell::Cell;

use crate::addr::Addr;
use crate::env::Env;
use crate::image::Locator;
use crate::packet::{Kind, Packet, proto, tcp};

/// Ways of a bucket.
pub const WAYS: u32 = 8;

/// Eight 16-bit tags; 0 is a free way.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Bucket(pub [Cell<u64>; 2]);

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The responder has not answered.
    HalfOpen = 0,
    /// It has.
    Established = 1,
    /// Both sides have finished, or one has reset.
    Closing = 2,
}

/// Bits of [`Flow::flags`].
pub mod flag {
    /// The initiator has sent FIN.
    pub const FIN_FROM: u8 = 1;
    /// The responder has sent FIN.
    pub const FIN_TO: u8 = 2;
    /// The source was translated on the way: `from` is the zone of the address before, which the key no longer shows.
    pub const TRANSLATED: u8 = 4;
    /// Adopted: nothing of the initiator's has been seen yet, and so no sequence number.
    pub const UNHEARD_FROM: u8 = 8;
    /// Adopted: nothing of the responder's has been seen yet.
    pub const UNHEARD_TO: u8 = 16;
}

/// Generation of an entry that is being written.
pub const BUSY: u32 = u32::MAX;

/// One connection; a cache line. The source is the initiator.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Flow {
    /// Initiator.
    pub src_hi: Cell<u64>,
    /// Initiator.
    pub src_lo: Cell<u64>,
    /// Responder.
    pub dst_hi: Cell<u64>,
    /// Responder.
    pub dst_lo: Cell<u64>,
    /// Initiator's port in the high half, responder's in the low one.
    pub ports: Cell<u32>,
    /// IP protocol.
    pub proto: Cell<u8>,
    /// Number of the [`State`].
    pub state: Cell<u8>,
    /// [`flag`].
    pub flags: Cell<u8>,
    /// Always 0.
    pub pad: Cell<u8>,
    /// Policy that judged it; 0: never used, [`BUSY`]: being written.
    pub generation: Cell<u32>,
    /// Slot that allows it, in that policy's image.
    pub slot: Cell<u32>,
    /// Low word of the jiffies of its last packet, to a quarter of a second.
    pub seen: Cell<u32>,
    /// Initiator's zone.
    pub from: Cell<u16>,
    /// Responder's zone.
    pub to: Cell<u16>,
    /// High half of the last sequence number that the initiator sent.
    pub seq_from: Cell<u16>,
    /// High half of the last sequence number that the responder sent.
    pub seq_to: Cell<u16>,
    /// Interface slot on which the initiator's source was found to be in order.
    pub if_from: Cell<u16>,
    /// Interface slot on which the responder's source was found to be in order.
    pub if_to: Cell<u16>,
}

const _: () = assert!(size_of::<Flow>() == 64);

/// Which side sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// The initiator.
    Forward = 0,
    /// The responder.
    Reply = 1,
}

/// The ends of a connection as one packet shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    /// Sender.
    pub src: Addr,
    /// Receiver.
    pub dst: Addr,
    /// Sender's port; for an ICMP request its id; for its reply the request's type in the high byte.
    pub sport: u16,
    /// Receiver's port; for an ICMP request its type in the high byte; for its reply the id.
    pub dport: u16,
    /// IP protocol; 0 for ARP.
    pub proto: u8,
}

impl FlowKey {
    /// Nothing yet.
    pub const NONE: Self = Self { src: Addr::ZERO, dst: Addr::ZERO, sport: 0, dport: 0, proto: 0 };

    /// The same number for both directions, and one that nobody outside can predict.
    #[inline(always)]
    #[must_use]
    pub fn hash(&self, seed: u64) -> u64 {
        let ends = end(self.src, self.sport, seed).wrapping_add(end(self.dst, self.dport, seed));
        let mut hash = (ends ^ u64::from(self.proto)).wrapping_mul(MIX);
        hash ^= hash >> 29;
        hash = hash.wrapping_mul(MIX);
        hash ^ hash >> 32
    }

    #[inline(always)]
    fn ports(&self) -> u32 {
        u32::from(self.sport) << 16 | u32::from(self.dport)
    }

    /// Whether `flow` is this connection, and from which side.
    #[inline(always)]
    fn side_of(&self, flow: &Flow) -> Option<Direction> {
        if flow.proto.get() != self.proto {
            return None;
        }
        let src = Addr { hi: flow.src_hi.get(), lo: flow.src_lo.get() };
        let dst = Addr { hi: flow.dst_hi.get(), lo: flow.dst_lo.get() };
        let ports = flow.ports.get();
        if ports == self.ports() && src == self.src && dst == self.dst {
            Some(Direction::Forward)
        } else if ports == self.ports().rotate_left(16) && src == self.dst && dst == self.src {
            Some(Direction::Reply)
        } else {
            None
        }
    }
}

/// An odd constant with its bits well spread (2^64 divided by the golden ratio).
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
fn end(address: Addr, port: u16, seed: u64) -> u64 {
    let mut hash = (address.hi ^ seed).wrapping_mul(MIX) ^ address.lo;
    hash = hash.wrapping_add(u64::from(port) << 40).wrapping_mul(MIX);
    hash ^ hash >> 31
}

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
}

const LANES: u64 = 0x0001_0001_0001_0001;

/// Whether one of four tags is `tag`. May say yes for a neighbour of one that is; never no for one that is.
#[inline(always)]
fn may_hold(tags: u64, tag: u16) -> bool {
    let difference = tags ^ LANES.wrapping_mul(u64::from(tag));
    difference.wrapping_sub(LANES) & !difference & (LANES << 15) != 0
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

const SEEK_FOUND: u64 = 1 << 32;
const SEEK_REPLY: u64 = 1 << 33;

/// Where a connection stands: its entry's number, and in the high word that there is one, and whether the key is the
/// responder's. One word, as a function of the kernel's can return it. 0: there is none.
#[inline(always)]
pub fn seek<E: Env>(env: &E, key: &FlowKey, hash: u64, mask: u32) -> u64 {
    let spot = Spot::of(hash, mask);
    for number in [spot.first, spot.second] {
        let Some(bucket) = env.bucket(number) else { return 0 };
        for (half, tags) in bucket.0.iter().enumerate() {
            let tags = tags.get();
            if !may_hold(tags, spot.tag) {
                continue;
            }
            for way in 0..4 {
                if lane(tags, way) != spot.tag {
                    continue;
                }
                let place = number * WAYS + half as u32 * 4 + way;
                let Some(flow) = env.flow(place) else { return 0 };
                match key.side_of(flow) {
                    Some(Direction::Forward) => return SEEK_FOUND | u64::from(place),
                    Some(Direction::Reply) => return SEEK_FOUND | SEEK_REPLY | u64::from(place),
                    None => {}
                }
            }
        }
    }
    0
}

/// Idle seconds after which a connection is forgotten.
#[inline(always)]
const fn timeout_secs(state: u8, protocol: u8) -> u32 {
    match (state, protocol) {
        (0, _) => 30,
        (2, _) => 60,
        (_, proto::TCP | proto::SCTP) => 5 * 24 * 3600,
        (_, proto::UDP) => 180,
        (_, proto::ICMP | proto::ICMPV6) => 30,
        _ => 600,
    }
}

/// Idle seconds after which an adopted connection is forgotten, if only one side has been heard.
const ADOPTED_SECS: u32 = 300;

/// The daemon's and the tests' word for a state.
#[must_use]
pub const fn state_name(state: u8) -> &'static str {
    match state {
        0 => "half-open",
        1 => "established",
        _ => "closing",
    }
}

/// What a new connection starts with. Cells, one by one: it stands in the room to work in, and is never copied to a stack.
#[derive(Debug)]
pub struct Birth {
    /// Initiator, or responder if `reversed`.
    pub src: Cell<Addr>,
    /// Responder, or initiator if `reversed`.
    pub dst: Cell<Addr>,
    /// Ports, the source's in the high half.
    pub ports: Cell<u32>,
    /// IP protocol.
    pub proto: Cell<u8>,
    /// The packet is the responder's: its destination is the initiator.
    pub reversed: Cell<bool>,
    /// State it starts in.
    pub state: Cell<State>,
    /// [`flag`].
    pub flags: Cell<u8>,
    /// Hash of its key.
    pub hash: Cell<u64>,
    /// Policy that judged it.
    pub generation: Cell<u32>,
    /// Slot that allows it.
    pub slot: Cell<Locator>,
    /// Zone of the initiator.
    pub from: Cell<u16>,
    /// Zone of the responder.
    pub to: Cell<u16>,
    /// Sequence number of its first packet.
    pub seq: Cell<u32>,
    /// Interface slot it was seen on; 0 on the way out.
    pub interface: Cell<u16>,
    /// Jiffies.
    pub now: Cell<u64>,
}

impl Birth {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            src: Cell::new(Addr::ZERO),
            dst: Cell::new(Addr::ZERO),
            ports: Cell::new(0),
            proto: Cell::new(0),
            reversed: Cell::new(false),
            state: Cell::new(State::HalfOpen),
            flags: Cell::new(0),
            hash: Cell::new(0),
            generation: Cell::new(0),
            slot: Cell::new(Locator::NONE),
            from: Cell::new(0),
            to: Cell::new(0),
            seq: Cell::new(0),
            interface: Cell::new(0),
            now: Cell::new(0),
        }
    }

    /// Takes the ends of a packet.
    #[inline(always)]
    pub fn set_key(&self, key: &FlowKey) {
        self.src.set(key.src);
        self.dst.set(key.dst);
        self.ports.set(key.ports());
        self.proto.set(key.proto);
    }
}

impl Default for Birth {
    fn default() -> Self {
        Self::new()
    }
}

impl Flow {
    /// Idle jiffies.
    #[inline(always)]
    #[must_use]
    pub fn idle(&self, now: u64) -> u32 {
        (now as u32).wrapping_sub(self.seen.get())
    }

    /// Whether it has not been forgotten.
    #[inline(always)]
    #[must_use]
    pub fn live(&self, now: u64, hz: u32) -> bool {
        let limit = if self.unheard() { ADOPTED_SECS } else { timeout_secs(self.state.get(), self.proto.get()) };
        self.idle(now) < limit.wrapping_mul(hz)
    }

    #[inline(always)]
    fn may_be_evicted(&self, now: u64, hz: u32) -> bool {
        self.state.get() == State::HalfOpen as u8 || self.unheard() || !self.live(now, hz)
    }

    /// Whether it was adopted and only one side has been heard since: until the other answers it may be made up, and is
    /// worth no more than a half-open one.
    #[inline(always)]
    fn unheard(&self) -> bool {
        self.flags.get() & (flag::UNHEARD_FROM | flag::UNHEARD_TO) != 0
    }

    /// Notes the time; rarely a store, so that a busy connection's line stays shared between CPUs.
    #[inline(always)]
    pub fn touch(&self, now: u64, hz: u32) {
        if self.idle(now) > hz / 4 {
            self.seen.set(now as u32);
        }
    }

    /// The interface slot on which this side's source was last found to be in order.
    #[inline(always)]
    #[must_use]
    pub fn interface(&self, direction: Direction) -> u16 {
        if direction as u8 == Direction::Forward as u8 { self.if_from.get() } else { self.if_to.get() }
    }

    /// Sets it.
    #[inline(always)]
    pub fn set_interface(&self, direction: Direction, slot: u16) {
        if direction as u8 == Direction::Forward as u8 { self.if_from.set(slot) } else { self.if_to.set(slot) }
    }

    /// What rules match on, seen from the initiator.
    #[inline(always)]
    #[must_use]
    pub fn service(&self) -> u16 {
        let ports = self.ports.get();
        match self.proto.get() {
            proto::TCP | proto::UDP | proto::SCTP => ports as u16,
            // A query's type stands in the high byte of the responder's port, any other type in the initiator's.
            proto::ICMP | proto::ICMPV6 if ports as u16 & 0xff == 0xff => (ports as u16) >> 8,
            proto::ICMP | proto::ICMPV6 => (ports >> 16) as u16,
            other => u16::from(other),
        }
    }

    /// Writes everything but the generation.
    #[inline(always)]
    fn write(&self, birth: &Birth) {
        let reversed = birth.reversed.get();
        let (src, dst) = (birth.src.get(), birth.dst.get());
        let (from, to) = if reversed { (dst, src) } else { (src, dst) };
        self.src_hi.set(from.hi);
        self.src_lo.set(from.lo);
        self.dst_hi.set(to.hi);
        self.dst_lo.set(to.lo);
        self.ports.set(birth.ports.get().rotate_left(if reversed { 16 } else { 0 }));
        self.proto.set(birth.proto.get());
        self.state.set(birth.state.get() as u8);
        self.flags.set(birth.flags.get());
        self.pad.set(0);
        self.slot.set(birth.slot.get().0);
        self.seen.set(birth.now.get() as u32);
        self.from.set(birth.from.get());
        self.to.set(birth.to.get());
        let (seq, interface) = ((birth.seq.get() >> 16) as u16, birth.interface.get());
        self.seq_from.set(if reversed { 0 } else { seq });
        self.seq_to.set(if reversed { seq } else { 0 });
        self.if_from.set(if reversed { 0 } else { interface });
        self.if_to.set(if reversed { interface } else { 0 });
    }

    /// Starts another connection in this entry, which has the same two ends.
    #[inline(always)]
    pub fn reopen<E: Env>(&self, env: &E, birth: &Birth) -> bool {
        let old = self.generation.get();
        if old == BUSY || !env.swap_generation(&self.generation, old, BUSY) {
            return false;
        }
        self.write(birth);
        env.swap_generation(&self.generation, BUSY, birth.generation.get())
    }
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
        may_hold(tags, 0)
    }
    #[inline(always)]
    fn way(&self, tag: u16, _flow: &Flow) -> bool {
        tag == 0
    }
}

/// Ways of connections that are half-open or forgotten.
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

/// The search starts at a way that the hash picks, so that a flood wears out all ways alike.
#[inline(always)]
fn settle<E: Env, C: Choice>(env: &E, birth: &Birth, spot: Spot, choice: &C) -> bool {
    let start = (birth.hash.get() >> 16) as u32;
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

/// How far from the last one a sequence number may be to change a state, in units of 64 KiB: 1 MiB.
const WINDOW: u16 = 16;

#[inline(always)]
fn near(last: u16, seq: u32) -> bool {
    let distance = ((seq >> 16) as u16).wrapping_sub(last);
    distance <= WINDOW || distance >= 0u16.wrapping_sub(WINDOW)
}

/// Moves a connection on by one packet. `false`: the packet does not belong to it, whatever its ports say.
#[inline(always)]
pub fn advance(flow: &Flow, direction: Direction, packet: &Packet) -> bool {
    let reply = direction as u8 == Direction::Reply as u8;
    if packet.kind as u8 == Kind::Segment as u8 {
        return advance_tcp(flow, reply, packet);
    }
    // An id may look like a type, and a query then like the reply to its own reverse.
    let asks = packet.kind as u8 == Kind::Query as u8 || packet.kind as u8 == Kind::IcmpStray as u8;
    if (asks && reply) || (packet.kind as u8 == Kind::QueryReply as u8 && !reply) {
        return false;
    }
    if reply && flow.state.get() == State::HalfOpen as u8 {
        flow.state.set(State::Established as u8);
    }
    true
}

#[inline(always)]
fn advance_tcp(flow: &Flow, reply: bool, packet: &Packet) -> bool {
    let opening = packet.flags & tcp::SYN != 0;
    if opening && !reply {
        return false;
    }
    let last = if reply { &flow.seq_to } else { &flow.seq_from };
    let first_answer = reply && flow.state.get() == State::HalfOpen as u8;
    if first_answer && opening {
        flow.state.set(State::Established as u8);
        last.set((packet.seq >> 16) as u16);
        return true;
    }
    if packet.flags & tcp::RST != 0 {
        // The answer to a SYN carries no sequence number of its own (RFC 9293, 3.10.7.1).
        if first_answer || near(last.get(), packet.seq) {
            flow.state.set(State::Closing as u8);
        }
        return true;
    }
    let unheard = if reply { flag::UNHEARD_TO } else { flag::UNHEARD_FROM };
    if flow.flags.get() & unheard != 0 {
        flow.flags.set(flow.flags.get() & !unheard);
        last.set((packet.seq >> 16) as u16);
    }
    if first_answer || !near(last.get(), packet.seq) {
        return true;
    }
    if last.get() != (packet.seq >> 16) as u16 {
        last.set((packet.seq >> 16) as u16);
    }
    if packet.flags & tcp::FIN != 0 {
        let flags = flow.flags.get() | if reply { flag::FIN_TO } else { flag::FIN_FROM };
        flow.flags.set(flags);
        if flags & (flag::FIN_FROM | flag::FIN_TO) == flag::FIN_FROM | flag::FIN_TO {
            flow.state.set(State::Closing as u8);
        }
    }
    true
}
