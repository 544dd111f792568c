//! The builder against bytes that were written down by hand, and against sums that must come out as zero.

use super::checksum::{internet, pseudo_header};
use super::*;

/// Sums a finished transport part with its pseudo-header; 0 means the checksum in it is right.
fn sum_of(packet: &Packet) -> u16 {
    let body = packet.body();
    let pseudo = pseudo_header(packet.ip.src, packet.ip.dst, packet.protocol(), body.len());
    internet(&[&pseudo, &body])
}

#[test]
fn a_syn_is_the_frame_that_rfc_791_and_793_draw() {
    let frame = tcp(40000, 5432).syn().between("10.30.0.5", "10.20.0.10").frame();
    assert_eq!(&frame[..14], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    assert_eq!(&frame[14..24], [0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6]);
    assert_eq!(internet(&[&frame[14..34]]), 0, "the header's own sum");
    assert_eq!(&frame[26..34], [10, 30, 0, 5, 10, 20, 0, 10]);
    assert_eq!(&frame[34..38], [0x9c, 0x40, 0x15, 0x38]);
    assert_eq!(&frame[46..48], [0x50, SYN]);
}

#[test]
fn transport_sums_are_right_in_both_families() {
    for (src, dst) in [("10.30.0.5", "10.20.0.10"), ("fd00:30::5", "fd00:20::10")] {
        for packet in [tcp(1, 2).data(b"odd"), udp(1, 2).data(b"even")] {
            assert_eq!(sum_of(&packet.between(src, dst)), 0, "{src}");
        }
    }
    assert_eq!(sum_of(&echo_request(7, 1).between("fd00:30::5", "fd00:20::10").data(b"x")), 0);
    let v4 = echo_request(7, 1).between("10.30.0.5", "10.20.0.10").data(b"x");
    assert_eq!(internet(&[&v4.body()]), 0, "ICMP has no pseudo-header");
}

#[test]
fn tags_stand_between_the_addresses_and_the_ethertype() {
    let frame = udp(1, 2).between("10.0.0.1", "10.0.0.2").tag(DOT1AD, 5).tag(DOT1Q, 0).frame();
    assert_eq!(&frame[12..22], [0x88, 0xa8, 0, 5, 0x81, 0, 0, 0, 8, 0]);
}

#[test]
fn extension_headers_name_each_other_and_the_last_names_the_transport() {
    let packet = tcp(1, 2).between("fd00::1", "fd00::2").extension(HOP_BY_HOP).extension(DESTINATION_OPTIONS).packet();
    assert_eq!((packet[6], packet[40], packet[48]), (HOP_BY_HOP, DESTINATION_OPTIONS, 6));
    assert_eq!(u16::from_be_bytes([packet[4], packet[5]]), 8 + 8 + 20);
}

#[test]
fn fragments_put_together_are_the_datagram() {
    for (src, dst, header) in [("10.0.0.1", "10.0.0.2", 20), ("fd00::1", "fd00::2", 48)] {
        let whole = udp(5, 6).between(src, dst).data(&[7; 3000]);
        let parts = whole.fragments(99, 1400);
        assert_eq!(parts.len(), 3);
        let joined: Vec<u8> = parts.iter().flat_map(|part| part[14 + header..].to_vec()).collect();
        assert_eq!(joined, whole.body());
    }
}

#[test]
fn an_icmp_error_quotes_its_packet_and_goes_back() {
    let lost = udp(5, 6).between("10.30.0.5", "10.20.0.10");
    let error = icmp_error(3, 3, &lost);
    assert_eq!((error.ip.src, error.ip.dst), (lost.ip.dst, lost.ip.src));
    assert_eq!(error.packet()[28..], lost.packet()[..]);
}
