//! Frames that were never on a wire, for asking the loaded programs. Pure.

use std::net::{IpAddr, Ipv4Addr};

/// Ethernet, IPv4 without options, IPv6.
const ETHERNET: usize = 14;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;
const HOPS: u8 = 64;

/// A frame of this type.
#[must_use]
pub fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    // The kernel wants a whole link header and something behind it.
    frame.resize(frame.len().max(ETHERNET + 1), 0);
    frame
}

/// A packet of a protocol, in the family of its addresses. Both have to be of one.
#[must_use]
pub fn packet(src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut header = vec![0x45, 0];
            header.extend((20 + payload.len() as u16).to_be_bytes());
            header.extend([0, 1, 0x40, 0, HOPS, protocol, 0, 0]);
            header.extend(src.octets());
            header.extend(dst.octets());
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            ethernet(IPV4, &[&header, payload].concat())
        }
        (src, dst) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            let mut header = vec![0x60, 0, 0, 0];
            header.extend((payload.len() as u16).to_be_bytes());
            header.extend([protocol, HOPS]);
            header.extend(octets(src));
            header.extend(octets(dst));
            ethernet(IPV6, &[&header, payload].concat())
        }
    }
}

/// A datagram to this port. The programs don't look at its checksum.
#[must_use]
pub fn udp(src: IpAddr, dst: IpAddr, port: u16) -> Vec<u8> {
    let mut header = vec![0xc3, 0x50];
    header.extend(port.to_be_bytes());
    header.extend([0, 8, 0, 0]);
    packet(src, dst, 17, &header)
}

/// A TCP segment to this port with these flags: 2 is SYN, 16 is ACK.
#[must_use]
pub fn tcp(src: IpAddr, dst: IpAddr, port: u16, flags: u8) -> Vec<u8> {
    let mut header = vec![0xc3, 0x50];
    header.extend(port.to_be_bytes());
    header.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    packet(src, dst, 6, &header)
}

/// A datagram that names the routers that it wants to pass (RFC 791, loose source route).
#[must_use]
pub fn source_routed(src: Ipv4Addr, dst: Ipv4Addr, port: u16) -> Vec<u8> {
    let mut header = vec![0x47, 0, 0, 36, 0, 1, 0x40, 0, HOPS, 17, 0, 0];
    header.extend(src.octets());
    header.extend(dst.octets());
    header.extend([131, 7, 4]);
    header.extend(dst.octets());
    header.push(0);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend([0xc3, 0x50]);
    header.extend(port.to_be_bytes());
    header.extend([0, 8, 0, 0]);
    ethernet(IPV4, &header)
}

/// `sender` asks who has an address (RFC 826).
#[must_use]
pub fn arp(sender: Ipv4Addr, wanted: Ipv4Addr) -> Vec<u8> {
    let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1];
    request.extend(sender.octets());
    request.extend([0; 6]);
    request.extend(wanted.octets());
    ethernet(ARP, &request)
}

/// The internet checksum (RFC 1071).
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_its_checksum_sums_up_to_nothing() {
        let frame = udp("10.30.0.5".parse().unwrap(), "10.20.0.10".parse().unwrap(), 9);
        assert_eq!(frame.len(), 14 + 20 + 8);
        assert_eq!(checksum(&frame[14..34]), 0);
        assert_eq!(frame[26..34], [10, 30, 0, 5, 10, 20, 0, 10]);
    }

    #[test]
    fn ipv6_has_its_lengths() {
        let frame = tcp("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap(), 443, 2);
        assert_eq!(frame.len(), 14 + 40 + 20);
        assert_eq!((frame[18], frame[19], frame[20]), (0, 20, 6));
    }
}
