//! The IP layer: both families' headers, IPv4 options, IPv6 extension headers, fragments. It must never know what
//! is inside beyond a protocol number.

use std::net::IpAddr;

use super::checksum::{internet, octets};

/// IPv6 next header: hop-by-hop options.
pub const HOP_BY_HOP: u8 = 0;
/// IPv6 next header: routing.
pub const ROUTING: u8 = 43;
/// IPv6 next header: fragment.
pub const FRAGMENT: u8 = 44;
/// IPv6 next header: authentication header, whose length counts words of four bytes.
pub const AUTHENTICATION: u8 = 51;
/// IPv6 next header: destination options.
pub const DESTINATION_OPTIONS: u8 = 60;

/// Which part of a datagram a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fragment {
    pub(super) id: u32,
    /// In bytes, a multiple of eight.
    pub(super) offset: u16,
    pub(super) more: bool,
}

/// Everything of an IP header that a test may want to choose.
#[derive(Debug, Clone)]
pub(super) struct Ip {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    /// Time to live, or hop limit.
    pub(super) hops: u8,
    pub(super) options: Vec<u8>,
    /// Type and everything behind the "next header" byte.
    pub(super) extensions: Vec<(u8, Vec<u8>)>,
    pub(super) fragment: Option<Fragment>,
    /// IPv4 only; IPv6 has one in its fragment header.
    pub(super) id: u16,
}

impl Ip {
    /// A whole packet around `body`.
    pub(super) fn packet(&self, protocol: u8, body: &[u8]) -> Vec<u8> {
        if self.src.is_ipv4() { self.v4(protocol, body) } else { self.v6(protocol, body) }
    }

    /// The packets of one datagram whose parts hold at most `part` bytes (rounded down to a multiple of eight).
    pub(super) fn fragments(&self, id: u32, protocol: u8, body: &[u8], part: usize) -> Vec<Vec<u8>> {
        let part = part & !7;
        let count = body.len().div_ceil(part);
        body.chunks(part)
            .enumerate()
            .map(|(index, bytes)| {
                let offset = (index * part) as u16;
                let fragment = Some(Fragment { id, offset, more: index + 1 < count });
                Self { fragment, ..self.clone() }.packet(protocol, bytes)
            })
            .collect()
    }

    fn v4(&self, protocol: u8, body: &[u8]) -> Vec<u8> {
        let words = 5 + self.options.len().div_ceil(4);
        let mut out = vec![0x40 | words as u8, 0];
        out.extend(((words * 4 + body.len()) as u16).to_be_bytes());
        let (id, offset) = match self.fragment {
            Some(part) => (part.id as u16, (part.offset / 8) | u16::from(part.more) << 13),
            None => (self.id, 0x4000),
        };
        out.extend(id.to_be_bytes());
        out.extend(offset.to_be_bytes());
        out.extend([self.hops, protocol, 0, 0]);
        out.extend(octets(self.src));
        out.extend(octets(self.dst));
        out.extend(&self.options);
        out.resize(words * 4, 0);
        let sum = internet(&[&out]);
        out[10..12].copy_from_slice(&sum.to_be_bytes());
        out.extend(body);
        out
    }

    fn v6(&self, protocol: u8, body: &[u8]) -> Vec<u8> {
        let mut chain = self.extensions.clone();
        if let Some(part) = self.fragment {
            let mut rest = vec![0];
            rest.extend((part.offset | u16::from(part.more)).to_be_bytes());
            rest.extend(part.id.to_be_bytes());
            chain.push((FRAGMENT, rest));
        }
        let first = chain.first().map_or(protocol, |(kind, _)| *kind);
        let length = body.len() + chain.iter().map(|(_, rest)| rest.len() + 1).sum::<usize>();
        let mut out = vec![0x60, 0, 0, 0];
        out.extend((length as u16).to_be_bytes());
        out.extend([first, self.hops]);
        out.extend(octets(self.src));
        out.extend(octets(self.dst));
        for (index, (_, rest)) in chain.iter().enumerate() {
            out.push(chain.get(index + 1).map_or(protocol, |(kind, _)| *kind));
            out.extend(rest);
        }
        out.extend(body);
        out
    }
}
