//! Hostile and odd frames, each with what it must get, for all grounds: the parser on the host, the loaded programs,
//! namespaces. Rows are about single frames; what needs several in a row is a test of its own.
//!
//! The rule behind all of them: what Linux would deliver is judged by its true addresses and ports, or dropped.

use segd_common::reason::Reason;

use crate::packet::{
    ACK, AUTHENTICATION, BROADCAST, DESTINATION_OPTIONS, DOT1AD, DOT1Q, FIN, HOP_BY_HOP, PSH, Packet, ROUTING, RST,
    SYN, URG, ethernet, neighbour_solicitation, protocol, tcp, udp,
};

/// What a frame must get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// What the plain packet of its family and protocol gets, with the same addresses and ports.
    Same,
    /// A drop for this reason.
    Drop(Reason),
    /// A drop for either of these: the frame breaks two rules, and which is found first says nothing.
    DropEither(Reason, Reason),
}

use Expected::{Drop, DropEither, Same};

/// One frame.
#[derive(Debug, Clone)]
pub struct Row {
    /// What is odd about it.
    pub what: String,
    /// Its bytes.
    pub frame: Vec<u8>,
    /// The plain packet that it is, or pretends to be.
    pub plain: Vec<u8>,
    /// What it must get.
    pub expected: Expected,
}

/// Source, destination of all rows: a developer asks the finance server.
pub const V4: (&str, &str) = ("10.30.0.5", "10.20.0.10");
/// The same in IPv6.
pub const V6: (&str, &str) = ("fd00:30::5", "fd00:20::10");

const SRC_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const DST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Where the network layer starts in an untagged frame.
const NET: usize = 14;

fn syn4() -> Packet {
    tcp(40000, 5432).syn().between(V4.0, V4.1)
}

fn syn6() -> Packet {
    tcp(40000, 5432).syn().between(V6.0, V6.1)
}

fn query4() -> Packet {
    udp(40000, 5432).between(V4.0, V4.1).data(b"question")
}

fn row(what: impl Into<String>, frame: Vec<u8>, plain: &Packet, expected: Expected) -> Row {
    Row { what: what.into(), frame, plain: plain.frame(), expected }
}

