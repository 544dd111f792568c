//! Datagrams that come in fragments. A later fragment has no ports: it gets what its first fragment got, and only if no
//! byte of it was there before. The first has to come first; what comes earlier belongs to nothing yet.

use core::cell::Cell;

use crate::addr::Addr;
use crate::env::Env;
use crate::packet::Packet;
use crate::reason::Reason;

/// Units of 8 bytes in the longest datagram, in words of 64.
const WORDS: usize = 128;
/// Places of the table.
pub const DATAGRAMS: u32 = 1024;
/// Seconds that a datagram may take; Linux gives up on IPv4 after 30, on IPv6 after 60.
const LIFETIME_SECS: u32 = 30;

/// One datagram under way.
#[derive(Debug)]
#[repr(C)]
pub struct Datagram {
    /// Source.
    pub src_hi: Cell<u64>,
    /// Source.
    pub src_lo: Cell<u64>,
    /// Destination.
    pub dst_hi: Cell<u64>,
    /// Destination.
    pub dst_lo: Cell<u64>,
    /// Identification in the high half; hook and protocol in the low one.
    pub id: Cell<u64>,
    /// Policy that judged its first fragment.
    pub generation: Cell<u32>,
    /// Low word of the jiffies of its first fragment.
    pub born: Cell<u32>,
    /// Slot that allows it.
    pub slot: Cell<u32>,
    /// Rule number.
    pub rule: Cell<u32>,
    /// Initiator's zone.
    pub from: Cell<u16>,
    /// Responder's zone.
    pub to: Cell<u16>,
    /// Sender's zone.
    pub src_zone: Cell<u16>,
    /// Interface slot of its first fragment.
    pub interface: Cell<u16>,
    /// Number of its first fragment's reason.
    pub reason: Cell<u8>,
    /// Number of the reason that enforcement would have had.
    pub would: Cell<u8>,
    /// 1: fragments contradicted each other; all of it is refused.
    pub dead: Cell<u8>,
    /// Always 0.
    pub pad: Cell<u8>,
    /// Ports of the first fragment: a second one has to have the same.
    pub ports: Cell<u32>,
    /// Units that have come.
    pub covered: [Cell<u64>; WORDS],
    /// Units with which a fragment began.
    pub starts: [Cell<u64>; WORDS],
}

const _: () = assert!(size_of::<Datagram>() == 72 + 16 * WORDS);

/// What names a datagram on one hook: forwarding may cut it anew, so each hook keeps its own.
#[derive(Clone, Copy)]
pub(crate) struct DatagramKey {
    src: Addr,
    dst: Addr,
    id: u64,
}

impl DatagramKey {
    #[inline(always)]
    pub(crate) fn of(packet: &Packet, outgoing: bool) -> Self {
        let id = u64::from(packet.fragment.id) << 32 | u64::from(outgoing) << 8 | u64::from(packet.key.proto);
        Self { src: packet.key.src, dst: packet.key.dst, id }
    }

    #[inline(always)]
    fn place(&self, seed: u64) -> u32 {
        const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut hash = (self.src.hi ^ seed).wrapping_mul(MIX) ^ self.src.lo;
        hash = (hash.wrapping_mul(MIX) ^ self.dst.hi).wrapping_mul(MIX) ^ self.dst.lo;
        hash = (hash ^ self.id).wrapping_mul(MIX);
        (hash >> 40) as u32 & (DATAGRAMS - 1)
    }

    /// The place of this datagram, whoever has it now.
    #[inline(always)]
    pub(crate) fn slot<'a, E: Env>(&self, env: &'a E, seed: u64) -> Option<&'a Datagram> {
        env.datagram(self.place(seed))
    }
}

