//! The ends of a connection as one packet shows them, and the number that finds it.

use super::{Direction, Flow};
use crate::addr::Addr;

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
        mix(ends ^ u64::from(self.proto))
    }

    #[inline(always)]
    pub(super) fn ports(&self) -> u32 {
        u32::from(self.sport) << 16 | u32::from(self.dport)
    }

    /// Whether `flow` is this connection, and from which side.
    #[inline(always)]
    pub(super) fn side_of(&self, flow: &Flow) -> Option<Direction> {
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

/// Spreads every bit over the word.
#[inline(always)]
pub(crate) fn mix(word: u64) -> u64 {
    let mut hash = word.wrapping_mul(MIX);
    hash ^= hash >> 29;
    hash = hash.wrapping_mul(MIX);
    hash ^ hash >> 32
}

#[inline(always)]
fn end(address: Addr, port: u16, seed: u64) -> u64 {
    let mut hash = (address.hi ^ seed).wrapping_mul(MIX) ^ address.lo;
    hash = hash.wrapping_add(u64::from(port) << 40).wrapping_mul(MIX);
    hash ^ hash >> 31
}
