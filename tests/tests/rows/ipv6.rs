//! C: IPv6.

use segd_tests::model::Why;
use segd_tests::packet::{
    AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, Packet, ROUTING, icmp, icmp_error,
    neighbour_advertisement, neighbour_solicitation, protocol, router_advertisement, tcp, udp,
};

use crate::bench::{Bench, DEV6, HERE6, LEDGER6, PORT};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn syn() -> Packet {
    tcp(40_000, PORT).syn().between(DEV6, LEDGER6)
}

fn denied() -> Packet {
    tcp(40_000, 22).syn().between(DEV6, LEDGER6)
}

fn behind(packet: Packet, kinds: &[u8]) -> Packet {
    kinds.iter().fold(packet, |packet, kind| packet.extension(*kind))
}

fn same_behind(kinds: &[u8]) {
    let mut bench = Bench::new();
    bench.packet(&behind(syn(), kinds), Why::Rule);
    bench.packet(&behind(denied(), kinds), Why::NoRule);
}

fn patched(packet: &Packet, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = packet.frame();
    frame[14 + at..14 + at + bytes.len()].copy_from_slice(bytes);
    frame
}

fn address(text: &str) -> std::net::Ipv6Addr {
    text.parse().expect("an address")
}

#[test]
fn c1_extension_headers_up_to_our_limit_change_nothing_and_more_are_too_deep() {
    for count in 1..=8 {
        same_behind(&vec![DESTINATION_OPTIONS; count]);
    }
    let mut bench = Bench::new();
    for count in [9, 20, 170] {
        bench.packet(&behind(syn(), &vec![DESTINATION_OPTIONS; count]), Why::TooDeep);
    }
}

#[test]
fn c2_hop_by_hop_twice_or_not_first_is_a_bad_header() {
    let mut bench = Bench::new();
    for kinds in [[HOP_BY_HOP, HOP_BY_HOP], [DESTINATION_OPTIONS, HOP_BY_HOP]] {
        bench.packet(&behind(syn(), &kinds), Why::BadHeader);
    }
}

#[test]
fn c3_routing_headers_that_steer_are_source_routes() {
    let mut bench = Bench::new();
    for (kind, left) in [(0, 0), (0, 1), (4, 0), (4, 1), (2, 1), (3, 1), (253, 1)] {
        bench.packet(&syn().extension_bytes(ROUTING, &[0, kind, left, 0, 0, 0, 0]), Why::SourceRoute);
    }
    same_behind(&[ROUTING]);
}

#[test]
fn c4_an_atomic_fragment_is_judged() {
    let mut bench = Bench::new();
    bench.packet(&syn().fragment(9, 0, false), Why::Rule);
    bench.packet(&denied().fragment(9, 0, false), Why::NoRule);
}

#[test]
fn c5_two_fragment_headers_are_refused() {
    let two = syn().extension_bytes(FRAGMENT, &[0, 0, 0, 0, 0, 0, 9]).fragment(9, 0, false);
    Bench::new().packet(&two, Why::Fragment);
}

#[test]
fn c6_a_first_fragment_without_all_headers_and_neighbour_discovery_in_fragments_are_refused() {
    let mut bench = Bench::new();
    bench.packet(&syn().headless().data(&[0; 8]).extension(DESTINATION_OPTIONS).fragment(9, 0, true), Why::Fragment);
    let asks = neighbour_solicitation(MAC, address(DEV6), address(HERE6));
    bench.packet(&asks.fragment(9, 0, false), Why::Fragment);
}

#[test]
fn c7_overlapping_fragments_are_refused_with_the_whole_datagram() {
    let mut bench = Bench::new();
    let ask = udp(40_000, PORT).between(DEV6, LEDGER6).data(&[7; 200]);
    let parts = ask.fragments(9, 64);
    bench.gets(&parts[0], Why::Rule);
    bench.packet(&ask.clone().headless().data(&[0; 64]).fragment(9, 56, true), Why::Fragment);
    bench.gets(&parts[1], Why::Fragment);
    bench.gets(&parts[2], Why::Fragment);
}

#[test]
fn c8_headers_on_both_sides_of_a_fragment_header_change_nothing() {
    let mut bench = Bench::new();
    for (packet, why) in [(syn(), Why::Rule), (denied(), Why::NoRule)] {
        let packet = behind(packet, &[HOP_BY_HOP, DESTINATION_OPTIONS]);
        let packet = packet.extension_bytes(FRAGMENT, &[0, 0, 0, 0, 0, 0, 9]).extension(DESTINATION_OPTIONS);
        bench.packet(&packet, why);
    }
}

