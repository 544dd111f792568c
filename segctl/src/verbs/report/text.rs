//! The report for a terminal.

use segd::api::types::{Amiss, Report, Shadowed};

use crate::table::{Grid, cell};
use crate::verbs::{flows, matrix, rules};
use crate::words::{Page, Tone, moment, number_of};

/// Everything, section by section.
pub(super) fn told(report: &Report, page: &Page) -> String {
    let parts = [
        head(report, page),
        amiss("Amiss", &report.amiss, "nothing"),
        amiss("Drift", &report.drift, "none: the files on the disk are what the kernel enforces"),
        titled("Coverage", &coverage(report)),
        titled(&format!("Zones, packets since {}", moment(report.since, page)), &matrix::table(&report.matrix, page)),
        titled("Rules", &rules::text(&report.rules, page)),
        titled("To look after", &to_look_after(report, page)),
        titled(&format!("Blocked most since {}", moment(report.since, page)), &blocked(report, page)),
    ];
    parts.join("\n\n")
}

fn titled(title: &str, text: &str) -> String {
    format!("{}\n{text}", Tone::Head.paint(title))
}

fn head(report: &Report, page: &Page) -> String {
    format!(
        "segd report of {}: {}\n  generation {}, put in force {}; mode {}; {}\n  files in force: sha256 {}",
        moment(report.time, page),
        report.state,
        report.generation,
        moment(report.applied, page),
        report.mode,
        report.config,
        report.etag
    )
}

fn amiss(title: &str, found: &[Amiss], none: &str) -> String {
    let lines: Vec<String> = found
        .iter()
        .map(|amiss| format!("{} {}\n    mend: {}", Tone::Bad.paint("!"), amiss.what, amiss.mend))
        .collect();
    titled(title, if lines.is_empty() { none.to_owned() } else { lines.join("\n") }.as_str())
}

/// In words, with the share that is enforced.
pub(super) fn coverage(report: &Report) -> String {
    let segd::api::types::Coverage { enforced, audited, open } = report.coverage;
    let pairs = enforced + audited + open;
    let percent = (enforced * 100).checked_div(pairs).unwrap_or(0);
    format!(
        "{enforced} of {} of zones enforced ({percent}%), {audited} only audited, {open} open to every service",
        number_of(pairs, "pair")
    )
}

fn to_look_after(report: &Report, page: &Page) -> String {
    let list = |title: &str, ids: &[String]| (!ids.is_empty()).then(|| format!("{title}: {}", ids.join(", ")));
    let shadowed = |Shadowed { id, by }: &Shadowed| match by.as_slice() {
        [] => format!("shadowed: {id}, by intra_zone: allow"),
        by => format!("shadowed: {id}, by {}", by.join(", ")),
    };
    let lines: Vec<String> = [
        list("expired", &report.expired),
        list(&format!("ending before {}", moment(report.until, page)), &report.expiring),
        list(&format!("unused since {}", moment(report.since, page)), &report.unused),
    ]
    .into_iter()
    .flatten()
    .chain(report.shadowed.iter().map(shadowed))
    .collect();
    if lines.is_empty() { "no rule".to_owned() } else { lines.join("\n") }
}

fn blocked(report: &Report, page: &Page) -> String {
    if report.blocked.is_empty() {
        return match report.seen_since {
            None => "nothing is known: the history of what was seen is empty".to_owned(),
            Some(_) => "nothing".to_owned(),
        };
    }
    let mut grid = Grid::new(&[">COUNT", "INITIATOR", "RESPONDER", "SERVICE", "REASON", "LAST"], page);
    for flow in &report.blocked {
        grid.row(vec![
            cell(flow.connections.unwrap_or(1)),
            cell(flows::end(&flow.src, &flow.from_zone)),
            cell(flows::end(&flow.dst, &flow.to_zone)),
            cell(flows::service(flow)),
            cell(&flow.reason),
            cell(moment(flow.time, page)),
        ]);
    }
    grid.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::report::sample::report;

    #[test]
    fn an_auditor_finds_approvals_ends_coverage_and_what_was_blocked() {
        let shown = anstream::adapter::strip_str(&told(&report(), &Page::sample())).to_string();
        for part in [
            "segd report of 2026-11-23 20:00:00: enforcing",
            "files in force: sha256 5f2b",
            "Drift\n! /etc/segd/zones.yaml was changed on the disk and is not in force like that\n    mend: ",
            "10 of 16 pairs of zones enforced (62%), 4 only audited, 2 open to every service",
            "dev-reads-ledger",
            "finance-lead@example.com; SEC-142",
            "ending before 2026-12-23 20:00:00: dev-reads-ledger",
            "unused since 2026-10-24 20:00:00: old-one",
            "shadowed: old-one, by dev-reads-ledger",
            "  512  10.30.0.5 (dev)  10.20.0.10 (accounting)  tcp/22   no-rule  2026-11-23 19:59:58",
        ] {
            assert!(shown.contains(part), "{part}\n---\n{shown}");
        }
    }
}
