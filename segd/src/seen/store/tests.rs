//! The store on a real file: sums that stay true, restarts, damage and bounds.

use std::collections::BTreeMap;
use std::fs;

use jiff::{SignedDuration, Timestamp};
use segd_common::reason::Reason;
use tempfile::TempDir;

use super::bounds::Bounds;
use super::*;
use crate::seen::rows::Asked;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn row(second: i64, port: u16, reason: Reason, flows: u64) -> Row {
    Row {
        minute: minute(at(second)),
        from_zone: "dev".into(),
        to_zone: "ledger".into(),
        src: Some("10.30.0.5".parse().unwrap()),
        dst: Some("10.20.0.10".parse().unwrap()),
        proto: 6,
        port,
        src_port: 0,
        reason,
        would_be: None,
        rule: (reason == Reason::Rule).then(|| "dev-reads-ledger".into()),
        flows,
        first: at(second),
        last: at(second),
    }
}

fn cell(what: &'static str) -> Cell {
    ("dev".into(), "ledger".into(), what)
}

/// Counters: connections that passed, blocked ones, and a packet for each.
fn told(connections: u64, blocked: u64) -> Told {
    let some = |cell: Cell, number: u64| (number > 0).then_some((cell, number));
    let flows: BTreeMap<Cell, u64> =
        [some(cell(CONNECTIONS), connections), some(cell("no-rule"), blocked)].into_iter().flatten().collect();
    let traffic = [some(cell("rule"), connections), some(cell("no-rule"), blocked)].into_iter().flatten();
    Told { flows, traffic: traffic.map(|(cell, number)| (cell, [number, number * 60])).collect() }
}

struct Ground {
    dir: TempDir,
    store: Store,
}

impl Ground {
    fn new() -> Self {
        Self::bounded(Bounds::default())
    }

    fn bounded(bounds: Bounds) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, aside) = Store::open_bounded(&dir.path().join("seen.db"), &Told::default(), bounds).unwrap();
        assert_eq!(aside, None);
        Self { dir, store }
    }

    fn reopened(self, counters: &Told) -> (Self, Option<String>) {
        let Self { dir, store } = self;
        drop(store);
        let (store, aside) = Store::open(&dir.path().join("seen.db"), counters).unwrap();
        (Self { dir, store }, aside)
    }

    fn flows(&self) -> Vec<(Option<u16>, Reason, u64)> {
        let rows = self.store.rows(&Asked::since(at(-1_000_000))).unwrap();
        rows.into_iter().map(|row| (row.dst.map(|_| row.port), row.reason, row.flows)).collect()
    }

    fn sums(&self) -> (u64, u64, u64) {
        let pairs = self.store.pairs(at(-10_000_000)).unwrap();
        let sum = |of: &dyn Fn(&crate::seen::PairSum) -> u64| pairs.iter().map(of).sum();
        (sum(&|pair| pair.connections), sum(&|pair| pair.blocked_flows), sum(&|pair| pair.packets.iter().sum()))
    }
}

#[test]
fn rows_of_one_class_add_up_over_minutes_and_keep_their_first_and_last() {
    let mut ground = Ground::new();
    for second in [0, 10, 120] {
        ground.store.keep(at(second), &[row(second, 5432, Reason::Rule, 2)], &Told::default(), None).unwrap();
    }
    let rows = ground.store.rows(&Asked::since(at(0))).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0], Row { minute: 0, flows: 6, last: at(120), ..row(0, 5432, Reason::Rule, 2) });
    let later = ground.store.rows(&Asked::since(at(60))).unwrap();
    assert_eq!(later[0].flows, 2, "only the minutes that were asked for");
}

#[test]
fn what_no_event_told_is_a_row_without_addresses_and_is_told_once() {
    let mut ground = Ground::new();
    let rows = [row(0, 22, Reason::NoRule, 3), row(0, 5432, Reason::Rule, 1)];
    let settled = (at(0), told(5, 100));
    ground.store.keep(at(5), &rows, &told(5, 100), Some(&settled)).unwrap();
    ground.store.keep(at(10), &[], &told(5, 100), Some(&settled)).unwrap();
    let mut flows = ground.flows();
    flows.sort_by_key(|(port, reason, _)| (*port, *reason as u8));
    let expected = [
        (None, Reason::Rule, 4),
        (None, Reason::NoRule, 97),
        (Some(22), Reason::NoRule, 3),
        (Some(5432), Reason::Rule, 1),
    ];
    assert_eq!(flows, expected);
    assert_eq!(ground.sums(), (5, 100, 105), "connections, blocked ones and packets as they were counted");
}

