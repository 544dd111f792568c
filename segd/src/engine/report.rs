//! The posture at one moment, for an auditor: gathered from the policy, the kernel, the store and the disk.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use segd_common::reason::Verdict;

use super::grants::coverage;
use super::refusal::Refusal;
use super::seen::{packets, past_line};
use super::shadow::shadowed;
use super::writer::Core;
use super::{Engine, Tagged};
use crate::api::types::{Amiss, Report, ReportQuery, RuleView};
use crate::config::read_sources;
use crate::seen::{Asked, Row};

/// Rows of what was blocked most.
const BLOCKED_MOST: usize = 20;

impl Engine {
    /// The posture now.
    pub fn report(&self, query: &ReportQuery) -> Tagged<Result<Report, Refusal>> {
        let ReportQuery { since, until } = query;
        let pairs = self.pairs_since(*since);
        let blocked = self.seen.rows(&Asked { blocked: true, ..Asked::since(*since) });
        let (amiss, oldest) = (self.seen.amiss(), self.seen.oldest());
        self.read(|core| {
            // A history that can't be read leaves its part empty, and stands under what is amiss.
            let pairs = pairs.unwrap_or_default();
            let status = core.status(amiss);
            let rules = core.rules()?;
            let now = Timestamp::now();
            Ok(Report {
                time: now,
                since: *since,
                until: *until,
                state: status.state,
                amiss: status.amiss,
                generation: status.generation,
                applied: core.force.applied,
                etag: core.force.written.digest.clone(),
                mode: status.mode,
                config: status.config,
                drift: core.drift(),
                interfaces: status.interfaces,
                coverage: coverage(&core.force.written.policy, now),
                matrix: core.matrix_of(packets(&pairs), &super::grants::pairs(&core.force.written.policy)),
                expired: ids(&rules, |rule| rule.expired),
                expiring: ids(&rules, |rule| !rule.expired && rule.expires.is_some_and(|end| end < *until)),
                unused: ids(&rules, |rule| !rule.expired && rule.last_hit.is_none_or(|hit| hit < *since)),
                rules,
                shadowed: shadowed(&core.force.written.policy, now),
                blocked: most(blocked.unwrap_or_default()),
                seen_since: oldest.ok().flatten(),
            })
        })
    }
}

impl Core {
    /// What on the disk or in the kernel is not what was put in force.
    fn drift(&self) -> Vec<Amiss> {
        let mut drift = Vec::new();
        let mend = || {
            let config = self.config.display();
            format!("segctl check {config}, then segctl reload puts the files in force")
        };
        match read_sources(&self.config) {
            Ok(sources) => {
                let force: BTreeMap<&str, &str> =
                    self.force.written.sources.iter().map(|source| (&*source.name, &*source.text)).collect();
                let disk: BTreeMap<&str, &str> = sources.iter().map(|source| (&*source.name, &*source.text)).collect();
                let mut say = |name: &str, what: &str| {
                    drift.push(Amiss { what: format!("{name} {what}"), mend: mend() });
                };
                for (name, text) in &disk {
                    match force.get(name) {
                        Some(loaded) if loaded == text => {}
                        Some(_) => say(name, "was changed on the disk and is not in force like that"),
                        None => say(name, "is on the disk and not in force"),
                    }
                }
                for name in force.keys().filter(|name| !disk.contains_key(*name)) {
                    say(name, "is in force and no longer on the disk");
                }
            }
            Err(faults) => {
                drift.push(Amiss { what: format!("the zone files can't be read: {faults}"), mend: mend() });
            }
        }
        let (kernel, published) = (self.kernel.generation(), self.force.generation);
        if kernel != published {
            drift.push(Amiss {
                what: format!("the kernel enforces generation {kernel}, not {published} as was published"),
                mend: "segctl reload; if it stays so, restart segd".to_owned(),
            });
        }
        drift
    }
}

fn ids(rules: &[RuleView], wanted: impl Fn(&RuleView) -> bool) -> Vec<String> {
    rules.iter().filter(|rule| wanted(rule)).map(|rule| rule.id.clone()).collect()
}

/// What was dropped most often.
fn most(mut rows: Vec<Row>) -> Vec<crate::api::types::FlowLine> {
    rows.retain(|row| row.reason.verdict() == Verdict::Deny);
    rows.sort_by_key(|row| Reverse(row.flows));
    rows.iter().take(BLOCKED_MOST).map(past_line).collect()
}
