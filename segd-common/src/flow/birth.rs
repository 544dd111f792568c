//! What a new connection starts with.

use core::cell::Cell;

use super::{FlowKey, State};
use crate::addr::Addr;
use crate::image::Locator;

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
