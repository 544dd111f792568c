//! What is suggested for what was seen, and that the suggestion is a file that the loader takes once it is filled in.

use jiff::Timestamp;
use segd_common::reason::Reason;

use super::*;
use crate::api::types::{Names, SuggestedRule};
use crate::config::{Source, load_sources};

const OFFICE: &str = "\
version: 1
zones:
  desks: { networks: [10.30.0.0/24] }
  lab: { networks: [10.31.0.0/24] }
  servers: { networks: [10.20.0.0/24] }
  internet: { networks: [0.0.0.0/0] }
services:
  smb: [tcp/139, tcp/445]
  web: [tcp/80, tcp/443, udp/443]
  erp: [tcp/8000-8010]
";

fn policy(more: &str) -> Policy {
    let source = Source { name: "zones.yaml".into(), text: format!("{OFFICE}{more}") };
    load_sources(vec![source]).unwrap_or_else(|faults| panic!("{faults}")).policy
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn zone_of(address: &str) -> &'static str {
    match address.split('.').nth(1) {
        Some("30") => "desks",
        Some("31") => "lab",
        Some("20") => "servers",
        _ => "internet",
    }
}

fn seen(src: &str, dst: &str, service: &str, flows: u64) -> Row {
    let (proto, port) = match service.split_once('/').unwrap() {
        ("tcp", port) => (6, port.parse().unwrap()),
        ("udp", port) => (17, port.parse().unwrap()),
        (_, kind) => (1, kind.parse().unwrap()),
    };
    Row {
        minute: 0,
        from_zone: zone_of(src).into(),
        to_zone: zone_of(dst).into(),
        src: Some(src.parse().unwrap()),
        dst: Some(dst.parse().unwrap()),
        proto,
        port,
        src_port: 0,
        reason: Reason::NoRule,
        would_be: None,
        rule: None,
        flows,
        first: at(0),
        last: at(60),
    }
}

fn suggested(policy: &Policy, rows: &[Row]) -> Suggestions {
    suggest(&Material { policy, host: &[], rows, passing: false, since: at(-3600), until: at(3600) })
}

fn told(rules: &[SuggestedRule]) -> Vec<String> {
    let mut told: Vec<String> =
        rules.iter().map(|rule| format!("{} > {}: {}", rule.from, rule.to, rule.services.join(" "))).collect();
    told.sort();
    told
}

#[test]
fn services_have_the_names_that_stand_for_all_of_what_was_seen_and_nothing_more() {
    let rows = [
        seen("10.30.0.5", "10.20.0.10", "tcp/139", 2),
        seen("10.30.0.6", "10.20.0.10", "tcp/445", 3),
        seen("10.30.0.6", "10.20.0.11", "tcp/8003", 1),
        seen("10.31.0.6", "192.0.2.80", "tcp/443", 1),
        seen("10.31.0.6", "10.20.0.11", "tcp/9100", 1),
        seen("10.31.0.6", "10.20.0.11", "tcp/9101", 1),
    ];
    let found = suggested(&policy(""), &rows);
    assert_eq!(
        told(&found.rules),
        ["desks > servers: erp smb", "lab > internet: tcp/443", "lab > servers: tcp/9100-9101"]
    );
    assert!(found.yaml.contains("# tcp/443 is a part of the service web, of which not all was seen"), "{}", found.yaml);
    assert_eq!(found.left_out, []);
}

#[test]
fn no_name_stands_for_more_than_anybody_asked_for() {
    let wide = "  all: [any]\n  pings: [icmp]\n  high: [tcp/1024-65535]\n";
    let rows = [seen("10.30.0.5", "10.20.0.10", "tcp/8443", 1), seen("10.30.0.5", "10.20.0.10", "icmp/8", 1)];
    let found = suggested(&policy(wide), &rows);
    assert_eq!(told(&found.rules), ["desks > servers: tcp/8443 icmp/8"]);
}

#[test]
fn pairs_that_need_the_same_are_one_rule_only_if_they_multiply_out() {
    let rows = [
        seen("10.30.0.5", "10.20.0.10", "tcp/22", 1),
        seen("10.31.0.5", "10.20.0.10", "tcp/22", 1),
        seen("10.30.0.5", "192.0.2.1", "tcp/22", 1),
    ];
    assert_eq!(
        told(&suggested(&policy(""), &rows).rules),
        ["desks > internet, servers: tcp/22", "lab > servers: tcp/22"]
    );
    let squared = [&rows[..], &[seen("10.31.0.5", "192.0.2.1", "tcp/22", 1)]].concat();
    assert_eq!(told(&suggested(&policy(""), &squared).rules), ["desks, lab > internet, servers: tcp/22"]);
}