#[test]
fn an_event_that_comes_before_its_counter_is_read_is_not_counted_again() {
    let mut ground = Ground::new();
    let before = (at(0), told(0, 1));
    ground.store.keep(at(5), &[row(1, 22, Reason::NoRule, 4)], &told(0, 4), Some(&before)).unwrap();
    let after = (at(5), told(0, 4));
    ground.store.keep(at(10), &[], &told(0, 4), Some(&after)).unwrap();
    assert_eq!(ground.flows(), [(Some(22), Reason::NoRule, 4)]);
}

#[test]
fn a_restart_goes_on_where_it_was_and_tells_what_passed_meanwhile() {
    let mut ground = Ground::new();
    ground.store.keep(at(0), &[row(0, 5432, Reason::Rule, 2)], &told(2, 0), Some(&(at(0), told(2, 0)))).unwrap();
    let (mut ground, aside) = ground.reopened(&told(7, 0));
    assert_eq!(aside, None);
    ground.store.keep(at(60), &[], &told(7, 0), None).unwrap();
    ground.store.keep(at(65), &[], &told(7, 0), Some(&(at(60), told(7, 0)))).unwrap();
    assert_eq!(ground.sums(), (7, 0, 7));
}

#[test]
fn counters_that_begin_anew_are_counted_from_nothing() {
    let mut ground = Ground::new();
    ground.store.keep(at(0), &[], &told(50, 0), Some(&(at(0), told(50, 0)))).unwrap();
    let (mut ground, _) = ground.reopened(&Told::default());
    ground.store.keep(at(60), &[], &told(3, 0), Some(&(at(60), told(3, 0)))).unwrap();
    assert_eq!(ground.sums(), (53, 0, 53));
}

#[test]
fn counters_of_a_zone_that_begin_anew_leave_those_of_the_others_alone() {
    let other = |number: u64| {
        let cell = |what| ("host".to_owned(), "internet".to_owned(), what);
        let mut told = told(5, 0);
        told.traffic.insert(cell("rule"), [number, 1]);
        told.flows.insert(cell(CONNECTIONS), number);
        told
    };
    let mut ground = Ground::new();
    assert!(!ground.store.keep(at(0), &[], &other(100), Some(&(at(0), other(100)))).unwrap());
    assert_eq!(ground.sums(), (105, 0, 105));
    // While it runs: the number of a zone was given to another.
    let anew = ground.store.keep(at(10), &[], &other(3), Some(&(at(5), other(100)))).unwrap();
    assert!(anew, "what was read before is no measure");
    ground.store.keep(at(20), &[], &other(3), Some(&(at(10), other(3)))).unwrap();
    assert_eq!(ground.sums(), (108, 0, 108));
    // And while nobody ran.
    let (mut ground, _) = ground.reopened(&other(1));
    ground.store.keep(at(60), &[], &other(2), Some(&(at(60), other(2)))).unwrap();
    assert_eq!(ground.sums(), (110, 0, 110));
}

#[test]
fn a_new_store_does_not_tell_what_was_counted_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(&dir.path().join("seen.db"), &told(1000, 0)).unwrap();
    store.keep(at(0), &[], &told(1001, 0), Some(&(at(0), told(1001, 0)))).unwrap();
    assert_eq!(Ground { dir, store }.sums(), (1, 0, 1));
}

