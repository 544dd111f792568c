//! TCP, UDP, SCTP, and what has no ports.

use std::net::IpAddr;

use super::essential::dhcp;
use super::frame::{Body, Bytes, Kind, Seen};
use super::icmp;
use super::why::Why;

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;

pub(super) fn read(bytes: Bytes<'_>, body: &Body, src: IpAddr, dst: IpAddr) -> Result<Seen, Why> {
    let mut seen = Seen::between(src, dst, body.protocol);
    seen.part = body.part;
    if body.start >= 512 {
        return Err(Why::TooDeep);
    }
    if body.part.is_some_and(|part| part.start > 0) {
        return Ok(seen);
    }
    match body.protocol {
        6 => tcp(bytes, body, &mut seen)?,
        17 => udp(bytes, body, &mut seen)?,
        132 => {
            body.hold(12)?;
            ports(bytes, body, &mut seen)?;
        }
        1 if src.is_ipv4() => icmp::v4(bytes, body, &mut seen)?,
        58 if src.is_ipv6() => icmp::v6(bytes, body, &mut seen)?,
        other => seen.service = u16::from(other),
    }
    Ok(seen)
}

fn ports(bytes: Bytes<'_>, body: &Body, seen: &mut Seen) -> Result<(), Why> {
    let ports = bytes.word(body.start)?;
    (seen.key.sport, seen.key.dport) = ((ports >> 16) as u16, ports as u16);
    seen.service = seen.key.dport;
    Ok(())
}

fn tcp(bytes: Bytes<'_>, body: &Body, seen: &mut Seen) -> Result<(), Why> {
    body.hold(20)?;
    ports(bytes, body, seen)?;
    seen.seq = bytes.word(body.start + 4)?;
    let [words, flags] = bytes.at(body.start + 12)?;
    let header = usize::from(words >> 4) * 4;
    if header < 20 {
        return Err(Why::BadHeader);
    }
    if body.start + header > body.end {
        return Err(body.short(Why::BadHeader));
    }
    seen.flags = flags;
    let has = |flag: u8| flags & flag != 0;
    // PSH, URG and the ECN bits say nothing about the connection.
    seen.kind = match (has(SYN), has(ACK), has(FIN), has(RST)) {
        (true, false, false, false) => Kind::Syn,
        (true, true, false, false) | (false, true, ..) if !(has(FIN) && has(RST)) => Kind::Segment,
        (false, false, false, true) => Kind::Segment,
        _ => return Err(Why::BadFlags),
    };
    Ok(())
}

fn udp(bytes: Bytes<'_>, body: &Body, seen: &mut Seen) -> Result<(), Why> {
    body.hold(8)?;
    ports(bytes, body, seen)?;
    let length = usize::from(bytes.pair(body.start + 4)?);
    // A first fragment's length is that of the whole datagram.
    if length < 8 || (body.part.is_none() && body.start + length > body.end) {
        return Err(Why::BadHeader);
    }
    seen.shape = dhcp(&seen.key);
    Ok(())
}