#[test]
fn evidence_is_told_and_the_loader_refuses_the_file_until_a_person_has_filled_it_in() {
    let rows = [seen("10.30.0.5", "10.20.0.10", "tcp/445", 2), seen("10.30.0.6", "10.20.0.10", "tcp/139", 1)];
    let found = suggested(&policy(""), &rows);
    assert_eq!(
        found.yaml,
        "\
# Rules that would allow what was seen from 2027-01-15 07:00 UTC to 2027-01-15 09:00 UTC, as few and as narrow as that supports.
# Each rule needs a person: write why it is needed (reason) and who answers for it (approved_by), and take out
# what should stay blocked. The file is refused until then. Then, beside the zone file:
#   zones.d/60-suggested.yaml      save it as this
#   segctl check                   is it in order?
#   segctl reload                  put it in force
rules:
  # 3 connections from 2 hosts (10.30.0.5, 10.30.0.6) to 10.20.0.10,
  # first 2027-01-15 08:00 UTC, last 2027-01-15 08:01 UTC
  #   tcp/139 1×, tcp/445 2×
  - id: desks-servers-smb
    from: desks
    to: servers
    services: [smb]
    reason: \"\"         # why is it needed?
    approved_by: \"\"    # who answers for it?
"
    );
    let with = |text: String| {
        let main = Source { name: "zones.yaml".into(), text: OFFICE.into() };
        load_sources(vec![main, Source { name: "zones.d/60-suggested.yaml".into(), text }])
    };
    let faults = with(found.yaml.clone()).unwrap_err();
    let said: Vec<String> =
        faults.faults.iter().map(|fault| format!("{}:{} {}", fault.file, fault.line, fault.message)).collect();
    assert_eq!(
        said,
        [
            "zones.d/60-suggested.yaml:15 rule 'desks-servers-smb' goes from one zone to another and has no 'reason'",
            "zones.d/60-suggested.yaml:16 rule 'desks-servers-smb' goes from one zone to another and has no 'approved_by'",
        ]
    );
    let filled =
        found.yaml.replace("reason: \"\"", "reason: \"Files\"").replace("approved_by: \"\"", "approved_by: \"me\"");
    let loaded = with(filled).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(loaded.policy.rules.len(), 1);
    assert_eq!(suggested(&loaded.policy, &rows).rules, [], "with it in force, nothing is left to suggest");
}

#[test]
fn a_scanner_makes_no_rule_and_others_that_use_the_same_service_still_do() {
    let scan = (1..=200).map(|port| seen("10.31.0.66", "10.20.0.10", &format!("tcp/{port}"), 1));
    let sweep = (1..=60).map(|host| seen("10.31.0.67", &format!("10.20.0.{host}"), "tcp/445", 1));
    let honest = [seen("10.31.0.5", "10.20.0.10", "tcp/80", 4)];
    let found = suggested(&policy(""), &scan.chain(sweep).chain(honest).collect::<Vec<_>>());
    assert_eq!(told(&found.rules), ["lab > servers: tcp/80"]);
    assert_eq!(found.rules[0].sources, ["10.31.0.5"]);
    assert!(
        found.yaml.contains("#   10.31.0.66: touched 200 services on 10.20.0.10 alone: a scan (200 connections)"),
        "{}",
        found.yaml
    );
    assert!(found.yaml.contains("#   10.31.0.67: touched tcp/445 on 60 hosts: a sweep"), "{}", found.yaml);
}

#[test]
fn somebody_who_browses_the_web_is_no_scanner() {
    let rows: Vec<Row> = (1..=200).map(|host| seen("10.30.0.5", &format!("192.0.2.{host}"), "tcp/443", 1)).collect();
    assert_eq!(told(&suggested(&policy(""), &rows).rules), ["desks > internet: tcp/443"]);
}

#[test]
fn many_hosts_that_were_not_told_apart_are_a_sweep_inside_and_the_web_outside() {
    let many = |src: &str, dst: &str, service: &str| Row { dst: None, ..seen(src, dst, service, 500) };
    let rows = [
        many("10.30.0.5", "192.0.2.1", "tcp/443"),
        seen("10.30.0.5", "10.20.0.10", "tcp/445", 1),
        many("10.31.0.66", "10.20.0.1", "tcp/3389"),
    ];
    let found = suggested(&policy(""), &rows);
    assert_eq!(told(&found.rules), ["desks > internet: tcp/443", "desks > servers: tcp/445"]);
    assert!(found.yaml.contains("500 connections from 10.30.0.5 to many hosts,"), "{}", found.yaml);
    let left: Vec<&str> = found.left_out.iter().map(|left| left.who.as_str()).collect();
    assert_eq!(left, ["10.31.0.66"]);
}

#[test]
fn a_flood_that_was_not_told_apart_is_said_and_is_no_evidence() {
    let of_source = Row { dst: None, proto: 0, port: 0, ..seen("10.31.0.66", "10.20.0.1", "tcp/1", 5000) };
    let of_pair = Row { src: None, flows: 70_000, ..of_source.clone() };
    let own = seen("10.31.0.66", "10.20.0.1", "tcp/22", 1);
    let found = suggested(&policy(""), &[of_source, of_pair, own]);
    assert_eq!(found.rules, []);
    let who: Vec<(&str, u64)> = found.left_out.iter().map(|left| (left.who.as_str(), left.connections)).collect();
    assert_eq!(who, [("lab → servers", 70_000), ("10.31.0.66", 5001)]);
    assert!(found.yaml.contains("rules: []"));
}

