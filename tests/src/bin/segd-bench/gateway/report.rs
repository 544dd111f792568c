//! The gateway's section of `BENCHMARKS.md`. It never rounds in our favour, and names whoever could not be measured.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::candidate::Candidate;
use super::throughput::ratios;
use super::traffic::Traffic;
use super::{Compared, Found};
use crate::measure::Series;

const METHOD: &str = include_str!("method.md");
/// What targets speak of.
const OURS: Candidate = Candidate::Segd("xdp");
const PEER: Candidate = Candidate::NftMaps;

/// The whole section.
pub(crate) fn section(found: &Found) -> Result<String> {
    let mut out = String::from(METHOD);
    for compared in &found.policies {
        costs(&mut out, compared)?;
        together(&mut out, compared)?;
    }
    writeln!(out, "\n| target | policy | seen: median (range) | limit | |\n|---|---|---|---|---|")?;
    for compared in &found.policies {
        targets(&mut out, compared)?;
    }
    tcp(&mut out, found)?;
    Ok(out)
}

fn costs(out: &mut String, compared: &Compared) -> Result<()> {
    let size = compared.size;
    writeln!(out, "\n{} prefixes, {} zones, {} rules:\n", size.prefixes, size.zones, size.rules)?;
    writeln!(out, "| CPU ns a packet: median (range); million packets a second of one CPU | {} |", titles())?;
    writeln!(out, "|---|---|---|---|")?;
    for candidate in Candidate::ALL {
        if let Some((_, why)) = compared.absent.iter().find(|(absent, _)| *absent == candidate) {
            let why = why.replace(['\n', '|'], " ");
            writeln!(out, "| {candidate} | could not be measured: {why} | | |")?;
            continue;
        }
        let cells = Traffic::ALL.map(|traffic| {
            let cost = series(compared.rounds(candidate, traffic).iter().copied());
            let (median, (low, high)) = (cost.median(), cost.spread());
            format!("{median:.0} ({low:.0} to {high:.0}); {:.2}", 1e3 / median)
        });
        writeln!(out, "| {candidate} | {} |", cells.join(" | "))?;
    }
    Ok(())
}

fn together(out: &mut String, compared: &Compared) -> Result<()> {
    if compared.cpus < 2 {
        return Ok(());
    }
    let cpus = compared.cpus;
    writeln!(
        out,
        "\n| packets a second of {cpus} CPUs, times one's: median (range) | {} |\n|---|---|---|---|",
        titles()
    )?;
    for candidate in Candidate::ALL {
        let of = |traffic| {
            let found = compared.together.iter().find(|one| one.candidate == candidate && one.traffic == traffic)?;
            let rounds = series(found.rounds.iter().copied());
            let (low, high) = rounds.spread();
            Some(format!("{:.2} ({low:.2} to {high:.2})", rounds.median()))
        };
        let cells: Option<Vec<String>> = Traffic::ALL.into_iter().map(of).collect();
        if let Some(cells) = cells {
            writeln!(out, "| {candidate} | {} |", cells.join(" | "))?;
        }
    }
    Ok(())
}

fn titles() -> String {
    Traffic::ALL.map(Traffic::title).join(" | ")
}

/// A target: what it says, what was seen, and its limit.
struct Row {
    says: &'static str,
    seen: Series,
    limit: f64,
    /// Reached from the limit on; else up to it.
    at_least: bool,
}

