//! Makes a case that shows a difference small: fewer steps, fewer policies, smaller policies (delta debugging, Zeller 1999).

use super::case::{Case, Step};
use super::compare::{Difference, Played, play};
use super::ground::Ground;

/// The smallest case found that shows a difference of the same kind, and that difference.
#[must_use]
pub fn shrink(ground: &mut Ground, case: &Case, difference: &Difference) -> (Case, Difference) {
    let mut shrinking = Shrinking { ground, case: case.clone(), difference: difference.clone() };
    let mut smaller = shrinking.case.clone();
    smaller.steps.truncate(difference.step + 1);
    shrinking.keep_if_it_shows(smaller);
    loop {
        let before = shrinking.size();
        shrinking.fewer_steps();
        shrinking.smaller_policies();
        if shrinking.size() == before {
            return (shrinking.case, shrinking.difference);
        }
    }
}

struct Shrinking<'a> {
    ground: &'a mut Ground,
    case: Case,
    difference: Difference,
}

impl Shrinking<'_> {
    fn size(&self) -> usize {
        self.case.steps.len()
            + self.case.policies.iter().map(|policy| policy.to_yaml(jiff::Timestamp::UNIX_EPOCH).len()).sum::<usize>()
    }

    /// Takes the other case if it shows a difference of the same words.
    fn keep_if_it_shows(&mut self, other: Case) -> bool {
        // A policy from which too much was taken is refused by the daemon: then nothing was shown.
        let Ok(Some(found)) = play(self.ground, &other, &mut Played::default()) else { return false };
        let same = found.want.why == self.difference.want.why
            && found.got.passed == self.difference.got.passed
            && found.got.counted.map(|(reason, ..)| reason) == self.difference.got.counted.map(|(reason, ..)| reason);
        if same {
            self.case = other;
            self.case.steps.truncate(found.step + 1);
            self.difference = found;
        }
        same
    }

    fn fewer_steps(&mut self) {
        let mut part = self.case.steps.len().div_ceil(2);
        while part > 0 {
            let mut start = 0;
            while start < self.case.steps.len() {
                let mut smaller = self.case.clone();
                let end = (start + part).min(smaller.steps.len());
                smaller.steps.drain(start..end);
                if !self.keep_if_it_shows(smaller) {
                    start += part;
                }
            }
            part /= 2;
        }
    }

    fn smaller_policies(&mut self) {
        self.first_policy();
        for policy in 0..self.case.policies.len() {
            // From behind: what is taken out does not move what is still to be tried.
            for rule in (0..self.case.policies[policy].rules.len()).rev() {
                self.without(|case| {
                    case.policies[policy].rules.remove(rule);
                });
            }
            for zone in (0..self.case.policies[policy].zones.len()).rev() {
                self.without(|case| forget_zone(case, policy, zone));
            }
            for pair in (0..self.case.policies[policy].pairs.len()).rev() {
                self.without(|case| {
                    case.policies[policy].pairs.remove(pair);
                });
            }
            self.without(|case| case.policies[policy].failsafe = crate::model::Failsafe::default());
            for rule in 0..self.case.policies[policy].rules.len() {
                for service in (0..self.case.policies[policy].rules[rule].services.len()).rev() {
                    self.without(|case| {
                        let services = &mut case.policies[policy].rules[rule].services;
                        if services.len() > 1 {
                            services.remove(service);
                        }
                    });
                }
                self.without(|case| case.policies[policy].rules[rule].log = false);
                self.without(|case| case.policies[policy].rules[rule].expires = None);
            }
        }
    }

    /// Starts with a later policy, where no other one was needed before.
    fn first_policy(&mut self) {
        if let Some(Step::Publish(policy)) = self.case.steps.first() {
            let policy = *policy;
            self.without(|case| {
                case.policies.swap(0, policy);
                case.steps.remove(0);
            });
        }
        let used = self.case.steps.iter().filter_map(|step| match step {
            Step::Publish(policy) => Some(*policy),
            Step::Frame { .. } => None,
        });
        let last = used.max().unwrap_or(0);
        self.without(|case| case.policies.truncate(last + 1));
    }

    fn without(&mut self, change: impl FnOnce(&mut Case)) {
        let mut smaller = self.case.clone();
        change(&mut smaller);
        if smaller != self.case {
            self.keep_if_it_shows(smaller);
        }
    }
}

/// Takes a zone out, and from every rule and pair that names it.
fn forget_zone(case: &mut Case, policy: usize, zone: usize) {
    let policy = &mut case.policies[policy];
    let gone = crate::model::Who::Zone(policy.zones.remove(zone).number);
    for rule in &mut policy.rules {
        rule.from.retain(|who| *who != gone);
        rule.to.retain(|who| *who != gone);
    }
    policy.rules.retain(|rule| !rule.from.is_empty() && !rule.to.is_empty());
    policy.pairs.retain(|pair| pair.from != gone && pair.to != gone);
}
