//! How two policies differ in what they let pass, by the addresses that both speak of: a network that moves from one zone
//! to another changes what its members may do, though no rule did. Pure, and it decides nothing anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use segd_common::addr::Addr;
use segd_common::image::Place;
use segd_common::reason::Verdict;

use super::image::Image;
use super::marks::Prefix;
use super::plan::{Plan, Rest, RuleSet};
use super::services::{CLASSES, Span, last_key, worded};
use super::strength::{Grant, Segment};

/// Something that newly passes or newly fails between two zones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Initiators' zone, as the later policy has it; `failsafe` for addresses of which only the failsafe list changed.
    pub from: String,
    /// Responders' zone, as the later policy has it.
    pub to: String,
    /// `tcp/8000-8010`, `icmp`, `any`, ….
    pub service: String,
    /// `true`: it newly passes; `false`: it newly fails.
    pub passes: bool,
    /// The rule that allows it, after or before.
    pub rule: Option<String>,
}

impl Change {
    /// What it is now.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        if self.passes { Verdict::Allow } else { Verdict::Deny }
    }
}

/// Everything that newly passes or fails when `after` takes the place of `before`, at the time at which `after` was
/// compiled. A connection that only an audit mode lets pass, passes.
#[must_use]
pub fn compare(before: &Image, after: &Image) -> Vec<Change> {
    let comparison = Comparison { before: before.plan(), after: after.plan(), now: after.plan().now };
    let members = members(before, after);
    let mut known = HashMap::new();
    let mut changes = BTreeSet::new();
    for from in &members {
        for to in &members {
            let sets = (before.plan().rows[from.0][to.0], after.plan().rows[from.1][to.1]);
            let found = known.entry(sets).or_insert_with(|| {
                comparison.pair(comparison.before.numbered(sets.0), comparison.after.numbered(sets.1))
            });
            let name = |zone: usize| after.plan().zones[zone].name.clone();
            let change = |(service, passes, rule): &Found| Change {
                from: name(from.1),
                to: name(to.1),
                service: service.clone(),
                passes: *passes,
                rule: rule.clone(),
            };
            changes.extend(found.iter().map(change));
        }
    }
    changes.extend(comparison.failsafe());
    changes.into_iter().collect()
}

/// The service, whether it passes now, and by which rule.
type Found = (String, bool, Option<String>);

/// Pairs of zones, before and after, that have an address in common. This machine and the unzoned always do: which
/// addresses they have is not the policy's to say.
fn members(before: &Image, after: &Image) -> BTreeSet<(usize, usize)> {
    let index = |plan: &Plan| -> HashMap<u16, usize> { plan.zones.iter().map(|zone| zone.number).zip(0..).collect() };
    let (was, is) = (index(before.plan()), index(after.plan()));
    let v4 = starts(&before.marks().v4, &after.marks().v4).map(|bits| Addr::v4((bits >> 96) as u32));
    let v6 =
        starts(&before.marks().v6, &after.marks().v6).map(|bits| Addr { hi: (bits >> 64) as u64, lo: bits as u64 });
    let place = |image: &Image, address: Addr| image.root().place(image.pages(), address);
    let pair = |address: Addr| {
        let (was_in, is_in) = (place(before, address), place(after, address));
        let silent = is_in.is(Place::BAD_SOURCE | Place::BAD_DESTINATION);
        if silent { None } else { Some((*was.get(&was_in.zone())?, *is.get(&is_in.zone())?)) }
    };
    let of_list = v4.chain(v6.filter(|address| !address.is_v4())).filter_map(pair);
    of_list.chain([(0, 0), (1, 1)]).collect()
}

/// First addresses of the stretches that the prefixes cut the address space into.
fn starts(one: &[Prefix], other: &[Prefix]) -> impl Iterator<Item = u128> + use<> {
    let mut starts = BTreeSet::from([0]);
    for Prefix { bits, len, .. } in one.iter().chain(other) {
        starts.insert(*bits);
        let size = 1_u128.checked_shl(128 - u32::from(*len));
        starts.extend(size.and_then(|size| bits.checked_add(size)));
    }
    starts.into_iter()
}

