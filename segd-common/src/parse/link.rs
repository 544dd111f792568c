//! Ethernet, VLAN tags, ARP.

use super::{Framing, need, reach};
use crate::addr::Addr;
use crate::packet::{Essential, Kind, Packet};
use crate::reason::Reason;
use crate::view::View;

/// Tags that are followed. Linux 6.18 strips up to 8 priority tags; nobody needs more than a service and a customer tag.
const MAX_TAGS: u32 = 4;

const TPID_CUSTOMER: u16 = 0x8100;
const TPID_SERVICE: u16 = 0x88a8;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;

/// The network layer and its first byte.
pub(super) enum Network {
    V4(u32),
    V6(u32),
    Arp(u32),
}

#[inline(always)]
pub(super) fn parse<V: View>(view: &V, framing: Framing) -> Result<Network, Reason> {
    let start = reach(view, 0)?;
    if framing.layer3 {
        return match need(view.u8(start))? >> 4 {
            4 => Ok(Network::V4(start)),
            6 => Ok(Network::V6(start)),
            _ => Err(Reason::BadHeader),
        };
    }
    let mut off = start + 12;
    let mut ethertype = need(view.u16(off))?;
    let stripped = u32::from(framing.stripped);
    for tag in 0..MAX_TAGS {
        if tag + stripped == MAX_TAGS || (ethertype != TPID_CUSTOMER && ethertype != TPID_SERVICE) {
            break;
        }
        off += 4;
        ethertype = need(view.u16(off))?;
    }
    off += 2;
    match ethertype {
        IPV4 => Ok(Network::V4(off)),
        IPV6 => Ok(Network::V6(off)),
        ARP => Ok(Network::Arp(off)),
        TPID_CUSTOMER | TPID_SERVICE => Err(Reason::TooDeep),
        _ => Err(Reason::UnsupportedEthertype),
    }
}

/// RFC 826, Ethernet and IPv4 only. The sender's address takes the source's place, so the spoof check sees it.
#[inline(always)]
pub(super) fn parse_arp<V: View>(view: &V, off: u32, packet: &mut Packet) -> Result<(), Reason> {
    const ETHERNET_IPV4: u64 = 0x0001_0800_0604;
    let head = need(view.u64(off))?;
    let operation = head & 0xffff;
    if head >> 16 != ETHERNET_IPV4 || operation == 0 || operation > 2 {
        return Err(Reason::BadHeader);
    }
    packet.key.src = Addr::v4(need(view.u32(off + 14))?);
    packet.key.dst = Addr::v4(need(view.u32(off + 24))?);
    packet.addressed = true;
    packet.kind = Kind::Arp;
    packet.essential = Essential::Arp;
    Ok(())
}
