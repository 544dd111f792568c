//! Odd and hostile frames on the second ground: sent over a wire into the loaded programs, at every kind of hook.

use std::collections::BTreeMap;

use anyhow::Result;
use segd_common::reason::Reason;
use segd_tests::lab::{Lab, Metrics, Port, Zones};
use segd_tests::needs_root;
use segd_tests::rows::{self, Expected, Row};

#[test]
fn every_odd_frame_gets_its_verdict_from_tc() -> Result<()> {
    needs_root!();
    every_frame_gets_its_verdict("tc")
}

#[test]
fn every_odd_frame_gets_its_verdict_from_xdp() -> Result<()> {
    needs_root!();
    every_frame_gets_its_verdict("xdp")
}

#[test]
fn every_odd_frame_gets_its_verdict_from_generic_xdp() -> Result<()> {
    needs_root!();
    every_frame_gets_its_verdict("xdp-generic")
}

fn every_frame_gets_its_verdict(hook: &'static str) -> Result<()> {
    let lab = Lab::enforcing(Zones::new().hooks(hook).rule("open", "dev", "accounting", "tcp/5432, udp/5432"))?;
    lab.office.know_each_other()?;
    // Answers would be counted too: the server keeps them to itself.
    lab.office
        .accounting
        .net
        .nft("table inet quiet { chain out { type filter hook output priority 0; policy drop; }; }")?;
    let dev = Port::open(&lab.office.dev.net, "eth0")?;
    let mut wrong = Vec::new();
    let mut before = lab.metrics()?;
    for row in rows::all() {
        dev.send(&row.frame)?;
        let now = lab.metrics()?;
        let moved = now.since(&before);
        if !is_right(&row, &moved) {
            wrong.push(format!("{}: expected {:?}, moved {:?}", row.what, row.expected, told(&moved)));
        }
        before = now;
    }
    assert!(wrong.is_empty(), "{} frames got something else at {hook}:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// Whether exactly the counters moved that this row has to move.
fn is_right(row: &Row, moved: &Metrics) -> bool {
    let dropped = |reason: Reason| reasons(moved) == BTreeMap::from([(reason.name().to_owned(), 1)]);
    let allowed =
        moved.count("segd_packets_total", &[("from_zone", "dev"), ("to_zone", "accounting"), ("verdict", "allow")]);
    match row.expected {
        Expected::Same => allowed == 1 && reasons(moved).is_empty(),
        Expected::Drop(reason) => allowed == 0 && dropped(reason),
        Expected::DropEither(one, other) => allowed == 0 && (dropped(one) || dropped(other)),
    }
}

/// Dropped packets by reason, whatever the zones.
fn reasons(moved: &Metrics) -> BTreeMap<String, u64> {
    let counts =
        Reason::ALL.map(|reason| (reason.name(), moved.count("segd_drops_total", &[("reason", reason.name())])));
    counts.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name.to_owned(), count)).collect()
}

fn told(moved: &Metrics) -> Vec<String> {
    moved.0.iter().map(|(series, by)| format!("{series} +{by}")).collect()
}
