//! D: transport and state.

use segd_tests::model::{Service, Why};
use segd_tests::packet::{
    ACK, FIN, PSH, Packet, RST, SYN, URG, echo_reply, echo_request, icmp, icmp_error, sctp, tcp, udp,
};

use crate::bench::{Bench, DEV, DEV6, LAN1, LEDGER, LEDGER6, PORT, WAN, policy};

const ENDS: [(&str, &str); 2] = [(DEV, LEDGER), (DEV6, LEDGER6)];

fn segment(flags: u8, seq: u32) -> Packet {
    tcp(40_000, PORT).flags(flags).sequence(seq, 1).between(DEV, LEDGER)
}

fn back(flags: u8, seq: u32) -> Packet {
    tcp(PORT, 40_000).flags(flags).sequence(seq, 1).between(LEDGER, DEV)
}

/// A connection that both sides have opened.
fn connected() -> Bench {
    let mut bench = Bench::new();
    bench.packet(&segment(SYN, 1000), Why::Rule);
    bench.answer(&back(SYN | ACK, 9000), Why::Reply);
    bench.packet(&segment(ACK, 1001), Why::Rule);
    bench
}

fn patched(packet: &Packet, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = packet.frame();
    frame[14 + at..14 + at + bytes.len()].copy_from_slice(bytes);
    frame
}

#[test]
fn d1_all_flag_bytes_that_are_no_syn_open_nothing() {
    let mut bench = Bench::new();
    for flags in 0..=255u8 {
        let why = match flags & (SYN | ACK | FIN | RST) {
            SYN => continue,
            kinds if [ACK, RST, SYN | ACK, RST | ACK, FIN | ACK].contains(&kinds) => Why::NoConnection,
            _ => Why::BadFlags,
        };
        bench.packet(&segment(flags, 1000), why);
    }
    bench.answer(&back(SYN | ACK, 1), Why::NoConnection);
}

#[test]
fn d2_a_syn_with_psh_urg_or_ecn_is_a_syn() {
    let mut bench = Bench::new();
    for more in [PSH, URG, PSH | URG, 0x40, 0x80, 0xc0] {
        bench.forget();
        bench.packet(&segment(SYN | more, 1000), Why::Rule);
        bench.answer(&back(SYN | ACK, 9000), Why::Reply);
    }
}

#[test]
fn d3_segments_without_state_belong_to_nothing() {
    let mut bench = Bench::new();
    for flags in [ACK, SYN | ACK, RST, RST | ACK, FIN | ACK] {
        bench.packet(&segment(flags, 1), Why::NoConnection);
        bench.answer(&back(flags, 1), Why::NoConnection);
    }
}

#[test]
fn d4_a_syn_from_the_responders_side_is_no_reply() {
    let mut bench = Bench::new();
    bench.packet(&segment(SYN, 1000), Why::Rule);
    bench.answer(&back(SYN, 9000), Why::NoConnection);
}

#[test]
fn d5_a_reset_far_out_of_the_window_changes_nothing() {
    let mut bench = connected();
    bench.packet(&segment(RST, 0x4000_0000), Why::Rule);
    bench.answer(&back(RST, 0xc000_0000), Why::Reply);
    // Still open: a SYN from the other side is against the grain of a live connection.
    bench.answer(&back(SYN, 5), Why::NoConnection);
    bench.packet(&segment(ACK, 1002), Why::Rule);
}

#[test]
fn d6_ports_of_a_finished_connection_are_judged_afresh_from_either_side() {
    let mut bench = connected();
    bench.packet(&segment(RST, 1001), Why::Rule);
    bench.answer(&back(SYN, 5), Why::NoRule);
    bench.packet(&segment(SYN, 7_000_000), Why::Rule);
    bench.answer(&back(SYN | ACK, 9), Why::Reply);
}

#[test]
fn d7_a_udp_answer_that_nobody_asked_for_has_no_rule() {
    let mut bench = Bench::new();
    for (src, dst) in ENDS {
        bench.answer(&udp(PORT, 40_000).between(dst, src), Why::NoRule);
        bench.packet(&udp(40_000, PORT).between(src, dst), Why::Rule);
        bench.answer(&udp(PORT, 40_001).between(dst, src), Why::NoRule);
        bench.answer(&udp(PORT, 40_000).between(dst, src), Why::Reply);
    }
}

#[test]
fn d8_an_echo_against_the_grain_or_with_another_id_is_no_reply() {
    let mut bench = Bench::new();
    for (src, dst) in ENDS {
        bench.packet(&echo_request(7, 1).between(src, dst), Why::Rule);
        bench.answer(&echo_request(7, 1).between(dst, src), Why::NoRule);
        bench.answer(&echo_reply(8, 1).between(dst, src), Why::NoConnection);
        bench.answer(&echo_reply(7, 1).between(dst, src), Why::Reply);
    }
}

