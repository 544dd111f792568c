//! Ports and flags: TCP, UDP, SCTP; ICMP has a room of its own.

use super::{Span, held, icmp};
use crate::flow::FlowKey;
use crate::packet::{Essential, Kind, Packet, Part, proto, tcp};
use crate::reason::Reason;
use crate::view::View;

#[inline(always)]
pub(super) fn parse<V: View>(view: &V, span: Span, hop_limit: u8, packet: &mut Packet) -> Result<(), Reason> {
    if packet.fragment.part as u8 == Part::Later as u8 {
        return Ok(());
    }
    match packet.key.proto {
        proto::TCP => parse_tcp(view, span, packet),
        proto::UDP => parse_udp(view, span, packet),
        proto::SCTP => parse_sctp(view, span, packet),
        proto::ICMP if packet.key.src.is_v4() => icmp::parse_v4(view, span, packet),
        proto::ICMPV6 if !packet.key.src.is_v4() => icmp::parse_v6(view, span, hop_limit, packet),
        other => {
            packet.service = u16::from(other);
            Ok(())
        }
    }
}

/// Refuses a header of `size` bytes that the datagram does not hold; a first fragment that small hides its ports.
#[inline(always)]
pub(super) fn hold(span: Span, size: u32, packet: &Packet) -> Result<(), Reason> {
    if span.off + size <= span.end {
        return Ok(());
    }
    Err(if packet.fragment.part as u8 == Part::First as u8 { Reason::Fragment } else { Reason::Truncated })
}

#[inline(always)]
fn ports<V: View>(view: &V, span: Span, packet: &mut Packet) -> Result<(), Reason> {
    let ports = held(view.u32(span.off))?;
    packet.key.sport = (ports >> 16) as u16;
    packet.key.dport = ports as u16;
    packet.service = packet.key.dport;
    Ok(())
}

#[inline(always)]
fn parse_tcp<V: View>(view: &V, span: Span, packet: &mut Packet) -> Result<(), Reason> {
    hold(span, 20, packet)?;
    ports(view, span, packet)?;
    packet.seq = held(view.u32(span.off + 4))?;
    packet.ack = held(view.u32(span.off + 8))?;
    let control = held(view.u16(span.off + 12))?;
    let header = u32::from(control >> 12) * 4;
    if header < 20 {
        return Err(Reason::BadHeader);
    }
    if span.off + header > span.end {
        return Err(if packet.fragment.part as u8 == Part::First as u8 { Reason::Fragment } else { Reason::BadHeader });
    }
    packet.flags = control as u8;
    match tcp_kind(packet.flags) {
        Some(kind) => packet.kind = kind,
        None => return Err(Reason::BadFlags),
    }
    Ok(())
}

/// What a segment with these flags is; `None`: no connection starts or goes on with them.
#[inline(always)]
pub(super) fn tcp_kind(flags: u8) -> Option<Kind> {
    // URG, PSH and the ECN bits say nothing about the connection.
    match flags & (tcp::SYN | tcp::ACK | tcp::FIN | tcp::RST) {
        tcp::SYN => Some(Kind::Syn),
        tcp::ACK | tcp::RST => Some(Kind::Segment),
        x if x == tcp::SYN | tcp::ACK || x == tcp::RST | tcp::ACK || x == tcp::FIN | tcp::ACK => Some(Kind::Segment),
        _ => None,
    }
}

#[inline(always)]
fn parse_udp<V: View>(view: &V, span: Span, packet: &mut Packet) -> Result<(), Reason> {
    hold(span, 8, packet)?;
    ports(view, span, packet)?;
    let length = u32::from(held(view.u16(span.off + 4))?);
    let whole = packet.fragment.part as u8 == Part::Whole as u8;
    // A super-packet of the stack carries the length of all its segments, which may not fit the field.
    if length < 8 || (whole && length > span.end - span.off) {
        return Err(Reason::BadHeader);
    }
    packet.essential = dhcp(&packet.key);
    Ok(())
}

#[inline(always)]
pub(super) fn dhcp(key: &FlowKey) -> Essential {
    match (key.src.is_v4(), key.sport, key.dport) {
        (true, 68, 67) | (false, 546, 547) => Essential::DhcpRequest,
        (true, 67, 68) | (false, 547, 546) => Essential::DhcpReply,
        _ => Essential::No,
    }
}

#[inline(always)]
fn parse_sctp<V: View>(view: &V, span: Span, packet: &mut Packet) -> Result<(), Reason> {
    hold(span, 12, packet)?;
    ports(view, span, packet)
}