#[test]
fn a_damaged_file_is_set_aside_and_told_and_the_history_begins_anew() {
    for damage in [&b"this is no database, whatever its name says it is"[..], &[0; 8192]] {
        let mut ground = Ground::new();
        for minute in 0..200 {
            let rows: Vec<Row> = (1..50).map(|port| row(minute * 60, port, Reason::NoRule, 1)).collect();
            ground.store.keep(at(minute * 60), &rows, &Told::default(), None).unwrap();
        }
        let path = ground.dir.path().join("seen.db");
        let Ground { dir, store } = ground;
        drop(store);
        let mut bytes = fs::read(&path).unwrap();
        assert!(bytes.len() > 65_536);
        let from = if damage[0] == 0 { 16_384 } else { 0 };
        bytes[from..from + damage.len()].copy_from_slice(damage);
        fs::write(&path, bytes).unwrap();
        let (mut store, aside) = Store::open(&path, &Told::default()).unwrap();
        let aside = aside.expect("the damage is told");
        assert!(aside.contains("was damaged") && aside.contains("seen.db.damaged"), "{aside}");
        assert!(dir.path().join("seen.db.damaged").exists());
        store.keep(at(0), &[row(0, 22, Reason::NoRule, 1)], &Told::default(), None).unwrap();
        assert_eq!(Ground { dir, store }.flows().len(), 1);
    }
}

#[test]
fn minutes_become_hours_and_a_scan_becomes_a_row_of_its_source_without_losing_a_count() {
    let mut ground = Ground::new();
    for minute in 0..60_u16 {
        let base = 1000 * minute;
        let minute = i64::from(minute);
        let scan = (1..20).map(|port| row(minute * 60, base + port, Reason::NoRule, 1));
        let steady = [row(minute * 60, 5432, Reason::Rule, 1), row(minute * 60, 5433, Reason::NoRule, 1)];
        let rows: Vec<Row> = scan.chain(steady).collect();
        ground.store.keep(at(minute * 60), &rows, &Told::default(), None).unwrap();
    }
    assert_eq!(ground.sums(), (60, 60 * 20, 0));
    ground.store.keep(at(8 * 3600), &[], &Told::default(), None).unwrap();
    assert_eq!(ground.sums(), (60, 60 * 20, 0));
    let count: i64 = ground.store.db.query_row("SELECT count(*) FROM seen", [], |row| row.get(0)).unwrap();
    assert!(count <= 2 * (2 * 64 + 2), "{count} rows in two hours");
    let allowed = ground.flows().into_iter().find(|(_, reason, _)| *reason == Reason::Rule);
    assert_eq!(allowed, Some((Some(5432), Reason::Rule, 60)));
    assert!(
        ground.flows().contains(&(Some(5433), Reason::NoRule, 60)),
        "what a scan tries once takes no room from this"
    );
}

#[test]
fn the_last_six_hours_are_kept_by_the_minute() {
    let mut ground = Ground::new();
    for second in [90 * 60, 150 * 60] {
        ground.store.keep(at(second), &[row(second, 5432, Reason::Rule, 1)], &Told::default(), None).unwrap();
    }
    ground.store.keep(at(8 * 3600), &[], &Told::default(), None).unwrap();
    let mut asked = ground.store.db.prepare("SELECT minute FROM seen ORDER BY minute").unwrap();
    let kept = asked.query_map([], |row| row.get::<_, i64>(0)).unwrap();
    let kept: Vec<i64> = kept.map(|kept| kept.unwrap() - minute(at(0))).collect();
    assert_eq!(kept, [60, 150]);
}

#[test]
fn what_is_too_old_goes_and_a_file_that_is_too_large_gives_up_its_oldest() {
    let bytes = 1 << 20;
    let bounds = Bounds { bytes, minutes_for: SignedDuration::from_hours(1000), ..Bounds::default() };
    let mut ground = Ground::bounded(bounds);
    ground.store.keep(at(-40 * 86_400), &[row(-40 * 86_400, 1, Reason::NoRule, 1)], &Told::default(), None).unwrap();
    for minute in 0..60 {
        let rows: Vec<Row> = (1..=1000).map(|port| row(minute * 60, port, Reason::NoRule, 1)).collect();
        ground.store.keep(at(minute * 60), &rows, &Told::default(), None).unwrap();
    }
    let size = fs::metadata(ground.dir.path().join("seen.db")).unwrap().len();
    assert!(size <= 5 * bytes.cast_unsigned() / 4, "{size} bytes");
    let oldest = ground.store.oldest().unwrap().unwrap();
    assert!(oldest > at(0), "the oldest went: {oldest}");
    let newest = ground.store.rows(&Asked::since(at(59 * 60))).unwrap();
    assert_eq!(newest.len(), 1000, "the newest stayed");
}
