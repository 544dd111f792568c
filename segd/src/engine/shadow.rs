//! Rules that others make needless. Pure: by zones and services, no address, no kernel.

use jiff::Timestamp;

use super::grants::{live, names, zone_names};
use crate::api::types::Shadowed;
use crate::policy::{IntraZone, Mode, Policy, Rule, Service, ZoneName};

/// Rules that could all go together without changing what passes, now or when others run out. Of two that are alike, the
/// one that stands later is named.
pub(super) fn shadowed(policy: &Policy, now: Timestamp) -> Vec<Shadowed> {
    let zones = zone_names(policy);
    let mut kept: Vec<&Rule> = policy.rules.iter().filter(|rule| live(rule, now)).collect();
    let mut shadowed = Vec::new();
    for index in (0..kept.len()).rev() {
        let rule = kept[index];
        let others: Vec<&Rule> =
            kept.iter().copied().filter(|other| other.id != rule.id && outlives(other, rule)).collect();
        if let Some(by) = covered(rule, &others, policy, &zones) {
            shadowed.push(Shadowed { id: rule.id.0.clone(), by });
            kept.remove(index);
        }
    }
    shadowed.reverse();
    shadowed
}

/// Whether `other` allows at least as long and as firmly. A rule that reports each connection does what no other does.
fn outlives(other: &Rule, rule: &Rule) -> bool {
    let longer = match (other.expires, rule.expires) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(other), Some(rule)) => other >= rule,
    };
    longer && (other.mode == Mode::Enforce || rule.mode == Mode::Audit) && (other.log || !rule.log)
}

/// The rules that together allow everything that `rule` does; `intra_zone` may do its part. None: something is missing.
fn covered(rule: &Rule, others: &[&Rule], policy: &Policy, zones: &[String]) -> Option<Vec<String>> {
    let mut by: Vec<String> = Vec::new();
    for from in zones.iter().filter(|zone| names(&rule.from, zone)) {
        for to in zones.iter().filter(|zone| names(&rule.to, zone)) {
            if talks_within(policy, from, to) {
                continue;
            }
            let of_pair: Vec<&&Rule> =
                others.iter().filter(|other| names(&other.from, from) && names(&other.to, to)).collect();
            let services: Vec<Service> = of_pair.iter().flat_map(|other| other.services.iter().copied()).collect();
            if !rule.services.iter().all(|service| is_within(*service, &services)) {
                return None;
            }
            let helps = |other: &&&&Rule| {
                let touches = |one: &Service| rule.services.iter().any(|service| meet(*one, *service));
                other.services.iter().any(touches)
            };
            by.extend(of_pair.iter().filter(helps).map(|other| other.id.0.clone()));
        }
    }
    by.sort();
    by.dedup();
    Some(by)
}

/// This machine does not speak to itself through us; members of an open zone need no rule.
fn talks_within(policy: &Policy, from: &str, to: &str) -> bool {
    let open = |zone: &&crate::policy::Zone| zone.name.0 == from && zone.intra_zone == IntraZone::Allow;
    from == to && (from == ZoneName::HOST || policy.zones.iter().find(open).is_some())
}

/// Whether `service` lies within `services` together.
fn is_within(service: Service, services: &[Service]) -> bool {
    if services.iter().any(|other| other.covers(service)) {
        return true;
    }
    let Some((low, high)) = span(service) else { return false };
    let mut spans: Vec<(u16, u16)> = services
        .iter()
        .filter(|other| std::mem::discriminant(*other) == std::mem::discriminant(&service))
        .filter_map(|other| span(*other))
        .collect();
    spans.sort_unstable();
    let mut next = u32::from(low);
    for (from, to) in spans {
        if u32::from(from) <= next {
            next = next.max(u32::from(to) + 1);
        }
    }
    next > u32::from(high)
}

/// Whether two services have something in common.
fn meet(one: Service, other: Service) -> bool {
    if one.covers(other) || other.covers(one) {
        return true;
    }
    let same = std::mem::discriminant(&one) == std::mem::discriminant(&other);
    matches!((same, span(one), span(other)), (true, Some(one), Some(other)) if one.0 <= other.1 && other.0 <= one.1)
}

const fn span(service: Service) -> Option<(u16, u16)> {
    match service {
        Service::Tcp(low, high) | Service::Udp(low, high) | Service::Sctp(low, high) => Some((low, high)),
        Service::Icmp(_) | Service::Icmpv6(_) | Service::Proto(_) | Service::Any => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, load_sources};

    const HEAD: &str = "\
version: 1
zones:
  dev: { networks: [10.30.0.0/24] }
  ops: { networks: [10.31.0.0/24], intra_zone: allow }
  ledger: { networks: [10.20.0.0/24] }
rules:
";

    fn found(rules: &[&str]) -> Vec<(String, String)> {
        let written: Vec<String> =
            rules.iter().map(|rule| format!("  - {{ {rule}, reason: r, approved_by: a }}\n")).collect();
        let source = Source { name: "zones.yaml".into(), text: format!("{HEAD}{}", written.concat()) };
        let policy = load_sources(vec![source]).unwrap_or_else(|faults| panic!("{faults}")).policy;
        shadowed(&policy, Timestamp::now()).into_iter().map(|found| (found.id, found.by.join(" "))).collect()
    }

    fn named(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(id, by)| ((*id).to_owned(), (*by).to_owned())).collect()
    }

    #[test]
    fn a_rule_within_a_wider_one_is_shadowed_and_the_wider_one_is_not() {
        let narrow = "id: narrow, from: dev, to: ledger, services: [tcp/443]";
        assert_eq!(
            found(&[narrow, "id: wide, from: any, to: ledger, services: [tcp/1-1000]"]),
            named(&[("narrow", "wide")])
        );
        assert_eq!(found(&[narrow, "id: other, from: dev, to: ledger, services: [udp/443]"]), []);
    }

    #[test]
    fn several_rules_may_cover_one_together() {
        let rules = [
            "id: all, from: [dev, ops], to: ledger, services: [tcp/80-100]",
            "id: low, from: [dev, ops], to: ledger, services: [tcp/1-90]",
            "id: high, from: dev, to: ledger, services: [tcp/91-200]",
            "id: high-ops, from: ops, to: ledger, services: [tcp/91-200]",
        ];
        assert_eq!(found(&rules), named(&[("all", "high high-ops low")]));
        assert_eq!(found(&rules[..3]), [], "one pair is not covered");
    }

    #[test]
    fn of_two_that_are_alike_the_later_is_named_and_only_that() {
        let same = |id| format!("id: {id}, from: dev, to: ledger, services: [tcp/443]");
        assert_eq!(found(&[&same("one"), &same("two")]), named(&[("two", "one")]));
    }

    #[test]
    fn what_ends_earlier_or_only_watches_shadows_nothing() {
        let lasting = "id: lasting, from: dev, to: ledger, services: [tcp/443]";
        let brief = "id: brief, from: dev, to: ledger, services: [any], expires: \"2999-01-01T00:00:00Z\"";
        assert_eq!(found(&[lasting, brief]), []);
        let watched = "id: watched, from: dev, to: ledger, services: [any], mode: audit";
        assert_eq!(found(&[lasting, watched]), []);
    }

    #[test]
    fn a_rule_inside_a_zone_whose_members_may_talk_is_shadowed_by_nothing_but_that() {
        assert_eq!(found(&["id: inside, from: ops, to: ops, services: [any]"]), named(&[("inside", "")]));
    }
}
