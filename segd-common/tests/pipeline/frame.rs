//! Hand-made frames. Only what the pipeline reads is filled in: no checksums, and no payload that nobody asks for.

use std::net::IpAddr;

use segd_common::packet::proto;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// Two ends that talk: addresses and ports of one side's packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) src: &'static str,
    pub(crate) sport: u16,
    pub(crate) dst: &'static str,
    pub(crate) dport: u16,
}

pub(crate) const fn line(src: &'static str, sport: u16, dst: &'static str, dport: u16) -> Line {
    Line { src, sport, dst, dport }
}

impl Line {
    /// The other side's packets.
    pub(crate) const fn back(self) -> Self {
        line(self.dst, self.dport, self.src, self.sport)
    }

    pub(crate) fn tcp(self, flags: u8, seq: u32) -> Vec<u8> {
        ip(self.src, self.dst, proto::TCP, &self.segment(flags, seq))
    }

    pub(crate) fn udp(self) -> Vec<u8> {
        ip(self.src, self.dst, proto::UDP, &self.datagram(4))
    }

    /// A TCP header.
    pub(crate) fn segment(self, flags: u8, seq: u32) -> Vec<u8> {
        let mut bytes = self.ports();
        bytes.extend(seq.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0]);
        bytes
    }

    /// A UDP header and `payload` bytes.
    pub(crate) fn datagram(self, payload: u16) -> Vec<u8> {
        let mut bytes = self.ports();
        bytes.extend((payload + 8).to_be_bytes());
        bytes.extend(vec![0; usize::from(payload) + 2]);
        bytes
    }

    fn ports(self) -> Vec<u8> {
        [self.sport.to_be_bytes(), self.dport.to_be_bytes()].concat()
    }
}

/// An ICMP message with an id: echo and its like.
pub(crate) fn query(src: &str, dst: &str, kind: u8, id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    icmp(src, dst, &[kind, 0, 0, 0, high, low, 0, 1])
}

/// An ICMP error of this type from `src` about `quoted`, a frame that its receiver has sent.
pub(crate) fn icmp_error(src: &str, kind: u8, quoted: &[u8]) -> Vec<u8> {
    let inner = quoted.get(14..).expect("a frame with an Ethernet header");
    let sender = if inner[0] >> 4 == 4 {
        IpAddr::from(<[u8; 4]>::try_from(&inner[12..16]).expect("four bytes"))
    } else {
        IpAddr::from(<[u8; 16]>::try_from(&inner[8..24]).expect("sixteen bytes"))
    };
    icmp_error_to(src, &sender.to_string(), kind, quoted)
}

/// The same, to anybody.
pub(crate) fn icmp_error_to(src: &str, dst: &str, kind: u8, quoted: &[u8]) -> Vec<u8> {
    let message = [&[kind, 1, 0, 0, 0, 0, 0, 0], quoted.get(14..).expect("a frame with an Ethernet header")].concat();
    icmp(src, dst, &message)
}

pub(crate) fn icmp(src: &str, dst: &str, message: &[u8]) -> Vec<u8> {
    ip(src, dst, if src.contains(':') { proto::ICMPV6 } else { proto::ICMP }, message)
}

/// Neighbour discovery: hop limit 255, and a target.
pub(crate) fn neighbour(src: &str, dst: &str, kind: u8, target: &str) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(octets(target));
    hop_limit(icmp(src, dst, &message), 255)
}

/// Sets an IPv6 frame's hop limit.
pub(crate) fn hop_limit(mut frame: Vec<u8>, limit: u8) -> Vec<u8> {
    frame[21] = limit;
    frame
}

/// An ARP packet.
pub(crate) fn arp(operation: u8, sender: &str, target: &str) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    let body = [&head, &[2; 6][..], &octets(sender), &[2; 6], &octets(target)].concat();
    ethernet(0x0806, &body)
}

/// One datagram in one piece, of the family that its addresses are of.
pub(crate) fn ip(src: &str, dst: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    if src.contains(':') { v6(src, dst, protocol, payload) } else { v4(src, dst, [protocol, 0, 0, 0, 0], payload) }
}

/// A piece of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) id: u16,
    /// First byte, a multiple of 8.
    pub(crate) start: u16,
    pub(crate) more: bool,
}

impl Piece {
    /// The fragment with these bytes of the datagram's payload.
    pub(crate) fn of(self, ends: Line, protocol: u8, bytes: &[u8]) -> Vec<u8> {
        if ends.src.contains(':') {
            let mut payload = vec![protocol, 0];
            payload.extend((self.start | u16::from(self.more)).to_be_bytes());
            payload.extend(u32::from(self.id).to_be_bytes());
            payload.extend(bytes);
            return v6(ends.src, ends.dst, 44, &payload);
        }
        let [i, d] = self.id.to_be_bytes();
        let [f, o] = ((self.start / 8) | if self.more { 0x2000 } else { 0 }).to_be_bytes();
        v4(ends.src, ends.dst, [protocol, i, d, f, o], bytes)
    }
}

fn v4(src: &str, dst: &str, [protocol, i, d, f, o]: [u8; 5], payload: &[u8]) -> Vec<u8> {
    let [high, low] = (20 + payload.len() as u16).to_be_bytes();
    let head = [0x45, 0, high, low, i, d, f, o, 64, protocol, 0, 0];
    ethernet(0x0800, &[&head[..], &octets(src), &octets(dst), payload].concat())
}

fn v6(src: &str, dst: &str, next: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (payload.len() as u16).to_be_bytes();
    let head = [0x60, 0, 0, 0, high, low, next, 64];
    ethernet(0x86dd, &[&head[..], &octets(src), &octets(dst), payload].concat())
}

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &ethertype.to_be_bytes(), payload].concat()
}

fn octets(address: &str) -> Vec<u8> {
    match address.parse().expect("an address") {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
