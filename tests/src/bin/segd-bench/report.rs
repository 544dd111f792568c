//! `BENCHMARKS.md`: the machine, the tables, and for each target whether it was reached. It never rounds in our favour.

use std::fmt::Write;

use anyhow::Result;
use jiff::Timestamp;

use crate::Measured;
use crate::footprint::Footprint;
use crate::ground::Published;
use crate::measure::{Cost, Effort};
use crate::path::{FRAGMENTED, Kind};
use crate::policy::Size;
use crate::reload::Reload;
use crate::scaling::{Axis, Point, growth};

const METHOD: &str = include_str!("method.md");

/// How it is measured, and on what.
pub(crate) fn head(effort: Effort) -> Result<String> {
    Ok(format!("{METHOD}\n## Machine\n\n{}\n", machine(effort)?))
}

/// The packet path under two policies.
pub(crate) fn path(results: &[Measured]) -> Result<String> {
    let mut out = String::new();
    writeln!(out, "\n## The packet path\n")?;
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
    yardsticks(&mut out, results)?;
    Ok(out)
}

fn row(cost: &Cost, half_insert: f64) -> String {
    let (id, target) = match cost.way.kind {
        Kind::Established(flows) | Kind::Reply(flows) if flows <= 1 << 10 => ("T2", Some(1.2)),
        Kind::Established(_) | Kind::Reply(_) => ("T2", Some(6.0)),
        Kind::Denied => ("T3", Some(1.5)),
        Kind::New => ("T4, half an LRU insertion", Some(half_insert)),
        Kind::Fragment | Kind::Watched => ("", None),
    };
    let told = target.map_or_else(
        || " | ".to_owned(),
        |target| format!("{id}: {target:.1} | {}", verdict(cost.ratio.median(), target)),
    );
    let family = if cost.way.v6 { "IPv6" } else { "IPv4" };
    let (median, (low, high)) = (cost.ratio.median(), cost.ratio.spread());
    let (path, nanos) = (title(cost.way.kind), cost.nanos.median());
    format!("{path} | {family} | {median:.2} ({low:.2} to {high:.2}) | {nanos:.0} | {told} |")
}

