//! B: IPv4.

use segd_tests::model::Why;
use segd_tests::packet::{Packet, protocol, tcp, udp};

use crate::bench::{Bench, DEV, HERE, LEDGER, PORT};

fn syn() -> Packet {
    tcp(40_000, PORT).syn().between(DEV, LEDGER)
}

fn ask(port: u16) -> Packet {
    udp(40_000, port).between(DEV, LEDGER).data(&[7; 120])
}

fn patched(packet: &Packet, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = packet.frame();
    frame[14 + at..14 + at + bytes.len()].copy_from_slice(bytes);
    frame
}

#[test]
fn b1_a_rest_whose_first_was_never_seen_belongs_to_nothing() {
    let mut bench = Bench::new();
    bench.gets(&ask(PORT).fragments(9, 64)[1], Why::NoConnection);
}

#[test]
fn b2_a_first_fragment_without_its_whole_tcp_header_is_refused() {
    let mut bench = Bench::new();
    for size in [8, 16] {
        bench.gets(&syn().fragments(size, size as usize)[0], Why::Fragment);
    }
}

#[test]
fn b3_a_rest_before_its_first_is_dropped_and_no_bypass() {
    let mut bench = Bench::new();
    for (port, first, rest) in [(PORT, Why::Rule, Why::Rule), (22, Why::NoRule, Why::NoConnection)] {
        let parts = ask(port).fragments(u32::from(port), 64);
        bench.gets(&parts[1], Why::NoConnection);
        bench.gets(&parts[0], first);
        bench.gets(&parts[1], rest);
    }
}

#[test]
fn b4_an_overlap_that_rewrites_ports_kills_the_datagram() {
    let mut bench = Bench::new();
    let segment = tcp(40_000, PORT).syn().between(DEV, LEDGER).data(&[7; 100]);
    let parts = segment.fragments(9, 64);
    bench.gets(&parts[0], Why::Rule);
    bench.packet(&segment.clone().headless().data(&[0; 16]).fragment(9, 8, true), Why::Fragment);
    bench.gets(&parts[1], Why::Fragment);
}

#[test]
fn b5_an_exact_copy_gets_what_its_original_got() {
    let mut bench = Bench::new();
    let parts = ask(PORT).fragments(9, 64);
    for part in [0, 0, 1, 1] {
        bench.gets(&parts[part], Why::Rule);
    }
}

#[test]
fn b6_a_second_first_with_other_ports_kills_the_id() {
    let mut bench = Bench::new();
    let (allowed, denied) = (ask(PORT).fragments(9, 64), ask(22).fragments(9, 64));
    bench.gets(&allowed[0], Why::Rule);
    bench.gets(&denied[0], Why::Fragment);
    bench.gets(&allowed[1], Why::Fragment);
    bench.gets(&allowed[0], Why::Fragment);
}

#[test]
fn b7_fragments_that_end_beyond_every_datagram_or_inside_eight_bytes_are_refused() {
    let mut bench = Bench::new();
    let part = |offset, more, bytes: usize| syn().headless().data(&vec![0; bytes]).fragment(9, offset, more);
    bench.packet(&part(65_528, false, 16), Why::Fragment);
    bench.packet(&part(64, true, 12), Why::Fragment);
    bench.packet(&part(64, false, 0), Why::Fragment);
}

#[test]
fn b9_ports_are_found_behind_options_of_every_length() {
    let mut bench = Bench::new();
    for words in 1..=10 {
        bench.packet(&syn().options(&vec![1; words * 4]), Why::Rule);
        bench.packet(&tcp(40_000, 22).syn().between(DEV, LEDGER).options(&vec![1; words * 4]), Why::NoRule);
    }
    bench.packet(&syn().options(&[7, 7, 4, 0, 0, 0, 0, 0]), Why::Rule);
    bench.packet(&syn().options(&[68, 8, 5, 0, 0, 0, 0, 0]), Why::Rule);
}

#[test]
fn b10_source_routes_are_refused() {
    let mut bench = Bench::new();
    for kind in [131, 137] {
        bench.packet(&syn().options(&[kind, 7, 4, 10, 20, 0, 99, 0]), Why::SourceRoute);
        bench.packet(&syn().options(&[1, 1, 1, 1, 1, kind, 7, 4, 10, 20, 0, 99]), Why::SourceRoute);
    }
}

#[test]
fn b11_lengths_that_contradict_each_other_are_refused() {
    let mut bench = Bench::new();
    bench.gets(&patched(&syn(), 0, &[0x44]), Why::BadHeader);
    bench.gets(&patched(&syn(), 0, &[0x40]), Why::BadHeader);
    bench.gets(&patched(&syn(), 0, &[0x4f]), Why::BadHeader);
    bench.gets(&patched(&syn(), 2, &[0, 19]), Why::BadHeader);
    bench.gets(&patched(&syn(), 2, &[0, 0]), Why::BadHeader);
    bench.gets(&patched(&syn(), 2, &[0, 41]), Why::Truncated);
}

#[test]
fn b12_sources_that_no_wire_carries_are_spoofed() {
    let mut bench = Bench::new();
    for source in [HERE, "127.0.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.5", "240.0.0.1", "255.255.255.255"] {
        bench.packet(&tcp(1, PORT).syn().between(source, LEDGER), Why::SpoofedSource);
    }
    // The one that DHCP needs.
    bench.packet(&udp(68, 67).between("0.0.0.0", "255.255.255.255"), Why::Essential);
}

#[test]
fn b13_a_destination_that_is_inside_a_machine_is_spoofed() {
    for target in ["127.0.0.1", "127.1.2.3"] {
        Bench::new().packet(&tcp(1, PORT).syn().between(DEV, target), Why::SpoofedSource);
    }
}

#[test]
fn b14_a_source_that_is_its_destination_is_spoofed() {
    Bench::new().packet(&tcp(PORT, PORT).syn().between(DEV, DEV), Why::SpoofedSource);
}

#[test]
fn b15_a_directed_broadcast_is_judged_and_passes_by_rule_only() {
    let mut bench = Bench::new();
    bench.packet(&udp(40_000, PORT).between(DEV, "10.20.0.255"), Why::Rule);
    bench.packet(&udp(40_000, 9).between(DEV, "10.20.0.255"), Why::NoRule);
}

#[test]
fn b16_all_protocols_but_those_that_a_rule_names_are_refused() {
    let mut bench = Bench::new();
    for number in 0..=255 {
        let why = match number {
            1 | 58 => Why::NoRule,
            // Too short for the header that it ought to have.
            6 | 17 | 132 => continue,
            47 => Why::Rule,
            _ => Why::UnsupportedProtocol,
        };
        bench.packet(&protocol(number).between(DEV, LEDGER).data(&[40; 24]), why);
    }
}