#[test]
fn late_answers_multicast_and_broadcast_are_told_and_make_no_rule() {
    let late = Row { proto: 17, port: 0, src_port: 53, ..seen("10.20.0.53", "10.30.0.5", "udp/1", 7) };
    let asked = Row { reason: Reason::Rule, ..seen("10.30.0.5", "10.20.0.53", "udp/53", 9) };
    let rows =
        [late, asked, seen("10.30.0.5", "224.0.0.251", "udp/5353", 3), seen("10.30.0.5", "10.20.0.255", "udp/137", 3)];
    let found = suggested(&policy(""), &rows);
    assert_eq!(found.rules, []);
    let said: Vec<String> = found.left_out.iter().map(|left| format!("{}: {}", left.who, left.why)).collect();
    assert_eq!(said.len(), 3);
    assert_eq!(said[0], "10.20.0.53 from udp/53: are answers that came too late");
}

#[test]
fn only_the_want_of_a_rule_is_evidence_and_what_is_allowed_by_now_is_not() {
    let audited =
        |would| Row { reason: Reason::Audit, would_be: Some(would), ..seen("10.30.0.5", "10.20.0.1", "tcp/22", 1) };
    let rows = [
        audited(Reason::NoRule),
        Row { port: 23, ..audited(Reason::SpoofedSource) },
        Row { reason: Reason::Quarantined, ..seen("10.30.0.5", "10.20.0.1", "tcp/24", 1) },
        Row { reason: Reason::BadFlags, ..seen("10.30.0.5", "10.20.0.1", "tcp/25", 1) },
        seen("10.30.0.5", "10.20.0.1", "tcp/443", 1),
        Row { reason: Reason::Rule, ..seen("10.30.0.5", "10.20.0.1", "tcp/444", 1) },
        Row { reason: Reason::Expired, rule: Some("old".into()), ..seen("10.30.0.5", "10.20.0.1", "tcp/26", 1) },
    ];
    let allowed = "\
rules:
  - { id: web, from: desks, to: servers, services: [web], reason: r, approved_by: a }
  - { id: old, from: desks, to: servers, services: [tcp/26], reason: r, approved_by: a, expires: \"2020-01-01T00:00:00Z\" }
";
    let policy = policy(allowed);
    let found = suggested(&policy, &rows);
    assert_eq!(told(&found.rules), ["desks > servers: tcp/22 tcp/26"]);
    assert_eq!(found.rules[0].expired, ["old"]);
    let passing = Material { policy: &policy, host: &[], rows: &rows, passing: true, since: at(0), until: at(3600) };
    assert_eq!(told(&suggest(&passing).rules), ["desks > servers: tcp/22 tcp/26 tcp/443-444"]);
}

#[test]
fn an_adopted_connection_that_was_heard_of_by_its_answer_is_turned_to_who_opened() {
    let answer = Row {
        from_zone: "desks".into(),
        to_zone: "servers".into(),
        port: 51_000,
        src_port: 5432,
        reason: Reason::Audit,
        would_be: Some(Reason::NoRule),
        ..seen("10.20.0.10", "10.30.0.5", "tcp/1", 1)
    };
    assert_eq!(told(&suggested(&policy(""), &[answer]).rules), ["desks > servers: tcp/5432"]);
}

#[test]
fn names_of_rules_are_free_and_words_that_yaml_would_turn_are_quoted() {
    let taken = "rules:\n  - { id: desks-servers-tcp-22, from: lab, to: servers, services: [tcp/1], reason: r, approved_by: a }\n";
    let found = suggested(&policy(taken), &[seen("10.30.0.5", "10.20.0.1", "tcp/22", 1)]);
    assert_eq!(found.rules[0].id, "desks-servers-tcp-22-2");
    assert_eq!(found.rules[0].from, Names::One("desks".into()));
}

#[test]
fn what_is_asked_for_from_outside_is_marked_as_perhaps_noise() {
    let rows = [seen("192.0.2.9", "10.20.0.10", "tcp/443", 1), seen("10.30.0.9", "10.20.0.10", "tcp/22", 1)];
    let found = suggested(&policy(""), &rows);
    let outside: Vec<(String, bool)> =
        found.rules.iter().map(|rule| (rule.from.to_string(), rule.from_anywhere)).collect();
    assert_eq!(outside, [("desks".to_owned(), false), ("internet".to_owned(), true)]);
    assert_eq!(found.yaml.matches("noise of the world's scanners?").count(), 1);
}

#[test]
fn few_services_on_many_hosts_are_a_scan_too_and_an_office_server_with_many_services_is_none() {
    let few =
        |host: u8| (1..=4).map(move |port| seen("10.31.0.66", &format!("10.20.0.{host}"), &format!("tcp/{port}"), 1));
    let scan: Vec<Row> = (1..=40).flat_map(few).collect();
    assert_eq!(suggested(&policy(""), &scan).rules, []);
    let many: Vec<Row> =
        (1..=20).map(|port| seen("10.30.0.5", "10.20.0.10", &format!("tcp/{}", port * 10), 1)).collect();
    assert_eq!(suggested(&policy(""), &many).rules[0].services.len(), 20);
}
