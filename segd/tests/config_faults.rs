//! What a zone file may not say, and the words in which that is said. Each fault is asserted whole: place, message, mend.

use segd::config::{Faults, Loaded, Source, load_sources_at};

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

fn load(sources: &[(&str, &str)]) -> Result<Loaded, Faults> {
    let now = "2026-11-23T00:00:00Z".parse().unwrap();
    load_sources_at(sources.iter().map(|(name, text)| source(name, text)).collect(), now)
}

/// Faults of one file as `line:column: message; mend`.
fn faults(text: &str) -> Vec<String> {
    faults_of(&[("zones.yaml", text)])
        .into_iter()
        .map(|fault| fault.trim_start_matches("zones.yaml:").to_owned())
        .collect()
}

fn faults_of(sources: &[(&str, &str)]) -> Vec<String> {
    let faults = load(sources).expect_err("this must not load");
    faults
        .faults
        .iter()
        .map(|fault| format!("{}:{}:{}: {}; {}", fault.file, fault.line, fault.column, fault.message, fault.mend))
        .collect()
}

/// A file with two zones, a service, and `more` behind it, which starts in line 6.
fn with(more: &str) -> String {
    format!(
        "version: 1\nzones:\n  accounting: {{ networks: [10.20.0.0/24] }}\n  dev: {{ networks: [10.30.0.0/24] }}\nservices: {{ ledger: [tcp/5432] }}\n{more}"
    )
}

/// One rule whose fields are given; what is not given is right.
fn rule(fields: &str) -> String {
    let mut text = String::from("rules:\n  - log: false\n");
    let defaults = [
        ("id", "r"),
        ("from", "dev"),
        ("to", "accounting"),
        ("services", "[ledger]"),
        ("reason", "because"),
        ("approved_by", "me"),
    ];
    for (key, value) in defaults.iter().filter(|(key, _)| !fields.contains(&format!("{key}:"))) {
        text.extend(["    ", key, ": ", value, "\n"]);
    }
    for field in fields.lines().filter(|field| !field.ends_with(':')) {
        text.extend(["    ", field, "\n"]);
    }
    with(&text)
}

#[test]
fn a_fault_is_shown_with_its_line_a_caret_and_the_mend() {
    let faults = load(&[("zones.yaml", &rule("from: acounting\nto: dev"))]).unwrap_err();
    let expected = "zones.yaml:12:11: unknown zone 'acounting'\n  12 |     from: acounting\n     |           ^^^^^^^^^\n  mend: write 'accounting', or define it under 'zones'";
    assert_eq!(faults.to_string(), expected);
    assert!(faults.render(true).contains("\x1b["));
    let json = serde_json::to_value(&faults.faults[0]).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "file": "zones.yaml", "line": 12, "column": 11, "message": "unknown zone 'acounting'",
            "mend": "write 'accounting', or define it under 'zones'", "line_text": "    from: acounting", "caret": 11, "caret_width": 9
        })
    );
}

#[test]
fn all_faults_of_all_files_come_at_once_and_in_order() {
    let main = with(
        "rules:\n  - { id: a, form: dev, from: dev, to: accounting, services: [ledger], reason: r, approved_by: b }\n  - { id: b, from: dev, to: acounting, services: [tcp/99999], reason: r, approved_by: b, prio: 3 }\n",
    );
    let found = faults_of(&[
        ("zones.yaml", &main),
        ("zones.d/10.yaml", "rules: [\n"),
        ("zones.d/20.yaml", "modus: audit\nrules:\n  - { id: a, from: dev, to: dev, services: [ledgr] }\n"),
    ]);
    assert_eq!(
        found,
        [
            "zones.yaml:7:14: unknown key 'form'; write 'from'",
            "zones.yaml:8:29: unknown zone 'acounting'; write 'accounting', or define it under 'zones'",
            "zones.yaml:8:51: 'tcp/99999': port 99999 is out of range; ports go from 0 to 65535",
            "zones.yaml:8:90: unknown key 'prio'; a rule takes: id, from, to, services, reason, approved_by, ticket, expires, mode, log",
            "zones.d/10.yaml:1:8: not readable as YAML: unclosed bracket '['; close the bracket that was opened",
            "zones.d/20.yaml:1:1: unknown key 'modus'; write 'mode'",
            "zones.d/20.yaml:3:11: rule 'a' is defined twice; first in zones.yaml:7:11; give one of them another name, or remove it",
            "zones.d/20.yaml:3:45: unknown service 'ledgr'; write 'ledger', or define it under 'services', or write tcp/PORT, udp/PORT, icmp/TYPE",
        ]
    );
}

