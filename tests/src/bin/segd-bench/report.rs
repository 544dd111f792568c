//! `BENCHMARKS.md`: the machine, the tables, and for each target whether it was reached. It never rounds in our favour.

use std::fmt::Write;

use anyhow::Result;
use jiff::Timestamp;

use crate::Measured;
use crate::footprint::Footprint;
use crate::measure::{Cost, Effort};
use crate::path::Kind;

const METHOD: &str = include_str!("method.md");

/// The whole file.
pub(crate) fn markdown(results: &[Measured], footprint: &Footprint, effort: Effort) -> Result<String> {
    let mut out = String::from(METHOD);
    writeln!(out, "\n## Machine\n\n{}\n", machine(effort)?)?;
    writeln!(out, "## The packet path\n")?;
    writeln!(out, "| policy | path | family | net, empty programs: median (range) | net ns | target | |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for (size, blocks) in results {
        for block in blocks {
            for cost in &block.costs {
                let half_insert = block.insert.median() / 2.0;
                let policy = format!("{} prefixes, {} zones, {} rules", size.prefixes, size.zones, size.rules);
                writeln!(out, "| {policy} | {}", row(cost, half_insert))?;
            }
        }
    }
    families(&mut out, results)?;
    scales(&mut out, results)?;
    weight(&mut out, footprint)?;
    Ok(out)
}

fn row(cost: &Cost, half_insert: f64) -> String {
    let (id, target) = match cost.way.kind {
        Kind::Established(flows) if flows <= 1 << 10 => ("T2", 1.2),
        Kind::Established(_) => ("T2", 6.0),
        Kind::Denied => ("T3", 1.5),
        Kind::New => ("T4, half an LRU insertion", half_insert),
    };
    let family = if cost.way.v6 { "IPv6" } else { "IPv4" };
    let (median, (low, high)) = (cost.ratio.median(), cost.ratio.spread());
    let (path, nanos, verdict) = (title(cost.way.kind), cost.nanos.median(), verdict(median, target));
    format!("{path} | {family} | {median:.2} ({low:.2} to {high:.2}) | {nanos:.0} | {id}: {target:.1} | {verdict} |")
}

fn title(kind: Kind) -> String {
    match kind {
        Kind::Established(flows) => format!("established, {flows} flows"),
        Kind::Denied => "default deny, random sources".to_owned(),
        Kind::New => "new flow, full table".to_owned(),
    }
}

fn verdict(value: f64, limit: f64) -> &'static str {
    if value <= limit { "reached" } else { "**not reached**" }
}

fn families(out: &mut String, results: &[Measured]) -> Result<()> {
    writeln!(out, "\nIPv6 against IPv4 (T10: at most 1.5):\n")?;
    for (size, blocks) in results {
        for pair in blocks.iter().flat_map(|block| block.costs.chunks(2)) {
            if let [v4, v6] = pair {
                let ratio = v6.ratio.median() / v4.ratio.median();
                let (path, verdict) = (title(v4.way.kind), verdict(ratio, 1.5));
                writeln!(out, "- {} prefixes, {path}: {ratio:.2}, {verdict}", size.prefixes)?;
            }
        }
    }
    Ok(())
}

fn scales(out: &mut String, results: &[Measured]) -> Result<()> {
    writeln!(out, "\nThe yardsticks of each block of rounds:\n")?;
    for (size, blocks) in results {
        for block in blocks {
            let ((low, high), insert) = (block.empty.spread(), block.insert.median());
            let empty = block.empty.median();
            writeln!(
                out,
                "- {} prefixes: empty program {empty:.1} ns ({low:.1} to {high:.1}); insertion into a full LRU hash of \
                 2^18 keys {insert:.1} empty programs",
                size.prefixes
            )?;
        }
    }
    Ok(())
}

fn weight(out: &mut String, footprint: &Footprint) -> Result<()> {
    let Footprint { published, spread, resident_kb, peak_kb } = footprint;
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let both = ms(published.compile + published.publish);
    writeln!(out, "\n## A policy of 10,000 prefixes and 10,000 rules in 100 zones\n")?;
    writeln!(out, "| what | seen | limit | |\n|---|---|---|---|")?;
    writeln!(
        out,
        "| compile and publish, median of 7 (range) | {both:.0} ms ({:.0} to {:.0}): compile {:.0}, publish {:.0} \
         | 1,000 ms | {} |",
        ms(spread.0),
        ms(spread.1),
        ms(published.compile),
        ms(published.publish),
        verdict(both, 1000.0)
    )?;
    let all = both + ms(published.read);
    writeln!(
        out,
        "| the same with reading and checking the zone file | {all:.0} ms | 1,000 ms | {} |",
        verdict(all, 1000.0)
    )?;
    let megabytes = resident_kb / 1024.0;
    let peak = peak_kb / 1024.0;
    writeln!(
        out,
        "| daemon's resident memory, once it enforces | {megabytes:.0} MB | 200 MB | {} |",
        verdict(megabytes, 200.0)
    )?;
    writeln!(out, "| its peak while it started | {peak:.0} MB | 200 MB | {} |", verdict(peak, 200.0))?;
    writeln!(out, "\nThe image has {} pages of 1 KiB.", published.pages)?;
    Ok(())
}

fn machine(effort: Effort) -> Result<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let count = std::thread::available_parallelism()?;
    let kernel = read("/proc/sys/kernel/osrelease");
    let virtual_machine = if cpus.contains(" hypervisor") { ", a virtual machine" } else { "" };
    Ok(format!(
        "{} ({count} CPUs{virtual_machine}), Linux {}, {}. {} rounds of {} packets.",
        model.trim_start_matches(['\t', ' ', ':']),
        kernel.trim(),
        Timestamp::now().strftime("%Y-%m-%d"),
        effort.rounds,
        effort.repeat
    ))
}
