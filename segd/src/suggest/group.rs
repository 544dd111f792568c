//! From what pairs of zones need to rules: pairs that need the same become one rule where their zones multiply out to
//! exactly them, so that no rule allows what no evidence asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::evidence::Evidence;
use super::words::named;
use super::{Needs, Pair};
use crate::api::types::{SeenService, SuggestedRule};
use crate::policy::{Policy, Service};

type OfPair = BTreeMap<Service, Evidence>;

/// The rules.
pub(super) fn rules(needs: Needs, policy: &Policy) -> Vec<SuggestedRule> {
    let mut by_services: BTreeMap<Vec<String>, BTreeMap<Pair, OfPair>> = BTreeMap::new();
    for (pair, services) in needs {
        let words = named(&services.keys().copied().collect(), policy);
        by_services.entry(words).or_default().insert(pair, services);
    }
    let mut taken: BTreeSet<String> = policy.rules.iter().map(|rule| rule.id.0.clone()).collect();
    let mut rules = Vec::new();
    for (words, mut pairs) in by_services {
        for (from, to) in products(pairs.keys()) {
            let of_rule = from.iter().flat_map(|from| to.iter().map(|to| (from.clone(), to.clone())));
            let evidence: Vec<OfPair> = of_rule.filter_map(|pair| pairs.remove(&pair)).collect();
            let id = free_id(&from[0], &to[0], &words, &taken);
            taken.insert(id.clone());
            rules.push(rule(id, from, to, words.clone(), &evidence));
        }
    }
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.connections));
    rules
}

/// Lists of initiators and responders that multiply out to exactly these pairs. A pair inside a zone stands alone: it
/// needs no approval, and must not hide among those that do.
fn products<'p>(pairs: impl Iterator<Item = &'p Pair>) -> Vec<(Vec<String>, Vec<String>)> {
    let (inside, between): (Vec<&Pair>, Vec<&Pair>) = pairs.partition(|(from, to)| from == to);
    let mut by_from: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in between {
        by_from.entry(from).or_default().insert(to);
    }
    let mut by_to: BTreeMap<BTreeSet<&str>, Vec<&str>> = BTreeMap::new();
    for (from, to) in by_from {
        by_to.entry(to).or_default().push(from);
    }
    let owned = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect::<Vec<_>>();
    let between = by_to.iter().map(|(to, from)| (owned(&mut from.iter().copied()), owned(&mut to.iter().copied())));
    between.chain(inside.into_iter().map(|(from, to)| (vec![from.clone()], vec![to.clone()]))).collect()
}

fn rule(id: String, from: Vec<String>, to: Vec<String>, services: Vec<String>, evidence: &[OfPair]) -> SuggestedRule {
    let all = || evidence.iter().flat_map(BTreeMap::values);
    let addresses = |of: fn(&Evidence) -> &BTreeSet<IpAddr>| {
        let found: BTreeSet<IpAddr> = all().flat_map(|evidence| of(evidence).iter().copied()).collect();
        found.iter().map(ToString::to_string).collect()
    };
    let mut seen: BTreeMap<Service, u64> = BTreeMap::new();
    for (service, evidence) in evidence.iter().flatten() {
        *seen.entry(*service).or_default() += evidence.flows;
    }
    let seen = seen.into_iter().map(|(service, connections)| SeenService { service: service.to_string(), connections });
    let expired: BTreeSet<String> = all().flat_map(|evidence| evidence.expired.iter().cloned()).collect();
    SuggestedRule {
        id,
        from: from.into(),
        to: to.into(),
        services,
        connections: all().map(|evidence| evidence.flows).sum(),
        sources: addresses(|evidence| &evidence.sources),
        destinations: addresses(|evidence| &evidence.destinations),
        seen: seen.collect(),
        first: all().map(|evidence| evidence.first).min().unwrap_or_default(),
        last: all().map(|evidence| evidence.last).max().unwrap_or_default(),
        expired: expired.into_iter().collect(),
    }
}

/// A free name made of zones and service: `dev-accounting-tcp-5432`.
fn free_id(from: &str, to: &str, services: &[String], taken: &BTreeSet<String>) -> String {
    let mut stem = format!("{from}-{to}");
    if let [service] = services {
        stem = format!("{stem}-{service}");
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let stem: String = stem.chars().map(plain).collect();
    let numbered = (2_u32..).map(|number| format!("{stem}-{number}"));
    std::iter::once(stem.clone()).chain(numbered).find(|id| !taken.contains(id)).unwrap_or_default()
}
