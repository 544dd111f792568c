//! ICMP of both families (RFC 792, 4443, 4861, 2710, 3810).
//!
//! A query and its answer become ports, so that an answer is only ever the reverse of a query: `(id, MARK | type)`.

use super::address::{disguised, is_link_local};
use super::connection::Key;
use super::essential::Shape;
use super::frame::{Body, Bytes, Kind, Seen};
use super::why::Why;

/// What an id can look like, too; but then both have to, and on the right sides.
const fn port_of(query: u8) -> u16 {
    u16::from_be_bytes([query, 0xff])
}

fn query(seen: &mut Seen, id: u16, kind: u8) {
    (seen.key.sport, seen.key.dport) = (id, port_of(kind));
}

fn answer(seen: &mut Seen, id: u16, kind: u8) {
    (seen.key.sport, seen.key.dport) = (port_of(kind), id);
    seen.kind = Kind::Answer;
}

pub(super) fn v4(bytes: Bytes<'_>, body: &Body, seen: &mut Seen) -> Result<(), Why> {
    body.hold(8)?;
    let kind = bytes.byte(body.start)?;
    let id = bytes.pair(body.start + 4)?;
    seen.service = u16::from(kind);
    match kind {
        8 => {
            query(seen, id, kind);
            seen.kind = Kind::Query;
        }
        13 | 15 | 17 => {
            query(seen, id, kind);
            seen.kind = Kind::Stray;
        }
        0 => answer(seen, id, 8),
        14 | 16 | 18 => answer(seen, id, kind - 1),
        3 | 11 | 12 => quoted_v4(bytes, body, seen)?,
        _ => {
            seen.key.sport = u16::from(kind);
            seen.kind = if matches!(kind, 4 | 5) { Kind::Stray } else { Kind::Plain };
        }
    }
    Ok(())
}

pub(super) fn v6(bytes: Bytes<'_>, body: &Body, seen: &mut Seen) -> Result<(), Why> {
    body.hold(4)?;
    let [kind, code] = bytes.at(body.start)?;
    seen.service = u16::from(kind);
    match kind {
        128 | 129 => {
            body.hold(8)?;
            let id = bytes.pair(body.start + 4)?;
            if kind == 128 {
                query(seen, id, 128);
                seen.kind = Kind::Query;
            } else {
                answer(seen, id, 128);
            }
        }
        1..=4 => {
            body.hold(8)?;
            quoted_v6(bytes, body, seen)?;
        }
        133..=137 => {
            seen.key.sport = u16::from(kind);
            neighbours(bytes, body, code, seen)?;
        }
        _ => {
            seen.key.sport = u16::from(kind);
            let local = is_link_local(seen.key.src) || seen.key.src.is_unspecified();
            if matches!(kind, 130..=132 | 143) && body.hops == 1 && local {
                seen.shape = Some(Shape::Listeners);
            }
        }
    }
    Ok(())
}

/// Hop limit 255 proves that no router has passed it on.
fn neighbours(bytes: Bytes<'_>, body: &Body, code: u8, seen: &mut Seen) -> Result<(), Why> {
    if body.hops != 255 || code != 0 {
        return Err(Why::BadHeader);
    }
    body.hold(match seen.service {
        133 => 8,
        134 => 16,
        137 => 40,
        _ => 24,
    })?;
    seen.shape = Some(if matches!(seen.service, 134 | 137) { Shape::Router } else { Shape::Neighbours });
    if seen.service == 136 {
        let claim = bytes.v6(body.start + 8)?;
        if disguised(claim) {
            return Err(Why::SpoofedSource);
        }
        seen.claim = Some(claim);
    }
    Ok(())
}

/// The quoted packet has to be one that the receiver of the error has sent.
fn quoted_v4(bytes: Bytes<'_>, body: &Body, seen: &mut Seen) -> Result<(), Why> {
    let off = body.start + 8;
    body.hold(8 + 28)?;
    if off >= 512 {
        return Err(Why::TooDeep);
    }
    let head: [u8; 20] = bytes.at(off)?;
    let header = usize::from(head[0] & 15) * 4;
    if head[0] >> 4 != 4 || header < 20 {
        return Err(Why::BadHeader);
    }
    let offset = u16::from_be_bytes([head[6], head[7]]) & 0x1fff;
    if offset != 0 || bytes.v4(off + 12)? != seen.key.dst {
        return Err(Why::NoConnection);
    }
    let ends = Key { src: seen.key.dst, dst: bytes.v4(off + 16)?, sport: 0, dport: 0, protocol: head[9] };
    quoted(bytes, body, off + header, ends, seen)
}

fn quoted_v6(bytes: Bytes<'_>, body: &Body, seen: &mut Seen) -> Result<(), Why> {
    let off = body.start + 8;
    body.hold(8 + 48)?;
    if bytes.byte(off)? >> 4 != 6 {
        return Err(Why::BadHeader);
    }
    let (src, dst) = (bytes.v6(off + 8)?, bytes.v6(off + 24)?);
    if src != seen.key.dst || disguised(dst) {
        return Err(Why::NoConnection);
    }
    let (mut next, mut at) = (bytes.byte(off + 6)?, off + 40);
    for _ in 0..3 {
        match next {
            0 | 43 | 60 => {
                let [following, length] = bytes.at(at)?;
                next = following;
                at += (usize::from(length) + 1) * 8;
            }
            44 => {
                // The whole header at once: where the frame ends before it, no part of it is too deep.
                let head = bytes.word(at)?;
                if head & 0xfff8 != 0 {
                    return Err(Why::NoConnection);
                }
                next = (head >> 24) as u8;
                at += 8;
            }
            _ => break,
        }
    }
    let ends = Key { src, dst, sport: 0, dport: 0, protocol: next };
    quoted(bytes, body, at, ends, seen)
}

/// Ports of the quoted packet, at `at`.
fn quoted(bytes: Bytes<'_>, body: &Body, at: usize, mut ends: Key, seen: &mut Seen) -> Result<(), Why> {
    seen.kind = Kind::Error;
    if at >= 512 {
        return Err(Why::TooDeep);
    }
    if body.is_first() {
        Body { start: at, ..*body }.hold(8)?;
    }
    match ends.protocol {
        6 | 17 | 132 => {
            let ports = bytes.word(at)?;
            (ends.sport, ends.dport) = ((ports >> 16) as u16, ports as u16);
        }
        1 | 58 => {
            let (kind, id) = (bytes.byte(at)?, bytes.pair(at + 4)?);
            (ends.sport, ends.dport) = match kind {
                8 | 128 => (id, port_of(kind)),
                0 => (port_of(8), id),
                129 => (port_of(128), id),
                // RFC 1122, RFC 4443: no error is ever sent about an error.
                _ => return Err(Why::NoConnection),
            };
        }
        _ => {}
    }
    seen.quoted = Some(ends);
    Ok(())
}
