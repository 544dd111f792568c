//! Frames and orders of frames that nobody thought of: nothing panics, everything is counted once, nothing slips through.

use std::cell::Cell;
use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use segd_common::control::Control;
use segd_common::packet::{Packet, proto};
use segd_common::parse::{self, Framing};
use segd_common::pipeline::{Hook, Sighting};
use segd_common::reason::{Reason, Verdict};
use segd_common::view::Slice;

use crate::frame::{ACK, FIN, Line, Piece, RST, SYN, arp, icmp_error, line, neighbour, query};
use crate::machine::Machine;
use crate::net::{ANNE, ANNE6, DMZ, HERE, HERE6, HOST, LAN, Policy, SHOP, SHOP6, dmz, lan, local, onward, tcp, udp};

fn policy() -> Policy {
    let ping = (proto::ICMP, 8);
    let policy = Policy::new().allow(LAN, DMZ, tcp(443), 2).allow(LAN, DMZ, udp(53), 1).allow(LAN, DMZ, ping, 3);
    policy.rest(DMZ, HOST, Reason::Audit)
}

/// Frames that make sense; bytes of them will change.
fn sensible() -> impl Strategy<Value = Vec<u8>> {
    let ends = select(vec![line(ANNE, 1, SHOP, 443), line(ANNE6, 1, SHOP6, 53), line(SHOP, 443, ANNE, 1)]);
    let flags = select(vec![SYN, SYN | ACK, ACK, FIN | ACK, RST, 0]);
    let tcp = (ends.clone(), flags, any::<u32>()).prop_map(|(ends, flags, seq)| ends.tcp(flags, seq));
    let udp = ends.clone().prop_map(Line::udp);
    let piece = (any::<u16>(), 0..9000u16, any::<bool>());
    let pieces = (ends.clone(), piece).prop_map(|(ends, (id, start, more))| {
        Piece { id, start: start & !7, more }.of(ends, proto::UDP, &ends.datagram(32))
    });
    let errors = (ends, select(vec![1, 2, 3, 4, 11])).prop_map(|(ends, kind)| icmp_error(ends.dst, kind, &ends.udp()));
    let others = select(vec![
        arp(1, ANNE, HERE),
        neighbour(ANNE6, HERE6, 136, ANNE6),
        query(ANNE, SHOP, 8, 5),
        query(SHOP6, ANNE6, 129, 5),
    ]);
    prop_oneof![tcp, udp, pieces, errors, others]
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let changed = (sensible(), vec((any::<Index>(), any::<u8>()), 0..4), any::<Index>(), any::<bool>());
    let changed = changed.prop_map(|(mut frame, changes, cut, cuts)| {
        for (place, value) in changes {
            let place = place.index(frame.len());
            frame[place] = value;
        }
        if cuts {
            frame.truncate(cut.index(frame.len()));
        }
        frame
    });
    prop_oneof![3 => changed, 1 => vec(any::<u8>(), 0..700)]
}

fn sightings() -> impl Strategy<Value = Sighting> {
    let places = select(vec![lan(), dmz(), local(), onward(None), onward(Some(LAN)), onward(Some(DMZ))]);
    (places, any::<[bool; 3]>(), 1..40u32).prop_map(|(at, [layer3, oversized, stripped], frames)| Sighting {
        framing: Framing { layer3, oversized, stripped },
        frames,
        ..at
    })
}

/// What the pair counters say of packets, passed and dropped.
fn counted(machine: &Machine) -> u64 {
    machine.pairs.iter().flat_map(|pair| &pair.packets).map(Cell::get).sum()
}

/// A UDP fragment: its id, its first unit of eight bytes and how many, and whether its ports are allowed, if it has any.
#[derive(Clone, Copy, Debug)]
struct Part {
    id: u16,
    start: u16,
    units: u16,
    more: bool,
    allowed: bool,
}

impl Part {
    fn frame(self) -> Vec<u8> {
        let ends = line(ANNE, 5353, SHOP, if self.allowed { 53 } else { 54 });
        let mut bytes = vec![0; usize::from(self.units) * 8];
        if self.start == 0 {
            bytes[..8].copy_from_slice(&ends.datagram(1000)[..8]);
        }
        Piece { id: self.id, start: self.start * 8, more: self.more }.of(ends, proto::UDP, &bytes)
    }

    const fn end(self) -> u16 {
        self.start + self.units
    }