#[test]
fn c9_nothing_that_has_bytes_and_a_payload_of_no_length_are_bad_headers() {
    let mut bench = Bench::new();
    bench.packet(&protocol(59).between(DEV6, LEDGER6).data(b"hidden"), Why::BadHeader);
    bench.gets(&patched(&syn(), 4, &[0, 0]), Why::BadHeader);
    // A jumbogram says its length in a hop-by-hop option.
    let jumbo = syn().extension_bytes(HOP_BY_HOP, &[0, 0xc2, 4, 0, 1, 0, 0]);
    bench.gets(&patched(&jumbo, 4, &[0, 0]), Why::BadHeader);
}

#[test]
fn c10_an_authentication_header_is_parsed_through_and_esp_passes_by_rule_only() {
    same_behind(&[AUTHENTICATION]);
    Bench::new().packet(&protocol(50).between(DEV6, LEDGER6).data(&[0; 24]), Why::UnsupportedProtocol);
}

#[test]
fn c11_ipv4_in_disguise_is_spoofed() {
    let mut bench = Bench::new();
    bench.packet(&tcp(1, PORT).syn().between("::ffff:10.30.0.5", LEDGER6), Why::SpoofedSource);
    bench.packet(&tcp(1, PORT).syn().between(DEV6, "::ffff:10.20.0.10"), Why::SpoofedSource);
}

#[test]
fn c12_sources_that_stay_on_their_link_or_machine_are_spoofed() {
    let mut bench = Bench::new();
    for source in ["::", "::1", "ff02::1", "fe80::5", HERE6] {
        bench.packet(&tcp(1, PORT).syn().between(source, LEDGER6), Why::SpoofedSource);
    }
}

#[test]
fn c13_prefixes_that_hide_an_ipv4_address_are_in_no_zone() {
    let mut bench = Bench::new();
    for target in ["2002:a14:a::1", "2001:0:a14:a::1", "::10.20.0.10"] {
        bench.packet(&tcp(1, PORT).syn().between(DEV6, target), Why::NoRule);
    }
}

#[test]
fn c14_a_router_advertisement_is_dropped_however_it_is_dressed() {
    let mut bench = Bench::new();
    let advertisement = router_advertisement(MAC, address("fe80::66"));
    bench.packet(&advertisement, Why::NoRule);
    bench.packet(&advertisement.clone().tag(0x8100, 0), Why::NoRule);
    bench.packet(&advertisement.clone().extension(DESTINATION_OPTIONS), Why::NoRule);
    bench.packet(&advertisement.clone().fragment(9, 0, false), Why::Fragment);
    let snap = [&[0xaa, 0xaa, 3, 0, 0, 0, 0x86, 0xdd][..], &advertisement.packet()].concat();
    let frame = segd_tests::packet::ethernet(MAC, [0x33, 0x33, 0, 0, 0, 1], &[], snap.len() as u16, &snap);
    bench.gets(&frame, Why::UnsupportedEthertype);
}

#[test]
fn c15_neighbour_discovery_that_a_router_has_passed_on_is_a_bad_header() {
    let mut bench = Bench::new();
    let asks = neighbour_solicitation(MAC, address(DEV6), address(HERE6));
    for hops in [0, 1, 64, 254] {
        bench.packet(&asks.clone().hops(hops), Why::BadHeader);
    }
}

#[test]
fn c16_what_a_network_needs_passes_under_an_empty_policy() {
    let policy = crate::bench::policy();
    let mut bench = Bench::under(&segd_tests::model::Policy { rules: Vec::new(), ..policy });
    let (dev, here, unknown) = (address(DEV6), address(HERE6), address("::"));
    bench.packet(&neighbour_solicitation(MAC, unknown, dev), Why::Essential);
    bench.packet(&neighbour_solicitation(MAC, dev, here), Why::Essential);
    bench.packet(&neighbour_advertisement(MAC, dev, here), Why::Essential);
    bench.packet(&icmp(133, 0, [0; 4]).between("fe80::5", "ff02::2").hops(255), Why::Essential);
    bench.packet(&icmp(143, 0, [0; 4]).between("fe80::5", "ff02::16").hops(1), Why::Essential);
    bench.packet(&udp(547, 546).between("fe80::5", "fe80::1"), Why::Essential);
    bench.packet(&udp(546, 547).between("fe80::5", "ff02::1:2"), Why::Essential);
}

#[test]
fn c17_packet_too_big_is_related_to_a_live_connection_only() {
    let mut bench = Bench::new();
    bench.packet(&syn(), Why::Rule);
    bench.answer(&icmp_error(2, 0, &syn()), Why::Related);
    bench.answer(&icmp_error(2, 0, &tcp(40_001, PORT).syn().between(DEV6, LEDGER6)), Why::NoConnection);
}
