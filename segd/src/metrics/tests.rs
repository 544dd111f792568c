//! The exposition of hand-made counters.

use super::*;

fn per_reason(values: &[(Reason, u64)]) -> [u64; Reason::COUNT] {
    let mut all = [0; Reason::COUNT];
    for (reason, value) in values {
        all[*reason as usize] = *value;
    }
    all
}

fn dev_to_ledger() -> PairCounters {
    PairCounters {
        from: 3,
        to: 4,
        packets: per_reason(&[
            (Reason::Rule, 2),
            (Reason::Reply, 40),
            (Reason::Audit, 5),
            (Reason::NoRule, 7),
            (Reason::BadFlags, 1),
        ]),
        bytes: per_reason(&[
            (Reason::Rule, 120),
            (Reason::Reply, 4000),
            (Reason::Audit, 300),
            (Reason::NoRule, 420),
            (Reason::BadFlags, 60),
        ]),
        blocked_flows: per_reason(&[(Reason::NoRule, 3)]),
        connections: 2,
    }
}

fn scrape() -> Scrape {
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    Scrape {
        counters: Counters {
            pairs: vec![dev_to_ledger()],
            rules: vec![RuleCounters {
                rule: 1,
                packets: 42,
                bytes: 4120,
                connections: 2,
                last_hit: Some(time("2026-01-01T00:00:00.5Z")),
            }],
            events_lost: 9,
        },
        zones: BTreeMap::from([(3, "dev".to_owned()), (4, "accounting".to_owned())]),
        rules: vec![
            RuleSeries { number: 1, id: "dev-reads-ledger".into(), expires: Some(time("2027-06-30T00:00:00Z")) },
            RuleSeries { number: 2, id: "never-used".into(), expires: None },
        ],
        occupancy: Occupancy { established: 1, established_capacity: 1024, half_open: 2, half_open_capacity: 512 },
        generation: 4,
        last_apply: Some(time("2026-01-01T00:00:00Z")),
        apply_errors: 1,
        interfaces: vec![("lan0".into(), Hook::XdpGeneric, true), ("lan1".into(), Hook::Tc, false)],
    }
}

#[test]
fn the_exposition_has_exactly_the_series_of_the_contract() {
    let text = render(&scrape()).unwrap();
    let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let expected = [
        r#"segd_packets_total{from_zone="dev",to_zone="accounting",verdict="allow"} 42"#,
        r#"segd_packets_total{from_zone="dev",to_zone="accounting",verdict="deny"} 8"#,
        r#"segd_packets_total{from_zone="dev",to_zone="accounting",verdict="audit"} 5"#,
        r#"segd_bytes_total{from_zone="dev",to_zone="accounting",verdict="allow"} 4120"#,
        r#"segd_bytes_total{from_zone="dev",to_zone="accounting",verdict="deny"} 480"#,
        r#"segd_bytes_total{from_zone="dev",to_zone="accounting",verdict="audit"} 300"#,
        r#"segd_blocked_flows_total{from_zone="dev",to_zone="accounting",reason="no-rule"} 3"#,
        r#"segd_drops_total{from_zone="dev",to_zone="accounting",reason="no-rule"} 7"#,
        r#"segd_drops_total{from_zone="dev",to_zone="accounting",reason="bad-flags"} 1"#,
        r#"segd_connections_total{from_zone="dev",to_zone="accounting"} 2"#,
        r#"segd_rule_packets_total{rule="dev-reads-ledger"} 42"#,
        r#"segd_rule_packets_total{rule="never-used"} 0"#,
        r#"segd_rule_connections_total{rule="dev-reads-ledger"} 2"#,
        r#"segd_rule_connections_total{rule="never-used"} 0"#,
        r#"segd_rule_expiry_timestamp_seconds{rule="dev-reads-ledger"} 1814313600"#,
        r#"segd_rule_last_hit_timestamp_seconds{rule="dev-reads-ledger"} 1767225600.5"#,
        r#"segd_conntrack_entries{table="established"} 1"#,
        r#"segd_conntrack_entries{table="half_open"} 2"#,
        r#"segd_conntrack_capacity{table="established"} 1024"#,
        r#"segd_conntrack_capacity{table="half_open"} 512"#,
        "segd_events_lost_total 9",
        "segd_policy_generation 4",
        "segd_policy_rules 2",
        "segd_policy_last_apply_timestamp_seconds 1767225600",
        "segd_policy_apply_errors_total 1",
        r#"segd_interface_enforced{interface="lan0",hook="xdp-generic"} 1"#,
        r#"segd_interface_enforced{interface="lan1",hook="tc"} 0"#,
    ];
    assert_eq!(series, expected);
}

#[test]
fn every_packet_is_in_exactly_one_verdict_and_every_drop_in_exactly_one_reason() {
    let mut pair = dev_to_ledger();
    for (index, value) in pair.packets.iter_mut().enumerate() {
        *value = 1 << index;
    }
    let all: u64 = pair.packets.iter().sum();
    assert_eq!(by_verdict(&pair.packets).map(|(_, sum)| sum).sum::<u64>(), all);
    let denied = by_verdict(&pair.packets).find(|(verdict, _)| *verdict == "deny").unwrap().1;
    assert_eq!(by_deny_reason(&pair.packets).map(|(_, sum)| sum).sum::<u64>(), denied);
}

#[test]
fn counts_of_a_zone_that_is_gone_stay_in_the_sums_under_its_number() {
    let text = render(&Scrape { zones: BTreeMap::new(), ..scrape() }).unwrap();
    assert!(text.contains(r#"segd_packets_total{from_zone="zone-3",to_zone="zone-4",verdict="allow"} 42"#), "{text}");
}

#[test]
fn every_family_says_what_it_is() {
    let text = render(&scrape()).unwrap();
    let families = |word: &str| text.lines().filter(|line| line.starts_with(word)).count();
    assert_eq!((families("# HELP "), families("# TYPE ")), (17, 17), "{text}");
}