#[test]
fn keys_stand_once() {
    assert_eq!(
        faults(&with("zones:\n  dev: { networks: [10.9.0.0/16] }\n")),
        ["6:1: the key 'zones' stands here twice; first in zones.yaml:2:1; keep one of the two"]
    );
    assert_eq!(
        faults("version: 1\nzones:\n  dev: { networks: [10.30.0.0/24] }\n  dev: { networks: [10.31.0.0/24] }\n"),
        ["4:3: the key 'dev' stands here twice; first in zones.yaml:3:3; keep one of the two"]
    );
}

#[test]
fn names_are_defined_once_over_all_files() {
    let more = "zones:\n  dev: { networks: [10.31.0.0/24] }\nservices:\n  ledger: [tcp/1]\n";
    assert_eq!(
        faults_of(&[("zones.yaml", &with("")), ("zones.d/a.yaml", more)]),
        [
            "zones.d/a.yaml:2:3: zone 'dev' is defined twice; first in zones.yaml:4:3; give one of them another name, or remove it",
            "zones.d/a.yaml:4:3: service 'ledger' is defined twice; first in zones.yaml:5:13; give one of them another name, or remove it",
        ]
    );
}

#[test]
fn sections_with_one_value_are_set_once_over_all_files() {
    let text =
        "mode: audit\nlimits: { connections: 10 }\nessentials: []\nfailsafe: { from: [10.0.0.0/8], services: [any] }\n";
    let found = faults_of(&[("zones.yaml", &with(text)), ("zones.d/a.yaml", text)]);
    assert_eq!(
        found,
        [
            "zones.d/a.yaml:1:7: 'mode' is set twice; first in zones.yaml:6:7; keep one of the two",
            "zones.d/a.yaml:2:9: 'limits' is set twice; first in zones.yaml:7:9; keep one of the two",
            "zones.d/a.yaml:3:13: 'essentials' is set twice; first in zones.yaml:8:13; keep one of the two",
            "zones.d/a.yaml:4:11: 'failsafe' is set twice; first in zones.yaml:9:11; keep one of the two",
        ]
    );
}

#[test]
fn zones_hold_networks_that_are_theirs_alone() {
    let text = "version: 1\nzones:\n  a: { networks: [] }\n  b: { networks: [10.1.0.0/16, 10.1.2.3/24, 10.1.2.3, 10.1.2.0/33, nonsense] }\n  c: { networks: [10.1.0.0/16, \"fd00::1/64\", \"::ffff:10.0.0.0/104\"] }\n  d:\n";
    assert_eq!(
        faults(text),
        [
            "3:3: zone 'a' is empty; write networks: [10.20.0.0/24], or remove the zone",
            "4:32: 10.1.2.3/24 has host bits set; write 10.1.2.0/24, or 10.1.2.3/32 for that one host",
            "4:45: 10.1.2.3 has no prefix length; write 10.1.2.3/32 for the one host, or the length of its network",
            "4:55: '33' is no prefix length for 10.1.2.0; write a length from 0 to 32",
            "4:68: 'nonsense' is no network; write ADDRESS/LENGTH, such as 10.20.0.0/24 or \"fd00:20::/64\"",
            "5:19: 10.1.0.0/16 is in zone 'b' already; see zones.yaml:4:19; an address has one zone: remove it from one of the two, or write a longer prefix for a part of it",
            "5:32: fd00::1/64 has host bits set; write fd00::/64, or fd00::1/128 for that one host",
            "5:46: ::ffff:10.0.0.0/104 is an IPv4 network in IPv6 clothes; write 10.0.0.0/8",
            "6:3: zone 'd' is empty; write networks: [10.20.0.0/24], or remove the zone",
        ]
    );
}

