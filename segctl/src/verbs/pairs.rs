//! `segctl audit` and `segctl enforce`: the mode of one pair of zones. Switching to `enforce` first shows what it
//! would have dropped, and asks; the change is refused if the policy moved after it was shown.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use jiff::Timestamp;
use segd::api::types::{PairReport, PairRequest};
use segd::policy::Mode;

use crate::cli::Session;
use crate::client::{Answer, Call};
use crate::complete;
use crate::failure::{Failure, NO};
use crate::past;
use crate::plain::cleaned;
use crate::screen::{page, say};
use crate::ssh::Insist;
use crate::verbs::flows;
use crate::words::{Page, count, moment};

/// Only watch one pair of zones: let pass what would be dropped, count and report it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  segctl audit dev internet")]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    pair: Pair,
}

/// Drop what no rule allows between one pair of zones; shows first what that would have been, and asks
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  segctl enforce dev internet\n  segctl enforce dev internet --yes\n  segctl enforce any any --since 30d"
)]
pub(crate) struct EnforceArgs {
    #[command(flatten)]
    pair: Pair,
    /// Don't ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    insist: Insist,
    /// How far back to look for what it would have dropped: 7d, 1h, or a date
    #[arg(long, value_name = "WHEN", default_value = "7d", value_parser = past::past)]
    since: Timestamp,
}

#[derive(Debug, clap::Args)]
struct Pair {
    /// Zone of the initiators, or any
    #[arg(value_name = "FROM", value_parser = super::zone, add = complete::zone())]
    from: String,
    /// Zone of the responders, or any
    #[arg(value_name = "TO", value_parser = super::zone, add = complete::zone())]
    to: String,
    /// Why, for the history
    #[arg(long, value_name = "R")]
    reason: Option<String>,
}

impl Pair {
    fn request(&self, mode: Mode, since: Option<Timestamp>) -> PairRequest {
        PairRequest {
            from: self.from.clone(),
            to: self.to.clone(),
            mode,
            preview: false,
            since,
            reason: self.reason.clone(),
        }
    }
}

/// Puts a pair into audit mode.
pub(crate) async fn audit(args: AuditArgs, session: &Session) -> anyhow::Result<ExitCode> {
    let done: PairReport = session.client.send(changes(&args.pair.request(Mode::Audit, None))?).await?.body;
    session.screen.show(&done, |done, _| applied(done))?;
    Ok(ExitCode::SUCCESS)
}

/// Shows, asks, and puts a pair into enforce mode.
pub(crate) async fn enforce(args: EnforceArgs, session: &Session) -> anyhow::Result<ExitCode> {
    let request = args.pair.request(Mode::Enforce, Some(args.since));
    let shown = changes(&PairRequest { preview: true, ..request.clone() })?;
    let preview: Answer<PairReport> = session.client.send(shown).await?;
    say(&previewed(&cleaned(&preview.body)?, &page()))?;
    if !args.yes && !agreed(&args.pair)? {
        say("nothing was changed")?;
        return Ok(ExitCode::from(NO));
    }
    let change = changes(&request)?.only_if(preview.etag).keeping(args.insist.connection());
    let done: PairReport = session.client.send(change).await?.body;
    session.screen.show(&done, |done, _| applied(done))?;
    Ok(ExitCode::SUCCESS)
}

fn changes(request: &PairRequest) -> Result<Call, Failure> {
    Call::put("/v1/pairs").json(request)
}

/// Asks on the terminal; where there is none, nobody can have agreed.
fn agreed(pair: &Pair) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        let mend = format!("type it on a terminal, or: segctl enforce {} {} --yes", pair.from, pair.to);
        return Err(Failure::usage("nobody is there to agree: standard input is not a terminal", mend).into());
    }
    let mut err = anstream::stderr().lock();
    write!(err, "enforce {} → {}? [y/N] ", pair.from, pair.to).and_then(|()| err.flush()).context("asking")?;
    let mut line = String::new();
    io::stdin().read_line(&mut line).context("reading the answer")?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

