//! Stable numbers: a zone or rule keeps its number as long as its name is known. Counters, connections and the pages of
//! the image hang on them. Plain data; whoever owns it keeps it on disk.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use segd_common::image::zone;
use serde::{Deserialize, Serialize};

use super::{CompileError, MAX_RULES, MAX_ZONES};
use crate::policy::{Policy, ZoneName};

/// How long a number waits for its name to come back, and its counters with it.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The same when numbers run short. Still far longer than any policy may wait for its confirmation.
const KEPT_IF_SHORT: SignedDuration = SignedDuration::from_hours(24);

/// Names and their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Registry {
    zones: Numbers,
    rules: Numbers,
}

/// Numbers that were given up and will be given out again: their counters belong to nobody now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Zones.
    pub zones: Vec<u16>,
    /// Rules.
    pub rules: Vec<u32>,
}

impl Freed {
    /// Whether nothing was given up.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.zones.is_empty() && self.rules.is_empty()
    }
}

/// A registry that was read back and can't be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the registry of zone and rule numbers is broken: {0}; remove the file, and counters begin anew")]
pub struct BrokenRegistry(String);

impl Registry {
    /// The number of a zone, reserved ones included.
    #[must_use]
    pub fn zone_id(&self, name: &str) -> Option<u16> {
        match name {
            ZoneName::UNZONED => Some(zone::UNZONED),
            ZoneName::HOST => Some(zone::HOST),
            _ => self.zones.of(name).map(|number| number as u16),
        }
    }

    /// The zone with this number, reserved ones included.
    #[must_use]
    pub fn zone_name(&self, number: u16) -> Option<&str> {
        match number {
            zone::UNZONED => Some(ZoneName::UNZONED),
            zone::HOST => Some(ZoneName::HOST),
            _ => self.zones.name(number.into()),
        }
    }

    /// One more than the highest number of a zone, and of a rule: what counters by number need room for.
    #[must_use]
    pub fn ends(&self) -> (u32, u32) {
        let end = |numbers: &Numbers, least: u32| {
            numbers.by_number.last_key_value().map_or(least, |(highest, _)| highest + 1)
        };
        (end(&self.zones, zone::FIRST_NAMED.into()), end(&self.rules, 0))
    }

    /// The number of a rule.
    #[must_use]
    pub fn rule_number(&self, id: &str) -> Option<u32> {
        self.rules.of(id)
    }

    /// The rule with this number.
    #[must_use]
    pub fn rule_id(&self, number: u32) -> Option<&str> {
        self.rules.name(number)
    }

    /// Gives a number to every zone and rule that has none.
    pub(super) fn enter(&mut self, policy: &Policy) -> Result<(), CompileError> {
        let zones = policy.zones.iter().map(|zone| zone.name.0.as_str());
        let no_zone = |name: &str| CompileError::TooManyZones(ZoneName(name.to_owned()));
        self.zones.enter(zones, zone::FIRST_NAMED.into()..MAX_ZONES).map_err(no_zone)?;
        let rules = policy.rules.iter().map(|rule| rule.id.0.as_str());
        self.rules.enter(rules, 0..MAX_RULES).map_err(|id| CompileError::TooManyRules(id.to_owned()))
    }

    /// Called when a policy is in force: names that it does not have are gone from `now` on, unless they were before.
    pub fn note(&mut self, policy: &Policy, now: Timestamp) {
        self.zones.note(&policy.zones.iter().map(|zone| zone.name.0.as_str()).collect(), now);
        self.rules.note(&policy.rules.iter().map(|rule| rule.id.0.as_str()).collect(), now);
    }

    /// Takes the numbers from names that have been gone for thirty days, or for one if more than half of all numbers are
    /// given out. `spoken_of`: zones that live connections still name; they keep their numbers.
    pub fn retire(&mut self, now: Timestamp, spoken_of: &BTreeSet<u16>) -> Freed {
        let zones = self.zones.retire(now, MAX_ZONES, |number| spoken_of.contains(&(number as u16)));
        Freed {
            zones: zones.into_iter().map(|number| number as u16).collect(),
            // A connection names its rule by its slot in the image in force, which has no slot of a rule that is gone.
            rules: self.rules.retire(now, MAX_RULES, |_| false),
        }
    }
}

/// One kind of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Numbers {
    by_name: BTreeMap<String, Number>,
    by_number: BTreeMap<u32, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Number {
    number: u32,
    /// Since when no policy in force has the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<Timestamp>,
}

impl Numbers {
    fn of(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).map(|entry| entry.number)
    }

    fn name(&self, number: u32) -> Option<&str> {
        self.by_number.get(&number).map(String::as_str)
    }

    /// The lowest free numbers, so that they stay small. The error is the first name that got none.
    fn enter<'a>(&mut self, names: impl Iterator<Item = &'a str>, range: std::ops::Range<u32>) -> Result<(), &'a str> {
        let mut next = range.start;
        for name in names {
            if let Some(entry) = self.by_name.get_mut(name) {
                entry.gone = None;
                continue;
            }
            while self.by_number.contains_key(&next) {
                next += 1;
            }
            if next >= range.end {
                return Err(name);
            }
            self.by_name.insert(name.to_owned(), Number { number: next, gone: None });
            self.by_number.insert(next, name.to_owned());
        }
        Ok(())
    }

    fn note(&mut self, present: &BTreeSet<&str>, now: Timestamp) {
        for (name, entry) in &mut self.by_name {
            entry.gone = if present.contains(name.as_str()) { None } else { entry.gone.or(Some(now)) };
        }
    }

    fn retire(&mut self, now: Timestamp, space: u32, spoken_of: impl Fn(u32) -> bool) -> Vec<u32> {
        let kept = if self.by_number.len() as u64 > u64::from(space / 2) { KEPT_IF_SHORT } else { KEPT };
        let over = |entry: &Number| entry.gone.is_some_and(|gone| now.duration_since(gone) >= kept);
        let mut freed = Vec::new();
        self.by_name.retain(|_, entry| {
            let retires = over(entry) && !spoken_of(entry.number);
            freed.extend(retires.then_some(entry.number));
            !retires
        });
        freed.sort_unstable();
        for number in &freed {
            self.by_number.remove(number);
        }
        freed
    }

    fn read(by_name: BTreeMap<String, Number>, range: &std::ops::Range<u32>) -> Result<Self, BrokenRegistry> {
        let mut by_number = BTreeMap::new();
        for (name, entry) in &by_name {
            if !range.contains(&entry.number) {
                return Err(BrokenRegistry(format!("{name} has number {}, out of {range:?}", entry.number)));
            }
            if let Some(other) = by_number.insert(entry.number, name.clone()) {
                return Err(BrokenRegistry(format!("{name} and {other} have one number, {}", entry.number)));
            }
        }
        Ok(Self { by_name, by_number })
    }
}

/// As it stands on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    zones: BTreeMap<String, Number>,
    rules: BTreeMap<String, Number>,
}

impl From<Registry> for Stored {
    fn from(registry: Registry) -> Self {
        Self { zones: registry.zones.by_name, rules: registry.rules.by_name }
    }
}

impl TryFrom<Stored> for Registry {
    type Error = BrokenRegistry;

    fn try_from(stored: Stored) -> Result<Self, BrokenRegistry> {
        let zones = Numbers::read(stored.zones, &(zone::FIRST_NAMED.into()..MAX_ZONES))?;
        Ok(Self { zones, rules: Numbers::read(stored.rules, &(0..MAX_RULES))? })
    }
}
