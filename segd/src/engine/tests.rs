//! The engine over a kernel of paper: what it publishes, attaches and writes, and what it leaves alone.

use std::fs;

use jiff::{SignedDuration, Timestamp};
use segd_common::reason::Reason;

use super::Refusal;
use super::house::{House, ZONES, link};
use crate::api::types::{
    AllowRequest, ApplyRequest, ExplainQuery, ExtendRequest, FlowsQuery, HistoryQuery, Names, PairRequest, PolicyText,
    State, Verdict,
};
use crate::compile::Freed;
use crate::datapath::Event;
use crate::interfaces::{Change, Hook, Kind};
use crate::policy::Mode;
use crate::state::StateDir;

fn ssh(id: Option<&str>) -> AllowRequest {
    AllowRequest {
        id: id.map(str::to_owned),
        from: Names::One("admin".into()),
        to: Names::One("ledger".into()),
        services: vec!["tcp/22".into()],
        reason: "Maintenance".into(),
        approved_by: "ops@example.com".into(),
        ticket: None,
        expires: None,
        mode: Mode::Enforce,
    }
}

#[test]
fn at_start_the_policy_is_published_and_every_interface_but_loopback_is_guarded() {
    let house = House::new();
    assert_eq!(house.generation(), 1);
    assert_eq!(house.attached(), [("lan0".to_owned(), Hook::Tc), ("wan0".to_owned(), Hook::Xdp)]);
    let status = house.engine.status().value;
    assert_eq!((status.state, status.generation, status.amiss), (State::Enforcing, 1, Vec::new()));
    assert_eq!((status.zones, status.rules), (3, 1));
    assert!(house.engine.health().is_empty());
}

#[test]
fn a_bad_file_changes_nothing_is_counted_and_shown() {
    let house = House::new();
    fs::write(house.config(), "version: 1\nzones: { dev: { networks: [10.0.0.1/24] } }\n").unwrap();
    assert!(matches!(house.admin().reload().value, Err(Refusal::Faults(_))));
    assert_eq!(house.generation(), 1);
    assert!(house.passes("10.30.0.9", "10.20.0.1", "tcp/5432"));
    assert_eq!(house.engine.scrape().unwrap().apply_errors, 1);
    let status = house.engine.status().value;
    assert_eq!(status.state, State::Enforcing);
    assert!(status.amiss[0].what.contains("refused at the last reload"), "{:?}", status.amiss);
    fs::write(house.config(), ZONES).unwrap();
    assert_eq!(house.admin().reload().value.unwrap().generation, 2);
    assert_eq!(house.engine.status().value.amiss, []);
}

#[test]
fn a_policy_whose_tests_fail_is_refused_and_the_test_is_named() {
    let house = House::new();
    fs::write(house.config(), ZONES.replace("services: [tcp/5432]", "services: [tcp/5433]")).unwrap();
    let Err(Refusal::Tests(tests)) = house.admin().reload().value else { panic!("not refused for its tests") };
    assert_eq!(tests.len(), 1);
    assert_eq!(tests[0].claim, "10.30.0.9 to 10.20.0.1 tcp/5432: expect allow");
    assert_eq!(tests[0].found, "denied (no-rule) from dev to ledger");
    assert_eq!(house.generation(), 1);
}

#[test]
fn allow_adds_a_rule_to_the_drop_in_and_revoke_takes_it_away() {
    let house = House::new();
    assert!(!house.passes("10.30.0.1", "10.20.0.1", "tcp/22"));
    let added = house.admin().allow(&ssh(None)).value.unwrap();
    assert_eq!((added.id.as_str(), added.generation), ("admin-ledger-tcp-22", 2));
    assert!(
        house.dropin().contains("admin-ledger-tcp-22") && house.dropin().contains("Maintenance"),
        "{}",
        house.dropin()
    );
    assert_eq!(house.explain("10.30.0.1", "10.20.0.1", "tcp/22").rule.as_deref(), Some("admin-ledger-tcp-22"));
    assert_eq!(fs::read_to_string(house.config()).unwrap(), ZONES);
    let again = house.admin().allow(&ssh(None)).value.unwrap();
    assert_eq!(again.id, "admin-ledger-tcp-22-2");
    for id in ["admin-ledger-tcp-22", "admin-ledger-tcp-22-2"] {
        house.admin().revoke(id, "done").value.unwrap();
    }
    assert!(!house.passes("10.30.0.1", "10.20.0.1", "tcp/22"));
    assert!(!house.dropin().contains("Maintenance"));
    assert_eq!(house.generation(), 5);
}

