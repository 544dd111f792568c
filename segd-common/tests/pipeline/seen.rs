//! What became of a frame, all of it, and how a test says what it expects.

use std::collections::BTreeMap;

use segd_common::image::slot;
use segd_common::pipeline::{self, Express, Hook, Sighting, Work};
use segd_common::reason::{Reason, Verdict};
use segd_common::view::Slice;

use crate::machine::{Machine, RULES, ZONES};

/// A counter, and what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Counter {
    Packets(u32, u32, &'static str),
    Bytes(u32, u32, &'static str),
    Blocked(u32, u32, &'static str),
    Connections(u32, u32),
    RulePackets(u32),
    RuleBytes(u32),
    RuleConnections(u32),
    EventsLost,
}

type Counters = BTreeMap<Counter, u64>;

/// What an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    reason: &'static str,
    would: &'static str,
    ends: (u16, u16),
    rule: u32,
}

/// Everything that became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    passes: bool,
    reason: Reason,
    would: Reason,
    ends: (u16, u16),
    rule: u32,
    opened: bool,
    moved: Counters,
    told: Vec<Told>,
}

/// The same, and what the expectation has to be told of the frame.
#[derive(Debug)]
#[must_use]
pub(crate) struct Sent {
    seen: Seen,
    at: Sighting,
    bytes: u64,
}

/// What a test expects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expect {
    reason: Reason,
    would: Reason,
    ends: (u16, u16),
    rule: u32,
    opened: bool,
    told: bool,
}

/// A frame of a connection from the first zone to the second passes, or is dropped, for this reason.
pub(crate) const fn gets(reason: Reason, from: u16, to: u16) -> Expect {
    Expect { reason, would: reason, ends: (from, to), rule: slot::NO_RULE, opened: false, told: false }
}

impl Expect {
    /// By this rule.
    pub(crate) const fn by(mut self, rule: u32) -> Self {
        self.rule = rule;
        self
    }

    /// Only because the mode watches; this is why it would have been dropped.
    pub(crate) const fn instead_of(mut self, would: Reason) -> Self {
        self.would = would;
        self
    }

    /// It opens a connection, and an event says so.
    pub(crate) const fn opens(mut self) -> Self {
        self.opened = true;
        self.told = true;
        self
    }

    /// It is the first of its kind, and an event says so.
    pub(crate) const fn told(mut self) -> Self {
        self.told = true;
        self
    }

    fn seen(self, sent: &Sent) -> Seen {
        let Self { reason, would, ends, rule, opened, told } = self;
        let passes = reason.verdict() == Verdict::Allow;
        let event = Told { reason: reason.name(), would: would.name(), ends, rule };
        // A forwarded packet that passes was counted on its way in.
        let counted = !(sent.at.hook == Hook::Forward && passes);
        let moved = if counted { self.counters(sent) } else { Counters::new() };
        let told = if told && counted { vec![event] } else { Vec::new() };
        Seen { passes, reason, would, ends, rule, opened, moved, told }
    }

    fn counters(self, sent: &Sent) -> Counters {
        let ((from, to), name) = ((u32::from(self.ends.0), u32::from(self.ends.1)), self.reason.name());
        let passes = self.reason.verdict() == Verdict::Allow;
        let frames = u64::from(sent.at.frames);
        let mut moved = Counters::from([
            (Counter::Packets(from, to, name), frames),
            (Counter::Bytes(from, to, name), sent.bytes),
            (Counter::Blocked(from, to, name), u64::from(self.told && !passes)),
            (Counter::Connections(from, to), u64::from(self.opened)),
        ]);
        if self.rule != slot::NO_RULE && passes {
            moved.insert(Counter::RulePackets(self.rule), frames);
            moved.insert(Counter::RuleBytes(self.rule), sent.bytes);
            moved.insert(Counter::RuleConnections(self.rule), u64::from(self.opened));
        }
        moved.retain(|_, count| *count != 0);
        moved
    }
}

impl Sent {
    /// Asserts that exactly this became of the frame.
    #[track_caller]
    pub(crate) fn is(&self, expected: Expect) {
        assert_eq!(self.seen, expected.seen(self), "left: what became of the frame; right: what the test expects");
    }
}

impl Machine {
    /// One frame through the decision, as the kernel's programs do it; its outcome alone.
    pub(crate) fn judge(&self, at: Sighting, frame: &[u8]) -> pipeline::Outcome {
        self.work(at, frame).outcome
    }

    /// The same, with everything that was found out.
    pub(crate) fn work(&self, at: Sighting, frame: &[u8]) -> Work {
        let mut work = Work::new();
        work.packet = self.before.get();
        work.at = at;
        let short =
            if self.whole_way.get() { Express::Whole } else { pipeline::express(self, &Slice(frame), &mut work) };
        let passes = match short {
            Express::Decided => work.outcome.passes(),
            Express::Judged => pipeline::resume(self, &mut work),
            Express::Whole => pipeline::run(self, &Slice(frame), &mut work),
        };
        assert_eq!(passes, work.outcome.passes());
        self.before.set(work.packet);
        work
    }

    /// One frame through the decision, and everything that became of it.
    pub(crate) fn send(&self, at: Sighting, frame: &[u8]) -> Sent {
        let (before, told_before) = (self.counters(), self.events.borrow().len());
        let outcome = self.judge(at, frame);
        let mut moved = self.counters();
        for (counter, count) in before {
            *moved.get_mut(&counter).expect("counters are never taken away") -= count;
        }
        moved.retain(|_, count| *count != 0);
        let name = |number| Reason::from_number(number).expect("a reason").name();
        let events = self.events.borrow();
        let told = events[told_before..].iter().map(|event| Told {
            reason: name(event.reason),
            would: name(event.would),
            ends: (event.from, event.to),
            rule: event.rule,
        });
        let seen = Seen {
            passes: outcome.passes(),
            reason: outcome.reason,
            would: outcome.would,
            ends: (outcome.from, outcome.to),
            rule: outcome.rule,
            opened: outcome.opened,
            moved,
            told: told.collect(),
        };
        Sent { seen, at, bytes: frame.len() as u64 }
    }

    /// Everything that a packet can change, as text.
    pub(crate) fn state(&self) -> String {
        format!("{:?} {:?} {:?} {:?}", self.counters(), self.events.borrow(), self.flows, self.datagrams)
    }

    /// Every counter there is.
    pub(crate) fn counters(&self) -> Counters {
        let mut all = Counters::from([(Counter::EventsLost, self.budget.lost.get())]);
        for (from, to) in (0..ZONES).flat_map(|from| (0..ZONES).map(move |to| (from, to))) {
            let place = self.pair_slots[(from * ZONES + to) as usize].get();
            if place == 0 {
                continue;
            }
            let pair = &self.pairs[place as usize];
            all.insert(Counter::Connections(from, to), pair.connections.get());
            for reason in Reason::ALL {
                let (index, name) = (reason as usize, reason.name());
                all.insert(Counter::Packets(from, to, name), pair.packets[index].get());
                all.insert(Counter::Bytes(from, to, name), pair.bytes[index].get());
                all.insert(Counter::Blocked(from, to, name), pair.blocked[index].get());
            }
        }
        for number in 0..RULES {
            let rule = &self.rules[number as usize];
            all.insert(Counter::RulePackets(number), rule.packets.get());
            all.insert(Counter::RuleBytes(number), rule.bytes.get());
            all.insert(Counter::RuleConnections(number), rule.connections.get());
        }
        all
    }
}
