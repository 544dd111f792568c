//! From what was seen to rules that would allow it: as few and as narrow as the evidence supports. Pure: rows of the
//! history and the policy in force go in. It only suggests; reasons and approvers are a person's to give.

mod evidence;
mod group;
mod places;
mod scans;
#[cfg(test)]
mod tests;
mod words;
mod yaml;

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::api::types::{LeftOut, Suggestions};
use crate::policy::{Policy, Service, ZoneRef};
use crate::seen::Row;
use evidence::{Evidence, Sieve};
use places::Places;

pub use words::service_of;

/// What suggestions are made from.
#[derive(Clone, Copy, Debug)]
pub struct Material<'m> {
    /// The policy in force.
    pub policy: &'m Policy,
    /// This machine's addresses.
    pub host: &'m [IpAddr],
    /// What was seen.
    pub rows: &'m [Row],
    /// Also what passes by rules that are there.
    pub passing: bool,
    /// The time of the evidence.
    pub since: Timestamp,
    /// Now.
    pub until: Timestamp,
}

/// Initiators' and responders' zone.
type Pair = (String, String);

/// Rules that would allow what was seen.
#[must_use]
pub fn suggest(material: &Material<'_>) -> Suggestions {
    let Material { policy, host, rows, passing: _, since, until } = *material;
    let places = Places::new(policy, host);
    let scanners = scans::scanners(rows, &places);
    let mut sieve = Sieve::new(material, &places, &scanners);
    for row in rows {
        sieve.take(row);
    }
    let (evidence, mut left_out) = sieve.done();
    left_out.sort_by(|one, other| other.connections.cmp(&one.connections).then_with(|| one.who.cmp(&other.who)));
    let rules = group::rules(evidence, policy);
    let yaml = yaml::written(&rules, &left_out, since, until, policy);
    Suggestions { since, until, rules, left_out, yaml }
}

/// Whether a rule that is there, and has not run out, allows it.
fn granted(policy: &Policy, pair: &Pair, service: Service, now: Timestamp) -> bool {
    let names = |refs: &[ZoneRef], zone: &str| {
        refs.iter().any(|reference| match reference {
            ZoneRef::Any => true,
            ZoneRef::Zone(name) => name.0 == zone,
        })
    };
    let live = policy.rules.iter().filter(|rule| rule.expires.is_none_or(|expires| expires > now));
    live.filter(|rule| names(&rule.from, &pair.0) && names(&rule.to, &pair.1))
        .any(|rule| rule.services.iter().any(|allowed| allowed.covers(service)))
}

/// What each pair of zones needs.
type Needs = BTreeMap<Pair, BTreeMap<Service, Evidence>>;

/// Things that were left out for one reason, added up.
#[derive(Debug, Default)]
struct Left(BTreeMap<(String, String), u64>);

impl Left {
    fn add(&mut self, who: String, why: &str, flows: u64) {
        *self.0.entry((who, why.to_owned())).or_default() += flows;
    }

    fn list(self) -> Vec<LeftOut> {
        self.0.into_iter().map(|((who, why), connections)| LeftOut { who, why, connections }).collect()
    }
}