#[test]
fn a_rule_gets_another_end_where_segctl_wrote_it_and_nowhere_else() {
    let house = House::new();
    let until = |hours| Timestamp::now() + SignedDuration::from_hours(hours);
    let extend = |id: &str, hours| {
        house.admin().extend(id, &ExtendRequest { expires: until(hours), reason: Some("longer".into()) }).value
    };
    house.admin().allow(&ssh(Some("endless"))).value.unwrap();
    house.admin().allow(&AllowRequest { expires: Some(until(1)), ..ssh(Some("brief")) }).value.unwrap();
    for id in ["endless", "brief"] {
        extend(id, 8).unwrap();
        let rules = house.engine.rules().value.unwrap();
        let end = rules.iter().find(|rule| rule.id == id).unwrap().expires.unwrap();
        assert!(end > until(7) && end <= until(8), "{id}: {end}");
    }
    let by_hand = extend("dev-reads-ledger", 8).unwrap_err().to_string();
    assert!(by_hand.contains("zones.yaml, line 7") && by_hand.contains("write expires: "), "{by_hand}");
    assert!(matches!(extend("no-such", 8), Err(Refusal::NotFound { .. })));
    assert!(matches!(extend("brief", -1), Err(Refusal::BadRequest { .. })));
    let last = house.engine.history(&HistoryQuery { last: Some(1) }).unwrap().remove(0);
    assert_eq!((last.verb.as_str(), last.object.as_deref(), last.user.as_str()), ("extend", Some("brief"), "alice"));
    assert_ne!(last.before.unwrap()["expires"], last.after.unwrap()["expires"]);
}

#[test]
fn expiry_follows_a_wall_clock_that_is_set_ahead_and_back() {
    let house = House::new();
    let end = Some(Timestamp::now() + SignedDuration::from_hours(1));
    house.admin().allow(&AllowRequest { expires: end, ..ssh(Some("brief")) }).value.unwrap();
    let reason = |hours| {
        house.paper.0.lock().unwrap().ahead = SignedDuration::from_hours(hours);
        house.engine.tick();
        (house.explain("10.30.0.1", "10.20.0.1", "tcp/22").reason, house.generation())
    };
    assert_eq!(reason(0), ("rule".to_owned(), 2), "nothing was set, and nothing is published");
    assert_eq!(reason(2), ("expired".to_owned(), 3));
    assert_eq!(reason(0), ("rule".to_owned(), 4));
    assert_eq!(reason(-48), ("rule".to_owned(), 5));
}

#[test]
fn a_rule_that_makes_no_policy_is_refused_and_never_written() {
    let house = House::new();
    let said = |request: &AllowRequest| match house.admin().allow(request).value {
        Err(Refusal::BadRequest { detail, mend }) => format!("{detail}; {mend}"),
        other => panic!("{other:?}"),
    };
    let nobody = AllowRequest { to: Names::One("nowhere".into()), ..ssh(None) };
    assert_eq!(said(&nobody), "there is no zone nowhere; zones are: host, unzoned, dev, admin, ledger");
    let mistyped = AllowRequest { from: Names::Many(vec!["dev".into(), "leger".into()]), ..ssh(None) };
    assert_eq!(said(&mistyped), "there is no zone leger; ledger is one; segctl zones lists them all");
    let nothing = AllowRequest { services: vec!["tcp/22".into(), "telegraph".into()], ..ssh(None) };
    assert!(said(&nothing).starts_with("'telegraph' is no service; write tcp/PORT"), "{}", said(&nothing));
    let ill_named = house.admin().allow(&ssh(Some("no rule is called so"))).value;
    assert!(matches!(ill_named, Err(Refusal::Faults(_))), "{ill_named:?}");
    assert_eq!((house.dropin(), house.generation()), (String::new(), 1));
    let taken = house.admin().allow(&ssh(Some("dev-reads-ledger"))).value.unwrap_err();
    assert!(matches!(taken, Refusal::BadRequest { .. }), "{taken}");
}

#[test]
fn a_hand_written_rule_is_not_revoked_but_its_place_is_named() {
    let house = House::new();
    let refused = house.admin().revoke("dev-reads-ledger", "old").value.unwrap_err().to_string();
    assert!(refused.contains("zones.yaml, line 7"), "{refused}");
    assert!(matches!(house.admin().revoke("no-such", "old").value, Err(Refusal::NotFound { .. })));
    assert_eq!(house.generation(), 1);
}

