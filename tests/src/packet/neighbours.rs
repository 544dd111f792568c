//! How neighbours find each other: ARP and IPv6 neighbour discovery, as whole frames.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{BROADCAST, Packet, ethernet, icmp};

/// "Who has `target`? Tell `sender`", to everybody.
#[must_use]
pub fn arp_request(mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    ethernet(mac, BROADCAST, &[], 0x0806, &arp(1, (mac, sender), ([0; 6], target)))
}

/// "`sender` is at `mac`", to `to`.
#[must_use]
pub fn arp_reply(mac: [u8; 6], sender: Ipv4Addr, to: ([u8; 6], Ipv4Addr)) -> Vec<u8> {
    ethernet(mac, to.0, &[], 0x0806, &arp(2, (mac, sender), to))
}

fn arp(operation: u8, sender: ([u8; 6], Ipv4Addr), target: ([u8; 6], Ipv4Addr)) -> Vec<u8> {
    let mut out = vec![0, 1, 8, 0, 6, 4, 0, operation];
    for (mac, address) in [sender, target] {
        out.extend(mac);
        out.extend(address.octets());
    }
    out
}

/// "Who has `target`?" with the sender's link address; `src` may be `::`, then it is a duplicate address check.
#[must_use]
pub fn neighbour_solicitation(mac: [u8; 6], src: Ipv6Addr, target: Ipv6Addr) -> Packet {
    let mut body = target.octets().to_vec();
    if !src.is_unspecified() {
        body.extend([1, 1]);
        body.extend(mac);
    }
    let low = target.octets();
    let group =
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(low[13]), u16::from_be_bytes([low[14], low[15]]));
    icmp(135, 0, [0; 4]).between(src, group).hops(255).data(&body).macs(mac, multicast_mac(group))
}

/// "`src` is at `mac`", solicited by `dst`.
#[must_use]
pub fn neighbour_advertisement(mac: [u8; 6], src: Ipv6Addr, dst: Ipv6Addr) -> Packet {
    let body = [&src.octets()[..], &[2, 1], &mac[..]].concat();
    icmp(136, 0, [0x60, 0, 0, 0]).between(src, dst).hops(255).data(&body)
}

/// "I am a router", to all nodes.
#[must_use]
pub fn router_advertisement(mac: [u8; 6], src: Ipv6Addr) -> Packet {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    icmp(134, 0, [64, 0, 0x07, 0x08])
        .between(src, all_nodes)
        .hops(255)
        .data(&[0; 8])
        .macs(mac, multicast_mac(all_nodes))
}

fn multicast_mac(group: Ipv6Addr) -> [u8; 6] {
    let low = group.octets();
    [0x33, 0x33, low[12], low[13], low[14], low[15]]
}
