//! Datagrams that come in fragments. A later fragment has no ports: it gets what its first fragment got, and only if no
//! byte of it was there before. The first has to come first; what comes earlier belongs to nothing yet.

use core::cell::Cell;

use crate::addr::Addr;
use crate::clock::since;
use crate::env::Env;
use crate::flow;
use crate::packet::Packet;
use crate::reason::Reason;

/// Places of the table.
pub const DATAGRAMS: u32 = 8192;
/// Gaps that fragments out of order may leave open at one time.
const GAPS: usize = 4;
/// Fragments whose exact copies are known as such.
const RECENT: usize = 4;
/// Seconds that a datagram may take; Linux gives up on IPv4 after 30, on IPv6 after 60.
const LIFETIME_SECS: u32 = 30;

/// Stands for the protocol in the name of an IPv6 datagram.
const IPV6_FRAGMENT: u8 = 44;

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
    /// 1: the last fragment has come.
    pub last: Cell<u8>,
    /// Ports of the first fragment: a second one has to have the same.
    pub ports: Cell<u32>,
    /// End of the fragment that reaches farthest, in units of 8 bytes.
    pub top: Cell<u32>,
    /// How many fragments have come.
    pub count: Cell<u32>,
    /// What is still missing below `top`: first unit in the high half, the one behind the last in the low half; 0: nothing.
    pub gaps: [Cell<u32>; GAPS],
    /// The latest fragments, to the byte: see `exact`.
    pub recent: [Cell<u32>; RECENT],
}

const _: () = assert!(size_of::<Datagram>() == 112);

/// What names a datagram on one hook: forwarding may cut it anew, so each hook keeps its own.
#[derive(Clone, Copy)]
#[repr(align(8))]
pub(crate) struct DatagramKey {
    src: Addr,
    dst: Addr,
    id: u64,
}

impl DatagramKey {
    #[inline(always)]
    pub(crate) fn of(packet: &Packet, outgoing: bool) -> Self {
        // RFC 8200, 4.5: of IPv6 datagrams the protocol is no part of the name; a later fragment may even show another one,
        // as its header stands before the extension headers of the first.
        let protocol = if packet.key.src.is_v4() { packet.key.proto } else { IPV6_FRAGMENT };
        let id = u64::from(packet.fragment.id) << 32 | u64::from(outgoing) << 8 | u64::from(protocol);
        Self { src: packet.key.src, dst: packet.key.dst, id }
    }

    #[inline(always)]
    fn place(&self, seed: u64) -> u32 {
        let words = [self.src.lo, self.dst.hi, self.dst.lo, self.id];
        let hash = words.iter().fold(self.src.hi ^ seed, |hash, word| flow::mix(hash) ^ word);
        flow::mix(hash) as u32 & (DATAGRAMS - 1)
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
            && since(now, self.born.get()) < LIFETIME_SECS * hz
    }

    /// Whether all of it has come. Its name may be used again at once: 65,536 of them do not last long (RFC 6864).
    #[inline(always)]
    pub(crate) fn finished(&self) -> bool {
        let [a, b, c, d] = &self.gaps;
        self.last.get() != 0 && self.dead.get() == 0 && a.get() | b.get() | c.get() | d.get() == 0
    }