#[test]
fn a_change_made_for_another_policy_than_the_one_in_force_is_refused() {
    let house = House::new();
    let seen = house.engine.policy().etag;
    house.admin().having_seen(Some(format!("\"{seen}\""))).allow(&ssh(Some("first"))).value.unwrap();
    let late = house.admin().having_seen(Some(format!("\"{seen}\""))).allow(&ssh(Some("second"))).value.unwrap_err();
    assert!(matches!(late, Refusal::Changed { .. }), "{late}");
    assert_eq!(house.engine.scrape().unwrap().apply_errors, 0, "nobody's policy was at fault");
}

#[test]
fn edits_on_the_disk_that_are_not_in_force_are_not_taken_along() {
    let house = House::new();
    fs::write(house.config(), format!("{ZONES}# half a thought\n")).unwrap();
    let refused = house.admin().allow(&ssh(None)).value.unwrap_err();
    assert!(matches!(refused, Refusal::Changed { .. }) && refused.to_string().contains("zones.yaml"), "{refused}");
}

#[test]
fn apply_replaces_the_zone_file_and_keeps_the_old_one() {
    let house = House::new();
    let text = ZONES.replace("[tcp/5432]", "[tcp/5432, tcp/80]");
    let new = PolicyText { name: "new.yaml".into(), text: text.clone() };
    let diff = house.engine.diff(new.clone()).value.unwrap();
    assert_eq!((diff.newly_pass.len(), diff.newly_fail.len()), (1, 0));
    let line = &diff.newly_pass[0];
    assert_eq!((line.from_zone.as_str(), line.to_zone.as_str(), line.service.as_str()), ("dev", "ledger", "tcp/80"));
    assert_eq!(line.rule.as_deref(), Some("dev-reads-ledger"));
    assert_eq!(house.admin().apply(&ApplyRequest::of(new)).value.unwrap().generation, 2);
    assert_eq!(fs::read_to_string(house.config()).unwrap(), text);
    assert_eq!(fs::read_to_string(house.dir.path().join("zones.yaml.previous")).unwrap(), ZONES);
    assert!(house.passes("10.30.0.9", "10.20.0.1", "tcp/80"));
    house.admin().allow(&ssh(None)).value.unwrap();
}

#[test]
fn the_way_back_is_to_what_was_in_force_and_no_text_is_lost() {
    let house = House::new();
    let beside = |name: &str| fs::read_to_string(house.dir.path().join(format!("zones.yaml.{name}"))).ok();
    let (text, thought) = (ZONES.replace("tcp/5432]", "tcp/5432, tcp/80]"), format!("{ZONES}# half a thought\n"));
    let apply = |text: &str| {
        let new = PolicyText { name: house.config().display().to_string(), text: text.to_owned() };
        house.admin().apply(&ApplyRequest::of(new)).value.unwrap()
    };
    // Edited where it stands, then applied, twice.
    fs::write(house.config(), &text).unwrap();
    apply(&text);
    apply(&text);
    assert_eq!((beside("previous").as_deref(), beside("unapplied")), (Some(ZONES), None));
    // Edited and never put in force, when another file takes its place.
    fs::write(house.config(), &thought).unwrap();
    apply(ZONES);
    assert_eq!((beside("previous"), beside("unapplied")), (Some(text), Some(thought)));
}

#[test]
fn a_diff_tells_of_interfaces_and_essentials_too() {
    let house = House::new();
    let lan_only = ZONES.replace("zones:\n", "interfaces: [{ name: wan* }]\nessentials: [arp]\nzones:\n");
    let text = lan_only.replace("[10.20.0.0/24]", "[10.20.0.0/24], interfaces: [lan0]");
    let diff = house.engine.diff(PolicyText { name: "new.yaml".into(), text }).value.unwrap();
    assert!(diff.newly_pass.is_empty() && diff.newly_fail.is_empty(), "{diff:?}");
    let [open @ .., moved, essentials] = diff.besides.as_slice() else { panic!("{:?}", diff.besides) };
    assert!(!open.is_empty() && open.iter().all(|line| line.contains("would not be guarded any more")), "{open:?}");
    assert_eq!(moved, "ledger would be believed on lan0, not on every interface");
    assert!(essentials.contains("essentials differs"));
}

