//! Odd and hostile frames on the first ground: the parser, on the host, without root.

use segd_common::packet::Packet;
use segd_common::parse::{Framing, parse};
use segd_common::reason::Reason;
use segd_common::view::Slice;
use segd_tests::packet::{DOT1Q, echo_request, ethernet, sctp, tcp, udp};
use segd_tests::rows::{self, Expected, V4, V6};

fn parsed(frame: &[u8]) -> Result<Packet, Reason> {
    let mut packet = Packet::EMPTY;
    parse(&Slice(frame), Framing::ETHERNET, &mut packet).map(|()| packet)
}

/// What policy and state look at.
fn judged_by(packet: &Packet) -> String {
    format!("{:?} {} {:?}", packet.key, packet.service, packet.kind)
}

#[test]
fn every_odd_frame_is_judged_by_its_true_ends_or_dropped_for_the_right_reason() {
    let mut wrong = Vec::new();
    for row in rows::all() {
        let outcome = parsed(&row.frame);
        let right = match (row.expected, &outcome) {
            (Expected::Same, Ok(packet)) => {
                parsed(&row.plain).is_ok_and(|plain| judged_by(packet) == judged_by(&plain))
            }
            (Expected::Drop(reason), Err(got)) => *got == reason,
            (Expected::DropEither(one, other), Err(got)) => [one, other].contains(got),
            _ => false,
        };
        if !right {
            wrong.push(format!("{}: expected {:?}, got {:?}", row.what, row.expected, outcome.map(|p| judged_by(&p))));
        }
    }
    assert!(wrong.is_empty(), "{} frames got something else:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_frame_that_is_cut_short_anywhere_is_truncated() {
    for (src, dst) in [V4, V6] {
        for packet in [tcp(1, 2).syn(), udp(1, 2), sctp(1, 2, 1), echo_request(1, 2)] {
            let frame = packet.between(src, dst).data(b"payload").frame();
            assert!(parsed(&frame).is_ok(), "{packet:?}", packet = parsed(&frame));
            for end in 0..frame.len() {
                assert_eq!(parsed(&frame[..end]).err(), Some(Reason::Truncated), "{end} of {} bytes", frame.len());
            }
        }
    }
}

#[test]
fn a_tag_that_was_taken_off_counts_as_one_of_four() {
    let stripped = Framing { stripped: true, ..Framing::ETHERNET };
    for (tags, expected) in [(0, None), (3, None), (4, Some(Reason::TooDeep))] {
        let plain = udp(1, 2).between(V4.0, V4.1);
        let frame = (0..tags).fold(plain, |packet, _| packet.tag(DOT1Q, 0)).frame();
        let mut packet = Packet::EMPTY;
        assert_eq!(parse(&Slice(&frame), stripped, &mut packet).err(), expected, "{tags} more");
    }
}

#[test]
fn every_other_ethertype_is_refused() {
    let packet = tcp(1, 2).syn().between(V4.0, V4.1).packet();
    for ethertype in 0..=u16::MAX {
        if ![0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8].contains(&ethertype) {
            let frame = ethernet([2; 6], [4; 6], &[], ethertype, &packet);
            assert_eq!(parsed(&frame).err(), Some(Reason::UnsupportedEthertype), "{ethertype:#06x}");
        }
    }
}

#[test]
fn no_byte_that_is_changed_makes_the_parser_run_away() {
    // Each single byte of each row in turn, at its extremes: whatever comes out, it comes out.
    for row in rows::all() {
        for at in 0..row.frame.len().min(120) {
            for value in [0, 1, 0x0f, 0x7f, 0x80, 0xff] {
                let mut frame = row.frame.clone();
                frame[at] = value;
                // Either answer is right; a panic is not.
                let _ = parsed(&frame);
            }
        }
    }
}
