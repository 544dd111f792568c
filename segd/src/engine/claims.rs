//! The policy's own `tests:`, run over the compiled image before it is put in force. Pure.
//!
//! They speak of what the policy means once it is enforced: what only the audit mode lets pass counts as denied, or
//! no policy with a test could ever be rolled out by watching first.

use jiff::Timestamp;
use segd_common::reason::{Reason, Verdict};

use super::grants::{live, names};
use crate::api::types::TestView;
use crate::compile::{Answer, Image, Question, Registry};
use crate::policy::{Place, Policy, PolicyTest, Rule, ZoneName, ZoneRef};

/// A compiled policy and the moment at which it is asked.
#[derive(Clone, Copy)]
pub(super) struct Compiled<'a> {
    pub(super) policy: &'a Policy,
    pub(super) image: &'a Image,
    pub(super) registry: &'a Registry,
    pub(super) now: Timestamp,
    pub(super) now_jiffies: u64,
}

/// Runs every test of the policy.
pub(super) fn run(compiled: Compiled<'_>) -> Vec<TestView> {
    let judge = |test: &PolicyTest| match test {
        PolicyTest::Connection { from, to, service, expect_allow } => {
            let question = Question { src: *from, dst: *to, service: *service };
            let claim = format!("{from} to {to} {service}: expect {}", if *expect_allow { "allow" } else { "deny" });
            let answer = compiled.image.answer(&question, compiled.now_jiffies);
            (claim, connection(compiled.registry, answer, *expect_allow))
        }
        PolicyTest::Reach { zone, only_from } => {
            let claim = format!("{zone} is reached only from {}", listed(only_from));
            (claim, reach(compiled, zone, only_from))
        }
    };
    let view = |(place, test): &(Place, PolicyTest)| {
        let (claim, found) = judge(test);
        TestView { place: place.to_string(), claim, passed: found.is_none(), found: found.unwrap_or_default() }
    };
    compiled.policy.tests.iter().map(view).collect()
}

/// What was found instead; `None` if the claim holds.
fn connection(registry: &Registry, answer: Answer, expect_allow: bool) -> Option<String> {
    let allowed = answer.verdict == Verdict::Allow && answer.reason != Reason::Audit;
    if allowed == expect_allow {
        return None;
    }
    let zone = |number| registry.zone_name(number).unwrap_or("a zone without a name").to_owned();
    let by = answer.rule.and_then(|rule| registry.rule_id(rule)).map_or_else(String::new, |rule| format!(", {rule}"));
    let verdict = if allowed { "allowed" } else { "denied" };
    Some(format!(
        "{verdict} ({}{by}) from {} to {}",
        answer.reason.name(),
        zone(answer.from_zone),
        zone(answer.to_zone)
    ))
}

/// The rules that let somebody else in; `None` if there are none.
fn reach(compiled: Compiled<'_>, zone: &ZoneName, only_from: &[ZoneName]) -> Option<String> {
    let let_in = |rule: &&Rule| {
        live(rule, compiled.now) && names(&rule.to, &zone.0) && !strangers(rule, zone, only_from).is_empty()
    };
    let found: Vec<String> = compiled
        .policy
        .rules
        .iter()
        .filter(let_in)
        .map(|rule| format!("{} ({}) lets {} in", rule.id, rule.place, strangers(rule, zone, only_from).join(", ")))
        .collect();
    (!found.is_empty()).then(|| found.join("; "))
}

/// Initiators of a rule that are neither the zone itself nor on its list.
fn strangers(rule: &Rule, zone: &ZoneName, only_from: &[ZoneName]) -> Vec<String> {
    let stranger = |from: &&ZoneRef| match from {
        ZoneRef::Any => true,
        ZoneRef::Zone(name) => name != zone && !only_from.contains(name),
    };
    rule.from.iter().filter(stranger).map(ToString::to_string).collect()
}

fn listed(zones: &[ZoneName]) -> String {
    let names: Vec<&str> = zones.iter().map(|zone| zone.0.as_str()).collect();
    if names.is_empty() { "nowhere".to_owned() } else { names.join(", ") }
}
