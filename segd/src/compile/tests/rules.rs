//! Rules: the image gives what a walk along the list of rules gives, for every pair and at every boundary.

use proptest::prelude::*;
use segd_common::image::{Place, slot};
use segd_common::packet::proto;
use segd_common::policy::{Judgement, Question, judge};
use segd_common::reason::Reason;

use super::{HZ, JIFFIES, compiled, hours, now, pair, rule, zone};
use crate::compile::{Image, Registry, compile};
use crate::policy::{IntraZone, Mode, Policy, Rule, Service, ZoneRef};

const ZONES: [(&str, u16); 5] = [("unzoned", 0), ("host", 1), ("a", 3), ("b", 4), ("c", 5)];

fn one_zone() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["any", "unzoned", "host", "a", "a", "b", "b", "c", "a b", "b b c", "c any"])
}

fn service() -> impl Strategy<Value = Service> {
    let port = prop::sample::select(vec![
        0_u16, 1, 80, 254, 255, 256, 257, 300, 511, 512, 1000, 65_279, 65_280, 65_534, 65_535,
    ]);
    let range = (port.clone(), port).prop_map(|(one, other)| (one.min(other), one.max(other)));
    let kind = prop::sample::select(vec![None, Some(0_u8), Some(5), Some(8), Some(13), Some(137), Some(255)]);
    prop_oneof![
        4 => range.clone().prop_map(|(low, high)| Service::Tcp(low, high)),
        2 => range.clone().prop_map(|(low, high)| Service::Udp(low, high)),
        1 => range.prop_map(|(low, high)| Service::Sctp(low, high)),
        1 => kind.clone().prop_map(Service::Icmp),
        1 => kind.prop_map(Service::Icmpv6),
        1 => prop::sample::select(vec![0_u8, 47, 50, 255]).prop_map(Service::Proto),
        1 => Just(Service::Any),
    ]
}

prop_compose! {
    fn any_rule()(
        from in one_zone(),
        to in one_zone(),
        services in prop::collection::vec(service(), 1..4),
        end in prop::sample::select(vec![None, None, Some(-1), Some(1), Some(1), Some(2)]),
        audit in prop::bool::weighted(0.3),
        log in any::<bool>(),
    ) -> Rule {
        let mode = if audit { Mode::Audit } else { Mode::Enforce };
        Rule { services, expires: end.map(hours), mode, log, ..rule("", from, to, &[]) }
    }
}

prop_compose! {
    fn any_policy()(
        rules in prop::collection::vec(any_rule(), 0..12),
        pairs in prop::collection::vec((one_zone(), one_zone(), any::<bool>()), 0..3),
        intra in prop::array::uniform3(any::<bool>()),
        watched in prop::bool::weighted(0.2),
    ) -> Policy {
        let mode = |audit: bool| if audit { Mode::Audit } else { Mode::Enforce };
        let mut policy = Policy { rules, mode: mode(watched), ..Policy::default() };
        for (index, rule) in policy.rules.iter_mut().enumerate() {
            rule.id.0 = format!("r{index}");
        }
        for ((name, network), allow) in [("a", "10.1.0.0/16"), ("b", "10.2.0.0/16"), ("c", "10.3.0.0/16")].into_iter().zip(intra) {
            let intra_zone = if allow { IntraZone::Allow } else { IntraZone::Deny };
            policy.zones.push(crate::policy::Zone { intra_zone, ..zone(name, &[network]) });
        }
        for (from, to, audit) in pairs.into_iter().filter(|(from, to, _)| !from.contains(' ') && !to.contains(' ')) {
            policy.pairs.push(pair(from, to, mode(audit)));
        }
        policy
    }
}

fn names(zones: &[ZoneRef], name: &str) -> bool {
    zones.iter().any(|zone| match zone {
        ZoneRef::Any => true,
        ZoneRef::Zone(other) => other.0 == name,
    })
}

