//! `ICMPv4` (RFC 792) and `ICMPv6` (RFC 4443, 4861, 2710, 3810).
//!
//! A query becomes a pair of ports, `(id, type)`, and its reply the same pair turned round: a reply can then only ever be
//! the reverse of a query, and a query riding the reverse of another is a connection of its own.

use super::transport::hold;
use super::{Span, held, need, reach};
use crate::addr::Addr;
use crate::packet::{Essential, Kind, Packet, Part, proto};
use crate::reason::Reason;
use crate::view::View;

/// Where the two numbers of a query and its reply stand.
const fn port_of(request: u8) -> u16 {
    (request as u16) << 8 | 0xff
}

#[inline(always)]
pub(super) fn parse_v4<V: View>(view: &V, span: Span, packet: &mut Packet) -> Result<(), Reason> {
    hold(span, 8, packet)?;
    let kind = held(view.u8(span.off))?;
    let id = held(view.u16(span.off + 4))?;
    packet.service = u16::from(kind);
    match kind {
        8 => query(packet, id, 8, Kind::Query),
        0 => reply(packet, id, 8),
        3 | 11 | 12 => {
            hold(span, 36, packet)?;
            return quoted_v4(view, Span { off: reach(view, span.off + 8)?, end: span.end }, packet);
        }
        13 | 15 | 17 => query(packet, id, kind, Kind::IcmpStray),
        14 | 16 | 18 => reply(packet, id, kind - 1),
        4 | 5 => other(packet, kind, Kind::IcmpStray),
        _ => other(packet, kind, Kind::Plain),
    }
    Ok(())
}