    /// Takes the place for a datagram of which nothing has come yet.
    #[inline(always)]
    pub(crate) fn begin(&self, key: &DatagramKey, now: u64, ports: u32) {
        // The key is complete last: until then nobody finds the old datagram's bits under the new one's name.
        self.id.set(0);
        self.top.set(0);
        self.count.set(0);
        let ([a, b, c, d], [first, second, third, fourth]) = (&self.gaps, &self.recent);
        for cell in [a, b, c, d, first, second, third, fourth] {
            cell.set(0);
        }
        self.src_hi.set(key.src.hi);
        self.src_lo.set(key.src.lo);
        self.dst_hi.set(key.dst.hi);
        self.dst_lo.set(key.dst.lo);
        self.born.set(now as u32);
        self.dead.set(0);
        self.last.set(0);
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
        let piece = Piece::of(packet.fragment.start, packet.fragment.end);
        // Named one by one: the verifier does not follow a pointer that walks to the end of an array.
        let [a, b, c, d] = &self.recent;
        let whole = exact(packet.fragment.start, packet.fragment.end, packet.fragment.last);
        if a.get() == whole || b.get() == whole || c.get() == whole || d.get() == whole {
            return Ok(());
        }
        if self.lay(piece) {
            let place = self.count.get();
            self.count.set(place.wrapping_add(1));
            if packet.fragment.last {
                self.last.set(1);
            }
            match place as usize % RECENT {
                0 => a.set(whole),
                1 => b.set(whole),
                2 => c.set(whole),
                _ => d.set(whole),
            }
            return Ok(());
        }
        self.dead.set(1);
        Err(Reason::Fragment)
    }

    /// Takes a piece that lies beyond everything so far, or inside a gap. `false`: it overlaps, or leaves too many gaps.
    #[inline(always)]
    fn lay(&self, piece: Piece) -> bool {
        let top = self.top.get();
        if piece.start >= top {
            self.top.set(piece.end);
            return piece.start == top || self.open_gap(Piece { start: top, end: piece.start });
        }
        let [a, b, c, d] = &self.gaps;
        for cell in [a, b, c, d] {
            let gap = Piece::unpack(cell.get());
            if piece.start < gap.start || piece.end > gap.end {
                continue;
            }
            let (below, above) =
                (Piece { start: gap.start, end: piece.start }, Piece { start: piece.end, end: gap.end });
            if below.start == below.end {
                cell.set(above.packed_or_none());
                return true;
            }
            cell.set(below.packed());
            return above.start == above.end || self.open_gap(above);
        }
        false
    }

    #[inline(always)]
    fn open_gap(&self, gap: Piece) -> bool {
        let [a, b, c, d] = &self.gaps;
        for cell in [a, b, c, d] {
            if cell.get() == 0 {
                cell.set(gap.packed());
                return true;
            }
        }
        false
    }
}

/// A fragment as its copy has it too: whether it is the last, its first unit of 8 bytes, and where it ends to the byte,
/// as a last one may end anywhere.
#[inline(always)]
fn exact(start: u32, end: u32, last: bool) -> u32 {
    (u32::from(last) << 31) | ((start / 8) << 16) | end
}

/// Part of a datagram, in units of 8 bytes; the end is the unit behind the last.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Piece {
    start: u32,
    end: u32,
}

impl Piece {
    #[inline(always)]
    #[expect(clippy::manual_div_ceil, reason = "offsets end below 2^16: no carry, and no branch to verify")]
    const fn of(start_bytes: u32, end_bytes: u32) -> Self {
        Self { start: start_bytes / 8, end: (end_bytes + 7) / 8 }
    }

    #[inline(always)]
    const fn unpack(packed: u32) -> Self {
        Self { start: packed >> 16, end: packed & 0xffff }
    }

    #[inline(always)]
    const fn packed(self) -> u32 {
        self.start << 16 | self.end
    }

    #[inline(always)]
    const fn packed_or_none(self) -> u32 {
        if self.start == self.end { 0 } else { self.packed() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_name_moves_its_place() {
        let name = DatagramKey { src: Addr { hi: 1, lo: 2 }, dst: Addr { hi: 3, lo: 4 }, id: 5 };
        for bit in 0..320 {
            let mut other = name;
            let words = [&mut other.src.hi, &mut other.src.lo, &mut other.dst.hi, &mut other.dst.lo, &mut other.id];
            *words.into_iter().nth(bit / 64).expect("five words") ^= 1 << (bit % 64);
            let stays = (0..64).filter(|seed| name.place(*seed) == other.place(*seed)).count();
            assert!(stays < 3, "bit {bit} leaves it where it is under {stays} of 64 seeds");
        }
    }
}