fn covers(service: Service, protocol: u8, key: u16) -> bool {
    let range = |low: u16, high: u16| low <= key && key <= high;
    match (service, protocol) {
        (Service::Tcp(low, high), proto::TCP)
        | (Service::Udp(low, high), proto::UDP)
        | (Service::Sctp(low, high), proto::SCTP) => range(low, high),
        (Service::Icmp(Some(kind)), proto::ICMP) | (Service::Icmpv6(Some(kind)), proto::ICMPV6) => {
            key == u16::from(kind)
        }
        (Service::Icmp(None) | Service::Any, proto::ICMP) => ![4, 5, 13, 14, 15, 16, 17, 18].contains(&key),
        (Service::Icmpv6(None) | Service::Any, proto::ICMPV6) => key != 137,
        (Service::Any, _) => true,
        (Service::Proto(number), _) => protocol == number,
        _ => false,
    }
}

/// Whether a pair is only watched: the entry that names most of it holds, enforce of two as good.
fn watched(policy: &Policy, from: &str, to: &str) -> bool {
    let named = |zone: &ZoneRef| usize::from(*zone != ZoneRef::Any);
    let fitting = policy
        .pairs
        .iter()
        .filter(|pair| names(std::slice::from_ref(&pair.from), from) && names(std::slice::from_ref(&pair.to), to));
    let best = fitting.max_by_key(|pair| (named(&pair.from) + named(&pair.to), pair.mode == Mode::Enforce));
    policy.mode == Mode::Audit || best.is_some_and(|pair| pair.mode == Mode::Audit)
}

/// What should come of it: reason, would-be reason, rule and log. Of an expired rule any that covers it will do.
#[derive(Debug, PartialEq)]
struct Expected {
    reason: Reason,
    would: Reason,
    rules: Vec<u32>,
    log: bool,
}

fn naive(policy: &Policy, pair: (&str, &str), asked: (u8, u16), elapsed: u64) -> Expected {
    let (protocol, key) = asked;
    let ended = |rule: &Rule| {
        rule.expires.is_some_and(|end| (end.as_second() - now().as_second()) * i64::from(HZ) <= elapsed.cast_signed())
    };
    let covering: Vec<(usize, &Rule)> = policy
        .rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| {
            names(&rule.from, pair.0)
                && names(&rule.to, pair.1)
                && rule.services.iter().any(|service| covers(*service, protocol, key))
        })
        .collect();
    let strongest = |mode: Mode| {
        let live = covering.iter().filter(|(_, rule)| rule.mode == mode && !ended(rule));
        live.min_by_key(|(index, rule)| (rule.expires.map_or(i64::MIN, |end| -end.as_second()), *index))
    };
    let default = match protocol {
        proto::TCP | proto::UDP | proto::SCTP | proto::ICMP | proto::ICMPV6 => Reason::NoRule,
        _ => Reason::UnsupportedProtocol,
    };
    let any_enforced = covering.iter().any(|(_, rule)| rule.mode == Mode::Enforce);
    let denied = if covering.is_empty() { default } else { Reason::Expired };
    let none = vec![slot::NO_RULE];
    if let Some((index, rule)) = strongest(Mode::Enforce) {
        return Expected { reason: Reason::Rule, would: Reason::Rule, rules: vec![*index as u32], log: rule.log };
    }
    if let Some((index, rule)) = strongest(Mode::Audit) {
        let would = if any_enforced { Reason::Expired } else { default };
        return Expected { reason: Reason::Audit, would, rules: vec![*index as u32], log: rule.log };
    }
    let intra = policy
        .zones
        .iter()
        .any(|zone| zone.intra_zone == IntraZone::Allow && (zone.name.0.as_str(), zone.name.0.as_str()) == pair);
    if intra {
        return Expected { reason: Reason::IntraZone, would: Reason::IntraZone, rules: none, log: false };
    }
    if watched(policy, pair.0, pair.1) {
        return Expected { reason: Reason::Audit, would: denied, rules: none, log: false };
    }
    let expired: Vec<u32> = covering.iter().map(|(index, _)| *index as u32).collect();
    Expected { reason: denied, would: denied, rules: if expired.is_empty() { none } else { expired }, log: false }
}

fn ask(image: &Image, from: u16, to: u16, asked: (u8, u16), now: u64) -> Judgement {
    let question = Question { from: Place(from.into()), to: Place(to.into()), proto: asked.0, service: asked.1 };
    judge(image.pages(), image.root(), &question, now)
}