#[test]
fn names_can_be_typed_and_told_apart() {
    let taken =
        |name: &str, why: &str| format!("3:3: the zone name '{name}' is taken: {why}; give the zone another name");
    for (name, why) in [
        ("host", "it is this machine, and always there"),
        ("unzoned", "it is whatever matches no zone, and always there"),
        ("any", "it stands for every zone"),
        ("quarantine", "`segctl quarantine` puts hosts there"),
    ] {
        assert_eq!(
            faults(&format!("version: 1\nzones:\n  {name}: {{ networks: [10.0.0.0/8] }}\n")),
            [taken(name, why)]
        );
    }
    assert_eq!(
        faults(
            "version: 1\nzones:\n  Dev Net: { networks: [10.0.0.0/8] }\nservices:\n  tcp: [tcp/1]\n  a/b: [tcp/1]\n  Web: [tcp/1]\n"
        ),
        [
            "3:3: 'Dev Net' can't be a zone name; write dev-net; a zone name is made of a-z, 0-9 and '_' and '-', starts with a letter or digit, and has at most 63 characters",
            "5:3: the service name 'tcp' looks like a service itself; give it a name that is no protocol and has no slash",
            "6:3: the service name 'a/b' looks like a service itself; give it a name that is no protocol and has no slash",
            "7:3: 'Web' can't be a service name; write web; a service name is made of a-z, 0-9 and '_' and '-', starts with a letter or digit, and has at most 63 characters",
        ]
    );
    assert_eq!(
        faults(&rule("id: dev_reads")),
        [
            "13:9: 'dev_reads' can't be a rule id; write dev-reads; a rule id is made of a-z, 0-9 and '-', starts with a letter or digit, and has at most 63 characters"
        ]
    );
}

#[test]
fn services_are_literals_in_range() {
    assert_eq!(
        faults("version: 1\nservices:\n  a: []\n  b: [tcp/70000, udp/9-3, tcp, icmp/nope, proto/6]\n  c: [b]\n"),
        [
            "3:3: service 'a' is empty; write [tcp/443], or remove the service",
            "4:7: 'tcp/70000': port 70000 is out of range; ports go from 0 to 65535",
            "4:18: 'udp/9-3': range 9-3 runs backwards; write 3-9",
            "4:27: 'tcp' names no port; write tcp/PORT, or tcp/0-65535 for every port",
            "4:32: 'icmp/nope': 'nope' is no icmp type; write a number from 0 to 255 or a name such as icmp/echo-request",
            "4:43: 'proto/6': proto/6 is TCP; write tcp/PORT",
            "5:7: 'b' is not a protocol with its ports; a named service is made of literals: write tcp/PORT, udp/PORT, icmp/TYPE and the like",
        ]
    );
}

#[test]
fn a_rule_between_two_zones_has_a_reason_and_an_approver() {
    let (reason, approver) = (
        "rule 'r' goes from one zone to another and has no 'reason'; write why it is needed: reason: Nightly reconciliation reads the ledger",
        "rule 'r' goes from one zone to another and has no 'approved_by'; write who answers for it: approved_by: finance-lead@example.com",
    );
    assert_eq!(
        faults(&rule("reason: \"  \"\napproved_by: \"\"")),
        [format!("12:13: {reason}"), format!("13:18: {approver}")]
    );
    // What nobody sees, and what nobody can read, is no reason either.
    let unseen = "reason: \"\\u200b\\u2060 \\u00ad\"\napproved_by: \"- ?\"";
    assert_eq!(faults(&rule(unseen)), [format!("12:13: {reason}"), format!("13:18: {approver}")]);
    let long = |letters: usize| rule(&format!("reason: {}\napproved_by: 事務所", "ä".repeat(letters)));
    assert_eq!(
        faults(&long(1001)),
        ["12:13: 'reason' is longer than 1000 letters; write a sentence or two, and the rest where the ticket is"]
    );
    load(&[("zones.yaml", &long(1000))]).unwrap();
    for from in ["any", "[dev, accounting]", "host"] {
        let found = faults(&with(&format!("rules:\n  - {{ id: r, from: {from}, to: dev, services: [any] }}\n")));
        assert_eq!(found, [format!("7:5: {reason}"), format!("7:5: {approver}")]);
    }
    load(&[("zones.yaml", &with("rules:\n  - { id: r, from: dev, to: dev, services: [any] }\n"))]).unwrap();
}

#[test]
fn a_rule_says_from_to_and_services() {
    assert_eq!(
        faults(&with("rules:\n  - { id: r, from: , to: [], services: [] }\n  - { }\n  - word\n")),
        [
            "7:5: rule 'r' goes from one zone to another and has no 'reason'; write why it is needed: reason: Nightly reconciliation reads the ledger",
            "7:5: rule 'r' goes from one zone to another and has no 'approved_by'; write who answers for it: approved_by: finance-lead@example.com",
            "7:14: a rule needs 'from'; write from: ZONE, a list of zones, or any",
            "7:26: 'to' names no zone; name a zone, or write any",
            "7:40: the rule allows no service; name one, such as services: [tcp/443]",
            "8:5: a rule needs 'id'; give it a name that stays, such as id: dev-reads-ledger",
            "8:5: a rule needs 'from'; write from: ZONE, a list of zones, or any",
            "8:5: a rule needs 'to'; write to: ZONE, a list of zones, or any",
            "8:5: a rule needs 'services'; write services: [tcp/443]",
            "8:5: rule goes from one zone to another and has no 'reason'; write why it is needed: reason: Nightly reconciliation reads the ledger",
            "8:5: rule goes from one zone to another and has no 'approved_by'; write who answers for it: approved_by: finance-lead@example.com",
            "9:5: a rule is a mapping, and this is a single value; write KEY: VALUE lines here",
        ]
    );
}