    const fn overlaps(self, other: Self) -> bool {
        self.start < other.end() && other.start < self.end()
    }
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let part = (0..2u16, select(vec![0, 0, 1, 2, 3, 4, 5, 6, 8]), 1..4u16, any::<bool>(), any::<bool>());
    let part =
        part.prop_map(|(id, start, units, more, allowed)| Part { id, start, units, more: more || start == 0, allowed });
    vec(part, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_frame_is_counted_once_and_none_panics(
        sent in vec((sightings(), frames(), 0..400u64), 1..40), adopting in any::<bool>(), watching in any::<bool>(),
    ) {
        let policy = if watching { policy().audit() } else { policy() };
        let mut machine = Machine::under(&policy);
        machine.control().adopt_until = if adopting { u64::MAX } else { 0 };
        let mut expected = 0;
        for (at, frame, pause) in sent {
            machine.pass(pause);
            let outcome = machine.judge(at, &frame);
            let counts = at.hook != Hook::Forward || !outcome.passes();
            expected += if counts { u64::from(at.frames) } else { 0 };
            prop_assert_eq!(counted(&machine), expected);
            prop_assert!(!watching || outcome.passes());
            prop_assert!(outcome.reason == Reason::Audit || outcome.would == outcome.reason);
            prop_assert!(outcome.reason != Reason::Audit || outcome.would.verdict() == Verdict::Deny);
        }
    }

    /// The short way is no second opinion: whatever comes, in whatever order, both ways leave the same behind.
    #[test]
    fn the_short_way_gives_what_the_whole_way_gives(
        sent in vec((sightings(), frames(), 0..400u64), 1..40), adopting in any::<bool>(), watching in any::<bool>(),
        again in any::<Index>(),
    ) {
        let (policy, other) = (policy(), Policy::new().allow(LAN, DMZ, tcp(443), 5));
        let policy = if watching { policy.audit() } else { policy };
        let again = again.index(sent.len());
        let run = |whole_way: bool| {
            let mut machine = Machine::small(&policy, 2);
            machine.whole_way.set(whole_way);
            machine.control().adopt_until = if adopting { u64::MAX } else { 0 };
            let mut outcomes = Vec::new();
            for (number, (at, frame, pause)) in sent.iter().enumerate() {
                machine.pass(*pause);
                if number == again {
                    machine.publish(&other);
                }
                let outcome = machine.judge(*at, frame);
                outcomes.push((outcome.reason, outcome.would, outcome.from, outcome.to, outcome.src_zone, outcome.rule));
            }
            (outcomes, machine.state())
        };
        prop_assert_eq!(run(false), run(true));
    }

    /// A plain packet is read as the parser reads it, or left to the parser.
    #[test]
    fn the_shortcut_through_the_parser_gives_its_packet_or_none(frame in frames(), rest in vec(any::<u8>(), 0..4)) {
        let frame = [frame, rest].concat();
        let (mut short, mut long) = (Packet::EMPTY, Packet::EMPTY);
        if parse::plain(&Slice(&frame), Framing::ETHERNET, &mut short).is_some() {
            prop_assert_eq!(parse::parse(&Slice(&frame), Framing::ETHERNET, &mut long), Ok(()));
            // Of a whole datagram nobody reads where its bytes stand.
            long.fragment = short.fragment;
            prop_assert_eq!(short, long);
        }
    }

    /// Every piece that passes comes behind a first that was allowed, and shares no byte with another piece of its
    /// datagram, unless it is its copy. A first that finds its datagram finished begins another.
    #[test]
    fn a_later_fragment_passes_only_behind_an_allowed_first_and_rewrites_nothing(parts in parts()) {
        let machine = Machine::under(&policy());
        let mut passed: HashMap<u16, Vec<Part>> = HashMap::new();
        for part in parts {
            let passes = machine.judge(lan(), &part.frame()).passes();
            if !passes {
                continue;
            }
            let before = passed.entry(part.id).or_default();
            if part.start == 0 && finished(before) {
                before.clear();
            }
            let behind = before.iter().any(|other| other.start == 0);
            prop_assert!(behind || (part.start == 0 && part.allowed));
            for other in before.iter() {
                let copy = (other.start, other.units) == (part.start, part.units);
                prop_assert!(copy || !part.overlaps(*other), "{part:?} over {other:?}");
            }
            before.push(part);
        }
    }

    /// The selector names the previous policy from its deadline on, and the current one before.
    #[test]
    fn the_selector_falls_back_exactly_at_its_deadline(deadline in 1..1u64 << 48, now in 0..1u64 << 48) {
        let mut control = Machine::new(1).control.expect("it has one");
        control.roots[1].generation = 10;
        control.roots[2].generation = 20;
        control.selector = Control::selector(1, 2, deadline);
        let generation = control.root(now).expect("a root").generation;
        prop_assert_eq!(generation, if now >= deadline { 20 } else { 10 });
    }
}

/// Whether these pieces, which do not overlap, are all of a datagram.
fn finished(parts: &[Part]) -> bool {
    let mut parts = parts.to_vec();
    parts.sort_by_key(|part| part.start);
    parts.dedup_by_key(|part| part.start);
    let whole = parts.windows(2).all(|pair| pair[0].end() == pair[1].start);
    whole && parts.first().is_some_and(|part| part.start == 0) && parts.iter().any(|part| !part.more)
}