/// Every key at which something begins or ends, and those beside it.
fn keys(policy: &Policy, protocol: u8) -> Vec<u16> {
    let services = policy.rules.iter().flat_map(|rule| &rule.services);
    let edges = services.flat_map(|service| match *service {
        Service::Tcp(low, high) | Service::Udp(low, high) | Service::Sctp(low, high) => [low, high],
        Service::Icmp(kind) | Service::Icmpv6(kind) => [u16::from(kind.unwrap_or(8)); 2],
        Service::Proto(number) => [u16::from(number); 2],
        Service::Any => [0, u16::MAX],
    });
    let mut keys: Vec<u16> = edges
        .flat_map(|key| [key.wrapping_sub(1), key, key.wrapping_add(1)])
        .chain([3, 4, 5, 6, 12, 13, 18, 19, 136, 137, 138])
        .collect();
    match protocol {
        proto::TCP | proto::UDP | proto::SCTP => {}
        proto::ICMP | proto::ICMPV6 => keys.retain(|key| *key < 256),
        other => keys = vec![other.into()],
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_image_decides_as_the_list_of_rules_does(policy in any_policy()) {
        let mut registry = Registry::default();
        let image = compile(&policy, &super::facts(), &mut registry).unwrap();
        let hour = 3600 * u64::from(HZ);
        for (from, from_number) in ZONES {
            for (to, to_number) in ZONES {
                for protocol in [proto::TCP, proto::UDP, proto::SCTP, proto::ICMP, proto::ICMPV6, 0, 47, 51, 255] {
                    for key in keys(&policy, protocol) {
                        for elapsed in [0, hour - 1, hour, 2 * hour] {
                            let found = ask(&image, from_number, to_number, (protocol, key), JIFFIES + elapsed);
                            let expected = naive(&policy, (from, to), (protocol, key), elapsed);
                            let rule = if expected.rules.contains(&found.rule) { expected.rules.clone() } else { vec![found.rule] };
                            let found = Expected { reason: found.reason, would: found.would, rules: rule, log: found.log };
                            prop_assert_eq!(found, expected, "{} to {}, protocol {} key {} after {}", from, to, protocol, key, elapsed);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn the_failsafe_passes_what_it_lists_and_nothing_else() {
    let mut policy = Policy { zones: vec![zone("a", &["10.1.0.0/16"])], ..Policy::default() };
    policy.failsafe.from = vec!["10.1.0.9/32".parse().unwrap()];
    policy.failsafe.services = vec!["tcp/22".parse().unwrap(), "tcp/20-25".parse().unwrap(), "tcp/26".parse().unwrap()];
    let image = compiled(&policy);
    let reason = |from: u32, port: u16| {
        let question = Question { from: Place(from), to: Place(1), proto: proto::TCP, service: port };
        judge(image.pages(), image.root(), &question, JIFFIES).reason
    };
    let failsafe = Place::FAILSAFE | 3;
    assert_eq!(
        [19, 20, 22, 26, 27].map(|port| reason(failsafe, port)),
        [Reason::NoRule, Reason::Failsafe, Reason::Failsafe, Reason::Failsafe, Reason::NoRule]
    );
    assert_eq!(reason(3, 22), Reason::NoRule);
}

#[test]
fn zones_beyond_255_take_two_bytes() {
    let network = |n: u32| format!("10.{}.{}.0/24", n / 256, n % 256);
    let zones = (0..600).map(|n| zone(&format!("z{n}"), &[&network(n)])).collect();
    let rules = vec![rule("far", "z599", "z1", &["tcp/80"]), rule("all", "any", "z300", &["tcp/81"])];
    let policy = Policy { zones, rules, ..Policy::default() };
    let image = compiled(&policy);
    let reason = |from: u16, to: u16, port: u16| ask(&image, from, to, (proto::TCP, port), JIFFIES).reason;
    assert_eq!(reason(602, 4, 80), Reason::Rule);
    for (from, to, port) in [(602, 5, 80), (601, 4, 80), (90, 4, 80), (602, 4, 81), (2, 303, 81)] {
        assert_eq!(reason(from, to, port), Reason::NoRule, "{from} to {to}, {port}");
    }
    for from in [0, 1, 3, 255, 256, 602] {
        assert_eq!(reason(from, 303, 81), Reason::Rule, "{from}");
    }
}
