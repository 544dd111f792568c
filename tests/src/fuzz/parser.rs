//! Any bytes as a frame: the parser reads out of it what the model reads, the shortcut gives the parser's packet or none,
//! and bytes behind the datagram change nothing.

use std::net::IpAddr;

use segd_common::addr::Addr;
use segd_common::flow::FlowKey;
use segd_common::packet::{Essential, Kind, Packet, Part};
use segd_common::parse::{self, Framing};
use segd_common::reason::Reason;
use segd_common::view::Slice;

use crate::model::connection::Key;
use crate::model::frame::{self, Seen};
use crate::model::{Shape, frame as model};

pub(super) fn run(bytes: &[u8]) {
    let (said, packet) = parsed(bytes, Framing::ETHERNET);
    agrees(said, &packet, bytes);
    the_shortcut_is_no_second_opinion(bytes, said, &packet);
    the_rest_of_a_frame_says_nothing(bytes);
    // These have no model: they are there for panics.
    for (layer3, oversized, stripped) in [(true, false, false), (false, true, false), (false, false, true)] {
        let _ = parsed(bytes, Framing { layer3, oversized, stripped });
    }
}

fn parsed(bytes: &[u8], framing: Framing) -> (Result<(), Reason>, Packet) {
    let mut packet = Packet::EMPTY;
    let said = parse::parse(&Slice(bytes), framing, &mut packet);
    (said, packet)
}

fn agrees(said: Result<(), Reason>, packet: &Packet, bytes: &[u8]) {
    match (said, frame::read(bytes)) {
        (Err(reason), Err(refused)) => {
            assert_eq!(reason.name(), refused.why.name(), "the reason for which a frame is refused");
            let ends = packet.addressed.then_some((packet.key.src, packet.key.dst));
            let wanted = refused.ends.map(|(src, dst)| (Addr::from(src), Addr::from(dst)));
            assert_eq!(ends, wanted, "the addresses of a frame that is refused");
        }
        (Ok(()), Ok(seen)) => same_packet(packet, &seen),
        (said, seen) => panic!("the parser says {said:?}, and the model {seen:?}"),
    }
}

fn same_packet(packet: &Packet, seen: &Seen) {
    assert!(packet.addressed, "a packet without addresses");
    assert_eq!(key(packet.key), seen.key, "the ends");
    let part = match packet.fragment.part {
        Part::Whole => None,
        Part::First | Part::Later => Some(model::Part {
            id: packet.fragment.id,
            start: packet.fragment.start as usize,
            end: packet.fragment.end as usize,
            more: !packet.fragment.last,
        }),
    };
    assert_eq!(part, seen.part, "the part of a datagram");
    if packet.fragment.part == Part::Later {
        return;
    }
    assert_eq!(
        (packet.service, packet.flags, packet.seq),
        (seen.service, seen.flags, seen.seq),
        "service, flags, number"
    );
    assert_eq!(kind(packet.kind), seen.kind, "what it is to connections");
    assert_eq!(shape(packet.essential), seen.shape, "what it is to the network");
    assert_eq!((packet.kind == Kind::IcmpError).then(|| key(packet.quoted)), seen.quoted, "what an error quotes");
    assert_eq!(packet.claims.then(|| IpAddr::from(packet.claim)), seen.claim, "the address that is claimed");
}

fn key(FlowKey { src, dst, sport, dport, proto }: FlowKey) -> Key {
    Key { src: src.into(), dst: dst.into(), sport, dport, protocol: proto }
}

const fn kind(kind: Kind) -> model::Kind {
    match kind {
        Kind::Plain => model::Kind::Plain,
        Kind::Syn => model::Kind::Syn,
        Kind::Segment => model::Kind::Segment,
        Kind::Query => model::Kind::Query,
        Kind::QueryReply => model::Kind::Answer,
        Kind::IcmpError => model::Kind::Error,
        Kind::IcmpStray => model::Kind::Stray,
        Kind::Arp => model::Kind::Arp,
    }
}

const fn shape(essential: Essential) -> Option<Shape> {
    match essential {
        Essential::No => None,
        Essential::Arp => Some(Shape::Arp),
        Essential::Ndp => Some(Shape::Neighbours),
        Essential::NdpRouter => Some(Shape::Router),
        Essential::DhcpRequest => Some(Shape::Asks),
        Essential::DhcpReply => Some(Shape::Offers),
        Essential::Mld => Some(Shape::Listeners),
    }
}

fn the_shortcut_is_no_second_opinion(bytes: &[u8], said: Result<(), Reason>, packet: &Packet) {
    let mut short = Packet::EMPTY;
    if parse::plain(&Slice(bytes), Framing::ETHERNET, &mut short).is_some() {
        assert_eq!(said, Ok(()), "the shortcut takes what the parser refuses");
        // Of a whole datagram nobody reads where its bytes stand.
        short.fragment = packet.fragment;
        assert_eq!(short, *packet, "the shortcut reads another packet");
    }
}

/// Lengths come from the headers: a frame that is read goes on being read as the same packet, whatever is behind it.
fn the_rest_of_a_frame_says_nothing(bytes: &[u8]) {
    let mut before = None;
    for len in 0..=bytes.len() {
        let now = parsed(&bytes[..len], Framing::ETHERNET);
        if before.is_some() {
            assert_eq!(Some(now), before, "byte {len} of a frame changes a packet that was whole before it");
        } else if now.0.is_ok() {
            before = Some(now);
        }
    }
}