/// A frame with other bytes at `at`.
fn patched(packet: &Packet, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = packet.frame();
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// Every row.
#[must_use]
pub fn all() -> Vec<Row> {
    [
        tags(),
        links(),
        ipv4_headers(),
        ipv4_options(),
        ipv4_fragments(),
        ipv6_chains(),
        ipv6_faults(),
        flags(),
        lengths(),
    ]
    .concat()
}

fn tags() -> Vec<Row> {
    let mut rows = Vec::new();
    for plain in [syn4(), syn6()] {
        let mut add = |what: &str, tags: &[(u16, u16)], expected| {
            let tagged = tags.iter().fold(plain.clone(), |packet, (tpid, vid)| packet.tag(*tpid, *vid));
            rows.push(row(what, tagged.frame(), &plain, expected));
        };
        add("a priority tag", &[(DOT1Q, 0)], Same);
        add("a service priority tag", &[(DOT1AD, 0)], Same);
        add("priority tags of both kinds", &[(DOT1AD, 0), (DOT1Q, 0), (DOT1AD, 0)], Same);
        add("a tag with all bits of the priority", &[(DOT1Q, 0xe000)], Same);
        add("a VLAN that nobody configured", &[(DOT1Q, 7)], Same);
        add("QinQ", &[(DOT1AD, 7), (DOT1Q, 8)], Same);
        add("QinQ the wrong way round", &[(DOT1Q, 7), (DOT1AD, 8)], Same);
        add("four tags", &[(DOT1Q, 0); 4], Same);
        add("five tags", &[(DOT1Q, 0); 5], Drop(Reason::TooDeep));
        add("nine tags", &[(DOT1AD, 0); 9], Drop(Reason::TooDeep));
        add("tag protocol 9100", &[(0x9100, 0)], Drop(Reason::UnsupportedEthertype));
        add("tag protocol 9200 behind a priority tag", &[(DOT1Q, 0), (0x9200, 0)], Drop(Reason::UnsupportedEthertype));
    }
    rows
}

fn links() -> Vec<Row> {
    let (v4, v6) = (syn4(), syn6());
    let mut rows = vec![
        row("IPv4 in a broadcast frame", v4.clone().macs(SRC_MAC, BROADCAST).frame(), &v4, Same),
        row("IPv6 in a broadcast frame", v6.clone().macs(SRC_MAC, BROADCAST).frame(), &v6, Same),
        row("IPv6 behind IPv4's EtherType", v6.clone().ethertype(0x0800).frame(), &v6, Drop(Reason::BadHeader)),
        row("IPv4 behind IPv6's EtherType", v4.clone().ethertype(0x86dd).frame(), &v4, Drop(Reason::BadHeader)),
    ];
    for plain in [&v4, &v6] {
        let padded = [plain.frame(), vec![0xa5; 30]].concat();
        rows.push(row("bytes behind the packet", padded, plain, Same));
        let kind = if plain.frame()[12] == 8 { [8, 0] } else { [0x86, 0xdd] };
        let snap = [&[0xaa, 0xaa, 3, 0, 0, 0], &kind[..], &plain.packet()].concat();
        for (what, length) in [("right", snap.len()), ("short", 8), ("long", 1500)] {
            for tags in [&[][..], &[(DOT1Q, 0)]] {
                let frame = ethernet(SRC_MAC, DST_MAC, tags, length as u16, &snap);
                let what = format!("LLC/SNAP with a {what} length behind {} tags", tags.len());
                rows.push(row(what, frame, plain, Drop(Reason::UnsupportedEthertype)));
            }
        }
    }
    rows
}

fn ipv4_headers() -> Vec<Row> {
    let plain = syn4();
    let first = |byte: u8| patched(&plain, NET, &[byte]);
    let total = |bytes: u16| patched(&plain, NET + 2, &bytes.to_be_bytes());
    let beyond = DropEither(Reason::BadHeader, Reason::Truncated);
    vec![
        row("header length 4", first(0x44), &plain, Drop(Reason::BadHeader)),
        row("header length 0", first(0x40), &plain, Drop(Reason::BadHeader)),
        row("header beyond the frame", first(0x4f), &plain, beyond),
        row("version 5", first(0x55), &plain, Drop(Reason::BadHeader)),
        row("total length below the header's", total(19), &plain, Drop(Reason::BadHeader)),
        row("total length 0", total(0), &plain, Drop(Reason::BadHeader)),
        row("total length beyond the frame", total(41), &plain, Drop(Reason::Truncated)),
    ]
}

fn ipv4_options() -> Vec<Row> {
    const NOP: u8 = 1;
    let mut rows = Vec::new();
    for plain in [syn4(), query4()] {
        let mut add = |what: String, options: &[u8], expected| {
            rows.push(row(what, plain.clone().options(options).frame(), &plain, expected));
        };
        for words in 1..=10 {
            add(format!("{words} words of no-operation"), &vec![NOP; words * 4], Same);
        }
        add("record route".into(), &[7, 7, 4, 0, 0, 0, 0, 0], Same);
        add("timestamp".into(), &[68, 8, 5, 0, 0, 0, 0, 0], Same);
        add("loose source route".into(), &[131, 7, 4, 10, 20, 0, 99, 0], Drop(Reason::SourceRoute));
        add("strict source route".into(), &[137, 7, 4, 10, 20, 0, 99, 0], Drop(Reason::SourceRoute));
        let hidden = [&[NOP; 5][..], &[131, 7, 4, 10, 20, 0, 99]].concat();
        add("loose source route behind no-operations".into(), &hidden, Drop(Reason::SourceRoute));
        add("an option of length 0".into(), &[68, 0, 0, 0], Drop(Reason::BadHeader));
        add("an option beyond the header".into(), &[68, 9, 5, 0], Drop(Reason::BadHeader));
    }
    rows
}

fn ipv4_fragments() -> Vec<Row> {
    let plain = syn4();
    let part =
        |offset, more, bytes: usize| plain.clone().headless().data(&vec![0; bytes]).fragment(9, offset, more).frame();
    let first = |bytes: usize| {
        let segment = plain.packet()[20..20 + bytes].to_vec();
        plain.clone().headless().data(&segment).fragment(9, 0, true).frame()
    };
    let refused = Drop(Reason::Fragment);
    vec![
        row("a first fragment of 8 bytes", first(8), &plain, refused),
        row("a first fragment of 16 bytes", first(16), &plain, refused),
        row("a fragment that ends beyond 65535", part(65528, false, 16), &plain, refused),
        row("a middle fragment of 12 bytes", part(64, true, 12), &plain, refused),
        row("a later fragment of no bytes", part(64, false, 0), &plain, refused),
    ]
}

fn ipv6_chains() -> Vec<Row> {
    let plain = syn6();
    let mut rows = Vec::new();
    let mut add = |what: String, packet: Packet, expected| rows.push(row(what, packet.frame(), &plain, expected));
    for count in 1..=8 {
        let packet = (0..count).fold(plain.clone(), |packet, _| packet.extension(DESTINATION_OPTIONS));
        add(format!("{count} destination options"), packet, Same);
    }
    for count in [9, 20, 170] {
        let packet = (0..count).fold(plain.clone(), |packet, _| packet.extension(DESTINATION_OPTIONS));
        add(format!("{count} destination options"), packet, Drop(Reason::TooDeep));
    }
    add("hop-by-hop options".into(), plain.clone().extension(HOP_BY_HOP), Same);
    add("a routing header that is done".into(), plain.clone().extension(ROUTING), Same);
    add("an authentication header".into(), plain.clone().extension(AUTHENTICATION), Same);
    add("an atomic fragment".into(), plain.clone().fragment(9, 0, false), Same);
    let many = plain.clone().extension(HOP_BY_HOP).extension(DESTINATION_OPTIONS).fragment(9, 0, false);
    add("hop-by-hop, destination, fragment".into(), many, Same);
    let atomic = plain.clone().extension(HOP_BY_HOP).extension(DESTINATION_OPTIONS);
    let atomic = atomic.extension_bytes(crate::packet::FRAGMENT, &[0, 0, 0, 0, 0, 0, 9]).extension(DESTINATION_OPTIONS);
    add("hop-by-hop, destination, fragment, destination".into(), atomic, Same);
    rows
}

fn ipv6_faults() -> Vec<Row> {
    let plain = syn6();
    let again = |kinds: &[u8]| kinds.iter().fold(plain.clone(), |packet, kind| packet.extension(*kind)).frame();
    let routing = |kind, left| plain.clone().extension_bytes(ROUTING, &[0, kind, left, 0, 0, 0, 0]).frame();
    let two_fragments =
        plain.clone().extension_bytes(crate::packet::FRAGMENT, &[0, 0, 0, 0, 0, 0, 9]).fragment(9, 0, false);
    let cut = plain.clone().headless().data(&[0; 8]).extension(DESTINATION_OPTIONS).fragment(9, 0, true);
    let asks =
        neighbour_solicitation(SRC_MAC, "fe80::5".parse().unwrap_or(std::net::Ipv6Addr::UNSPECIFIED), neighbour());
    vec![
        row("hop-by-hop twice", again(&[HOP_BY_HOP, HOP_BY_HOP]), &plain, Drop(Reason::BadHeader)),
        row("hop-by-hop behind others", again(&[DESTINATION_OPTIONS, HOP_BY_HOP]), &plain, Drop(Reason::BadHeader)),
        row("routing type 0", routing(0, 0), &plain, Drop(Reason::SourceRoute)),
        row("segment routing", routing(4, 0), &plain, Drop(Reason::SourceRoute)),
        row("a routing header with a segment left", routing(2, 1), &plain, Drop(Reason::SourceRoute)),
        row("two fragment headers", two_fragments.frame(), &plain, Drop(Reason::Fragment)),
        row("a first fragment without the TCP header", cut.frame(), &plain, Drop(Reason::Fragment)),
        row(
            "neighbour discovery in a fragment",
            asks.clone().fragment(9, 0, false).frame(),
            &asks,
            Drop(Reason::Fragment),
        ),
        row("neighbour discovery from afar", asks.clone().hops(254).frame(), &asks, Drop(Reason::BadHeader)),
        row(
            "no next header, but bytes",
            protocol(59).between(V6.0, V6.1).data(b"hidden").frame(),
            &plain,
            Drop(Reason::BadHeader),
        ),
        row("payload length 0", patched(&plain, NET + 4, &[0, 0]), &plain, Drop(Reason::BadHeader)),
        row("payload beyond the frame", patched(&plain, NET + 4, &[0, 21]), &plain, Drop(Reason::Truncated)),
        row("version 7", patched(&plain, NET, &[0x70]), &plain, Drop(Reason::BadHeader)),
    ]
}

fn neighbour() -> std::net::Ipv6Addr {
    std::net::Ipv6Addr::new(0xfd00, 0x30, 0, 0, 0, 0, 0, 1)
}

fn flags() -> Vec<Row> {
    const ECE: u8 = 0x40;
    const CWR: u8 = 0x80;
    let mut rows = Vec::new();
    for plain in [syn4(), syn6()] {
        let mut add = |what: &str, flags, expected| {
            rows.push(row(what, plain.clone().flags(flags).frame(), &plain, expected));
        };
        for (what, flags) in [
            ("SYN and FIN", SYN | FIN),
            ("SYN and RST", SYN | RST),
            ("no flags at all", 0),
            ("FIN, PSH and URG", FIN | PSH | URG),
            ("all flags", 0xff),
            ("RST and FIN", RST | FIN | ACK),
        ] {
            add(what, flags, Drop(Reason::BadFlags));
        }
        add("SYN that asks for ECN", SYN | ECE | CWR, Same);
        add("SYN with PSH and URG", SYN | PSH | URG, Same);
    }
    rows
}

fn lengths() -> Vec<Row> {
    let mut rows = Vec::new();
    for (plain, transport) in [(syn4(), NET + 20), (syn6(), NET + 40)] {
        for (what, words) in [("0", 0x00), ("4", 0x40), ("15, past the end", 0xf0)] {
            let frame = patched(&plain, transport + 12, &[words]);
            rows.push(row(format!("TCP header length {what}"), frame, &plain, Drop(Reason::BadHeader)));
        }
        let question = udp(40000, 5432).data(b"question");
        let plain = if transport == NET + 20 { question.between(V4.0, V4.1) } else { question.between(V6.0, V6.1) };
        for length in [0u16, 7, 17, 0xffff] {
            let frame = patched(&plain, transport + 4, &length.to_be_bytes());
            rows.push(row(format!("UDP length {length}"), frame, &plain, Drop(Reason::BadHeader)));
        }
    }
    rows
}
