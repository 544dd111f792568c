//! Policies on trial, over a kernel of paper.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::Refusal;
use super::house::{House, ZONES};
use crate::api::types::{Applied, ApplyRequest, CallerConnection, HistoryQuery, QuarantineRequest};
use crate::state::StateDir;

fn web() -> String {
    ZONES.replace("[tcp/5432]", "[tcp/5432, tcp/80]")
}

fn trial(secs: u32) -> ApplyRequest {
    ApplyRequest { name: "new.yaml".into(), text: web(), confirm_secs: Some(secs), ..ApplyRequest::default() }
}

fn tried(house: &House, secs: u32) -> Applied {
    house.admin().apply(&trial(secs)).value.unwrap()
}

fn marker(house: &House) -> bool {
    StateDir::open(&house.dir.path().join("state")).unwrap().load_pending().unwrap().is_some()
}

#[test]
fn a_connection_that_was_there_before_the_apply_confirms_nothing() {
    let house = House::new();
    let early = Instant::now();
    assert!(tried(&house, 60).confirm_by.is_some());
    assert!(marker(&house));
    let refused = house.admin().confirm(early, None).value.unwrap_err().to_string();
    assert!(refused.contains("confirm over a new connection"), "{refused}");
    assert!(marker(&house));
    let applied = house.admin().confirm(Instant::now(), None).value.unwrap();
    assert_eq!((applied.generation, applied.confirm_by), (2, None));
    assert!(!marker(&house));
    assert_eq!(fs::read_to_string(house.config()).unwrap(), web());
    assert!(house.admin().confirm(Instant::now(), None).value.is_err(), "nothing waits any more");
}

#[test]
fn a_trial_that_runs_out_takes_policy_file_and_generation_back() {
    let house = House::new();
    tried(&house, 1);
    assert!(house.passes("10.30.0.9", "10.20.0.1", "tcp/80"));
    thread::sleep(Duration::from_millis(1100));
    assert!(!house.passes("10.30.0.9", "10.20.0.1", "tcp/80"), "the kernel went back by itself");
    assert!(house.engine.health().is_empty(), "which is not amiss");
    house.engine.tick();
    assert_eq!(fs::read_to_string(house.config()).unwrap(), ZONES);
    assert!(!marker(&house));
    let status = house.engine.status().value;
    assert_eq!((status.pending, status.generation), (None, 4));
    let late = house.admin().confirm(Instant::now(), None).value.unwrap_err();
    assert!(matches!(late, Refusal::BadRequest { .. }), "{late}");
    let verbs: Vec<String> =
        house.engine.history(&HistoryQuery::default()).unwrap().into_iter().map(|entry| entry.verb).collect();
    assert_eq!(verbs, ["start", "apply", "rollback"]);
}

#[test]
fn a_trial_that_could_not_be_taken_back_is_not_begun() {
    let house = House::new();
    fs::write(house.config(), format!("{ZONES}# half a thought\n")).unwrap();
    let refused = house.admin().apply(&trial(60)).value.unwrap_err();
    assert!(matches!(refused, Refusal::Changed { .. }), "{refused}");
    for secs in [0, 24 * 60 * 60 + 1] {
        fs::write(house.config(), ZONES).unwrap();
        assert!(matches!(house.admin().apply(&trial(secs)).value, Err(Refusal::BadRequest { .. })));
    }
    assert_eq!((house.generation(), marker(&house)), (1, false));
}

#[test]
fn a_trial_whose_file_cannot_be_placed_leaves_nothing_behind() {
    let house = House::new();
    let bad = ApplyRequest { text: ZONES.replace("to: ledger", "to: leger"), ..trial(60) };
    assert!(matches!(house.admin().apply(&bad).value, Err(Refusal::Faults(_))));
    let failing = ApplyRequest { text: ZONES.replace("[tcp/5432]", "[tcp/5433]"), ..trial(60) };
    assert!(matches!(house.admin().apply(&failing).value, Err(Refusal::Tests(_))));
    assert_eq!((house.generation(), marker(&house)), (1, false));
    assert_eq!(house.engine.status().value.pending, None);
}

