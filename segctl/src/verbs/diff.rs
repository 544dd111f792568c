//! `segctl diff`: what a zone file would newly let through, and newly block.

use std::path::PathBuf;
use std::process::ExitCode;

use segd::api::types::{DiffLine, DiffReport, WouldCut};

use crate::cli::Session;
use crate::client::Call;
use crate::failure::NO;
use crate::table::{Grid, cell, toned};
use crate::verbs::flows;
use crate::words::{Page, Tone, moment, number_of};

/// Lines of each kind that a preview shows.
const PREVIEWED: usize = 20;

/// What would newly pass or newly fail if a zone file were in force
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status 0: nothing would change; 1: something would.\n\nExamples:\n  segctl diff new-zones.yaml"
)]
pub(crate) struct Args {
    /// A zone file; the drop-ins in force are counted in
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Asks, shows, and exits with the answer.
pub(crate) async fn run(args: &Args, session: &Session) -> anyhow::Result<ExitCode> {
    let policy = super::read_policy(&args.file)?;
    let report: DiffReport = session.client.send(Call::post("/v1/diff").json(&policy)?).await?.body;
    session.screen.show(&report, |report, page| text(report, page, &args.file.display().to_string()))?;
    let same = report.newly_pass.is_empty() && report.newly_fail.is_empty() && report.besides.is_empty();
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

fn text(report: &DiffReport, page: &Page, file: &str) -> String {
    let DiffReport { newly_pass, newly_fail, besides, would_cut } = report;
    let last = format!("{}\n  to put it in force: segctl apply {file}", besides_told(besides));
    match (newly_pass.is_empty() && newly_fail.is_empty(), besides.is_empty()) {
        (true, true) => return format!("{file} lets pass exactly what passes now"),
        (true, false) => return format!("between zones {file} lets pass exactly what passes now{last}"),
        (false, _) => {}
    }
    let mut grid = Grid::new(&["", "FROM", "TO", "SERVICE", "RULE"], page);
    rows(&mut grid, newly_pass, "+ would pass", Tone::Good);
    rows(&mut grid, newly_fail, "- would fail", Tone::Bad);
    let (pass, fail) = (newly_pass.len(), newly_fail.len());
    let cut = would_cut.as_ref().map(|cut| met(cut, "it would cut", page)).unwrap_or_default();
    format!("{}\n\n{cut}{pass} would newly pass, {fail} would newly fail{last}", grid.text())
}

/// A line each, indented.
fn besides_told(besides: &[String]) -> String {
    besides.iter().fold(String::new(), |told, line| told + "\n  " + &Tone::Bad.paint(line))
}

/// What `apply` is about to change, in words, for whoever is about to do it.
pub(super) fn preview(report: &DiffReport, page: &Page) -> String {
    let DiffReport { newly_pass, newly_fail, besides, would_cut } = report;
    let besides_told = besides_told(besides);
    match (newly_pass.is_empty() && newly_fail.is_empty(), besides.is_empty()) {
        (true, true) => return "it lets pass exactly what passes now".into(),
        (true, false) => return format!("between zones it lets pass exactly what passes now{besides_told}"),
        (false, _) => {}
    }
    let mut grid = Grid::new(&["", "FROM", "TO", "SERVICE", "RULE"], page);
    rows(&mut grid, &newly_pass[..newly_pass.len().min(PREVIEWED)], "+ newly passes", Tone::Good);
    rows(&mut grid, &newly_fail[..newly_fail.len().min(PREVIEWED)], "- newly fails", Tone::Bad);
    let left_out = newly_pass.len().saturating_sub(PREVIEWED) + newly_fail.len().saturating_sub(PREVIEWED);
    let more = if left_out == 0 { String::new() } else { format!("\n  and {left_out} more: segctl diff lists them") };
    let cut = would_cut.as_ref().map(|cut| format!("\n{}", met(cut, "it cuts", page))).unwrap_or_default();
    format!("{}{more}{besides_told}\n{cut}", grid.text())
}

/// Whom of those who were seen it meets.
fn met(cut: &WouldCut, verb: &str, page: &Page) -> String {
    let WouldCut { since, connections, flows } = cut;
    let shown = &flows[..flows.len().min(PREVIEWED)];
    let latest =
        if shown.iter().filter_map(|flow| flow.connections).sum::<u64>() < *connections { "; the latest" } else { "" };
    format!(
        "of what was seen since {} {} {}{latest}:\n\n{}\n\n",
        moment(*since, page),
        Tone::Bad.paint(verb),
        number_of(*connections as usize, "connection"),
        flows::past_table(shown, page)
    )
}

fn rows(grid: &mut Grid, lines: &[DiffLine], sign: &str, tone: Tone) {
    for line in lines {
        let rule = line.rule.as_deref().unwrap_or("-");
        grid.row(vec![toned(sign, tone), cell(&line.from_zone), cell(&line.to_zone), cell(&line.service), cell(rule)]);
    }
}

#[cfg(test)]
mod tests {
    use segd::api::types::FlowLine;

    use super::*;

    fn line(service: &str, rule: &str) -> DiffLine {
        DiffLine {
            from_zone: "dev".into(),
            to_zone: "accounting".into(),
            service: service.into(),
            rule: Some(rule.into()),
        }
    }

    #[test]
    fn what_would_change_is_listed_and_summed_up() {
        let report = DiffReport {
            newly_pass: vec![line("tcp/22", "disk-swap")],
            newly_fail: vec![line("tcp/8000-8010", "dev-reads-ledger")],
            besides: vec!["wan0 would be guarded".into()],
            would_cut: None,
        };
        let shown = anstream::adapter::strip_str(&text(&report, &Page::sample(), "new.yaml")).to_string();
        assert_eq!(
            shown,
            "              FROM  TO          SERVICE        RULE
+ would pass  dev   accounting  tcp/22         disk-swap
- would fail  dev   accounting  tcp/8000-8010  dev-reads-ledger

1 would newly pass, 1 would newly fail
  wan0 would be guarded
  to put it in force: segctl apply new.yaml"
        );
    }

    #[test]
    fn whom_it_meets_is_told_with_the_time_of_the_last_connection() {
        let flow: FlowLine = serde_json::from_value(serde_json::json!({
            "time": "2026-11-23T19:59:58Z", "src": "10.30.0.5", "dst": "10.20.0.10", "proto": "tcp", "src_port": 0,
            "dst_port": 5432, "from_zone": "dev", "to_zone": "accounting", "verdict": "allow", "reason": "rule",
            "rule": "ledger", "connections": 9,
        }))
        .unwrap();
        let since = "2026-11-16T20:00:00Z".parse().unwrap();
        let cut = |connections| WouldCut { since, connections, flows: vec![flow.clone()] };
        let report = DiffReport { newly_fail: vec![line("tcp/5432", "ledger")], ..DiffReport::default() };
        let shown = |connections| {
            let report = DiffReport { would_cut: Some(cut(connections)), ..report.clone() };
            anstream::adapter::strip_str(&preview(&report, &Page::sample())).to_string()
        };
        assert_eq!(
            shown(9),
            "               FROM  TO          SERVICE   RULE
- newly fails  dev   accounting  tcp/5432  ledger

of what was seen since 2026-11-16 20:00:00 it cuts 9 connections:

LAST      COUNT  INITIATOR        RESPONDER                SERVICE   VERDICT
19:59:58      9  10.30.0.5 (dev)  10.20.0.10 (accounting)  tcp/5432  allow: ledger

"
        );
        assert!(shown(12).contains("it cuts 12 connections; the latest:"));
    }

    #[test]
    fn no_difference_is_said() {
        assert_eq!(text(&DiffReport::default(), &Page::sample(), "x"), "x lets pass exactly what passes now");
        let besides = DiffReport { besides: vec!["wan0 would be guarded".into()], ..DiffReport::default() };
        let shown = anstream::adapter::strip_str(&text(&besides, &Page::sample(), "x")).to_string();
        assert_eq!(
            shown,
            "between zones x lets pass exactly what passes now\n  wan0 would be guarded\n  to put it in force: segctl apply x"
        );
    }
}
