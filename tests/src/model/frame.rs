//! From bytes to what a packet says of itself: link, IPv4, IPv6. A frame that can't be trusted is refused for the first
//! fault on the way from the link to the transport.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::disguised;
use super::connection::Key;
use super::essential::Shape;
use super::why::Why;
use super::{extensions, transport};

/// Tags that are followed.
const TAGS: usize = 4;
/// Headers have to begin in these bytes.
const DEPTH: usize = 512;

/// What a packet is to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It may be the first of a connection, or belong to one.
    Plain,
    /// It opens a TCP connection.
    Syn,
    /// It belongs to a TCP connection, or to nothing.
    Segment,
    /// An ICMP query.
    Query,
    /// Its answer: it belongs to a query, or to nothing.
    Answer,
    /// An ICMP error.
    Error,
    /// ICMP that is obsolete or changes routes.
    Stray,
    /// Address resolution.
    Arp,
}

/// A part of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Of the datagram.
    pub id: u32,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// More follow.
    pub more: bool,
}

/// What a packet says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its ends.
    pub key: Key,
    /// What rules match on: port, type, number.
    pub service: u16,
    /// What it is to connections.
    pub kind: Kind,
    /// What it is to the network.
    pub shape: Option<Shape>,
    /// TCP flags.
    pub flags: u8,
    /// TCP sequence number.
    pub seq: u32,
    /// `None`: a whole datagram.
    pub part: Option<Part>,
    /// The ends of the packet that an ICMP error quotes.
    pub quoted: Option<Key>,
    /// The address that a neighbour advertisement claims.
    pub claim: Option<IpAddr>,
}

/// A frame that can't be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub why: Why,
    /// Its addresses, if it has any that can be read.
    pub ends: Option<(IpAddr, IpAddr)>,
}

/// Bytes that know how long they are.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a> {
    frame: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(super) const fn of(frame: &'a [u8]) -> Self {
        Self { frame }
    }

    /// `N` bytes at an offset.
    pub(super) fn at<const N: usize>(self, off: usize) -> Result<[u8; N], Why> {
        if off >= DEPTH {
            return Err(Why::TooDeep);
        }
        self.frame.get(off..off + N).and_then(|bytes| bytes.try_into().ok()).ok_or(Why::Truncated)
    }

    pub(super) fn byte(self, off: usize) -> Result<u8, Why> {
        self.at::<1>(off).map(|[byte]| byte)
    }

    pub(super) fn pair(self, off: usize) -> Result<u16, Why> {
        self.at(off).map(u16::from_be_bytes)
    }

    pub(super) fn word(self, off: usize) -> Result<u32, Why> {
        self.at(off).map(u32::from_be_bytes)
    }

    pub(super) fn v4(self, off: usize) -> Result<IpAddr, Why> {
        self.at::<4>(off).map(|bytes| Ipv4Addr::from(bytes).into())
    }

    pub(super) fn v6(self, off: usize) -> Result<IpAddr, Why> {
        let (high, low) = (self.at::<8>(off)?, self.at::<8>(off + 8)?);
        Ok(Ipv6Addr::from_bits(u128::from(u64::from_be_bytes(high)) << 64 | u128::from(u64::from_be_bytes(low))).into())
    }

    const fn len(self) -> usize {
        self.frame.len()
    }
}

/// Where the transport header begins and the datagram ends.
#[derive(Clone, Copy)]
pub(super) struct Body {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) protocol: u8,
    pub(super) hops: u8,
    pub(super) part: Option<Part>,
}

impl Body {
    /// Whether it is the first of several parts.
    pub(super) const fn is_first(&self) -> bool {
        matches!(self.part, Some(Part { start: 0, .. }))
    }

    /// The word for a header that the datagram does not hold: a first fragment so small hides something on purpose.
    pub(super) const fn short(&self, whole: Why) -> Why {
        if self.is_first() { Why::Fragment } else { whole }
    }

    pub(super) fn hold(&self, size: usize) -> Result<(), Why> {
        if self.start + size <= self.end { Ok(()) } else { Err(self.short(Why::Truncated)) }
    }
}

/// Reads an Ethernet frame.
///
/// # Errors
/// Why it can't be trusted.
pub fn read(frame: &[u8]) -> Result<Seen, Refused> {
    let bytes = Bytes::of(frame);
    let nowhere = |why| Refused { why, ends: None };
    let mut off = 12;
    let mut kind = bytes.pair(off).map_err(nowhere)?;
    let mut tags = 0;
    while matches!(kind, 0x8100 | 0x88a8) {
        tags += 1;
        if tags > TAGS {
            return Err(nowhere(Why::TooDeep));
        }
        off += 4;
        kind = bytes.pair(off).map_err(nowhere)?;
    }
    match kind {
        0x0800 => ipv4(bytes, off + 2),
        0x86dd => ipv6(bytes, off + 2),
        0x0806 => arp(bytes, off + 2).map_err(nowhere),
        _ => Err(nowhere(Why::UnsupportedEthertype)),
    }
}

