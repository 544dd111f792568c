//! Sends a captured frame to the receivers: its hosts get addresses that the policy speaks of, and everything else stays as odd
//! as it was. A frame is read here only as far as its outermost addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ground::{RECEIVER_MAC, SENDER_MAC, Sender};

/// Tags of VLANs and of whoever stacks them.
const TAGS: [u16; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];

/// Where the network header starts, and which it is.
fn network(frame: &[u8]) -> Option<(usize, u16)> {
    let mut at = 12;
    loop {
        let kind = u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?);
        if TAGS.contains(&kind) {
            at += 4;
        } else {
            return Some((at + 2, kind));
        }
    }
}

/// The frame from this sender to the receiver; none if it is no IP packet with both of its addresses. Addresses that stand for
/// many, for nobody or for oneself stay: they are what is odd about it.
pub(super) fn between(frame: &[u8], sender: &Sender) -> Option<Vec<u8>> {
    let (start, kind) = network(frame)?;
    let mut frame = frame.to_vec();
    if frame[0] & 1 == 0 {
        frame[..6].copy_from_slice(&RECEIVER_MAC);
    }
    frame[6..12].copy_from_slice(&SENDER_MAC);
    match (kind, frame.get(start)? >> 4) {
        (0x0800, _) => {
            let receiver: Ipv4Addr = super::ground::RECEIVER.0;
            rewrite(&mut frame, start + 12, &sender.v4.octets(), is_host4)?;
            rewrite(&mut frame, start + 16, &receiver.octets(), is_host4)?;
            sum_header(&mut frame, start);
        }
        (0x86dd, _) => {
            let receiver: Ipv6Addr = super::ground::RECEIVER.1;
            rewrite(&mut frame, start + 8, &sender.v6.octets(), is_host6)?;
            rewrite(&mut frame, start + 24, &receiver.octets(), is_host6)?;
        }
        _ => return None,
    }
    sum_transport(&mut frame, start);
    Some(frame)
}

fn rewrite(frame: &mut [u8], at: usize, address: &[u8], is_host: fn(&[u8]) -> bool) -> Option<()> {
    let there = frame.get_mut(at..at + address.len())?;
    if is_host(there) {
        there.copy_from_slice(address);
    }
    Some(())
}

fn is_host4(bytes: &[u8]) -> bool {
    let address = <[u8; 4]>::try_from(bytes).map(Ipv4Addr::from);
    address.is_ok_and(|one| !(one.is_multicast() || one.is_broadcast() || one.is_loopback() || one.is_unspecified()))
}

fn is_host6(bytes: &[u8]) -> bool {
    let address = <[u8; 16]>::try_from(bytes).map(Ipv6Addr::from);
    address.is_ok_and(|one| !(one.is_multicast() || one.is_loopback() || one.is_unspecified()))
}

/// Makes the checksum of an IPv4 header right, if the header is there.
pub(super) fn sum_header(frame: &mut [u8], start: usize) {
    let Some(length) = frame.get(start).map(|first| usize::from(first & 15) * 4).filter(|length| *length >= 20) else {
        return;
    };
    let Some(header) = frame.get_mut(start..start + length) else { return };
    header[10..12].fill(0);
    let sum = checksum(header, 0);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The start of the IPv4 header of a frame, if it has one.
pub(super) fn ipv4(frame: &[u8]) -> Option<usize> {
    network(frame).filter(|(_, kind)| *kind == 0x0800).map(|(start, _)| start)
}

/// The start of the network header of a frame, whatever it is.
pub(super) fn start(frame: &[u8]) -> Option<usize> {
    network(frame).map(|(start, _)| start)
}

/// Makes the checksum of a plain, whole TCP, UDP or ICMPv6 packet right. Whatever is odd keeps the one that it has.
fn sum_transport(frame: &mut [u8], start: usize) -> Option<()> {
    let word = |frame: &[u8], at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let (protocol, from, end, pseudo) = if frame.get(start)? >> 4 == 4 {
        let header = usize::from(frame[start] & 15) * 4;
        if word(frame, start + 6)? & 0x3fff != 0 {
            return None;
        }
        let total = usize::from(word(frame, start + 2)?);
        (*frame.get(start + 9)?, start + header, start + total, frame.get(start + 12..start + 20)?.to_vec())
    } else {
        let length = usize::from(word(frame, start + 4)?);
        (*frame.get(start + 6)?, start + 40, start + 40 + length, frame.get(start + 8..start + 40)?.to_vec())
    };
    let place = match protocol {
        6 => 16,
        17 => 6,
        58 => 2,
        _ => return None,
    };
    let length = end.checked_sub(from)?;
    let mut seed = u32::from(protocol) + u32::try_from(length).ok()?;
    seed += pseudo.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
    let segment = frame.get_mut(from..end)?;
    segment.get_mut(place..place + 2)?.fill(0);
    let sum = match checksum(segment, seed) {
        // To UDP, 0 says that there is none.
        0 if protocol == 17 => 0xffff,
        sum => sum,
    };
    segment[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// The internet checksum (RFC 1071).
fn checksum(bytes: &[u8], seed: u32) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum = seed + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Both addresses of an IPv4 packet.
pub(super) fn ends4(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let address =
        |at: usize| <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok().map(|octets| Ipv4Addr::from(octets).into());
    Some((address(12)?, address(16)?))
}
