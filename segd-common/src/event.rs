//! What the kernel tells the daemon: a new connection, or the first packet of a blocked one.

use crate::addr::Addr;

/// An entry of the event ring.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Event {
    /// Jiffies.
    pub time: u64,
    /// Initiator, or who sent what belongs to no connection.
    pub src: Addr,
    /// The other end.
    pub dst: Addr,
    /// Rule number, or [`crate::image::slot::NO_RULE`].
    pub rule: u32,
    /// Interface the packet was seen on.
    pub ifindex: u32,
    /// Port of `src`.
    pub sport: u16,
    /// Port of `dst`, ICMP type or protocol number: what rules match on.
    pub service: u16,
    /// Initiator's zone.
    pub from: u16,
    /// Responder's zone.
    pub to: u16,
    /// IP protocol; 0 for ARP.
    pub proto: u8,
    /// Number of the reason.
    pub reason: u8,
    /// Number of the reason that enforcement would have had; the same, but in audit mode.
    pub would: u8,
    /// Always 0.
    pub pad: [u8; 5],
}

const _: () = assert!(size_of::<Event>() == 64);
