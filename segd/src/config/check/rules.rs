//! Rules and pairs: between which zones, for what, and who answers for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::names::{Names, first, spelling};
use crate::config::fields::At;
use crate::config::findings::{Findings, Spot, quoted};
use crate::config::written::{WrittenPair, WrittenRule};
use crate::policy::{Mode, PairMode, Rule, RuleId, Service, ZoneRef};

/// Checks all rules, in file order.
pub(super) fn rules(
    written: &[WrittenRule],
    names: &Names<'_>,
    now: Timestamp,
    findings: &mut Findings<'_>,
) -> Vec<Rule> {
    let mut seen = BTreeMap::new();
    let mut checked = Vec::with_capacity(written.len());
    for rule in written {
        if let Some(id) = &rule.id {
            spelling("rule id", id, "-", findings);
            first("rule", id, &mut seen, findings);
        }
        checked.extend(one(rule, names, now, findings));
    }
    checked
}

/// `None` if the rule lacks something that it can't be without; that has been said.
fn one(rule: &WrittenRule, names: &Names<'_>, now: Timestamp, findings: &mut Findings<'_>) -> Option<Rule> {
    let from = side("from", rule.from.as_ref(), names, findings);
    let to = side("to", rule.to.as_ref(), names, findings);
    let (services_written, services) = services(rule, names, findings);
    let expires = rule.expires.as_ref().and_then(|word| expiry(word, rule, now, findings));
    let reason = sentence("reason", rule.reason.as_ref(), findings);
    let approved_by = sentence("approved_by", rule.approved_by.as_ref(), findings);
    let ticket = sentence("ticket", rule.ticket.as_ref(), findings);
    if is_between_zones(rule) {
        answered("reason", reason.as_ref(), rule.reason.as_ref(), rule, findings);
        answered("approved_by", approved_by.as_ref(), rule.approved_by.as_ref(), rule, findings);
    }
    Some(Rule {
        id: RuleId(rule.id.as_ref()?.value.clone()),
        from,
        to,
        services_written,
        services,
        reason,
        approved_by,
        ticket,
        expires,
        mode: rule.mode,
        log: rule.log,
        place: findings.place(rule.spot),
    })
}

/// One side of a rule, each zone once.
fn side(
    key: &str,
    words: Option<&At<Vec<At<String>>>>,
    names: &Names<'_>,
    findings: &mut Findings<'_>,
) -> Vec<ZoneRef> {
    let Some(words) = words else { return Vec::new() };
    if words.value.is_empty() {
        findings.fault(words.spot, format!("'{key}' names no zone"), "name a zone, or write any");
    }
    let mut seen = BTreeSet::new();
    let zones = words.value.iter().filter_map(|word| names.zone_ref(word, findings));
    zones.filter(|zone| seen.insert(zone.clone())).collect()
}

fn services(rule: &WrittenRule, names: &Names<'_>, findings: &mut Findings<'_>) -> (Vec<String>, Vec<Service>) {
    let Some(words) = &rule.services else { return (Vec::new(), Vec::new()) };
    if words.value.is_empty() {
        findings.fault(words.spot, "the rule allows no service", "name one, such as services: [tcp/443]");
    }
    let mut seen = BTreeSet::new();
    let found = words.value.iter().flat_map(|word| names.services(word, findings));
    let services = found.filter(|service| seen.insert(*service)).collect();
    (words.value.iter().map(|word| word.value.clone()).collect(), services)
}

/// Whether a text says something to a person: it has a letter or a digit of any script. Blanks, and what nobody sees, don't.
#[must_use]
pub fn says_something(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

/// Letters of a text that a person is to read: more than that nobody reads in a list of rules.
pub const LONGEST: usize = 1000;

/// A text for people. One that says nothing is as good as none.
fn sentence(key: &str, word: Option<&At<String>>, findings: &mut Findings<'_>) -> Option<String> {
    let word = word?;
    let text = word.value.trim();
    if text.chars().count() > LONGEST {
        let fault = format!("'{key}' is longer than {LONGEST} letters");
        findings.fault(word.spot, fault, "write a sentence or two, and the rest where the ticket is");
    }
    says_something(text).then(|| text.to_owned())
}

/// Whether a rule can let something cross from one zone to another, by what was written.
fn is_between_zones(rule: &WrittenRule) -> bool {
    let single = |words: &Option<At<Vec<At<String>>>>| match words.as_ref().map(|words| words.value.as_slice()) {
        Some([word]) if word.value != "any" => Some(word.value.clone()),
        _ => None,
    };
    match (single(&rule.from), single(&rule.to)) {
        (Some(from), Some(to)) => from != to,
        _ => true,
    }
}

fn answered(
    key: &str,
    given: Option<&String>,
    written: Option<&At<String>>,
    rule: &WrittenRule,
    findings: &mut Findings<'_>,
) {
    if given.is_some() {
        return;
    }
    let name = rule.id.as_ref().map_or_else(String::new, |id| format!(" {}", quoted(&id.value)));
    let mend = if key == "reason" {
        "write why it is needed: reason: Nightly reconciliation reads the ledger"
    } else {
        "write who answers for it: approved_by: finance-lead@example.com"
    };
    let spot = written.map_or(rule.spot, |word| word.spot);
    findings.fault(spot, format!("rule{name} goes from one zone to another and has no '{key}'"), mend);
}

/// A time that has passed is a warning: the rule is loaded as expired.
fn expiry(word: &At<String>, rule: &WrittenRule, now: Timestamp, findings: &mut Findings<'_>) -> Option<Timestamp> {
    let Ok(time) = word.value.trim().parse::<Timestamp>() else {
        findings.fault(
            word.spot,
            format!("{} is no point in time", quoted(&word.value)),
            "write it as RFC 3339, with its zone: 2027-06-30T00:00:00Z",
        );
        return None;
    };
    if time <= now {
        let name = rule.id.as_ref().map_or_else(String::new, |id| format!(" {}", quoted(&id.value)));
        findings.warn(
            word.spot,
            format!("rule{name} expired at {time}; it is loaded and allows nothing"),
            "remove it, or give it a later date if it is still wanted",
        );
    }
    Some(time)
}

/// Checks the modes of single pairs. One pair has one mode.
pub(super) fn pairs(written: &[WrittenPair], names: &Names<'_>, findings: &mut Findings<'_>) -> Vec<PairMode> {
    let mut seen: HashMap<(ZoneRef, ZoneRef), (Mode, Spot)> = HashMap::new();
    let mut checked = Vec::with_capacity(written.len());
    for pair in written {
        let (from, to) = (names.zone_ref(&pair.from, findings), names.zone_ref(&pair.to, findings));
        let (Some(from), Some(to)) = (from, to) else { continue };
        match seen.get(&(from.clone(), to.clone())) {
            None => {
                seen.insert((from.clone(), to.clone()), (pair.mode, pair.spot));
                checked.push(PairMode { from, to, mode: pair.mode, place: findings.place(pair.spot) });
            }
            Some((mode, first)) if *mode != pair.mode => {
                let place = findings.place(*first);
                let message = format!("the pair {from} to {to} is {} here and {mode} in {place}", pair.mode);
                findings.fault(pair.spot, message, "keep one of the two");
            }
            Some(_) => {}
        }
    }
    checked
}
