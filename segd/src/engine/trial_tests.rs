//! Policies on trial, over a kernel of paper.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::Refusal;
use super::house::{House, ZONES};
use crate::api::types::{Applied, ApplyRequest, CallerConnection, HistoryQuery};
use crate::state::StateDir;

fn web() -> String {
    ZONES.replace("[tcp/5432]", "[tcp/5432, tcp/80]")
}

fn trial(secs: u32) -> ApplyRequest {
    ApplyRequest { name: "new.yaml".into(), text: web(), confirm_secs: Some(secs), ..ApplyRequest::default() }
}

fn tried(house: &House, secs: u32) -> Applied {
    house.admin().apply(&trial(secs), None).value.unwrap()
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
    let refused = house.admin().apply(&trial(60), None).value.unwrap_err();
    assert!(matches!(refused, Refusal::Changed { .. }), "{refused}");
    for secs in [0, 24 * 60 * 60 + 1] {
        fs::write(house.config(), ZONES).unwrap();
        assert!(matches!(house.admin().apply(&trial(secs), None).value, Err(Refusal::BadRequest { .. })));
    }
    assert_eq!((house.generation(), marker(&house)), (1, false));
}

#[test]
fn a_trial_whose_file_cannot_be_placed_leaves_nothing_behind() {
    let house = House::new();
    let bad = ApplyRequest { text: ZONES.replace("to: ledger", "to: leger"), ..trial(60) };
    assert!(matches!(house.admin().apply(&bad, None).value, Err(Refusal::Faults(_))));
    let failing = ApplyRequest { text: ZONES.replace("[tcp/5432]", "[tcp/5433]"), ..trial(60) };
    assert!(matches!(house.admin().apply(&failing, None).value, Err(Refusal::Tests(_))));
    assert_eq!((house.generation(), marker(&house)), (1, false));
    assert_eq!(house.engine.status().value.pending, None);
}

#[test]
fn who_would_cut_themselves_off_is_told_before_anything_changes() {
    let house = House::new();
    let caller = CallerConnection { src: "10.30.0.9".parse().unwrap(), dst: "10.20.0.1".parse().unwrap(), port: 5432 };
    let text = ZONES.split("tests:").next().unwrap().replace("tcp/5432", "tcp/80");
    let cut = ApplyRequest { name: "new.yaml".into(), text, ..ApplyRequest::default() };
    let refused = house.admin().over(Some(caller)).apply(&cut, None).value.unwrap_err();
    assert!(matches!(&refused, Refusal::CutsCaller { detail, .. } if detail.contains("tcp/5432")), "{refused}");
    assert_eq!(house.generation(), 1);
    house.admin().apply(&cut, None).value.unwrap();
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
    let apply = |text: String| house.admin().over(Some(caller)).apply(&asked(text), None).value;
    let guarded = house.engine.interfaces().value;
    let name = guarded.first().expect("the house has an interface").name.clone();
    apply(at(&name)).unwrap();
    let refused = apply(at("nowhere0")).unwrap_err();
    assert!(matches!(&refused, Refusal::CutsCaller { detail, .. } if detail.contains("spoofed-source")), "{refused}");
    let failsafe = format!("{}failsafe: {{ from: [10.30.0.0/24], services: [tcp/5432] }}\n", at("nowhere0"));
    apply(failsafe).unwrap();
}