#[test]
fn an_apply_with_faults_names_the_callers_file_and_leaves_everything() {
    let house = House::new();
    let bad = PolicyText { name: "new.yaml".into(), text: ZONES.replace("to: ledger", "to: leger") };
    let Err(Refusal::Faults(faults)) = house.admin().apply(&ApplyRequest::of(bad)).value else { panic!("not refused") };
    assert_eq!(faults.faults[0].file, "new.yaml");
    assert_eq!(fs::read_to_string(house.config()).unwrap(), ZONES);
    assert!(!house.dir.path().join("zones.yaml.previous").exists());
    assert_eq!(house.generation(), 1);
}

#[test]
fn interfaces_are_guarded_as_they_come_and_let_go_as_they_leave() {
    let house = House::new();
    house.engine.machine_changed(vec![Change::Link(link(9, "lan9", Kind::Veth)), Change::Gone { index: 2 }]);
    assert_eq!(house.attached(), [("wan0".to_owned(), Hook::Xdp), ("lan9".to_owned(), Hook::Tc)]);
    assert_eq!(house.generation(), 2, "the image knows interfaces");
    house.engine.machine_changed(vec![Change::Link(link(9, "lan9", Kind::Veth))]);
    assert_eq!(house.generation(), 2, "nothing that the image knows has changed");
}

#[test]
fn what_an_earlier_daemon_guarded_and_the_policy_no_longer_wants_is_let_go() {
    let house = House::new();
    house.paper.0.lock().unwrap().attached.insert(44, ("gone0".into(), Hook::Tc));
    fs::write(house.config(), format!("{ZONES}interfaces:\n  - name: wan*\n")).unwrap();
    house.admin().reload().value.unwrap();
    assert_eq!(house.attached(), [("wan0".to_owned(), Hook::Xdp)]);
    assert_eq!(house.engine.status().value.interfaces.len(), 1);
}

#[test]
fn the_zone_host_follows_the_machines_addresses() {
    let house = House::new();
    assert_eq!(house.explain("10.30.0.200", "10.20.0.1", "tcp/1").from_zone, "host");
    house.engine.machine_changed(vec![Change::Addresses(["10.20.0.200".parse().unwrap()].into())]);
    assert_eq!(house.explain("10.30.0.200", "10.20.0.1", "tcp/1").from_zone, "dev");
    assert_eq!(house.explain("10.30.0.9", "10.20.0.200", "tcp/1").to_zone, "host");
}

#[test]
fn status_speaks_of_what_the_kernel_says() {
    let house = House::new();
    house.tear_off(3);
    let status = house.engine.status().value;
    assert_eq!(status.state, State::Degraded);
    assert!(status.amiss[0].what.contains("wan0") && status.amiss[0].what.contains("torn off"), "{:?}", status.amiss);
    house.paper.0.lock().unwrap().attached.clear();
    assert_eq!(house.engine.status().value.state, State::Open);
    assert_eq!(house.engine.health().len(), 2);
    house.paper.0.lock().unwrap().generation = 7;
    assert!(house.engine.health()[0].what.contains("generation 7, not 1"));
}

#[test]
fn zones_are_explained_by_members_that_no_sharper_prefix_takes_away() {
    let house = House::new();
    let answer = house.explain("dev", "ledger", "tcp/5432");
    assert_eq!((answer.verdict, answer.rule.as_deref()), (Verdict::Allow, Some("dev-reads-ledger")));
    assert_eq!(answer.from_zone, "dev", "the first addresses of dev belong to admin");
    for zones in [("admin", "dev"), ("host", "ledger"), ("unzoned", "host"), ("dev", "dev")] {
        let answer = house.explain(zones.0, zones.1, "icmp");
        assert_eq!((answer.from_zone.as_str(), answer.to_zone.as_str()), zones);
    }
}