#[test]
fn d9_an_icmp_error_that_is_not_to_its_sender_or_changes_routes_belongs_to_nothing() {
    let mut bench = connected();
    let about = segment(ACK, 1001);
    bench.answer(&icmp_error(3, 1, &about), Why::Related);
    bench.answer(&icmp_error(3, 1, &about).between(LEDGER, "10.30.0.6"), Why::NoConnection);
    for kind in [4, 5] {
        bench.answer(&icmp_error(kind, 1, &about), Why::NoConnection);
    }
    for kind in [13, 14, 17, 18] {
        bench.answer(&icmp(kind, 0, [0, 7, 0, 1]).between(LEDGER, DEV).data(&[0; 12]), Why::NoConnection);
    }
}

#[test]
fn an_error_about_a_connection_without_ports_is_related_whatever_was_reported_before() {
    let mut bench = connected();
    let tunnel = segd_tests::packet::protocol(47).between(DEV, LEDGER).data(&[0; 24]);
    bench.packet(&tunnel, Why::Rule);
    bench.answer(&icmp_error(3, 1, &segment(ACK, 1001)), Why::Related);
    bench.answer(&icmp_error(3, 1, &tunnel), Why::Related);
}

#[test]
fn d10_lengths_that_the_packet_does_not_hold_are_bad_headers() {
    let mut bench = Bench::new();
    for ((src, dst), transport) in ENDS.into_iter().zip([20, 40]) {
        let syn = tcp(40_000, PORT).syn().between(src, dst);
        for words in [0x00, 0x40, 0xf0] {
            bench.gets(&patched(&syn, transport + 12, &[words]), Why::BadHeader);
        }
        let ask = udp(40_000, PORT).between(src, dst).data(b"question");
        for length in [0u16, 7, 17, 0xffff] {
            bench.gets(&patched(&ask, transport + 4, &length.to_be_bytes()), Why::BadHeader);
        }
    }
}

#[test]
fn d13_a_revoked_rule_cuts_its_connection_and_no_other() {
    let mut bench = connected();
    let other = echo_request(7, 1).between(DEV, LEDGER);
    bench.packet(&other, Why::Rule);
    let mut revoked = policy();
    revoked.rules[0].services = vec![Service::Icmp(Some(8))];
    bench.publish(&revoked);
    bench.packet(&segment(ACK, 1002), Why::NoRule);
    bench.answer(&back(ACK, 9001), Why::NoRule);
    bench.answer(&echo_reply(7, 1).between(LEDGER, DEV), Why::Reply);
    revoked.rules[0].services = policy().rules[0].services.clone();
    revoked.rules[0].expires = Some(-1);
    bench.publish(&revoked);
    bench.packet(&segment(ACK, 1003), Why::Expired);
    bench.packet(&other, Why::Expired);
}

#[test]
fn d14_port_ranges_are_exact_and_inclusive() {
    let mut policy = policy();
    policy.rules[0].services = vec![
        Service::Ports(6, 0, 1),
        Service::Ports(17, 65_534, 65_535),
        Service::Ports(132, 100, 200),
        Service::Ports(132, 150, 300),
    ];
    let mut bench = Bench::under(&policy);
    for (port, why) in [(0, Why::Rule), (1, Why::Rule), (2, Why::NoRule), (65_535, Why::NoRule)] {
        bench.packet(&tcp(40_000, port).syn().between(DEV, LEDGER), why);
    }
    for (port, why) in [(0, Why::NoRule), (65_533, Why::NoRule), (65_534, Why::Rule), (65_535, Why::Rule)] {
        bench.packet(&udp(40_000, port).between(DEV, LEDGER), why);
    }
    for (port, why) in [(99, Why::NoRule), (100, Why::Rule), (250, Why::Rule), (300, Why::Rule), (301, Why::NoRule)] {
        bench.packet(&sctp(40_000, port, 1).between(DEV, LEDGER), why);
    }
}

#[test]
fn d15_a_reply_may_come_by_any_interface_that_its_source_may_be_seen_on() {
    let mut bench = connected();
    bench.gets_on(0, &back(ACK, 9001).frame(), Why::Reply);
    bench.gets_on(LAN1, &back(ACK, 9002).frame(), Why::Reply);
    bench.gets_on(WAN, &back(ACK, 9003).frame(), Why::SpoofedSource);
}

#[test]
fn d16_a_payload_that_names_a_port_has_no_effect() {
    let mut bench = connected();
    bench.packet(&segment(ACK | PSH, 1001).data(b"PORT 10,30,0,5,156,65\r\n"), Why::Rule);
    bench.answer(&tcp(20, 40_001).syn().between(LEDGER, DEV), Why::NoRule);
}
