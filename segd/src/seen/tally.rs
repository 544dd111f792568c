//! Events, counted by class in memory until they are written. Bounded: whatever comes, a minute has so many classes and
//! no more; what finds no room of its own is counted with its source, or with its pair of zones.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use jiff::Timestamp;

use super::class::{Class, Count, Kind, minute};
use crate::datapath::Event;

/// Classes of one source in a minute, for each pair of zones and kind of verdict: more is a scan.
pub(super) const PER_SOURCE: u32 = 64;
/// Classes of a pair of zones in a minute, for each kind of verdict.
pub(super) const PER_PAIR: u32 = 1024;
/// Classes in a minute.
const PER_MINUTE: usize = 8192;
/// Minutes that are remembered after they are over, so that late events find their classes.
const LATE: i64 = 2;

/// What is not written yet.
#[derive(Debug, Default)]
pub(super) struct Tally {
    minutes: BTreeMap<i64, Minute>,
}

/// Counts of a class that were written are gone; that it is known stays, for the bounds.
#[derive(Debug, Default)]
struct Minute {
    classes: HashMap<Class, Option<Count>>,
    of_pair: HashMap<(u16, u16, Kind), u32>,
    of_source: HashMap<(u16, u16, Kind, IpAddr), u32>,
}

impl Tally {
    /// Counts an event.
    pub(super) fn take(&mut self, event: &Event) {
        let class = Class::of(event);
        self.minutes.entry(class.minute).or_default().take(class, event.time);
    }

    /// Everything that was counted since the last call.
    pub(super) fn drain(&mut self, now: Timestamp) -> Vec<(Class, Count)> {
        let mut drained = Vec::new();
        for counted in self.minutes.values_mut() {
            let taken = counted.classes.iter_mut().filter_map(|(class, count)| Some((class.clone(), count.take()?)));
            drained.extend(taken);
        }
        let over = minute(now) - LATE;
        self.minutes.retain(|minute, _| *minute >= over);
        drained
    }
}

impl Minute {
    fn take(&mut self, class: Class, time: Timestamp) {
        let class = if self.classes.contains_key(&class) { class } else { self.find_room(class) };
        match self.classes.entry(class).or_default() {
            Some(count) => count.add(time),
            none => *none = Some(Count::one(time)),
        }
    }

    /// The class itself if there is room for it, else its source's, else its pair's.
    fn find_room(&mut self, class: Class) -> Class {
        let Some(source) = class.src else { return class };
        let kind = class.kind();
        let of_pair = self.of_pair.entry((class.from, class.to, kind)).or_default();
        if *of_pair >= PER_PAIR || self.classes.len() >= PER_MINUTE {
            let of_source = class.of_source();
            return if self.classes.contains_key(&of_source) { of_source } else { class.of_pair() };
        }
        let of_source = self.of_source.entry((class.from, class.to, kind, source)).or_default();
        *of_source += 1;
        if *of_source > PER_SOURCE {
            return class.of_source();
        }
        *of_pair += 1;
        class
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use segd_common::reason::{Reason, Verdict};

    use super::*;

    fn event(src: u32, dst_port: u16, reason: Reason) -> Event {
        Event {
            time: Timestamp::from_second(600).unwrap(),
            src: Ipv4Addr::from(src).into(),
            dst: Ipv4Addr::new(10, 20, 0, 10).into(),
            proto: 6,
            src_port: 40_000,
            dst_port,
            from: 2,
            to: 3,
            verdict: reason.verdict(),
            reason,
            would_be: None,
            rule: None,
            ifindex: 1,
        }
    }

    fn drained(tally: &mut Tally) -> Vec<(Class, Count)> {
        tally.drain(Timestamp::from_second(600).unwrap())
    }

    fn flows(rows: &[(Class, Count)]) -> u64 {
        rows.iter().map(|(_, count)| count.flows).sum()
    }

    #[test]
    fn connections_of_one_kind_are_one_class_whatever_their_source_ports() {
        let mut tally = Tally::default();
        for src_port in 40_000..40_010 {
            tally.take(&Event { src_port, ..event(1, 443, Reason::Rule) });
        }
        let rows = drained(&mut tally);
        assert_eq!((rows.len(), flows(&rows)), (1, 10));
        assert_eq!(drained(&mut tally), [], "what was drained is not drained again");
    }

    #[test]
    fn a_scan_is_a_few_classes_and_a_row_of_its_source_and_takes_nobodys_room() {
        let mut tally = Tally::default();
        for port in 1..=5000 {
            tally.take(&event(66, port, Reason::NoRule));
        }
        tally.take(&event(7, 22, Reason::NoRule));
        let rows = drained(&mut tally);
        assert_eq!(rows.len(), PER_SOURCE as usize + 2);
        assert_eq!(flows(&rows), 5001, "nothing is lost from the sum");
        let (_, rest) = rows.iter().find(|(class, _)| class.src.is_some() && class.dst.is_none()).unwrap();
        assert_eq!(rest.flows, 5000 - u64::from(PER_SOURCE));
        assert!(rows.iter().any(|(class, _)| class.src == Some(Ipv4Addr::from(7).into()) && class.port == 22));
    }

    #[test]
    fn a_flood_of_sources_is_bounded_over_several_drains_and_what_passes_keeps_its_room() {
        let mut tally = Tally::default();
        let mut rows = Vec::new();
        for source in 0..20_000 {
            tally.take(&event(source, 80, Reason::NoRule));
            if source % 5000 == 0 {
                rows.extend(drained(&mut tally));
            }
        }
        tally.take(&event(3, 443, Reason::Rule));
        rows.extend(drained(&mut tally));
        assert_eq!(flows(&rows), 20_001);
        assert!(rows.len() <= PER_PAIR as usize + 8, "{} rows", rows.len());
        assert!(rows.iter().any(|(class, _)| class.kind() == Kind::Allowed && class.src.is_some()));
    }

    #[test]
    fn minutes_that_are_long_over_are_forgotten() {
        let mut tally = Tally::default();
        tally.take(&event(1, 80, Reason::Rule));
        tally.drain(Timestamp::from_second(600 + 60 * (LATE + 1)).unwrap());
        assert!(tally.minutes.is_empty());
    }

    #[test]
    fn an_answer_is_told_by_its_services_port_and_an_adopted_one_is_turned_to_who_opened() {
        let answer = Event { proto: 17, src_port: 53, dst_port: 51_000, ..event(1, 0, Reason::NoRule) };
        let class = Class::of(&answer);
        assert_eq!((class.port, class.src_port), (0, 53));
        let adopted =
            Event { reason: Reason::Reply, verdict: Verdict::Allow, src_port: 5432, dst_port: 51_000, ..answer };
        let class = Class::of(&Event { proto: 6, ..adopted.clone() });
        assert_eq!((class.src, class.dst, class.port), (Some(adopted.dst), Some(adopted.src), 5432));
    }
}