#[test]
fn a_denial_names_what_would_change_it() {
    let house = House::new();
    let back = house.explain("ledger", "dev", "tcp/5432");
    assert_eq!((back.verdict, back.reason.as_str()), (Verdict::Deny, "no-rule"));
    assert!(back.hints[0].contains("dev-reads-ledger allows it the other way round"), "{:?}", back.hints);
    let other = house.explain("dev", "ledger", "tcp/22");
    assert!(
        other.hints[0].contains("dev-reads-ledger lets dev reach ledger, but only by tcp/5432"),
        "{:?}",
        other.hints
    );
    assert!(other.hints[1].starts_with("segctl allow dev ledger tcp/22"), "{:?}", other.hints);
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    let house = House::new();
    for (src, dst, service) in [
        ("dev", "10.20.0.1", "tcp/1"),
        ("dev", "nowhere", "tcp/1"),
        ("dev", "ledger", "tcp/1-2"),
        ("10.0.0.1", "fd00::1", "tcp/1"),
        ("dev", "ledger", "icmpv6"),
    ] {
        let query = ExplainQuery { src: src.into(), dst: dst.into(), service: service.into() };
        assert!(matches!(house.engine.explain(&query).value, Err(Refusal::BadRequest { .. })), "{query:?}");
    }
}

#[test]
fn a_preview_of_a_pair_changes_nothing_and_the_real_thing_does() {
    let house = House::new();
    let audit = PairRequest {
        from: "dev".into(),
        to: "ledger".into(),
        mode: Mode::Audit,
        preview: false,
        since: None,
        reason: None,
    };
    assert!(house.admin().set_pair(&audit).value.unwrap().applied);
    assert_eq!(house.explain("dev", "ledger", "tcp/22").reason, "audit");
    let enforce = PairRequest { mode: Mode::Enforce, preview: true, ..audit };
    let preview = house.admin().set_pair(&enforce).value.unwrap();
    assert_eq!((preview.applied, preview.generation), (false, 2));
    assert_eq!(house.explain("dev", "ledger", "tcp/22").reason, "audit");
    house.admin().set_pair(&PairRequest { preview: false, ..enforce }).value.unwrap();
    assert_eq!(house.explain("dev", "ledger", "tcp/22").reason, "no-rule");
}

#[test]
fn numbers_and_the_last_good_policy_are_kept() {
    let house = House::new();
    let state = StateDir::open(&house.dir.path().join("state")).unwrap();
    let registry = state.load_registry(true).unwrap();
    assert!(registry.zone_id("dev").is_some() && registry.rule_number("dev-reads-ledger").is_some());
    let last = state.load_last_good().unwrap().unwrap();
    assert_eq!((last.generation, last.files[0].text.as_str()), (1, ZONES));
    assert_eq!(last.digest, house.engine.policy().etag);
}

#[test]
fn a_file_that_cannot_be_put_in_its_place_takes_the_policy_back_with_it() {
    let house = House::new();
    // A folder in the place of the file makes the rename fail, after the kernel has the new policy.
    fs::create_dir(house.dir.path().join("zones.yaml.previous")).unwrap();
    let new = PolicyText { name: "new.yaml".into(), text: ZONES.replace("[tcp/5432]", "[tcp/5432, tcp/80]") };
    let refused = house.admin().apply(&ApplyRequest::of(new)).value.unwrap_err();
    assert!(matches!(&refused, Refusal::Failed(detail) if detail.contains("zones.yaml.previous")), "{refused}");
    assert_eq!(house.generation(), 3, "published, and taken back");
    assert!(!house.passes("10.30.0.9", "10.20.0.1", "tcp/80"));
    assert_eq!(fs::read_to_string(house.config()).unwrap(), ZONES);
    assert!(house.engine.health().is_empty());
}

#[test]
fn numbers_of_new_rules_are_kept_before_the_kernel_counts_by_them() {
    let house = House::new();
    house.admin().allow(&ssh(Some("fresh"))).value.unwrap();
    let registry = StateDir::open(&house.dir.path().join("state")).unwrap().load_registry(true).unwrap();
    assert!(registry.rule_number("fresh").is_some());
}

#[test]
fn tests_speak_of_the_policy_as_it_will_be_enforced() {
    let house = House::new();
    let denied = "  - { from: 10.30.0.9, to: 10.20.0.1, service: tcp/22, expect: deny }\n";
    fs::write(house.config(), format!("{ZONES}{denied}mode: audit\n")).unwrap();
    assert_eq!(house.admin().reload().value.unwrap().tests, 2);
    assert_eq!(house.explain("10.30.0.9", "10.20.0.1", "tcp/22").reason, "audit");
}

