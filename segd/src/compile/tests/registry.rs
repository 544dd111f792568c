//! Numbers: they stay with their names, and come back only when nobody speaks of them any more.

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

#[test]
fn a_number_comes_back_after_two_policies_without_its_name() {
    let mut registry = Registry::default();
    let (full, less, more) =
        (policy(&["a", "b"], &["x", "y"]), policy(&["b"], &["y"]), policy(&["b", "c"], &["y", "z"]));
    compile(&full, &facts(), &mut registry).unwrap();
    assert_eq!(registry.retire(&full), Freed::default());
    assert_eq!(registry.retire(&less), Freed::default());
    compile(&more, &facts(), &mut registry).unwrap();
    assert_eq!((registry.zone_id("c"), registry.rule_number("z")), (Some(5), Some(2)));
    assert_eq!(registry.retire(&more), Freed { zones: vec![3], rules: vec![0] });
    let other = policy(&["d"], &["w"]);
    compile(&other, &facts(), &mut registry).unwrap();
    assert_eq!((registry.zone_id("d"), registry.rule_number("w")), (Some(3), Some(0)));
}

#[test]
fn it_is_the_same_when_read_back_and_a_broken_one_is_refused() {
    let mut registry = Registry::default();
    compile(&policy(&["a", "b"], &["x"]), &facts(), &mut registry).unwrap();
    registry.retire(&policy(&["a"], &[]));
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