#[test]
fn values_of_rules_are_of_their_kind() {
    assert_eq!(
        faults(&with(
            "rules:\n  - { id: a, from: dev, to: dev, services: any, log: \"true\" }\n  - { id: b, from: dev, to: dev, services: any, log: yes }\n"
        )),
        [
            "7:54: 'true' is neither true nor false; write true or false, without quotes",
            "8:54: 'yes' is neither true nor false; write true or false, without quotes",
        ]
    );
    assert_eq!(
        faults(&rule("expires: 2027-06-30\nmode: watch\nto: quarantine")),
        [
            "13:14: '2027-06-30' is no point in time; write it as RFC 3339, with its zone: 2027-06-30T00:00:00Z",
            "14:11: 'watch' is no mode; write enforce or audit",
            "15:9: no rule can name the zone quarantine; hosts get there by `segctl quarantine ADDR`; a failsafe is all that reaches them",
        ]
    );
}

#[test]
fn the_file_names_its_format() {
    assert_eq!(faults("mode: enforce\n"), ["1:1: a zone file needs 'version'; write version: 1 as the first line"]);
    assert_eq!(
        faults("version: 2\n"),
        ["1:10: version 2 is not known here; write version: 1, or install the release that the file was written for"]
    );
    assert_eq!(
        faults("version: one\n"),
        ["1:10: 'one' is not a whole number; write decimal digits, without sign and quotes"]
    );
    assert_eq!(faults("- a\n"), ["1:1: a zone file is a mapping, and this is a list; write KEY: VALUE lines here"]);
    assert_eq!(
        faults("# nothing\n"),
        ["0:0: the zone file is empty; write version: 1, zones and rules; zones.example.yaml is a start"]
    );
}

#[test]
fn interfaces_are_globs_with_a_hook() {
    assert_eq!(
        faults(
            "version: 1\ninterfaces:\n  - { name: \"lan***\" }\n  - { name: \"a b\" }\n  - { name: lan0, hook: fast }\n  - { name: wan0, hook: tc, forward: shortcut }\n  - { hook: tc }\n  - { name: wan0 }\n"
        ),
        [
            "3:13: 'lan***' is no shell-style glob: wildcards are either regular `*` or recursive `**`; write a name, or one with *, ? and [abc] in it",
            "4:13: no interface can be called 'a b'; write a name or a shell-style glob such as \"lan*\"",
            "5:25: 'fast' is no hook; write auto or xdp or xdp-generic or tc",
            "6:38: forward: shortcut redirects in XDP, and this hook is another one; write hook: xdp, or leave the hook out; or write forward: kernel",
            "7:5: an interface needs 'name'; write name: \"lan*\"",
            "8:13: interface 'wan0' is defined twice; first in zones.yaml:6:13; give one of them another name, or remove it",
        ]
    );
    assert_eq!(
        faults("version: 1\ninterfaces: []\n"),
        [
            "2:13: 'interfaces' is empty; leave it out to guard every interface but loopback, or name some: - name: \"lan*\""
        ]
    );
}

#[test]
fn pairs_have_one_mode() {
    let found = faults(&with(
        "pairs:\n  - { from: dev, to: accounting, mode: audit }\n  - { from: dev, to: accounting, mode: enforce }\n  - { from: dev, to: accounting, mode: audit }\n  - { from: dve, to: any }\n",
    ));
    assert_eq!(
        found,
        [
            "8:5: the pair dev to accounting is enforce here and audit in zones.yaml:7:5; keep one of the two",
            "10:5: a pair needs 'mode'; write mode: audit or mode: enforce",
        ]
    );
}

#[test]
fn failsafe_essentials_and_limits_make_sense() {
    assert_eq!(
        faults(
            "version: 1\nfailsafe: { from: [10.0.0.0/8] }\nessentials: [apr, dns-server]\nlimits: { connections: 0, half_open: 16777217 }\n"
        ),
        [
            "2:11: the failsafe has a 'from' and no services; write services: [tcp/22]",
            "3:14: 'apr' is no essential; write arp",
            "3:19: 'dns-server' is no essential; there are arp, ndp, dhcp-client and mld",
            "4:24: 0 is no size for a table of connections; write a number from 1 to 16777216; the default is connections: 262144",
            "4:38: 16777217 is no size for a table of connections; write a number from 1 to 16777216; the default is half_open: 65536",
        ]
    );
    assert_eq!(
        faults("version: 1\nfailsafe: { services: [tcp/22] }\n"),
        ["2:11: the failsafe has services and no 'from'; write from: [10.0.0.0/24], the network of the admins"]
    );
}