#[test]
fn a_test_of_reach_names_the_rule_that_lets_somebody_else_in() {
    let house = House::new();
    fs::write(house.config(), format!("{ZONES}  - {{ reach: ledger, only_from: [dev] }}\n")).unwrap();
    assert_eq!(house.admin().reload().value.unwrap().tests, 2);
    let Err(Refusal::Tests(tests)) = house.admin().allow(&ssh(Some("back-door"))).value else { panic!("not refused") };
    assert_eq!(tests[0].claim, "ledger is reached only from dev");
    assert!(
        tests[0].found.starts_with("back-door (") && tests[0].found.ends_with("lets admin in"),
        "{}",
        tests[0].found
    );
    assert_eq!(house.dropin(), "");
}

#[test]
fn a_mode_that_something_written_by_hand_overrides_is_refused() {
    let house = House::new();
    let request =
        |mode| PairRequest { from: "dev".into(), to: "ledger".into(), mode, preview: false, since: None, reason: None };
    fs::write(house.config(), format!("{ZONES}pairs:\n  - {{ from: dev, to: ledger, mode: enforce }}\n")).unwrap();
    house.admin().reload().value.unwrap();
    let refused = house.admin().set_pair(&request(Mode::Audit)).value.unwrap_err().to_string();
    assert!(refused.contains("zones.yaml:16:5"), "{refused}");
    fs::write(house.config(), format!("{ZONES}mode: audit\n")).unwrap();
    house.admin().reload().value.unwrap();
    let refused = house.admin().set_pair(&request(Mode::Enforce)).value.unwrap_err().to_string();
    assert!(refused.contains("audit mode"), "{refused}");
}

fn after_days(days: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(24 * days)
}

#[test]
fn a_revoked_rule_gives_up_its_number_after_a_month_and_the_next_one_gets_it_without_its_counts() {
    let house = House::new();
    let add = |id| drop(house.admin().allow(&ssh(Some(id))).value.unwrap());
    add("first");
    house.admin().revoke("first", "no longer needed").value.unwrap();
    let retire = |now| house.engine.core().retire_names(now);
    retire(after_days(29));
    assert_eq!(house.paper.0.lock().unwrap().cleared, []);
    add("second");
    retire(after_days(31));
    assert_eq!(house.paper.0.lock().unwrap().cleared, [Freed { zones: vec![], rules: vec![1] }]);
    add("third");
    let number = |id: &str| house.engine.core().registry.rule_number(id);
    assert_eq!(["dev-reads-ledger", "first", "second", "third"].map(number), [Some(0), None, Some(2), Some(1)]);
    let kept = StateDir::open(&house.dir.path().join("state")).unwrap().load_registry(true).unwrap();
    assert_eq!(kept, house.engine.core().registry);
}

#[test]
fn no_number_is_given_up_while_a_connection_or_a_policy_that_may_come_back_speaks_of_it() {
    let house = House::new();
    let zones = ZONES.replace("  admin: { networks: [10.30.0.0/29] }\n", "");
    fs::write(house.config(), zones).unwrap();
    house.admin().reload().value.unwrap();
    let admin = house.engine.core().registry.zone_id("admin").unwrap();
    let retire = || {
        house.engine.core().retire_names(after_days(40));
        house.engine.core().registry.zone_id("admin")
    };
    house.paper.0.lock().unwrap().zones_in_flows = [admin].into();
    assert_eq!(retire(), Some(admin));
    house.paper.0.lock().unwrap().zones_in_flows.clear();
    house.paper.0.lock().unwrap().may_go_back = true;
    assert_eq!(retire(), Some(admin));
    house.paper.0.lock().unwrap().may_go_back = false;
    assert_eq!(retire(), None);
    assert_eq!(house.paper.0.lock().unwrap().cleared, [Freed { zones: vec![admin], rules: vec![] }]);
}

/// A connection from dev to ledger that only the audit mode let pass.
fn audited(house: &House, dst_port: u16) -> Event {
    let registry = StateDir::open(&house.dir.path().join("state")).unwrap().load_registry(true).unwrap();
    Event {
        time: Timestamp::now(),
        src: "10.30.0.9".parse().unwrap(),
        dst: "10.20.0.1".parse().unwrap(),
        proto: 6,
        src_port: 40_000,
        dst_port,
        from: registry.zone_id("dev").unwrap(),
        to: registry.zone_id("ledger").unwrap(),
        verdict: segd_common::reason::Verdict::Allow,
        reason: Reason::Audit,
        would_be: Some(Reason::NoRule),
        rule: None,
        ifindex: 2,
    }
}