#[test]
fn who_would_cut_themselves_off_is_told_before_anything_changes() {
    let house = House::new();
    let caller = CallerConnection { src: "10.30.0.9".parse().unwrap(), dst: "10.20.0.1".parse().unwrap(), port: 5432 };
    let text = ZONES.split("tests:").next().unwrap().replace("tcp/5432", "tcp/80");
    let cut = ApplyRequest { name: "new.yaml".into(), text, ..ApplyRequest::default() };
    let refused = house.admin().over(Some(caller)).apply(&cut).value.unwrap_err();
    assert!(matches!(&refused, Refusal::CutsCaller { detail, .. } if detail.contains("tcp/5432")), "{refused}");
    assert_eq!(house.generation(), 1);
    house.admin().apply(&cut).value.unwrap();
}

#[test]
fn who_would_be_seen_by_the_wrong_interface_is_told_too_but_for_the_failsafe() {
    let house = House::new();
    let caller = CallerConnection { src: "10.30.0.9".parse().unwrap(), dst: "10.20.0.1".parse().unwrap(), port: 5432 };
    let at = |interface: &str| {
        let dev = "dev: { networks: [10.30.0.0/24]";
        ZONES.replace(dev, &format!("{dev}, interfaces: [{interface}]"))
    };
    let asked = |text: String| ApplyRequest { name: "new.yaml".into(), text, ..ApplyRequest::default() };
    let apply = |text: String| house.admin().over(Some(caller)).apply(&asked(text)).value;
    let guarded = house.engine.interfaces().value;
    let name = guarded.first().expect("the house has an interface").name.clone();
    apply(at(&name)).unwrap();
    let refused = apply(at("nowhere0")).unwrap_err();
    assert!(matches!(&refused, Refusal::CutsCaller { detail, .. } if detail.contains("spoofed-source")), "{refused}");
    let failsafe = format!("{}failsafe: {{ from: [10.30.0.0/24], services: [tcp/5432] }}\n", at("nowhere0"));
    apply(failsafe).unwrap();
}

#[test]
fn who_would_be_cut_off_once_a_trial_is_over_is_told_while_it_runs() {
    let house = House::new();
    let caller = CallerConnection { src: "10.30.0.9".parse().unwrap(), dst: "10.20.0.1".parse().unwrap(), port: 5432 };
    // On trial they are one of staff, whom the rule lets in as well.
    let staff = ZONES
        .replace("  admin:", "  staff: { networks: [10.30.0.8/29] }\n  admin:")
        .replace("from: dev", "from: [dev, staff]");
    let request =
        ApplyRequest { name: "new.yaml".into(), text: staff, confirm_secs: Some(60), ..ApplyRequest::default() };
    house.admin().over(Some(caller)).apply(&request).value.unwrap();
    let cut = |target: &str| QuarantineRequest { target: target.into(), until: None, reason: "A worm".into() };
    let refused = house.admin().over(Some(caller)).quarantine(&cut("dev")).value.unwrap_err();
    let told = "once the policy before the trial is back";
    assert!(matches!(&refused, Refusal::CutsCaller { detail, .. } if detail.contains(told)), "{refused}");
    let refused = house.admin().over(Some(caller)).quarantine(&cut("staff")).value.unwrap_err();
    assert!(matches!(&refused, Refusal::CutsCaller { detail, .. } if !detail.contains(told)), "{refused}");
    assert!(house.engine.quarantined().value.is_empty(), "nothing was kept");
    house.admin().over(Some(caller)).quarantine(&cut("admin")).value.unwrap();
    house.admin().quarantine(&cut("dev")).value.unwrap();
    // By now that is so whatever else they do.
    house.admin().over(Some(caller)).quarantine(&cut("ledger")).value.unwrap_err();
    house.admin().over(Some(caller)).release("admin", None).value.unwrap();
}

/// What status says is amiss.
fn amiss(house: &House) -> String {
    let amiss = house.engine.status().value.amiss.into_iter();
    amiss.map(|amiss| amiss.what).collect::<Vec<_>>().join("\n")
}