#[test]
fn tests_ask_one_question_each() {
    let found = faults(&with(
        "tests:\n  - { from: 10.0.0.1, to: \"fd00::1\", service: tcp/1, expect: deny }\n  - { from: 10.0.0.0/8, to: 10.0.0.2, service: tcp/1-2, expect: maybe }\n  - { from: 10.0.0.1, to: 10.0.0.2, service: tcp/1-2, expect: allow }\n  - { from: 10.0.0.1, to: 10.0.0.2, service: icmp, expect: allow }\n  - { reach: nowhere, only_from: [any] }\n  - { reach: dev }\n  - { from: 10.0.0.1 }\n",
    ));
    assert_eq!(
        found,
        [
            "7:27: 10.0.0.1 and fd00::1 are of two families; write two IPv4 or two IPv6 addresses",
            "8:65: 'maybe' is no expectation; write allow or deny",
            "9:46: 'tcp/1-2' is more than one question; write one protocol and one port, such as tcp/443; for more, write more tests",
            "10:46: 'icmp' is more than one question; name a type, such as icmp/echo-request",
            "11:14: unknown zone 'nowhere'; define it under 'zones'",
            "11:35: a test of reach with any in it always holds; name the zones that may reach it, or remove the test",
            "12:5: a test of reach needs 'only_from'; write only_from: [ZONE], or [] if no zone may reach it",
            "13:5: a test needs 'to'; write to: ADDRESS",
            "13:5: a test needs 'service'; write service: tcp/443",
            "13:5: a test needs 'expect'; write expect: allow or expect: deny",
        ]
    );
}

#[test]
fn what_makes_yaml_dangerous_is_refused() {
    assert_eq!(
        faults("version: 1\nmode: &m audit\n"),
        ["2:10: an anchor stands here; anchors and aliases are not taken in zone files; write the value out"]
    );
    assert_eq!(
        faults("version: 1\nmode: *m\n"),
        ["2:7: an alias stands here; anchors and aliases are not taken in zone files; write the value out"]
    );
    assert_eq!(
        faults("version: 1\nmode: !x audit\n"),
        ["2:10: the tag '!x' stands here; tags are not taken in zone files; remove it"]
    );
    assert_eq!(
        faults("version: 1\n---\nversion: 1\n"),
        [
            "2:1: a second document starts here; a zone file is one document; move this into a file of its own in zones.d/"
        ]
    );
}

#[test]
fn an_expired_rule_and_no_failsafe_are_warnings() {
    let loaded = load(&[("zones.yaml", &rule("expires: 2026-01-01T00:00:00Z"))]).unwrap();
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "zones.yaml: there is no failsafe: a wrong policy can lock everybody out\n  mend: name the network of the admins, and write failsafe: { from: [10.0.0.0/24], services: [tcp/22] }",
            "zones.yaml:14:14: rule 'r' expired at 2026-01-01T00:00:00Z; it is loaded and allows nothing\n  14 |     expires: 2026-01-01T00:00:00Z\n     |              ^^^^^^^^^^^^^^^^^^^^\n  mend: remove it, or give it a later date if it is still wanted",
        ]
    );
    assert_eq!(loaded.policy.rules[0].expires, Some("2026-01-01T00:00:00Z".parse().unwrap()));
}

#[test]
fn a_name_that_a_broken_file_may_define_is_not_called_unknown() {
    let found = faults_of(&[
        (
            "zones.yaml",
            "version: 1\nrules:\n  - { id: a, from: lab, to: lab, services: [any] }\n  - { id: b, from: lba, to: lba, services: [any] }\n",
        ),
        ("zones.d/lab.yaml", "zones:\n  lab: { networks: [10.9.0.0/16] \n"),
    ]);
    let places: Vec<&str> = found.iter().map(|fault| fault.split_once(';').unwrap().0).collect();
    assert_eq!(
        places,
        [
            "zones.yaml:4:20: unknown zone 'lba'",
            "zones.yaml:4:29: unknown zone 'lba'",
            "zones.d/lab.yaml:2:8: not readable as YAML: unclosed bracket '{'"
        ]
    );
}