/// Ethernet and IPv4, a request or a reply (RFC 826).
fn arp(bytes: Bytes<'_>, off: usize) -> Result<Seen, Why> {
    let head: [u8; 8] = bytes.at(off)?;
    if head[..7] != [0, 1, 8, 0, 6, 4, 0] || !matches!(head[7], 1 | 2) {
        return Err(Why::BadHeader);
    }
    let (src, dst) = (bytes.v4(off + 14)?, bytes.v4(off + 24)?);
    Ok(Seen { kind: Kind::Arp, shape: Some(Shape::Arp), ..Seen::between(src, dst, 0) })
}

fn ipv4(bytes: Bytes<'_>, off: usize) -> Result<Seen, Refused> {
    let head: [u8; 20] = match bytes.at(off) {
        Ok(head) => head,
        // So much of it is there that it can be seen to be none.
        Err(why) if bytes.at::<10>(off).is_ok_and(|head| head[0] >> 4 != 4 || head[0] & 15 < 5) => {
            let why = if why == Why::Truncated { Why::BadHeader } else { why };
            return Err(Refused { why, ends: None });
        }
        Err(why) => return Err(Refused { why, ends: None }),
    };
    let header = usize::from(head[0] & 15) * 4;
    if head[0] >> 4 != 4 || header < 20 {
        return Err(Refused { why: Why::BadHeader, ends: None });
    }
    let (src, dst) = (octets(&head[12..16]), octets(&head[16..20]));
    let refused = |why| Refused { why, ends: Some((src, dst)) };
    let total = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if total < header {
        return Err(refused(Why::BadHeader));
    }
    if off + total > bytes.len() {
        return Err(refused(Why::Truncated));
    }
    let options: Vec<u8> = (off + 20..off + header).map_while(|at| bytes.byte(at).ok()).collect();
    check_options(&options).map_err(refused)?;
    let word = u16::from_be_bytes([head[6], head[7]]);
    let id = u32::from(u16::from_be_bytes([head[4], head[5]]));
    let start = usize::from(word & 0x1fff) * 8;
    let part = Part { id, start, end: start + total - header, more: word & 0x2000 != 0 };
    let part = check_part(part).map_err(refused)?;
    let body = Body { start: off + header, end: off + total, protocol: head[9], hops: head[8], part };
    transport::read(bytes, &body, src, dst).map_err(refused)
}

fn octets(bytes: &[u8]) -> IpAddr {
    Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()
}

/// No source route, and no length that leads nowhere.
fn check_options(mut options: &[u8]) -> Result<(), Why> {
    while let [kind, rest @ ..] = options {
        match kind {
            0 => return Ok(()),
            1 => options = rest,
            131 | 137 => return Err(Why::SourceRoute),
            _ => match rest.first() {
                Some(size) if *size >= 2 && usize::from(*size) <= options.len() => {
                    options = &options[usize::from(*size)..];
                }
                _ => return Err(Why::BadHeader),
            },
        }
    }
    Ok(())
}

/// Whether it can be a part of a datagram: not beyond every datagram's end, not empty, and none but the last ends inside
/// eight bytes. `None`: it is all of it.
pub(super) fn check_part(part: Part) -> Result<Option<Part>, Why> {
    if part.start == 0 && !part.more {
        return Ok(None);
    }
    let size = part.end - part.start;
    if part.end > 0xffff || size == 0 || (part.more && !size.is_multiple_of(8)) {
        return Err(Why::Fragment);
    }
    Ok(Some(part))
}

fn ipv6(bytes: Bytes<'_>, off: usize) -> Result<Seen, Refused> {
    let nowhere = |why| Refused { why, ends: None };
    let head: [u8; 8] = bytes.at(off).map_err(nowhere)?;
    if head[0] >> 4 != 6 {
        return Err(nowhere(Why::BadHeader));
    }
    let (src, dst) = (bytes.v6(off + 8).map_err(nowhere)?, bytes.v6(off + 24).map_err(nowhere)?);
    // An IPv4 address in disguise is no address: it has no zone.
    if disguised(src) || disguised(dst) {
        return Err(nowhere(Why::SpoofedSource));
    }
    let refused = |why| Refused { why, ends: Some((src, dst)) };
    let payload = usize::from(u16::from_be_bytes([head[4], head[5]]));
    if payload == 0 {
        return Err(refused(Why::BadHeader));
    }
    if off + 40 + payload > bytes.len() {
        return Err(refused(Why::Truncated));
    }
    let body = Body { start: off + 40, end: off + 40 + payload, protocol: head[6], hops: head[7], part: None };
    let (body, fragmented) = extensions::follow(bytes, body).map_err(refused)?;
    let seen = transport::read(bytes, &body, src, dst).map_err(refused)?;
    // RFC 6980: neighbour discovery never comes in fragments, not even in a single one.
    if fragmented && matches!(seen.shape, Some(Shape::Neighbours | Shape::Router)) {
        return Err(refused(Why::Fragment));
    }
    Ok(seen)
}

impl Seen {
    /// A packet between two addresses that says nothing more.
    pub(super) const fn between(src: IpAddr, dst: IpAddr, protocol: u8) -> Self {
        Self {
            key: Key { src, dst, sport: 0, dport: 0, protocol },
            service: 0,
            kind: Kind::Plain,
            shape: None,
            flags: 0,
            seq: 0,
            part: None,
            quoted: None,
            claim: None,
        }
    }
}
