//! `segctl rules`: every rule, what it carried, how long it still lives, and who wanted it.

use std::process::ExitCode;

use comfy_table::Cell;
use segd::api::types::{Names, RuleView};
use segd::policy::Mode;

use crate::cli::Session;
use crate::complete;
use crate::table::{Grid, cell, fits, list, toned};
use crate::words::{Page, Tone, ago, count, left};

/// A rule that ends within this many hours is shown as a warning.
const SOON_HOURS: i64 = 72;

/// Rules with hits, last hit, time left, reason and approver
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  segctl rules\n  segctl rules --from dev --to accounting\n  \
                        segctl rules -o json | jq -r '.[] | select(.last_hit == null) | .id'")]
pub(crate) struct Args {
    /// Only rules from this zone
    #[arg(long, value_name = "ZONE", value_parser = super::zone, add = complete::zone())]
    from: Option<String>,
    /// Only rules to this zone
    #[arg(long, value_name = "ZONE", value_parser = super::zone, add = complete::zone())]
    to: Option<String>,
}

impl Args {
    fn wants(&self, rule: &RuleView) -> bool {
        let names = |wanted: &Option<String>, names: &Names| {
            wanted.as_ref().is_none_or(|zone| names.as_slice().iter().any(|name| name == zone || name == "any"))
        };
        names(&self.from, &rule.from) && names(&self.to, &rule.to)
    }
}

/// Asks and shows.
pub(crate) async fn run(args: &Args, session: &Session) -> anyhow::Result<ExitCode> {
    let mut rules: Vec<RuleView> = session.client.get("/v1/rules").await?;
    rules.retain(|rule| args.wants(rule));
    session.screen.show(&rules, |rules, page| text(rules, page))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn text(rules: &[RuleView], page: &Page) -> String {
    if rules.is_empty() {
        return "no such rule, so nothing is allowed by one\n  to allow something: segctl allow FROM TO SERVICE --reason R --approved-by A".into();
    }
    let beside = grid(rules, page, Ids::Beside);
    if fits(&beside, page) { beside } else { grid(rules, page, Ids::Above) }
}

/// Where a rule's id stands. It is never broken, so that it can be copied.
#[derive(Clone, Copy, PartialEq)]
enum Ids {
    /// In a column of its own.
    Beside,
    /// On a line of its own: the longest one left no room.
    Above,
}

fn grid(rules: &[RuleView], page: &Page, ids: Ids) -> String {
    let first = if ids == Ids::Beside { "RULE" } else { "" };
    let mut grid = Grid::new(&[first, "FROM", "TO", "SERVICES", ">HITS", "LAST HIT", "LEFT"], page);
    for rule in rules {
        grid.row(vec![
            cell(if ids == Ids::Beside { rule.id.as_str() } else { "" }),
            cell(list(rule.from.as_slice(), page.room(12), "-")),
            cell(list(rule.to.as_slice(), page.room(12), "-")),
            cell(list(&rule.services, page.room(12), "-")),
            cell(count(rule.connections)),
            cell(ago(rule.last_hit, page)),
            time_left(rule, page),
        ]);
        if ids == Ids::Above {
            grid.above(&rule.id);
        }
        grid.note(&said_of(rule));
    }
    grid.text()
}

fn time_left(rule: &RuleView, page: &Page) -> Cell {
    let text = left(rule.expires, page);
    let hours = rule.expires.map(|expires| expires.duration_since(page.now).as_hours());
    match hours {
        _ if rule.expired => toned("expired", Tone::Bad),
        Some(hours) if hours < SOON_HOURS => toned(text, Tone::Warn),
        _ => cell(text),
    }
}

/// Why it exists, who approved it, and what is unusual about it.
fn said_of(rule: &RuleView) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(rule.reason.clone());
    parts.extend(rule.approved_by.as_ref().map(|approver| format!("approved by {approver}")));
    parts.extend(rule.ticket.clone());
    if rule.mode == Mode::Audit {
        parts.push("audit only: passes and is reported".into());
    }
    if rule.log {
        parts.push("each new connection is reported".into());
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> RuleView {
        RuleView {
            id: "dev-reads-ledger".into(),
            from: Names::One("dev".into()),
            to: Names::One("accounting".into()),
            services: vec!["ledger".into(), "tcp/8000-8010".into()],
            reason: Some("Nightly reconciliation reads the ledger".into()),
            approved_by: Some("finance-lead@example.com".into()),
            ticket: Some("SEC-142".into()),
            expires: "2027-06-30T00:00:00Z".parse().ok(),
            expired: false,
            mode: Mode::Enforce,
            log: false,
            place: "/etc/segd/zones.yaml:20:5".into(),
            packets: 48_211,
            bytes: 1_000_000,
            connections: 120,
            last_hit: "2026-11-23T19:57:00Z".parse().ok(),
        }
    }

    #[test]
    fn rules_show_hits_last_hit_time_left_reason_and_approver() {
        let old = RuleView {
            id: "old".into(),
            from: Names::Many(vec!["dev".into(), "ops".into(), "internet".into()]),
            reason: None,
            approved_by: None,
            ticket: None,
            services: vec!["any".into()],
            expires: "2026-01-01T00:00:00Z".parse().ok(),
            expired: true,
            connections: 0,
            last_hit: None,
            mode: Mode::Audit,
            log: true,
            ..rule()
        };
        let shown = anstream::adapter::strip_str(&text(&[rule(), old], &Page::sample())).to_string();
        assert_eq!(
            shown,
            "\
RULE              FROM       TO          SERVICES       HITS  LAST HIT  LEFT
dev-reads-ledger  dev        accounting  ledger,         120  3m ago    218d 4h
                                         tcp/8000-8010
    Nightly reconciliation reads the ledger; approved by
    finance-lead@example.com; SEC-142
old               dev, ops,  accounting  any               0  never     expired
                  internet
    audit only: passes and is reported; each new connection is reported"
        );
    }

    #[test]
    fn an_id_that_leaves_no_room_stands_above_its_row_unbroken() {
        let long = RuleView { id: "accounting-reads-all-that-dev-has".into(), log: true, ..rule() };
        let shown = anstream::adapter::strip_str(&text(&[long], &Page::sample())).to_string();
        assert_eq!(
            shown,
            "   FROM  TO          SERVICES       HITS  LAST HIT  LEFT
accounting-reads-all-that-dev-has
   dev   accounting  ledger,         120  3m ago    218d 4h
                     tcp/8000-8010
    Nightly reconciliation reads the ledger; approved by
    finance-lead@example.com; SEC-142; each new connection is reported"
        );
    }

    #[test]
    fn filters_keep_rules_of_any_zone() {
        let wide = RuleView { from: Names::One("any".into()), ..rule() };
        let args = Args { from: Some("ops".into()), to: None };
        assert!(args.wants(&wide));
        assert!(!args.wants(&rule()));
    }

    #[test]
    fn json_has_the_keys_of_the_file_and_the_counters() {
        let value = serde_json::to_value(rule()).unwrap();
        for key in ["id", "from", "to", "services", "reason", "approved_by", "ticket", "expires", "mode", "log"] {
            assert!(value.get(key).is_some(), "{key}");
        }
        assert_eq!(value["from"], "dev");
        for key in ["packets", "bytes", "connections"] {
            assert!(value[key].is_u64(), "{key}");
        }
        assert_eq!(value["last_hit"], "2026-11-23T19:57:00Z");
    }
}
