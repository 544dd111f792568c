//! Which rule speaks for a service when several cover it, and the segments that come of it. Pure; it knows rules by their
//! place in the file, and nothing of zones.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::services::{CLASSES, Span, for_each_span};
use crate::policy::{Mode, Rule, Service};

/// Who allows a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Grant {
    /// The failsafe list.
    Failsafe,
    /// Rules, by their places in the policy.
    Rule {
        /// The strongest.
        rule: u32,
        /// An audited one that outlives it.
        then: Option<u32>,
    },
}

/// Keys of one class, and who allows them. Nobody allows what no segment has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Segment {
    pub(super) span: Span,
    pub(super) grant: Grant,
}

/// Segments of each class, in ascending order and apart from each other.
pub(super) type Segments = [Vec<Segment>; CLASSES];

/// The rules of a policy, the strongest first: enforced before audited, never ending before ending, later end before
/// earlier, then earlier in the file.
pub(super) struct Ranking<'a> {
    rules: &'a [Rule],
    order: Vec<u32>,
    rank_of: Vec<u32>,
    enforced: u32,
}

impl<'a> Ranking<'a> {
    pub(super) fn of(rules: &'a [Rule]) -> Self {
        let mut order: Vec<u32> = (0..rules.len() as u32).collect();
        order.sort_by_key(|index| {
            let rule = &rules[*index as usize];
            (rule.mode, Reverse(end(rule)), *index)
        });
        let mut rank_of = vec![0; rules.len()];
        for (rank, rule) in order.iter().enumerate() {
            rank_of[*rule as usize] = rank as u32;
        }
        let enforced = rules.iter().filter(|rule| rule.mode == Mode::Enforce).count() as u32;
        Self { rules, order, rank_of, enforced }
    }

    /// What these rules, given by their places, allow together.
    pub(super) fn segments(&self, rules: &[u32]) -> Segments {
        let mut edges: [Vec<Edge>; CLASSES] = Default::default();
        for rule in rules {
            let rank = self.rank_of[*rule as usize];
            for service in &self.rules[*rule as usize].services {
                for_each_span(*service, |class, span| {
                    edges[class].push(Edge { at: span.low.into(), rank, opens: true });
                    edges[class].push(Edge { at: u32::from(span.high) + 1, rank, opens: false });
                });
            }
        }
        edges.map(|edges| self.sweep(edges))
    }

    /// From the lowest key to the highest, with the rules that cover it at hand.
    fn sweep(&self, mut edges: Vec<Edge>) -> Vec<Segment> {
        edges.sort_unstable_by_key(|edge| edge.at);
        let mut open = BTreeMap::<u32, u32>::new();
        let mut segments = Vec::new();
        for (index, edge) in edges.iter().enumerate() {
            let count = open.entry(edge.rank).or_default();
            *count = if edge.opens { count.wrapping_add(1) } else { count.wrapping_sub(1) };
            if *count == 0 {
                open.remove(&edge.rank);
            }
            let Some(next) = edges.get(index + 1).filter(|next| next.at != edge.at) else { continue };
            if let Some(grant) = self.strongest(&open) {
                let span = Span { low: edge.at as u16, high: (next.at - 1) as u16 };
                push_merged(&mut segments, Segment { span, grant });
            }
        }
        segments
    }

    fn strongest(&self, open: &BTreeMap<u32, u32>) -> Option<Grant> {
        let (first, _) = open.first_key_value()?;
        let rule = self.order[*first as usize];
        let audited = open.range(self.enforced..).next().map(|(rank, _)| self.order[*rank as usize]);
        let outlives = |other: &u32| *first < self.enforced && self.end(*other) > self.end(rule);
        Some(Grant::Rule { rule, then: audited.filter(outlives) })
    }

    fn end(&self, rule: u32) -> End {
        end(&self.rules[rule as usize])
    }
}

/// One end of a span. Of those at one key the order does not matter: counts may pass below 0 on the way.
struct Edge {
    at: u32,
    rank: u32,
    opens: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    At(Timestamp),
    Never,
}

fn end(rule: &Rule) -> End {
    rule.expires.map_or(End::Never, End::At)
}

fn push_merged(segments: &mut Vec<Segment>, next: Segment) {
    match segments.last_mut() {
        Some(last) if last.grant == next.grant && u32::from(last.span.high) + 1 == u32::from(next.span.low) => {
            last.span.high = next.span.high;
        }
        _ => segments.push(next),
    }
}

/// What the failsafe list allows.
pub(super) fn failsafe(services: &[Service]) -> Segments {
    let mut spans: [Vec<Span>; CLASSES] = Default::default();
    for service in services {
        for_each_span(*service, |class, span| spans[class].push(span));
    }
    spans.map(|mut spans| {
        spans.sort_unstable_by_key(|span| span.low);
        let mut segments: Vec<Segment> = Vec::new();
        for span in spans {
            match segments.last_mut() {
                Some(last) if u32::from(last.span.high) + 1 >= u32::from(span.low) => {
                    last.span.high = last.span.high.max(span.high);
                }
                _ => segments.push(Segment { span, grant: Grant::Failsafe }),
            }
        }
        segments
    })
}
