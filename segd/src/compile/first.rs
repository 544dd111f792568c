//! The packet that a question stands for: the first one of the connection, as a well-behaved sender would make it. Nothing is
//! decided here; the frame parser says what the packet is.

use std::net::IpAddr;

use segd_common::packet::{Packet, proto, tcp};
use segd_common::parse::{Framing, parse};
use segd_common::reason::Reason;
use segd_common::view::Slice;

/// Port and id of whoever asks. Nothing listens there.
const ASKER: u16 = 40_000;

/// What the parser makes of the first packet.
pub(super) fn first_packet(src: IpAddr, dst: IpAddr, protocol: u8, key: u16) -> Result<Packet, Reason> {
    let bytes = ip(src, dst, protocol, hops(protocol, key), &transport(src, dst, protocol, key));
    let mut packet = Packet::EMPTY;
    let framing = Framing { layer3: true, oversized: false, stripped: false };
    parse(&Slice(&bytes), framing, &mut packet).map(|()| packet)
}

/// Neighbour discovery comes with a full hop limit, listener discovery with one hop (RFC 4861, 2710).
const fn hops(protocol: u8, key: u16) -> u8 {
    match (protocol, key) {
        (proto::ICMPV6, 133..=137) => 255,
        (proto::ICMPV6, 130..=132 | 143) => 1,
        _ => 64,
    }
}

fn transport(src: IpAddr, dst: IpAddr, protocol: u8, key: u16) -> Vec<u8> {
    let mut bytes = [ASKER.to_be_bytes(), key.to_be_bytes()].concat();
    match protocol {
        proto::TCP => bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, tcp::SYN, 0, 0, 0, 0, 0, 0]),
        proto::UDP => bytes.extend([0, 8, 0, 0]),
        proto::SCTP => bytes.extend([0; 8]),
        proto::ICMP | proto::ICMPV6 => {
            let [high, low] = ASKER.to_be_bytes();
            bytes = vec![key as u8, 0, 0, 0, high, low, 0, 1];
            // An advertisement speaks of its sender, and an error of a packet that its receiver sent.
            match (protocol, key) {
                (proto::ICMP, 3 | 11 | 12) | (proto::ICMPV6, 1..=4) => {
                    bytes.extend(ip(dst, src, proto::UDP, 64, &[0x9c, 0x40, 0x9c, 0x40, 0, 8, 0, 0]));
                }
                _ => bytes.extend(octets(src)),
            }
            bytes.resize(bytes.len().max(48), 0);
        }
        _ => bytes.resize(24, 0),
    }
    bytes
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn ip(src: IpAddr, dst: IpAddr, protocol: u8, hops: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = if src.is_ipv4() {
        let [high, low] = (20 + body.len() as u16).to_be_bytes();
        vec![0x45, 0, high, low, 0, 0, 0, 0, hops, protocol, 0, 0]
    } else {
        let [high, low] = (body.len() as u16).to_be_bytes();
        vec![0x60, 0, 0, 0, high, low, protocol, hops]
    };
    bytes.extend(octets(src));
    bytes.extend(octets(dst));
    bytes.extend(body);
    bytes
}
