//! Stable numbers: a zone or rule keeps its number as long as its name is known. Counters, connections and the pages of
//! the image hang on them. Plain data; whoever owns it keeps it on disk.

use std::collections::{BTreeMap, BTreeSet};

use segd_common::image::zone;
use serde::{Deserialize, Serialize};

use super::{CompileError, MAX_RULES, MAX_ZONES};
use crate::policy::{Policy, ZoneName};

/// Policies in force that a number outlives its name: flows and the previous image may still speak of it.
const KEPT: u8 = 2;

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

    /// Called once for each policy that was put in force. Names that it does not have, and the one before it did not have
    /// either, give up their numbers.
    pub fn retire(&mut self, policy: &Policy) -> Freed {
        let zones: BTreeSet<&str> = policy.zones.iter().map(|zone| zone.name.0.as_str()).collect();
        let rules: BTreeSet<&str> = policy.rules.iter().map(|rule| rule.id.0.as_str()).collect();
        let zones = self.zones.retire(&zones).into_iter().map(|number| number as u16).collect();
        Freed { zones, rules: self.rules.retire(&rules) }
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
    /// Policies in force since the name was last seen in one.
    #[serde(default)]
    absent: u8,
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
                entry.absent = 0;
                continue;
            }
            while self.by_number.contains_key(&next) {
                next += 1;
            }
            if next >= range.end {
                return Err(name);
            }
            self.by_name.insert(name.to_owned(), Number { number: next, absent: 0 });
            self.by_number.insert(next, name.to_owned());
        }
        Ok(())
    }

    fn retire(&mut self, present: &BTreeSet<&str>) -> Vec<u32> {
        let mut freed = Vec::new();
        self.by_name.retain(|name, entry| {
            entry.absent = if present.contains(name.as_str()) { 0 } else { entry.absent + 1 };
            let kept = entry.absent < KEPT;
            if !kept {
                freed.push(entry.number);
            }
            kept
        });
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