/// What a path is called.
pub(crate) fn title(kind: Kind) -> String {
    match kind {
        Kind::Established(flows) => format!("established, {flows} flows"),
        Kind::Reply(flows) => format!("replies, {flows} flows"),
        Kind::Fragment => format!("first fragments, {FRAGMENTED} flows"),
        Kind::Denied => "default deny, random sources".to_owned(),
        Kind::Watched => "default deny, only watched (audit)".to_owned(),
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

fn yardsticks(out: &mut String, results: &[Measured]) -> Result<()> {
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

const SCALING: &str = "
## What grows with the policy

One size at a time; where nothing else is said there are 1,000 prefixes, 50 zones, 500 rules and 1,024 live connections of each
family (along *rules* and *zones* 10,000 prefixes, and 1,000 zones or 1,000 rules). Prefixes are of all lengths, one in another,
and services come in the mix that `ClassBench` found in access lists: one port, a range, all low ones, all high ones, any. Net
nanoseconds a packet, with the multiple of an empty program. *Image* is what the policy takes in the kernel; the map has room
for twice that and a change. *One rule* is another port in one rule: compiling everything, and publishing what changed.

";

/// The packet path and a change along one size at a time.
pub(crate) fn scale(points: &[Point]) -> Result<String> {
    let mut out = String::from(SCALING);
    writeln!(
        out,
        "| | established, IPv4 | IPv6 | default deny, IPv4 | IPv6 | new flow, IPv4 | image | compile + publish | one rule |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|")?;
    for point in points {
        let costs = point.costs.iter().flat_map(|block| &block.costs);
        let costs: Vec<String> =
            costs.map(|cost| format!("{:.0} ({:.1})", cost.nanos.median(), cost.ratio.median())).collect();
        let both = |published: &Published| format!("{:.0} + {:.1} ms", ms(published.compile), ms(published.publish));
        writeln!(
            out,
            "| {} {} | {} | {:.1} MB | {} | {} |",
            thousands(point.count),
            point.axis.name(),
            costs.join(" | "),
            f64::from(point.published.pages) / 1024.0,
            both(&point.published),
            both(&point.changed)
        )?;
    }
    writeln!(out, "\n| target | seen | limit | |\n|---|---|---|---|")?;
    for axis in [Axis::Rules, Axis::Zones] {
        let counts = || points.iter().filter(|point| point.axis == axis).map(|point| point.count);
        let (Some(least), Some(most)) = (counts().min(), counts().max()) else { continue };
        let name = format!("{} to {} {}", thousands(least), thousands(most), axis.name());
        let paths = ["established, IPv4", "established, IPv6", "default deny, IPv4", "default deny, IPv6"];
        for (place, path) in paths.iter().enumerate() {
            let seen = growth(points, axis, |point| point.costs[0].costs[place].nanos.median());
            writeln!(out, "| T7: {path}, {name}, times the smallest | {seen:.2} | 2.00 | {} |", verdict(seen, 2.0))?;
        }
        let seen = growth(points, axis, |point| point.costs[1].costs[0].nanos.median());
        writeln!(out, "| T7: new flow, {name}, times the smallest | {seen:.2} | 2.00 | {} |", verdict(seen, 2.0))?;
    }
    let at = |axis, count| points.iter().find(|point| point.axis == axis && point.count == count);
    for (axis, count, place, limit, name) in [
        (Axis::Flows, 1 << 20, 0, 10.0, "T2: established, 1M live connections, empty programs"),
        (Axis::Prefixes, 100_000, 2, 12.0, "T3: default deny, 100,000 prefixes, empty programs"),
        (Axis::Prefixes, 1_000_000, 2, 20.0, "T3: default deny, 1,000,000 prefixes, empty programs"),
    ] {
        let Some(point) = at(axis, count) else { continue };
        let seen = point.costs[0].costs[place].ratio.median();
        writeln!(out, "| {name} | {seen:.1} | {limit:.1} | {} |", verdict(seen, limit))?;
    }
    if let Some(point) = at(Axis::Rules, 100_000) {
        let (compile, publish) = (ms(point.published.compile), ms(point.changed.publish));
        writeln!(out, "| T8: 100,000 rules compiled | {compile:.0} ms | 2,000 ms | {} |", verdict(compile, 2000.0))?;
        writeln!(out, "| T8: one of them changed, published | {publish:.1} ms | 50 ms | {} |", verdict(publish, 50.0))?;
    }
    for (count, limit, name) in [(10, 0.5, "an office: 5 zones, 12 rules"), (1_000_000, 64.0, "1,000,000 prefixes")] {
        let Some(point) = at(Axis::Prefixes, count) else { continue };
        let seen = f64::from(point.published.pages) / 1024.0;
        writeln!(out, "| T9: image of {name} | {seen:.2} MB | {limit} MB | {} |", verdict(seen, limit))?;
    }
    Ok(out)
}

/// Digits in groups of three.
fn thousands(count: usize) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

fn ms(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Large policies in the real daemon.
pub(crate) fn weight(all: &[Footprint]) -> Result<String> {
    let mut out = String::from("\n## Large policies in the daemon\n\n");
    writeln!(
        out,
        "| policy | read and check | compile | publish | together | resident, once it enforces | peak | image | limits | |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
    for Footprint { size, published, spread, resident_kb, peak_kb, limits } in all {
        let Size { prefixes, zones, rules, .. } = size;
        let together = ms(published.read + published.compile + published.publish);
        let (resident, peak) = (resident_kb / 1024.0, peak_kb / 1024.0);
        let reached = if together <= limits.ms && resident <= limits.megabytes { "reached" } else { "**not reached**" };
        writeln!(
            out,
            "| {} prefixes, {zones} zones, {} rules | {:.0} ms | {:.0} ms | {:.0} ms | {together:.0} ms (the last two: {:.0} to \
             {:.0}) | {resident:.0} MB | {peak:.0} MB | {:.0} MB | {:.0} ms, {:.0} MB | {reached} |",
            thousands(*prefixes),
            thousands(*rules),
            ms(published.read),
            ms(published.compile),
            ms(published.publish),
            ms(spread.0),
            ms(spread.1),
            f64::from(published.pages) / 1024.0,
            limits.ms,
            limits.megabytes
        )?;
    }
    Ok(out)
}

/// One changed rule beside nftables.
pub(crate) fn reload(all: &[Reload]) -> Result<String> {
    let mut out = String::from(
        "\nOne rule changed, milliseconds, median (range): segd from the text to the kernel; `nft -f` of the whole file in its best\n\
         form (see below), in one transaction; and `nft add element` or `delete element` of what differs.\n\n\
         | policy | segd, the whole text | nftables, the whole file | nftables, one element |\n|---|---|---|---|\n",
    );
    for Reload { size, segd, file, element } in all {
        let cells = [segd, file, element].map(|series| {
            let (low, high) = series.spread();
            format!("{:.0} ({low:.0} to {high:.0})", series.median())
        });
        let Size { prefixes, zones, rules, .. } = size;
        let (prefixes, rules) = (thousands(*prefixes), thousands(*rules));
        writeln!(out, "| {prefixes} prefixes, {zones} zones, {rules} rules | {} |", cells.join(" | "))?;
    }
    Ok(out)
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