fn targets(out: &mut String, compared: &Compared) -> Result<()> {
    let cost = |candidate, traffic| compared.rounds(candidate, traffic);
    let quotient = |traffic| ratios(cost(PEER, traffic), cost(OURS, traffic));
    let net = |candidate, traffic, than: Candidate| {
        let pairs = cost(candidate, traffic).iter().zip(cost(than, traffic));
        pairs.map(|(gross, floor)| gross - floor).collect::<Vec<_>>()
    };
    let added = |candidate| net(candidate, Traffic::Established, Candidate::Nothing);
    let work = |candidate| net(candidate, Traffic::Flood, Candidate::Floor);
    let (flood, new) = if compared.size.zones < 50 { (7.0, 1.6) } else { (9.0, 2.2) };
    let rows = [
        Row {
            says: "T1: denied flood, times nftables' packets a second",
            seen: quotient(Traffic::Flood),
            limit: flood,
            at_least: true,
        },
        Row {
            says: "T1: the work itself, without the floor, of nftables'",
            seen: ratios(&work(OURS), &work(PEER)),
            limit: 1.0 / 20.0,
            at_least: false,
        },
        Row {
            says: "T4: new flows, times as many a second as nftables",
            seen: quotient(Traffic::New),
            limit: new,
            at_least: true,
        },
        Row {
            says: "T11: established by the shortcut, of no filter's cost",
            seen: ratios(
                cost(Candidate::Shortcut, Traffic::Established),
                cost(Candidate::Nothing, Traffic::Established),
            ),
            limit: 0.5,
            at_least: false,
        },
        Row {
            says: "T11: established by the shortcut, of nftables' cost",
            seen: ratios(cost(Candidate::Shortcut, Traffic::Established), cost(PEER, Traffic::Established)),
            limit: 1.0 / 3.0,
            at_least: false,
        },
        Row {
            says: "T5: established, added to no filter, of what nftables adds",
            seen: ratios(&added(OURS), &added(PEER)),
            limit: 0.5,
            at_least: false,
        },
    ];
    for row in rows {
        let policy = format!("{} zones, {} rules", compared.size.zones, compared.size.rules);
        line(out, &row, &policy)?;
    }
    Ok(())
}

fn line(out: &mut String, row: &Row, policy: &str) -> Result<()> {
    let Row { says, seen, limit, at_least } = row;
    let (median, (low, high)) = (seen.median(), seen.spread());
    let words = if *at_least { "at least" } else { "at most" };
    let reached = if *at_least { median >= *limit } else { median <= *limit };
    let verdict = match median.is_nan() {
        true => "**not measured**",
        false if reached => "reached",
        false => "**not reached**",
    };
    writeln!(out, "| {says} | {policy} | {median:.2} ({low:.2} to {high:.2}) | {words} {limit:.2} | {verdict} |")?;
    Ok(())
}

fn tcp(out: &mut String, found: &Found) -> Result<()> {
    let seen = &found.throughput.seen;
    let bare = seen.first().context("nothing was measured without a filter")?;
    let ours = seen.last().context("segd was not measured")?;
    let policy = found.policies.first().map(|first| format!("{} zones, {} rules", first.size.zones, first.size.rules));
    for (says, ours, bare, limit, at_least) in [
        ("T6: TCP by `hook: auto`, of no filter's throughput", &ours.gigabits, &bare.gigabits, 0.95, true),
        ("T6: its 99th percentile of round trips, of no filter's", &ours.p99, &bare.p99, 1.1, false),
    ] {
        let row = Row { says, seen: ratios(ours, bare), limit, at_least };
        line(out, &row, policy.as_deref().unwrap_or_default())?;
    }
    writeln!(out, "\nTCP through two veth interfaces, medians (range):\n")?;
    writeln!(
        out,
        "| | Gbit/s | round trip, median µs | round trip, 99th percentile µs | connections a second |\n|---|---|---|---|---|"
    )?;
    for one in seen {
        let cells =
            [(&one.gigabits, 1), (&one.median, 1), (&one.p99, 1), (&one.connections, 0)].map(|(rounds, digits)| {
                let all = series(rounds.iter().copied());
                let (low, high) = all.spread();
                format!("{:.digits$} ({low:.digits$} to {high:.digits$})", all.median())
            });
        writeln!(out, "| {} | {} |", one.name, cells.join(" | "))?;
    }
    Ok(())
}

fn series(values: impl Iterator<Item = f64>) -> Series {
    let mut series = Series::default();
    values.for_each(|value| series.push(value));
    series
}
