//! Numbers: they stay with their names, and come back only when nobody speaks of them any more.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{compiled, facts, rule, zone};
use crate::compile::{Freed, Registry, compile};
use crate::policy::Policy;

fn policy(zones: &[&str], rules: &[&str]) -> Policy {
    let zones = zones.iter().zip(1..).map(|(name, n)| zone(name, &[&format!("10.{n}.0.0/16")])).collect();
    Policy { zones, rules: rules.iter().map(|id| rule(id, "any", "any", &["tcp/1"])).collect(), ..Policy::default() }
}

#[test]
fn a_name_keeps_its_number_wherever_it_stands_in_the_file() {
    let mut registry = Registry::default();
    compile(&policy(&["a", "b"], &["x", "y"]), &facts(), &mut registry).unwrap();
    compile(&policy(&["c", "b", "a"], &["z", "y", "x"]), &facts(), &mut registry).unwrap();
    assert_eq!(
        ["unzoned", "host", "a", "b", "c", "d"].map(|name| registry.zone_id(name)),
        [Some(0), Some(1), Some(3), Some(4), Some(5), None]
    );
    assert_eq!(["x", "y", "z"].map(|id| registry.rule_number(id)), [Some(0), Some(1), Some(2)]);
    assert_eq!((registry.zone_name(4), registry.rule_id(2), registry.zone_name(2)), (Some("b"), Some("z"), None));
}

fn at(day: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day)
}

/// A registry that knows zones a and b and rules x and y, of which a and x are gone since the first day.
fn with_some_gone() -> Registry {
    let mut registry = Registry::default();
    compile(&policy(&["a", "b"], &["x", "y"]), &facts(), &mut registry).unwrap();
    registry.note(&policy(&["b"], &["y"]), at(1));
    // They are gone since they went, however many policies come.
    registry.note(&policy(&["b"], &["y"]), at(20));
    registry
}

#[test]
fn a_number_waits_thirty_days_for_its_name_and_then_goes_to_another() {
    let mut registry = with_some_gone();
    assert_eq!(registry.retire(at(30), &BTreeSet::new()), Freed::default());
    let before = policy(&["b", "c"], &["y", "z"]);
    compile(&before, &facts(), &mut registry).unwrap();
    assert_eq!((registry.zone_id("c"), registry.rule_number("z")), (Some(5), Some(2)));
    assert_eq!(registry.retire(at(31), &BTreeSet::new()), Freed { zones: vec![3], rules: vec![0] });
    assert_eq!(registry.retire(at(31), &BTreeSet::new()), Freed::default());
    compile(&policy(&["d"], &["w"]), &facts(), &mut registry).unwrap();
    assert_eq!((registry.zone_id("d"), registry.rule_number("w")), (Some(3), Some(0)));
    assert_eq!((registry.zone_name(3), registry.rule_id(0)), (Some("d"), Some("w")));
}

#[test]
fn a_name_that_comes_back_in_time_has_its_number_and_waits_anew_when_it_goes_again() {
    let mut registry = with_some_gone();
    compile(&policy(&["a", "b"], &["x", "y"]), &facts(), &mut registry).unwrap();
    registry.note(&policy(&["a", "b"], &["x", "y"]), at(29));
    assert_eq!((registry.zone_id("a"), registry.rule_number("x")), (Some(3), Some(0)));
    registry.note(&policy(&["b"], &["y"]), at(30));
    assert_eq!(registry.retire(at(59), &BTreeSet::new()), Freed::default());
    assert_eq!(registry.retire(at(60), &BTreeSet::new()), Freed { zones: vec![3], rules: vec![0] });
}

#[test]
fn a_zone_that_a_live_connection_names_keeps_its_number_for_as_long_as_that_lives() {
    let mut registry = with_some_gone();
    assert_eq!(registry.retire(at(100), &[3].into()), Freed { zones: vec![], rules: vec![0] });
    assert_eq!(registry.zone_name(3), Some("a"));
    assert_eq!(registry.retire(at(101), &[4].into()), Freed { zones: vec![3], rules: vec![] });
}

#[test]
fn numbers_wait_a_single_day_when_they_run_short() {
    let names: Vec<String> = (0..2049).map(|n| format!("z{n}")).collect();
    let all = Policy { zones: names.iter().map(|name| zone(name, &[])).collect(), ..Policy::default() };
    let mut registry = Registry::default();
    registry.enter(&all).unwrap();
    registry.note(&Policy::default(), at(1));
    assert_eq!(registry.retire(at(1), &BTreeSet::new()), Freed::default());
    assert_eq!(registry.retire(at(2), &BTreeSet::new()).zones.len(), 2049);
}

#[test]
fn it_is_the_same_when_read_back_and_a_broken_one_is_refused() {
    let mut registry = Registry::default();
    compile(&policy(&["a", "b"], &["x"]), &facts(), &mut registry).unwrap();
    registry.note(&policy(&["a"], &[]), at(7));
    let text = serde_json::to_string(&registry).unwrap();
    assert_eq!(serde_json::from_str::<Registry>(&text).unwrap(), registry);
    for broken in [
        text.replace("\"number\":4", "\"number\":3"),
        text.replace("\"number\":4", "\"number\":2"),
        text.replace("\"number\":4", "\"number\":4096"),
    ] {
        assert!(serde_json::from_str::<Registry>(&broken).is_err(), "{broken}");
    }
}

#[test]
fn a_zone_that_is_not_there_is_an_error_and_the_policy_of_nothing_compiles() {
    let mut undefined = policy(&["a"], &[]);
    undefined.rules = vec![rule("x", "a", "b", &["any"])];
    let error = compile(&undefined, &facts(), &mut Registry::default()).unwrap_err();
    assert_eq!(error.to_string(), ":0:0: zone b is not defined; define it under zones, or correct its name");
    assert!(compiled(&Policy::default()).page_count() > 0);
}

#[test]
fn the_last_zone_has_number_4095() {
    let names: Vec<String> = (0..4094).map(|n| format!("z{n}")).collect();
    let mut registry = Registry::default();
    let zones = |count: usize| Policy {
        zones: names[..count].iter().map(|name| zone(name, &[])).collect(),
        ..Policy::default()
    };
    registry.enter(&zones(4093)).unwrap();
    assert_eq!(registry.zone_id("z4092"), Some(4095));
    assert!(registry.enter(&zones(4094)).unwrap_err().to_string().starts_with("no number is left for zone z4093"));
}
