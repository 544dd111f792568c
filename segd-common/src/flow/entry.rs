//! One connection, and what can be said of it: who opened it, how far it has come, and whether it is still remembered.

use core::cell::Cell;

use super::birth::Birth;
use crate::clock::since;
use crate::env::Env;
use crate::packet::proto;

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
    /// The responder has answered, and the initiator has not shown yet that the answer reached it: it may be made up.
    pub const UNPROVEN: u8 = 32;
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
    /// Bits 0 and 1: the sides whose packets the kernel forwarded as they came; 2 to 7: the second in which it did so.
    pub lease: Cell<u8>,
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

impl Direction {
    /// The one that is sent to.
    #[inline(always)]
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Forward => Self::Reply,
            Self::Reply => Self::Forward,
        }
    }
}

#[inline(always)]
const fn side_bit(direction: Direction) -> u8 {
    1 << direction as u8
}

/// What rules match on, by the ports of both sides.
#[inline(always)]
#[must_use]
pub const fn service(protocol: u8, initiator: u16, responder: u16) -> u16 {
    match protocol {
        proto::TCP | proto::UDP | proto::SCTP => responder,
        // A query's type stands in the high byte of the responder's port, any other type in the initiator's.
        proto::ICMP | proto::ICMPV6 if responder & 0xff == 0xff => responder >> 8,
        proto::ICMP | proto::ICMPV6 => initiator,
        other => other as u16,
    }
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

impl Flow {
    /// Idle jiffies.
    #[inline(always)]
    #[must_use]
    pub fn idle(&self, now: u64) -> u32 {
        since(now, self.seen.get())
    }

    /// Whether it has not been forgotten.
    #[inline(always)]
    #[must_use]
    pub fn live(&self, now: u64, hz: u32) -> bool {
        let limit = if self.unheard() { ADOPTED_SECS } else { timeout_secs(self.state.get(), self.proto.get()) };
        self.idle(now) < limit.wrapping_mul(hz)
    }

    /// Whether it makes room for a new one. Only what both sides have a part in, and have not ended, stays: what a made-up
    /// source opens, a server answers by itself.
    #[inline(always)]
    pub(super) fn may_be_evicted(&self, now: u64, hz: u32) -> bool {
        let open = self.state.get() == State::Established as u8 && self.flags.get() & flag::UNPROVEN == 0;
        !open || self.unheard() || !self.live(now, hz)
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
        let idle = self.idle(now);
        if idle > hz / 4 {
            self.seen.set(now as u32);
        }
        // Six bits of a second come round: what was silent for longer starts anew.
        if idle > hz {
            self.lease.set(0);
        }
    }

    /// Whether the kernel forwarded a packet of this side within the second `now`, with its addresses as they came. Forgets
    /// what is older than a second.
    #[inline(always)]
    #[must_use]
    pub fn leased(&self, direction: Direction, second: u64) -> bool {
        let lease = self.lease.get();
        let age = (second as u8).wrapping_sub(lease >> 2) & 0x3f;
        // Nor may it come round for a connection that is never silent and that the kernel has stopped forwarding.
        if age > 1 && lease != 0 {
            self.lease.set(0);
        }
        age == 0 && lease & side_bit(direction) != 0
    }

    /// It just did.
    #[inline(always)]
    pub fn renew_lease(&self, direction: Direction, second: u64) {
        if !self.leased(direction, second) {
            let (lease, now) = (self.lease.get(), (second as u8) << 2);
            let others = if lease & !3 == now { lease & 3 } else { 0 };
            self.lease.set(now | others | side_bit(direction));
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
        service(self.proto.get(), (ports >> 16) as u16, ports as u16)
    }

    /// Writes everything but the generation.
    #[inline(always)]
    pub(super) fn write(&self, birth: &Birth) {
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
        self.lease.set(0);
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