impl Datagram {
    /// Whether this place holds the datagram, young enough to go on.
    #[inline(always)]
    pub(crate) fn holds(&self, key: &DatagramKey, now: u64, hz: u32) -> bool {
        self.id.get() == key.id
            && self.src_hi.get() == key.src.hi
            && self.src_lo.get() == key.src.lo
            && self.dst_hi.get() == key.dst.hi
            && self.dst_lo.get() == key.dst.lo
            && (now as u32).wrapping_sub(self.born.get()) < LIFETIME_SECS * hz
    }

    /// Takes the place for a datagram of which nothing has come yet.
    #[inline(always)]
    pub(crate) fn begin(&self, key: &DatagramKey, now: u64, ports: u32) {
        // The key is complete last: until then nobody finds the old datagram's bits under the new one's name.
        self.id.set(0);
        for word in 0..WORDS {
            if let (Some(covered), Some(starts)) = (self.covered.get(word), self.starts.get(word)) {
                covered.set(0);
                starts.set(0);
            }
        }
        self.src_hi.set(key.src.hi);
        self.src_lo.set(key.src.lo);
        self.dst_hi.set(key.dst.hi);
        self.dst_lo.set(key.dst.lo);
        self.born.set(now as u32);
        self.dead.set(0);
        self.pad.set(0);
        self.ports.set(ports);
        self.id.set(key.id);
    }

    /// Adds the bytes of one fragment.
    ///
    /// # Errors
    /// `fragment` if it shares bytes with another one and is not its exact copy; the datagram is dead from then on.
    #[inline(always)]
    pub(crate) fn add(&self, packet: &Packet) -> Result<(), Reason> {
        if self.dead.get() != 0 {
            return Err(Reason::Fragment);
        }
        match self.lay(packet.fragment.start / 8, packet.fragment.end.div_ceil(8)) {
            Cover::New | Cover::Copy => Ok(()),
            Cover::Overlap => {
                self.dead.set(1);
                Err(Reason::Fragment)
            }
        }
    }

    /// Lays units `start..end` over what has come.
    #[inline(always)]
    fn lay(&self, start: u32, end: u32) -> Cover {
        let (mut any, mut all, mut inner) = (false, true, false);
        let first = start / 64;
        for step in 0..WORDS as u32 {
            let word = first + step;
            let base = word * 64;
            if base >= end {
                break;
            }
            let mask = range_mask(start.saturating_sub(base), end - base);
            let (Some(covered), Some(starts)) = (self.covered.get(word as usize), self.starts.get(word as usize)) else {
                return Cover::Overlap;
            };
            let here = covered.get() & mask;
            any |= here != 0;
            all &= here == mask;
            let own = if step == 0 { 1 << (start & 63) } else { 0 };
            inner |= starts.get() & mask & !own != 0;
            covered.set(covered.get() | mask);
        }
        let began = self.test(&self.starts, start);
        self.set_start(start);
        if !any {
            return Cover::New;
        }
        let ends_there = !self.test(&self.covered, end) || self.test(&self.starts, end);
        if all && began && !inner && ends_there { Cover::Copy } else { Cover::Overlap }
    }

    #[inline(always)]
    fn test(&self, bits: &[Cell<u64>; WORDS], unit: u32) -> bool {
        bits.get((unit / 64) as usize).is_some_and(|word| word.get() >> (unit & 63) & 1 != 0)
    }

    #[inline(always)]
    fn set_start(&self, unit: u32) {
        if let Some(word) = self.starts.get((unit / 64) as usize) {
            word.set(word.get() | 1 << (unit & 63));
        }
    }
}

/// Bits `from..to` of a word; `to` may lie beyond it.
#[inline(always)]
fn range_mask(from: u32, to: u32) -> u64 {
    let below = if to >= 64 { u64::MAX } else { (1 << (to & 63)) - 1 };
    below & (u64::MAX << (from & 63))
}

/// How a fragment lies on what has come before.
enum Cover {
    /// On nothing.
    New,
    /// Exactly on another one.
    Copy,
    /// On part of another one.
    Overlap,
}
