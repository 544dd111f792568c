//! Slots: why something is allowed, and until when. A rule's slot always stands in the same place of a page that its
//! number names, so that a change of one rule moves no other's.

use std::collections::{BTreeMap, BTreeSet};

use segd_common::image::{Locator, PAGE_RECORDS, PAGE_WORDS, Page, RECORD_WORDS, slot};
use segd_common::reason::Reason;

use super::Clock;
use super::pages::{Kind, PageStore, Record};
use super::plan::{Plan, Rest, RuleFacts};
use super::strength::Grant;
use crate::policy::Mode;

/// Where the slots are.
pub(super) struct Slots {
    /// By the rule's place in the policy.
    alone: Vec<Locator>,
    /// Rules that another outlives, with that one.
    chained: BTreeMap<(u32, u32), Locator>,
    /// The page of the slots that no rule makes.
    ruleless: u32,
}

/// Places on the page of the slots that no rule makes.
const RULELESS: [Reason; 3] = [Reason::IntraZone, Reason::Audit, Reason::Failsafe];

impl Slots {
    /// Lays the slots of every rule of the plan.
    pub(super) fn lay(store: &mut PageStore, plan: &Plan, clock: &Clock) -> Self {
        let ruleless = lay_ruleless(store);
        let alone = lay_alone(store, &plan.rules, clock);
        let mut slots = Self { alone, chained: BTreeMap::new(), ruleless };
        slots.lay_chained(store, plan, clock);
        slots
    }

    /// The slot of what allows a service.
    pub(super) fn of(&self, grant: Grant) -> Locator {
        match grant {
            Grant::Failsafe => self.ruleless(Reason::Failsafe),
            Grant::Rule { rule, then: None } => self.alone[rule as usize],
            Grant::Rule { rule, then: Some(then) } => self.chained[&(rule, then)],
        }
    }

    /// The slot of what holds for the rest.
    pub(super) fn of_rest(&self, rest: Rest) -> Locator {
        match rest {
            Rest::Deny => Locator::NONE,
            Rest::IntraZone => self.ruleless(Reason::IntraZone),
            Rest::Audit => self.ruleless(Reason::Audit),
        }
    }

    fn ruleless(&self, reason: Reason) -> Locator {
        RULELESS
            .iter()
            .zip(0..)
            .find(|(other, _)| **other == reason)
            .map_or(Locator::NONE, |(_, index)| Locator::at(self.ruleless, index))
    }

    fn lay_chained(&mut self, store: &mut PageStore, plan: &Plan, clock: &Clock) {
        let segments = plan.sets.iter().flat_map(|set| set.segments.iter().flatten());
        let number = |rule: u32| plan.rules[rule as usize].number;
        let chains: BTreeSet<(u32, u32, u32, u32)> = segments
            .filter_map(|segment| match segment.grant {
                Grant::Rule { rule, then: Some(then) } => Some((number(rule), number(then), rule, then)),
                _ => None,
            })
            .collect();
        let record = |(_, _, rule, then): &(u32, u32, u32, u32)| {
            let mut record = record(&plan.rules[*rule as usize], clock);
            record[slot::THEN] = self.alone[*then as usize].0;
            (record, u64::from(number(*rule)) << 32 | u64::from(number(*then)))
        };
        let records: Vec<(Record, u64)> = chains.iter().map(record).collect();
        let at = store.pack(Kind::Slots, &records);
        self.chained = chains.iter().map(|(_, _, rule, then)| (*rule, *then)).zip(at).collect();
    }
}

fn lay_ruleless(store: &mut PageStore) -> u32 {
    let mut page = Page([0; PAGE_WORDS]);
    for (place, reason) in page.0.chunks_exact_mut(RECORD_WORDS).zip(RULELESS) {
        place[slot::FLAGS] = reason as u32 | slot::VALID;
        place[slot::RULE] = slot::NO_RULE;
    }
    store.add(Kind::Slots, &page)
}

fn lay_alone(store: &mut PageStore, rules: &[RuleFacts], clock: &Clock) -> Vec<Locator> {
    let mut pages = BTreeMap::new();
    for rule in rules {
        let Page(words) = pages.entry(rule.number / PAGE_RECORDS).or_insert(Page([0; PAGE_WORDS]));
        let start = (rule.number % PAGE_RECORDS) as usize * RECORD_WORDS;
        words[start..start + RECORD_WORDS].copy_from_slice(&record(rule, clock));
    }
    let at: BTreeMap<u32, u32> =
        pages.into_iter().map(|(group, page)| (group, store.add(Kind::Slots, &page))).collect();
    rules.iter().map(|rule| Locator::at(at[&(rule.number / PAGE_RECORDS)], rule.number % PAGE_RECORDS)).collect()
}

/// The slot of a rule that nothing follows.
fn record(rule: &RuleFacts, clock: &Clock) -> Record {
    let reason = if rule.mode == Mode::Audit { Reason::Audit } else { Reason::Rule };
    let deadline = rule.expires.map_or(0, |end| clock.deadline(end));
    let mut record = [0; RECORD_WORDS];
    record[slot::FLAGS] = reason as u32 | slot::VALID | if rule.log { slot::LOG } else { 0 };
    record[slot::RULE] = rule.number;
    record[slot::DEADLINE] = deadline as u32;
    record[slot::DEADLINE + 1] = (deadline >> 32) as u32;
    record
}
