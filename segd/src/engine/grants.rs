//! What the rules let pass between each pair of zones, for people to look at. Pure: zones by name, no address, no kernel;
//! whether a packet passes is never decided here.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::types::Coverage;
use crate::policy::{IntraZone, Mode, PairMode, Policy, Rule, RuleId, Service, ZoneName, ZoneRef};

/// Initiator's and responder's zone.
pub(super) type Pair = (String, String);

/// One service that passes, and the rule that says so; none for `intra_zone: allow` and for audited pairs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) service: Service,
    pub(super) rule: Option<RuleId>,
}

/// Every zone of `policy`, the reserved ones first.
pub(super) fn zone_names(policy: &Policy) -> Vec<String> {
    let reserved = [ZoneName::HOST, ZoneName::UNZONED].map(str::to_owned);
    reserved.into_iter().chain(policy.zones.iter().map(|zone| zone.name.0.clone())).collect()
}

/// Whether one of `refs` means `zone`.
pub(super) fn names(refs: &[ZoneRef], zone: &str) -> bool {
    refs.iter().any(|reference| match reference {
        ZoneRef::Any => true,
        ZoneRef::Zone(name) => name.0 == zone,
    })
}

/// Whether the rule still allows anything.
pub(super) fn live(rule: &Rule, now: Timestamp) -> bool {
    rule.expires.is_none_or(|expires| expires > now)
}

/// The mode of one pair, as the compiler reads it: audit if that is the policy's, else what its own entry says, else
/// those with `any` on one side, else the one with `any` on both. Of two that are as close, enforce holds.
pub(super) fn mode_of(policy: &Policy, from: &str, to: &str) -> Mode {
    if policy.mode == Mode::Audit {
        return Mode::Audit;
    }
    let closeness = |pair: &PairMode| u8::from(pair.from != ZoneRef::Any) + u8::from(pair.to != ZoneRef::Any);
    let fits =
        |pair: &&PairMode| names(std::slice::from_ref(&pair.from), from) && names(std::slice::from_ref(&pair.to), to);
    let closest = policy.pairs.iter().filter(fits).max_by_key(|pair| (closeness(pair), Reverse(pair.mode)));
    closest.map_or(policy.mode, |pair| pair.mode)
}

/// What rules and `intra_zone` let pass, by pair of zones; pairs with nothing are left out.
pub(super) fn grants(policy: &Policy, now: Timestamp) -> BTreeMap<Pair, Vec<Grant>> {
    let zones = zone_names(policy);
    let mut grants: BTreeMap<Pair, Vec<Grant>> = BTreeMap::new();
    for zone in policy.zones.iter().filter(|zone| zone.intra_zone == IntraZone::Allow) {
        let pair = (zone.name.0.clone(), zone.name.0.clone());
        grants.entry(pair).or_default().push(Grant { service: Service::Any, rule: None });
    }
    for rule in policy.rules.iter().filter(|rule| live(rule, now)) {
        for from in zones.iter().filter(|zone| names(&rule.from, zone)) {
            for to in zones.iter().filter(|zone| names(&rule.to, zone)) {
                let of_pair = grants.entry((from.clone(), to.clone())).or_default();
                of_pair.extend(
                    rule.services.iter().map(|service| Grant { service: *service, rule: Some(rule.id.clone()) }),
                );
            }
        }
    }
    grants
}

/// Ordered pairs of zones by what happens to what no rule names.
pub(super) fn coverage(policy: &Policy, now: Timestamp) -> Coverage {
    let grants = grants(policy, now);
    let mut coverage = Coverage::default();
    for pair in pairs(policy) {
        let open = |granted: &Vec<Grant>| granted.iter().any(|grant| grant.service == Service::Any);
        match (grants.get(&pair).is_some_and(open), mode_of(policy, &pair.0, &pair.1)) {
            (true, _) => coverage.open += 1,
            (false, Mode::Audit) => coverage.audited += 1,
            (false, Mode::Enforce) => coverage.enforced += 1,
        }
    }
    coverage
}

/// Every ordered pair of zones but this machine with itself.
pub(super) fn pairs(policy: &Policy) -> Vec<Pair> {
    let zones = zone_names(policy);
    let of = |from: &String| zones.iter().map(|to| (from.clone(), to.clone())).collect::<Vec<_>>();
    let all = zones.iter().flat_map(of);
    all.filter(|(from, to)| from != ZoneName::HOST || to != ZoneName::HOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, load_sources};

    const HEAD: &str =
        "version: 1\nzones:\n  dev: { networks: [10.30.0.0/24] }\n  ledger: { networks: [10.20.0.0/24] }\n";

    fn policy(rest: &str) -> Policy {
        let text = format!("{HEAD}{rest}");
        load_sources(vec![Source { name: "zones.yaml".into(), text }])
            .unwrap_or_else(|faults| panic!("{faults}"))
            .policy
    }

    #[test]
    fn expired_rules_grant_nothing() {
        let expired = "rules:\n  - { id: gone, from: any, to: ledger, services: [any], reason: r, approved_by: a, expires: 2020-01-01T00:00:00Z }\n";
        assert_eq!(grants(&policy(expired), Timestamp::now()), BTreeMap::new());
    }

    #[test]
    fn any_stands_for_every_zone_the_reserved_ones_and_the_zone_itself_included() {
        let open = "rules:\n  - { id: open, from: any, to: ledger, services: [tcp/80], reason: r, approved_by: a }\n";
        let grants = grants(&policy(open), Timestamp::now());
        let from: Vec<&str> = grants.keys().map(|(from, _)| from.as_str()).collect();
        assert_eq!(from, ["dev", "host", "ledger", "unzoned"]);
    }

    #[test]
    fn the_sharper_pair_sets_the_mode() {
        let policy =
            policy("pairs:\n  - { from: dev, to: any, mode: audit }\n  - { from: dev, to: ledger, mode: enforce }\n");
        assert_eq!(mode_of(&policy, "dev", "ledger"), Mode::Enforce);
        assert_eq!(mode_of(&policy, "dev", "host"), Mode::Audit);
        assert_eq!(mode_of(&policy, "ledger", "dev"), Mode::Enforce);
    }

    #[test]
    fn coverage_counts_each_ordered_pair_once() {
        let rest = "rules:\n  - { id: all, from: dev, to: ledger, services: [any], reason: r, approved_by: a }\npairs:\n  - { from: ledger, to: any, mode: audit }\n";
        // Four zones with the reserved ones: 16 pairs, but for this machine to itself.
        assert_eq!(coverage(&policy(rest), Timestamp::now()), Coverage { enforced: 10, audited: 4, open: 1 });
        assert_eq!(
            coverage(&policy("mode: audit\n"), Timestamp::now()),
            Coverage { enforced: 0, audited: 15, open: 0 }
        );
    }

    #[test]
    fn of_two_pairs_that_are_as_close_enforce_holds() {
        let policy =
            policy("pairs:\n  - { from: dev, to: any, mode: audit }\n  - { from: any, to: ledger, mode: enforce }\n");
        assert_eq!(mode_of(&policy, "dev", "ledger"), Mode::Enforce);
        assert_eq!(mode_of(&policy, "dev", "host"), Mode::Audit);
    }
}
