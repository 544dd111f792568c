//! Who is cut off, and until when, asked of the packet path's own decision.

use jiff::Timestamp;
use segd_common::reason::Reason;

use super::{HZ, JIFFIES, facts, hours, now, rule, zone};
use crate::compile::{Cut, Facts, Image, Question, Registry, Whom, compile};
use crate::policy::{Failsafe, Policy, ZoneName};

fn network(text: &str, until: Option<Timestamp>) -> Cut {
    Cut { whom: Whom::Network(text.parse().unwrap()), until }
}

fn of_zone(name: &str) -> Cut {
    Cut { whom: Whom::Zone(ZoneName(name.to_owned())), until: None }
}

fn office() -> Policy {
    let zones = vec![
        zone("dev", &["10.30.0.0/24", "fd00:30::/64"]),
        zone("build", &["10.30.0.128/25"]),
        zone("ledger", &["10.20.0.0/24", "fd00:20::/64"]),
        zone("internet", &["0.0.0.0/0"]),
    ];
    Policy { zones, rules: vec![rule("open", "any", "any", &["tcp/80"])], ..Policy::default() }
}

fn compiled(policy: &Policy, cuts: Vec<Cut>) -> Image {
    compile(policy, &Facts { cuts, ..facts() }, &mut Registry::default()).unwrap()
}

fn at(image: &Image, src: &str, dst: &str, jiffies: u64) -> Reason {
    let question =
        Question { src: src.parse().unwrap(), dst: dst.parse().unwrap(), service: "tcp/80".parse().unwrap() };
    image.answer(&question, jiffies).reason
}

fn reason(image: &Image, src: &str, dst: &str) -> Reason {
    at(image, src, dst, JIFFIES)
}

#[test]
fn whoever_is_cut_off_reaches_nobody_and_nobody_reaches_them() {
    let image = compiled(&office(), vec![network("10.30.0.5/32", None), network("fd00:30::5/128", None)]);
    assert_eq!(reason(&image, "10.30.0.5", "10.20.0.1"), Reason::Quarantined);
    assert_eq!(reason(&image, "10.20.0.1", "10.30.0.5"), Reason::Quarantined);
    assert_eq!(reason(&image, "fd00:30::5", "fd00:20::1"), Reason::Quarantined);
    assert_eq!(reason(&image, "10.30.0.6", "10.20.0.1"), Reason::Rule);
    assert_eq!(reason(&image, "fd00:30::6", "fd00:20::1"), Reason::Rule);
}

#[test]
fn it_ends_by_itself_and_the_longest_of_several_holds() {
    let cuts = vec![network("10.30.0.0/24", Some(hours(4))), network("10.30.0.5/32", Some(hours(1)))];
    let image = compiled(&office(), cuts);
    let later = |hours: u64| JIFFIES + hours * 3600 * u64::from(HZ);
    for address in ["10.30.0.5", "10.30.0.6", "10.30.0.200"] {
        assert_eq!(at(&image, address, "10.20.0.1", later(2)), Reason::Quarantined, "{address}");
        assert_eq!(at(&image, address, "10.20.0.1", later(4)), Reason::Rule, "{address}");
    }
    let over = compiled(&office(), vec![network("10.30.0.5/32", Some(now()))]);
    assert_eq!(reason(&over, "10.30.0.5", "10.20.0.1"), Reason::Rule);
}

#[test]
fn a_zone_is_its_own_addresses_and_not_those_that_a_sharper_prefix_takes_away() {
    let image = compiled(&office(), vec![of_zone("dev")]);
    assert_eq!(reason(&image, "10.30.0.5", "10.20.0.1"), Reason::Quarantined);
    assert_eq!(reason(&image, "fd00:30::5", "fd00:20::1"), Reason::Quarantined);
    assert_eq!(reason(&image, "10.30.0.200", "10.20.0.1"), Reason::Rule, "build stands in dev's network");
    let wide = compiled(&office(), vec![of_zone("internet")]);
    assert_eq!(reason(&wide, "8.8.8.8", "10.20.0.1"), Reason::Quarantined);
    assert_eq!(reason(&wide, "10.30.0.5", "10.20.0.1"), Reason::Rule);
    let unzoned = compiled(&office(), vec![of_zone("unzoned")]);
    assert_eq!(reason(&unzoned, "fd00:99::1", "fd00:20::1"), Reason::Quarantined);
    assert_eq!(reason(&unzoned, "8.8.8.8", "10.20.0.1"), Reason::Rule);
    let unknown = compiled(&office(), vec![of_zone("gone")]);
    assert_eq!(reason(&unknown, "10.30.0.5", "10.20.0.1"), Reason::Rule);
}

#[test]
fn this_machine_is_never_cut_off_and_the_failsafe_still_gets_in() {
    let failsafe = Failsafe { from: vec!["10.20.0.7/32".parse().unwrap()], services: vec!["tcp/80".parse().unwrap()] };
    let image = compiled(&Policy { failsafe, ..office() }, vec![network("0.0.0.0/0", None)]);
    assert_eq!(reason(&image, "10.30.0.5", "10.20.0.1"), Reason::Quarantined);
    assert_eq!(reason(&image, "10.20.0.7", "10.30.0.5"), Reason::Failsafe);
    assert_eq!(reason(&image, "192.0.2.1", "192.0.2.1"), Reason::Rule, "the machine itself has no mark");
}

#[test]
fn audit_lets_nobody_out() {
    let mode = crate::policy::Mode::Audit;
    let image = compiled(&Policy { mode, ..office() }, vec![network("10.30.0.5/32", None)]);
    assert_eq!(reason(&image, "10.30.0.5", "10.20.0.1"), Reason::Quarantined);
}

#[test]
fn there_are_only_so_many_different_ends() {
    let cut = |index: i64| network(&format!("10.30.0.{index}/32"), Some(hours(index + 1)));
    let all: Vec<Cut> = (0..256).map(cut).collect();
    let facts = |count: usize| Facts { cuts: all[..count].to_vec(), ..facts() };
    assert!(compile(&office(), &facts(255), &mut Registry::default()).is_ok());
    let refused = compile(&office(), &facts(256), &mut Registry::default()).unwrap_err().to_string();
    assert!(refused.contains("release"), "{refused}");
}
