//! A shortcut through the parser for what nearly every packet is: TCP or UDP, whole, in an IP header without options or
//! extensions, in an Ethernet frame without tags. It gives exactly the packet that [`super::parse`] gives, or nothing: any
//! doubt, and everything that is to be refused, is the parser's.

use super::Framing;
use super::transport::{dhcp, tcp_kind};
use crate::addr::Addr;
use crate::packet::{Essential, Kind, Packet, Part, proto};
use crate::view::{View, Window};

const ETHERNET: u32 = 14;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Version 4, five words of header, and the type of service in the low byte.
const PLAIN_V4: u32 = 0x45;
/// All of the fragmentation word but "don't fragment" and the bit above it.
const FRAGMENTED: u32 = 0x3fff;

/// Parses a plain packet into `packet`. `None`: ask the parser; what stands in `packet` then is worth nothing.
#[inline(always)]
pub fn plain<V: View>(view: &V, framing: Framing, packet: &mut Packet) -> Option<()> {
    if framing.layer3 || framing.oversized {
        return None;
    }
    // No plain packet is shorter.
    let head = view.window(0, ETHERNET + 20 + 8)?;
    match head.u16::<12>() {
        IPV4 => v4(view, &head, packet),
        IPV6 => v6(view, packet),
        _ => None,
    }
}

#[inline(always)]
fn v4<V: View>(view: &V, head: &V::Window, packet: &mut Packet) -> Option<()> {
    let first = head.u32::<14>();
    let total = first & 0xffff;
    if first >> 24 != PLAIN_V4 || head.u32::<18>() & FRAGMENTED != 0 || total + ETHERNET > view.frame_len() {
        return None;
    }
    packet.key.src = Addr::v4(head.u32::<26>());
    packet.key.dst = Addr::v4(head.u32::<30>());
    packet.key.proto = head.u8::<23>();
    transport(view, ETHERNET + 20, total.checked_sub(20)?, packet)
}

#[inline(always)]
fn v6<V: View>(view: &V, packet: &mut Packet) -> Option<()> {
    let head = view.window(ETHERNET, 40)?;
    let lengths = head.u32::<4>();
    let payload = lengths >> 16;
    if head.u8::<0>() >> 4 != 6 || payload + ETHERNET + 40 > view.frame_len() {
        return None;
    }
    packet.key.src = Addr { hi: head.u64::<8>(), lo: head.u64::<16>() };
    packet.key.dst = Addr { hi: head.u64::<24>(), lo: head.u64::<32>() };
    packet.key.proto = (lengths >> 8) as u8;
    if packet.key.src.is_v4() || packet.key.dst.is_v4() {
        return None;
    }
    transport(view, ETHERNET + 40, payload, packet)
}

/// `payload`: bytes of the datagram from `off` on.
#[inline(always)]
fn transport<V: View>(view: &V, off: u32, payload: u32, packet: &mut Packet) -> Option<()> {
    packet.addressed = true;
    packet.claims = false;
    packet.fragment.part = Part::Whole;
    match packet.key.proto {
        proto::TCP => tcp(&view.window(off, 20)?, payload, packet),
        proto::UDP => udp(&view.window(off, 8)?, payload, packet),
        _ => None,
    }
}

#[inline(always)]
fn tcp<W: Window>(head: &W, payload: u32, packet: &mut Packet) -> Option<()> {
    let control = head.u16::<12>();
    let header = u32::from(control >> 12) * 4;
    if header < 20 || header > payload {
        return None;
    }
    ports(head.u32::<0>(), packet);
    packet.flags = control as u8;
    packet.kind = tcp_kind(packet.flags)?;
    packet.essential = Essential::No;
    packet.seq = head.u32::<4>();
    packet.ack = head.u32::<8>();
    Some(())
}

#[inline(always)]
fn udp<W: Window>(head: &W, payload: u32, packet: &mut Packet) -> Option<()> {
    let length = u32::from(head.u16::<4>());
    if length < 8 || length > payload {
        return None;
    }
    ports(head.u32::<0>(), packet);
    packet.flags = 0;
    packet.kind = Kind::Plain;
    packet.essential = dhcp(&packet.key);
    packet.seq = 0;
    packet.ack = 0;
    Some(())
}

#[inline(always)]
fn ports(ports: u32, packet: &mut Packet) {
    packet.key.sport = (ports >> 16) as u16;
    packet.key.dport = ports as u16;
    packet.service = ports as u16;
}