/// The rule by which something passes, if it is one that lets it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct By<'p>(Option<&'p str>);

/// Two plans at one time.
struct Comparison<'a> {
    before: &'a Plan,
    after: &'a Plan,
    now: Timestamp,
}

impl Comparison<'_> {
    fn pair(&self, before: Option<&RuleSet>, after: Option<&RuleSet>) -> Vec<Found> {
        let mut spans: BTreeMap<(bool, By<'_>), Vec<(usize, Span)>> = BTreeMap::new();
        for class in 0..CLASSES {
            for span in cuts(class, before, after) {
                let (was, is) = (
                    self.passes(self.before, before, class, span.low),
                    self.passes(self.after, after, class, span.low),
                );
                let (passes, rule) = match (was, is) {
                    (None, Some(rule)) => (true, rule),
                    (Some(rule), None) => (false, rule),
                    _ => continue,
                };
                push_merged(spans.entry((passes, rule)).or_default(), (class, span));
            }
        }
        let mut found = Vec::new();
        for ((passes, rule), spans) in spans {
            found.extend(worded(&spans).into_iter().map(|service| (service, passes, rule.0.map(str::to_owned))));
        }
        found
    }

    /// Whether it passes, and by which rule.
    fn passes<'p>(&self, plan: &'p Plan, set: Option<&RuleSet>, class: usize, key: u16) -> Option<By<'p>> {
        let set = set?;
        let live = |rule: u32| plan.rules[rule as usize].expires.is_none_or(|end| self.now < end);
        let by_rule = segment(&set.segments[class], key).and_then(|segment| match segment.grant {
            Grant::Failsafe => Some(None),
            Grant::Rule { rule, then } => [Some(rule), then].into_iter().flatten().find(|rule| live(*rule)).map(Some),
        });
        match by_rule {
            Some(rule) => Some(By(rule.map(|rule| plan.rules[rule as usize].id.as_str()))),
            None => (set.rest != Rest::Deny).then_some(By(None)),
        }
    }

    /// What the failsafe list newly lets pass to anywhere, or no longer does.
    fn failsafe(&self) -> Vec<Change> {
        let change = |(service, passes, rule)| Change {
            from: "failsafe".to_owned(),
            to: "any".to_owned(),
            service,
            passes,
            rule,
        };
        self.pair(self.before.failsafe.as_ref(), self.after.failsafe.as_ref()).into_iter().map(change).collect()
    }
}

fn segment(segments: &[Segment], key: u16) -> Option<&Segment> {
    let after = segments.partition_point(|segment| segment.span.low <= key);
    segments.get(after.checked_sub(1)?).filter(|segment| key <= segment.span.high)
}

/// Spans of a class in which neither policy changes its mind.
fn cuts(class: usize, before: Option<&RuleSet>, after: Option<&RuleSet>) -> Vec<Span> {
    let mut starts = BTreeSet::from([0_u32]);
    for set in before.into_iter().chain(after) {
        starts.extend(
            set.segments[class].iter().flat_map(|Segment { span, .. }| [u32::from(span.low), u32::from(span.high) + 1]),
        );
    }
    let end = u32::from(last_key(class)) + 1;
    starts.retain(|start| *start < end);
    let ends = starts.iter().copied().skip(1).chain([end]);
    starts.iter().zip(ends).map(|(low, next)| Span { low: *low as u16, high: (next - 1) as u16 }).collect()
}

fn push_merged(spans: &mut Vec<(usize, Span)>, (class, span): (usize, Span)) {
    match spans.last_mut() {
        Some((other, last)) if *other == class && u32::from(last.high) + 1 == u32::from(span.low) => {
            last.high = span.high;
        }
        _ => spans.push((class, span)),
    }
}
