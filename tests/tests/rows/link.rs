//! A: the link layer.

use segd_tests::model::Why;
use segd_tests::packet::{BROADCAST, DOT1AD, DOT1Q, Packet, arp_reply, arp_request, ethernet, tcp};

use crate::bench::{Bench, DEV, DEV6, HERE, LEDGER, LEDGER6, PORT};

const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

fn syns() -> [Packet; 2] {
    [tcp(40_000, PORT).syn().between(DEV, LEDGER), tcp(40_000, PORT).syn().between(DEV6, LEDGER6)]
}

fn denied() -> [Packet; 2] {
    [tcp(40_000, 22).syn().between(DEV, LEDGER), tcp(40_000, 22).syn().between(DEV6, LEDGER6)]
}

fn tagged(packet: &Packet, tags: &[(u16, u16)]) -> Packet {
    tags.iter().fold(packet.clone(), |packet, (tpid, vid)| packet.tag(*tpid, *vid))
}

/// Behind these tags both an allowed and a denied packet get what they get without.
fn same_behind(tags: &[(u16, u16)]) {
    let mut bench = Bench::new();
    for packet in syns() {
        bench.packet(&tagged(&packet, tags), Why::Rule);
    }
    for packet in denied() {
        bench.packet(&tagged(&packet, tags), Why::NoRule);
    }
}

#[test]
fn a1_one_priority_tag_changes_nothing() {
    for tpid in [DOT1Q, DOT1AD] {
        same_behind(&[(tpid, 0)]);
    }
}

#[test]
fn a2_priority_tags_up_to_our_limit_change_nothing() {
    same_behind(&[(DOT1AD, 0), (DOT1Q, 0)]);
    same_behind(&[(DOT1Q, 0), (DOT1AD, 0), (DOT1Q, 0), (DOT1AD, 0)]);
}

#[test]
fn a3_one_tag_more_than_the_parser_takes_is_too_deep() {
    let mut bench = Bench::new();
    for count in 5..=8 {
        for packet in syns() {
            bench.packet(&tagged(&packet, &vec![(DOT1Q, 0); count]), Why::TooDeep);
        }
    }
}

#[test]
fn a4_a_vlan_that_nobody_configured_is_judged_by_its_inner_addresses() {
    same_behind(&[(DOT1Q, 7)]);
}

#[test]
fn a6_qinq_in_both_orders_is_judged_by_its_inner_addresses() {
    same_behind(&[(DOT1AD, 7), (DOT1Q, 8)]);
    same_behind(&[(DOT1Q, 7), (DOT1AD, 8)]);
}

#[test]
fn a7_other_tag_protocols_are_refused() {
    let mut bench = Bench::new();
    for packet in syns() {
        for tpid in [0x9100, 0x9200] {
            bench.packet(&tagged(&packet, &[(tpid, 0)]), Why::UnsupportedEthertype);
            bench.packet(&tagged(&packet, &[(DOT1Q, 0), (tpid, 0)]), Why::UnsupportedEthertype);
        }
    }
}

#[test]
fn a8_ip_inside_llc_snap_is_refused() {
    let mut bench = Bench::new();
    for (packet, kind) in syns().iter().zip([[8, 0], [0x86, 0xdd]]) {
        let snap = [&[0xaa, 0xaa, 3, 0, 0, 0], &kind[..], &packet.packet()].concat();
        for length in [snap.len() as u16, 8, 1500] {
            for tags in [&[][..], &[(DOT1Q, 0)]] {
                bench.gets(&ethernet(MACS[0], MACS[1], tags, length, &snap), Why::UnsupportedEthertype);
            }
        }
    }
}

#[test]
fn a9_an_ethertype_that_disagrees_with_the_ip_version_is_a_bad_header() {
    let mut bench = Bench::new();
    let [v4, v6] = syns();
    bench.packet(&v4.ethertype(0x86dd), Why::BadHeader);
    bench.packet(&v6.ethertype(0x0800), Why::BadHeader);
}

#[test]
fn a10_all_other_ethertypes_are_refused() {
    let mut bench = Bench::new();
    let [v4, _] = syns();
    let body = v4.packet();
    // Every one of the 65,536 goes through the parser on the host (frames.rs); here each high byte and the neighbours of ours.
    let neighbours = [0x0801, 0x0805, 0x0807, 0x86dc, 0x86de, 0x80ff, 0x8101, 0x88a7, 0x88a9];
    for ethertype in (0..=0xff00).step_by(256).filter(|kind| ![0x0800, 0x8100].contains(kind)).chain(neighbours) {
        bench.gets(&ethernet(MACS[0], MACS[1], &[], ethertype, &body), Why::UnsupportedEthertype);
    }
}

#[test]
fn a11_a_frame_that_is_cut_short_at_any_byte_is_truncated() {
    let mut bench = Bench::new();
    for packet in syns() {
        let frame = packet.data(b"payload").frame();
        for end in 14..frame.len() {
            bench.gets(&frame[..end], Why::Truncated);
        }
    }
}

#[test]
fn a12_unicast_ip_in_a_broadcast_or_multicast_frame_is_judged() {
    let mut bench = Bench::new();
    for to in [BROADCAST, [1, 0, 0x5e, 0, 0, 1]] {
        bench.forget();
        for packet in syns() {
            bench.packet(&packet.macs(MACS[0], to), Why::Rule);
        }
        for packet in denied() {
            bench.packet(&packet.macs(MACS[0], to), Why::NoRule);
        }
    }
}

#[test]
fn a13_bytes_behind_the_ip_length_change_nothing() {
    let mut bench = Bench::new();
    for (packet, why) in syns().into_iter().zip([Why::Rule; 2]).chain(denied().into_iter().zip([Why::NoRule; 2])) {
        bench.gets(&[packet.frame(), vec![0xa5; 30]].concat(), why);
    }
}

#[test]
fn a15_an_arp_sender_that_is_not_of_the_interfaces_zones_is_spoofed() {
    let mut bench = Bench::new();
    let (dev, here, ledger) = (v4(DEV), v4(HERE), v4(LEDGER));
    bench.gets(&arp_request(MACS[0], dev, here), Why::Essential);
    bench.gets_on(2, &arp_request(MACS[0], dev, here), Why::SpoofedSource);
    bench.gets_on(2, &arp_reply(MACS[0], ledger, (BROADCAST, ledger)), Why::SpoofedSource);
    for gratuitous in [arp_request(MACS[0], here, here), arp_reply(MACS[0], here, (BROADCAST, here))] {
        bench.gets(&gratuitous, Why::SpoofedSource);
    }
}

fn v4(text: &str) -> std::net::Ipv4Addr {
    text.parse().expect("an address")
}
