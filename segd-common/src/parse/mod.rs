//! Frame to [`Packet`]. Any doubt is a [`Reason`]: what Linux would deliver is either understood here or dropped.

mod icmp;
mod ipv4;
mod ipv6;
mod link;
mod plain;
mod transport;

pub use plain::plain;

use crate::packet::Packet;
use crate::reason::Reason;
use crate::view::{MAX_OFF, View};

/// What the caller knows about the frame beyond its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Framing {
    /// Layer-3 device: byte 0 is the IP header.
    pub layer3: bool,
    /// A segmentation-offload super-packet, whose IP length may be 0 (BIG TCP, Linux 5.19): only the stack makes these.
    pub oversized: bool,
    /// The outermost VLAN tag was taken off the frame and is kept beside it; it counts as one of the tags.
    pub stripped: bool,
}

impl Framing {
    /// An Ethernet frame as it was on the wire.
    pub const ETHERNET: Self = Self { layer3: false, oversized: false, stripped: false };
}

/// Where a layer starts, and where the datagram ends.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    /// First byte of the layer.
    pub(crate) off: u32,
    /// One past the last byte of the datagram; the frame may go on.
    pub(crate) end: u32,
}

/// Parses one frame into `packet`, which the caller hands in as [`Packet::EMPTY`].
///
/// # Errors
/// The reason why the frame can't be trusted. `packet.addressed` says whether its addresses were reached.
#[inline(always)]
pub fn parse<V: View>(view: &V, framing: Framing, packet: &mut Packet) -> Result<(), Reason> {
    match link::parse(view, framing)? {
        link::Network::V4(off) => ipv4::parse(view, reach(view, off)?, framing, packet),
        link::Network::V6(off) => ipv6::parse(view, reach(view, off)?, framing, packet),
        link::Network::Arp(off) => link::parse_arp(view, reach(view, off)?, packet),
    }
}

/// The offset of the next header, where the paths that lead to it meet.
#[inline(always)]
pub(crate) fn reach<V: View>(view: &V, off: u32) -> Result<u32, Reason> {
    if off > MAX_OFF { Err(Reason::TooDeep) } else { Ok(view.meet(off)) }
}

/// A value of a header that the datagram holds: only depth can keep it from being read.
#[inline(always)]
pub(crate) fn held<T>(value: Option<T>) -> Result<T, Reason> {
    match value {
        Some(value) => Ok(value),
        None => Err(Reason::TooDeep),
    }
}

/// `Truncated`, unless there is a value.
#[inline(always)]
pub(crate) fn need<T>(value: Option<T>) -> Result<T, Reason> {
    match value {
        Some(value) => Ok(value),
        None => Err(Reason::Truncated),
    }
}