fn previewed(report: &PairReport, page: &Page) -> String {
    let PairReport { from, to, since, would_drop_packets, would_drop_connections, would_drop, allowed_by_now, .. } =
        report;
    let since = moment(*since, page);
    let by_now = count(*allowed_by_now);
    if would_drop_packets + would_drop_connections == 0 {
        return format!("nothing was seen from {from} to {to} since {since} that enforce would have dropped");
    }
    if *would_drop_connections == 0 && *allowed_by_now > 0 {
        return format!(
            "from {from} to {to}, all {by_now} connections that only the audit mode let pass since {since} have a rule by now"
        );
    }
    let connections = count(*would_drop_connections);
    let more = match allowed_by_now {
        0 => format!("({} packets) since {since}", count(*would_drop_packets)),
        _ => format!("since {since}, and {by_now} more that have a rule by now"),
    };
    let head = format!("from {from} to {to}, enforce would have dropped {connections} connections {more}");
    if would_drop.is_empty() {
        return head;
    }
    format!(
        "{head}; the last of them:\n\n{}\n\nwhat is needed of it wants a rule first: segctl suggest\n",
        flows::past_table(would_drop, page)
    )
}

fn applied(report: &PairReport) -> String {
    let PairReport { from, to, generation, .. } = report;
    match report.mode {
        Mode::Audit => format!(
            "{from} → {to} is only watched from generation {generation} on: nothing is dropped, all is reported\n  \
             to see what would be dropped: segctl flows -f --blocked; to end it: segctl enforce {from} {to}"
        ),
        Mode::Enforce => format!(
            "{from} → {to} is enforced from generation {generation} on: what no rule allows is dropped\n  \
             to see what is: segctl flows -f --blocked; to go back: segctl audit {from} {to}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use segd::api::types::{FlowLine, Verdict};

    use super::*;

    fn report() -> PairReport {
        PairReport {
            from: "dev".into(),
            to: "internet".into(),
            mode: Mode::Enforce,
            applied: false,
            generation: 9,
            since: "2026-11-16T20:00:00Z".parse().unwrap(),
            would_drop_packets: 0,
            would_drop_connections: 0,
            allowed_by_now: 0,
            would_drop: Vec::new(),
        }
    }

    #[test]
    fn what_would_be_dropped_is_shown_before_the_question() {
        assert_eq!(
            previewed(&report(), &Page::sample()),
            "nothing was seen from dev to internet since 2026-11-16 20:00:00 that enforce would have dropped"
        );
        let audited = FlowLine {
            reason: "audit".into(),
            verdict: Verdict::Allow,
            connections: Some(7),
            ..flows::tests::denied()
        };
        let busy =
            PairReport { would_drop_packets: 12_345, would_drop_connections: 7, would_drop: vec![audited], ..report() };
        let shown = anstream::adapter::strip_str(&previewed(&busy, &Page::sample())).to_string();
        assert_eq!(
            shown,
            "\
from dev to internet, enforce would have dropped 7 connections (12.3k packets) since 2026-11-16 20:00:00; the last of them:

LAST      COUNT  INITIATOR        RESPONDER                SERVICE  VERDICT
19:59:58      7  10.30.0.5 (dev)  10.20.0.10 (accounting)  tcp/22   audit: audit

what is needed of it wants a rule first: segctl suggest
"
        );
        let partly = PairReport { allowed_by_now: 40, would_drop: Vec::new(), ..busy };
        assert_eq!(
            previewed(&partly, &Page::sample()),
            "from dev to internet, enforce would have dropped 7 connections since 2026-11-16 20:00:00, and 40 more that have a rule by now"
        );
        assert_eq!(
            previewed(&PairReport { would_drop_connections: 0, ..partly }, &Page::sample()),
            "from dev to internet, all 40 connections that only the audit mode let pass since 2026-11-16 20:00:00 have a rule by now"
        );
    }

    #[test]
    fn both_modes_say_how_to_go_back() {
        assert!(applied(&report()).ends_with("to go back: segctl audit dev internet"));
        assert!(applied(&PairReport { mode: Mode::Audit, ..report() }).ends_with("segctl enforce dev internet"));
    }
}