/// After a trial whose file can't be put back: where what was refused is to be kept stands a folder.
fn gone_back_without_its_file() -> (House, PathBuf) {
    let house = House::new();
    let in_the_way = house.dir.path().join("zones.yaml.unconfirmed");
    fs::create_dir(&in_the_way).unwrap();
    tried(&house, 60);
    house.admin().rollback(None).value.unwrap();
    (house, in_the_way)
}

#[test]
fn a_file_that_cannot_be_put_back_is_put_back_once_it_can() {
    let (house, in_the_way) = gone_back_without_its_file();
    assert!(!house.passes("10.30.0.9", "10.20.0.1", "tcp/80"), "the kernel is back all the same");
    assert!(amiss(&house).contains("could not be put back"), "{}", amiss(&house));
    assert!(marker(&house), "a start would put it back");
    house.engine.tick();
    assert!(marker(&house));
    fs::remove_dir(&in_the_way).unwrap();
    house.engine.tick();
    assert_eq!(fs::read_to_string(house.config()).unwrap(), ZONES);
    assert_eq!(fs::read_to_string(&in_the_way).unwrap(), web());
    assert!(!marker(&house));
    assert!(!amiss(&house).contains("could not"), "{}", amiss(&house));
}

#[test]
fn whoever_edits_the_file_of_a_trial_that_is_over_keeps_their_edit() {
    let (house, in_the_way) = gone_back_without_its_file();
    let edited = web().replace("tcp/80", "tcp/8080");
    fs::write(house.config(), &edited).unwrap();
    fs::remove_dir(&in_the_way).unwrap();
    house.engine.tick();
    house.engine.tick();
    assert_eq!(fs::read_to_string(house.config()).unwrap(), edited);
    assert!(!marker(&house) && !in_the_way.exists());
}

#[test]
fn a_trial_that_left_its_marker_takes_no_later_policy_back() {
    let (house, in_the_way) = gone_back_without_its_file();
    assert!(marker(&house));
    let later = ZONES.replace("[tcp/5432]", "[tcp/5432, tcp/443]");
    let request = ApplyRequest { name: "later.yaml".into(), text: later.clone(), ..ApplyRequest::default() };
    house.admin().apply(&request).value.unwrap();
    assert!(!marker(&house), "the next start takes nothing back");
    fs::remove_dir(&in_the_way).unwrap();
    house.engine.tick();
    assert_eq!(fs::read_to_string(house.config()).unwrap(), later);
}

#[test]
fn a_confirmation_that_cannot_keep_the_old_file_confirms_nothing() {
    let house = House::new();
    // Nothing can be written beside this one.
    std::os::unix::fs::symlink("/proc/version", house.dir.path().join("zones.yaml.previous")).unwrap();
    tried(&house, 4);
    let refused = house.admin().confirm(Instant::now(), None).value.unwrap_err();
    assert!(matches!(refused, Refusal::Failed(_)), "{refused}");
    assert!(house.passes("10.30.0.9", "10.20.0.1", "tcp/80"), "the trial goes on");
    thread::sleep(Duration::from_millis(4100));
    assert!(!house.passes("10.30.0.9", "10.20.0.1", "tcp/80"), "and ends in time");
}

#[test]
fn a_trial_takes_no_dropins_along_that_it_could_not_take_back() {
    let house = House::new();
    fs::create_dir(house.dir.path().join("zones.d")).unwrap();
    let dropin = "rules:\n  - { id: more, from: dev, to: ledger, services: [tcp/22], reason: More, approved_by: x@example.com }\n";
    fs::write(house.dir.path().join("zones.d/20-more.yaml"), dropin).unwrap();
    let refused = house.admin().apply(&trial(60)).value.unwrap_err();
    assert!(matches!(&refused, Refusal::Changed { detail, .. } if detail.contains("drop-ins")), "{refused}");
    assert_eq!((house.generation(), marker(&house)), (1, false));
    house.admin().reload().value.unwrap();
    tried(&house, 60);
}