#[inline(always)]
pub(super) fn parse_v6<V: View>(view: &V, span: Span, hop_limit: u8, packet: &mut Packet) -> Result<(), Reason> {
    hold(span, 4, packet)?;
    let head = held(view.u16(span.off))?;
    let kind = (head >> 8) as u8;
    packet.service = u16::from(kind);
    match kind {
        128 | 129 => {
            hold(span, 8, packet)?;
            let id = held(view.u16(span.off + 4))?;
            if kind == 128 { query(packet, id, 128, Kind::Query) } else { reply(packet, id, 128) }
        }
        1..=4 => {
            hold(span, 56, packet)?;
            return quoted_v6(view, Span { off: reach(view, span.off + 8)?, end: span.end }, packet);
        }
        130..=132 | 143 => {
            other(packet, kind, Kind::Plain);
            // RFC 2710, 3810: from a link-local address, or the unspecified one while that is not yet certain.
            let local = packet.key.src.hi >> 54 == 0xfe80 >> 6 || packet.key.src == Addr::ZERO;
            if hop_limit == 1 && local {
                packet.essential = Essential::Mld;
            }
        }
        133..=137 => return neighbour(view, span, Discovery { kind, code: head as u8, hop_limit }, packet),
        _ => other(packet, kind, Kind::Plain),
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Discovery {
    kind: u8,
    code: u8,
    hop_limit: u8,
}

/// RFC 4861: hop limit 255 proves that no router has passed it on.
#[inline(always)]
fn neighbour<V: View>(view: &V, span: Span, message: Discovery, packet: &mut Packet) -> Result<(), Reason> {
    if message.hop_limit != 255 || message.code != 0 {
        return Err(Reason::BadHeader);
    }
    let size = match message.kind {
        133 => 8,
        134 => 16,
        137 => 40,
        _ => 24,
    };
    hold(span, size, packet)?;
    other(packet, message.kind, Kind::Plain);
    packet.essential = if message.kind == 134 || message.kind == 137 { Essential::NdpRouter } else { Essential::Ndp };
    if message.kind == 136 {
        packet.claims = true;
        packet.claim = Addr { hi: held(view.u64(span.off + 8))?, lo: held(view.u64(span.off + 16))? };
        if packet.claim.is_v4() {
            return Err(Reason::SpoofedSource);
        }
    }
    Ok(())
}

#[inline(always)]
fn query(packet: &mut Packet, id: u16, request: u8, kind: Kind) {
    packet.key.sport = id;
    packet.key.dport = port_of(request);
    packet.kind = kind;
}

#[inline(always)]
fn reply(packet: &mut Packet, id: u16, request: u8) {
    packet.key.sport = port_of(request);
    packet.key.dport = id;
    packet.kind = Kind::QueryReply;
}

#[inline(always)]
fn other(packet: &mut Packet, kind: u8, state: Kind) {
    packet.key.sport = u16::from(kind);
    packet.key.dport = 0;
    packet.kind = state;
}

/// The caller has seen that the datagram holds the quoted header and 8 bytes more.
#[inline(always)]
fn quoted_v4<V: View>(view: &V, span: Span, packet: &mut Packet) -> Result<(), Reason> {
    let first = held(view.u8(span.off))?;
    let header = u32::from(first & 0xf) * 4;
    if first >> 4 != 4 || header < 20 {
        return Err(Reason::BadHeader);
    }
    let later = held(view.u16(span.off + 6))? & 0x1fff != 0;
    let src = Addr::v4(held(view.u32(span.off + 12))?);
    packet.quoted.dst = Addr::v4(held(view.u32(span.off + 16))?);
    packet.quoted.proto = held(view.u8(span.off + 9))?;
    packet.kind = Kind::IcmpError;
    packet.quoted.src = packet.key.dst;
    if later || src != packet.key.dst {
        return Err(Reason::NoConnection);
    }
    quoted_ports(view, Span { off: reach(view, span.off + header)?, end: span.end }, packet)
}

/// Extension headers of a quoted packet that are stepped over.
const MAX_QUOTED_EXTENSIONS: u32 = 3;

/// As [`quoted_v4`].
#[inline(always)]
fn quoted_v6<V: View>(view: &V, span: Span, packet: &mut Packet) -> Result<(), Reason> {
    if held(view.u8(span.off))? >> 4 != 6 {
        return Err(Reason::BadHeader);
    }
    let src = Addr { hi: held(view.u64(span.off + 8))?, lo: held(view.u64(span.off + 16))? };
    packet.quoted.dst = Addr { hi: held(view.u64(span.off + 24))?, lo: held(view.u64(span.off + 32))? };
    packet.kind = Kind::IcmpError;
    packet.quoted.src = packet.key.dst;
    if src != packet.key.dst || packet.quoted.dst.is_v4() {
        return Err(Reason::NoConnection);
    }
    let mut next = held(view.u8(span.off + 6))?;
    let mut off = span.off + 40;
    for _ in 0..MAX_QUOTED_EXTENSIONS {
        off = reach(view, off)?;
        match next {
            0 | 43 | 60 => {
                let head = need(view.u16(off))?;
                next = (head >> 8) as u8;
                off += (u32::from(head & 0xff) + 1) * 8;
            }
            44 => {
                let head = need(view.u32(off))?;
                if head & 0xfff8 != 0 {
                    return Err(Reason::NoConnection);
                }
                next = (head >> 24) as u8;
                off += 8;
            }
            _ => break,
        }
    }
    packet.quoted.proto = next;
    quoted_ports(view, Span { off: reach(view, off)?, end: span.end }, packet)
}

/// The quoted packet's ports, in the same form as [`Packet`]'s own.
#[inline(always)]
fn quoted_ports<V: View>(view: &V, span: Span, packet: &mut Packet) -> Result<(), Reason> {
    if packet.fragment.part as u8 == Part::First as u8 {
        hold(span, 8, packet)?;
    }
    match packet.quoted.proto {
        proto::TCP | proto::UDP | proto::SCTP => {
            let ports = need(view.u32(span.off))?;
            packet.quoted.sport = (ports >> 16) as u16;
            packet.quoted.dport = ports as u16;
        }
        proto::ICMP | proto::ICMPV6 => {
            let kind = need(view.u8(span.off))?;
            let id = need(view.u16(reach(view, span.off + 4)?))?;
            match kind {
                8 | 128 => (packet.quoted.sport, packet.quoted.dport) = (id, port_of(kind)),
                0 | 129 => (packet.quoted.sport, packet.quoted.dport) = (port_of(if kind == 0 { 8 } else { 128 }), id),
                // RFC 1122, RFC 4443: no error is ever sent about an error.
                _ => return Err(Reason::NoConnection),
            }
        }
        // The packet is used again: an earlier error's ports are still in it.
        _ => (packet.quoted.sport, packet.quoted.dport) = (0, 0),
    }
    Ok(())
}