#[test]
fn what_enforcing_would_have_dropped_comes_out_of_the_history_of_the_pair_that_is_meant() {
    let house = House::new();
    house.engine.take_events(&[audited(&house, 22), audited(&house, 22), audited(&house, 23)]);
    let asked = |from: &str, to: &str, since: Option<&str>| {
        let since = since.map(|time| time.parse().unwrap());
        let request =
            PairRequest { from: from.into(), to: to.into(), mode: Mode::Enforce, preview: true, since, reason: None };
        house.admin().set_pair(&request).value.unwrap()
    };
    let of_pair = asked("dev", "ledger", None);
    assert_eq!((of_pair.would_drop_connections, of_pair.would_drop.len(), of_pair.applied), (3, 2, false));
    let days = Timestamp::now().duration_since(of_pair.since).as_hours() / 24;
    assert_eq!(days, 7, "seven days, unless told otherwise");
    assert_eq!(asked("any", "any", None).would_drop_connections, 3);
    assert_eq!(asked("ledger", "dev", None).would_drop_connections, 0);
    assert_eq!(asked("dev", "ledger", Some("2999-01-01T00:00:00Z")).would_drop_connections, 0);
    // A rule for two of them is written meanwhile.
    fs::write(house.dir.path().join("zones.yaml"), ZONES.replace("[tcp/5432]", "[tcp/5432, tcp/22]")).unwrap();
    house.admin().reload().value.unwrap();
    let told = asked("dev", "ledger", None);
    assert_eq!((told.would_drop_connections, told.allowed_by_now), (1, 2));
    assert_eq!(told.would_drop.iter().map(|line| line.dst_port).collect::<Vec<_>>(), [23]);
    let past = house.engine.past_flows(&FlowsQuery { blocked: true, ..FlowsQuery::default() }, of_pair.since).unwrap();
    let told: Vec<_> = past.iter().map(|line| (line.dst_port, line.connections, line.would_be.as_deref())).collect();
    assert_eq!(told, [(23, Some(1), Some("no-rule")), (22, Some(2), Some("no-rule"))]);
}

fn names_attached(house: &House) -> Vec<String> {
    house.attached().into_iter().map(|(name, _)| name).collect()
}

fn on_a_vlan(house: &House) {
    let vlan = crate::interfaces::Link { parent: Some(3), ..link(4, "wan0.10", Kind::Vlan) };
    house.engine.machine_changed(vec![Change::Link(vlan)]);
}

#[test]
fn a_vlan_of_a_guarded_interface_needs_no_program_until_that_one_has_none() {
    let house = House::new();
    on_a_vlan(&house);
    assert_eq!(names_attached(&house), ["lan0", "wan0"]);
    let status = house.engine.status().value;
    let vlan = status.interfaces.iter().find(|interface| interface.name == "wan0.10").unwrap();
    assert!(vlan.enforced && vlan.why.as_ref().unwrap().contains("wan0"), "{vlan:?}");
    fs::write(house.config(), ZONES.replace("zones:", "interfaces: [{ name: \"*.10\" }, { name: lan0 }]\nzones:"))
        .unwrap();
    house.admin().reload().value.unwrap();
    assert_eq!(names_attached(&house), ["lan0", "wan0.10"]);
}

#[test]
fn every_vlan_is_guarded_by_itself_where_zones_are_bound_to_interfaces_and_their_parent_lets_them_by() {
    let house = House::new();
    let bound = ZONES.replace("[10.20.0.0/24] }", "[10.20.0.0/24], interfaces: [wan0.10] }");
    fs::write(house.config(), bound).unwrap();
    house.admin().reload().value.unwrap();
    on_a_vlan(&house);
    assert_eq!(names_attached(&house), ["lan0", "wan0", "wan0.10"]);
    let facts = house.engine.core().force.facts.interfaces.clone();
    let above: Vec<_> = facts.into_iter().map(|fact| (fact.name, fact.above)).collect();
    let none = Vec::<String>::new;
    assert_eq!(above, [("lan0".into(), none()), ("wan0".into(), vec!["wan0.10".into()]), ("wan0.10".into(), none())]);
}

#[test]
fn a_bridge_is_guarded_itself_where_nothing_closes_a_new_port() {
    let house = House::new();
    let port = crate::interfaces::Link { master: Some(4), ..link(5, "port0", Kind::Veth) };
    house.engine.machine_changed(vec![Change::Link(link(4, "br0", Kind::Bridge)), Change::Link(port)]);
    assert_eq!(names_attached(&house), ["lan0", "wan0", "br0", "port0"]);
}
