//! Names: how they are spelled, and what they stand for. The one place where a word of a rule becomes a zone or a
//! service.

use std::collections::{BTreeMap, BTreeSet};

use super::Unread;
use crate::config::fields::At;
use crate::config::findings::{Findings, Spot, nearest, quoted};
use crate::config::written::WrittenZone;
use crate::policy::{Service, ServiceError, ZoneName, ZoneRef};

/// Longer names would not fit into a table for people, and none is needed.
const LONGEST: usize = 63;
/// Among more names than that no nearest one is looked for, for each unknown word would be compared with each of them.
const GUESSED: usize = 1000;
/// The zone that `segctl quarantine` puts hosts in; no file names it.
pub(super) const QUARANTINE: &str = "quarantine";

/// What can be named.
pub(super) struct Names<'w> {
    zones: BTreeSet<&'w str>,
    services: BTreeMap<&'w str, &'w [Service]>,
    unread: &'w Unread,
}

impl<'w> Names<'w> {
    pub(super) fn new(zones: &'w [WrittenZone], services: &'w [(String, Vec<Service>)], unread: &'w Unread) -> Self {
        Self {
            zones: zones.iter().map(|zone| zone.name.value.as_str()).collect(),
            services: services.iter().map(|(name, elements)| (name.as_str(), elements.as_slice())).collect(),
            unread,
        }
    }

    /// A zone by its name, `host` and `unzoned` included.
    pub(super) fn zone(&self, word: &At<String>, findings: &mut Findings<'_>) -> Option<ZoneName> {
        let name = word.value.as_str();
        if self.zones.contains(name) || name == ZoneName::HOST || name == ZoneName::UNZONED {
            return Some(ZoneName(name.to_owned()));
        }
        if name == QUARANTINE {
            findings.fault(
                word.spot,
                "no rule can name the zone quarantine",
                "hosts get there by `segctl quarantine ADDR`; a failsafe is all that reaches them",
            );
        } else if !self.unread.may_define(name) {
            let known = self.zones.iter().copied().chain([ZoneName::HOST, ZoneName::UNZONED]);
            Self::unknown("zone", word, known, "or define it under 'zones'", findings);
        }
        None
    }

    /// A zone or `any`.
    pub(super) fn zone_ref(&self, word: &At<String>, findings: &mut Findings<'_>) -> Option<ZoneRef> {
        if word.value == ZoneName::ANY {
            return Some(ZoneRef::Any);
        }
        self.zone(word, findings).map(ZoneRef::Zone)
    }

    /// The services behind a word: a literal, or the elements of a named one.
    pub(super) fn services(&self, word: &At<String>, findings: &mut Findings<'_>) -> Vec<Service> {
        if looks_literal(&word.value) {
            return literal(word, findings).into_iter().collect();
        }
        if let Some(elements) = self.services.get(word.value.as_str()) {
            return elements.to_vec();
        }
        if !self.unread.may_define(&word.value) {
            Self::unknown(
                "service",
                word,
                self.services.keys().copied(),
                "or define it under 'services', or write tcp/PORT, udp/PORT, icmp/TYPE",
                findings,
            );
        }
        Vec::new()
    }

    fn unknown<'k>(
        what: &str,
        word: &At<String>,
        known: impl Iterator<Item = &'k str>,
        otherwise: &str,
        findings: &mut Findings<'_>,
    ) {
        let guess = if findings.is_full() { None } else { nearest(&word.value, known.take(GUESSED)) };
        let mend = match guess {
            Some(name) => format!("write '{name}', {otherwise}"),
            None => otherwise.trim_start_matches("or ").to_owned(),
        };
        findings.fault(word.spot, format!("unknown {what} {}", quoted(&word.value)), mend);
    }
}

/// Whether a word is a service itself and not the name of one.
pub(super) fn looks_literal(word: &str) -> bool {
    word.contains('/') || matches!(word, "tcp" | "udp" | "sctp" | "icmp" | "icmpv6" | "proto" | "any")
}

/// Parses a literal service.
pub(super) fn literal(word: &At<String>, findings: &mut Findings<'_>) -> Option<Service> {
    match word.value.parse::<Service>() {
        Ok(service) => Some(service),
        Err(error) => {
            let ServiceError { fault, mend } = error;
            let shown = quoted(&word.value);
            let message = if fault.contains(&shown) { fault } else { format!("{shown}: {fault}") };
            findings.fault(word.spot, message, mend);
            None
        }
    }
}

/// Refuses names that could not be typed, shown or told apart. `also` is what may stand in it besides letters and digits.
pub(super) fn spelling(what: &str, name: &At<String>, also: &str, findings: &mut Findings<'_>) -> bool {
    let word = name.value.as_str();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = word.starts_with(plain) && word.chars().all(|c| plain(c) || also.contains(c)) && word.len() <= LONGEST;
    if !fits {
        let also: Vec<String> = also.chars().map(|c| format!("'{c}'")).collect();
        let rule = format!(
            "a {what} is made of a-z, 0-9 and {}, starts with a letter or digit, and has at most {LONGEST} characters",
            also.join(" and ")
        );
        let mend = match repaired(word, &also.join("")) {
            Some(better) => format!("write {better}; {rule}"),
            None => rule,
        };
        findings.fault(name.spot, format!("{} can't be a {what}", quoted(word)), mend);
    }
    fits
}

/// What the name probably wants to be.
fn repaired(word: &str, also: &str) -> Option<String> {
    let keep = |c: char| if c.is_ascii_alphanumeric() || also.contains(c) { c.to_ascii_lowercase() } else { '-' };
    let better: String = word.chars().map(keep).collect();
    let better = better.trim_matches(['-', '_']);
    (!better.is_empty() && better.len() <= LONGEST && word.is_ascii()).then(|| better.to_owned())
}

/// Where each name was first defined; says it when one is defined again. `true` for the first definition.
pub(super) fn first<'n>(
    what: &str,
    name: &'n At<String>,
    seen: &mut BTreeMap<&'n str, Spot>,
    findings: &mut Findings<'_>,
) -> bool {
    if let Some(first) = seen.get(name.value.as_str()) {
        let place = findings.place(*first);
        findings.fault(
            name.spot,
            format!("{what} {} is defined twice; first in {place}", quoted(&name.value)),
            "give one of them another name, or remove it",
        );
        return false;
    }
    seen.insert(&name.value, name.spot);
    true
}
