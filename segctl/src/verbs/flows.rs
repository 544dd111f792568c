//! `segctl flows`: recent and live connections and drops, one a line, each with its rule or reason.

use std::process::ExitCode;

use jiff::Timestamp;
use segd::api::types::{FlowLine, LostLine, Verdict};
use serde::{Deserialize, Serialize};

use crate::cli::Session;
use crate::client::Call;
use crate::complete;
use crate::failure::Failure;
use crate::follow::{Next, Objects};
use crate::past;
use crate::screen::Format;
use crate::table::{Grid, cell, toned};
use crate::words::{Page, Tone, clock, count};

/// Recent and live connections and drops, with rule or reason
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  segctl flows --blocked --to accounting\n  segctl flows -f --from dev\n  segctl flows --since 1h --blocked\n  \
                        segctl flows -o json | jq -r 'select(.verdict == \"deny\") | .reason' | sort | uniq -c"
)]
pub(crate) struct Args {
    /// Stay, and show each new event until Ctrl-C
    #[arg(short, long, conflicts_with = "since")]
    follow: bool,
    /// Out of the history, one line for each class of connections: since 1h, 7d, or a date
    #[arg(long, value_name = "WHEN", value_parser = past::past)]
    since: Option<Timestamp>,
    /// Only what was dropped, or would have been
    #[arg(long)]
    blocked: bool,
    /// Only from this zone
    #[arg(long, value_name = "Z", value_parser = super::zone, add = complete::zone())]
    from: Option<String>,
    /// Only to this zone
    #[arg(long, value_name = "Z", value_parser = super::zone, add = complete::zone())]
    to: Option<String>,
}

/// What a line of the stream may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    /// The reader was too slow, so lines are missing here.
    Lost(LostLine),
    /// A connection or an event.
    Flow(Box<FlowLine>),
}

impl Args {
    fn call(&self) -> Call {
        let flag = |on| if on { "true" } else { "false" };
        let mut pairs = vec![("blocked", flag(self.blocked)), ("follow", flag(self.follow))];
        pairs.extend(self.from.as_deref().map(|zone| ("from", zone)));
        pairs.extend(self.to.as_deref().map(|zone| ("to", zone)));
        let since = self.since.map(past::query);
        pairs.extend(since.as_deref().map(|time| ("since", time)));
        Call::get("/v1/flows").query(&pairs)
    }
}

/// Shows what there is, and with `-f` what comes.
pub(crate) async fn run(args: Args, session: &Session) -> anyhow::Result<ExitCode> {
    let mut objects = Objects::new(session.client.stream(args.call()).await?)?;
    if args.follow { follow(&mut objects, session).await } else { list(&args, &mut objects, session).await }
}

async fn follow(objects: &mut Objects, session: &Session) -> anyhow::Result<ExitCode> {
    loop {
        match objects.next::<Line>().await? {
            Next::Object(line) => session.screen.show_line(&line, followed)?,
            Next::Stopped => return Ok(ExitCode::SUCCESS),
            Next::End => return Err(hung_up().into()),
        }
    }
}

fn hung_up() -> Failure {
    Failure::Broken { doing: "following the flows".into(), said: "the daemon hung up".into() }
}

/// A table needs all its rows to know its widths; programs get each object as it comes.
async fn list(args: &Args, objects: &mut Objects, session: &Session) -> anyhow::Result<ExitCode> {
    let mut flows: Vec<FlowLine> = Vec::new();
    while let Next::Object(flow) = objects.next::<FlowLine>().await? {
        if session.screen.format == Format::Table {
            flows.push(flow);
        } else {
            session.screen.show_line(&flow, |_, _| String::new())?;
        }
    }
    if session.screen.format == Format::Table {
        let table = if args.since.is_some() { past_table } else { table };
        session.screen.show(&flows, |flows, page| table(flows, page))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn table(flows: &[FlowLine], page: &Page) -> String {
    if flows.is_empty() {
        return "no such flow was seen\n  to wait for one: segctl flows -f; to ask without traffic: segctl explain SRC DST SERVICE".into();
    }
    let mut grid = Grid::new(&["TIME", "INITIATOR", "RESPONDER", "SERVICE", "VERDICT"], page);
    for flow in flows {
        let (verdict, tone) = verdict(flow);
        grid.row(vec![
            cell(clock(flow.time, page)),
            cell(end(&flow.src, &flow.from_zone)),
            cell(end(&flow.dst, &flow.to_zone)),
            cell(service(flow)),
            toned(verdict, tone),
        ]);
    }
    grid.text()
}

/// Classes of connections out of the history.
pub(super) fn past_table(flows: &[FlowLine], page: &Page) -> String {
    if flows.is_empty() {
        return "nothing like that was seen since then\n  what the history knows: segctl matrix --last 7d".into();
    }
    let mut grid = Grid::new(&["LAST", ">COUNT", "INITIATOR", "RESPONDER", "SERVICE", "VERDICT"], page);
    for flow in flows {
        let (verdict, tone) = verdict(flow);
        grid.row(vec![
            cell(clock(flow.time, page)),
            cell(count(flow.connections.unwrap_or(1))),
            cell(end(&flow.src, &flow.from_zone)),
            cell(end(&flow.dst, &flow.to_zone)),
            cell(service(flow)),
            toned(verdict, tone),
        ]);
    }
    grid.text()
}

/// The same columns, with widths that fit most, as the next row is not known yet.
fn followed(line: &Line, page: &Page) -> String {
    match line {
        Line::Lost(LostLine { lost }) => {
            Tone::Warn.paint(&format!("… {lost} lines left out: this terminal was too slow"))
        }
        Line::Flow(flow) => {
            let (verdict, tone) = verdict(flow);
            let (time, verdict) = (clock(flow.time, page), tone.paint(&verdict));
            let (src, dst) = (end(&flow.src, &flow.from_zone), end(&flow.dst, &flow.to_zone));
            format!("{time}  {src:<20}  {dst:<22}  {:<9}  {verdict}", service(flow))
        }
    }
}

pub(super) fn end(address: &str, zone: &str) -> String {
    format!("{address} ({zone})")
}

/// Answers go to a port that a kernel chose, so their own port is told.
pub(super) fn service(flow: &FlowLine) -> String {
    match flow.proto.as_str() {
        "*" => "*".to_owned(),
        proto @ "udp" if flow.dst_port == 0 && flow.src_port != 0 => format!("from {proto}/{}", flow.src_port),
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => format!("proto/{number}"),
        proto => format!("{proto}/{}", flow.dst_port),
    }
}

/// `allow: RULE`, `deny: REASON`, `audit: what it would have been`; of a connection that is not established, its state.
fn verdict(flow: &FlowLine) -> (String, Tone) {
    let reason = flow.reason.as_str();
    let (word, why, tone) = match flow.verdict {
        Verdict::Deny => ("deny", reason, Tone::Bad),
        Verdict::Allow if reason == "audit" => ("audit", flow.would_be.as_deref().unwrap_or(reason), Tone::Warn),
        Verdict::Allow => ("allow", flow.rule.as_deref().unwrap_or(reason), Tone::Good),
    };
    let state = match flow.state.as_deref() {
        None | Some("established") => String::new(),
        Some(state) => format!(" ({state})"),
    };
    (format!("{word}: {why}{state}"), tone)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::verbs) fn denied() -> FlowLine {
        FlowLine {
            time: "2026-11-23T19:59:58Z".parse().unwrap(),
            src: "10.30.0.5".into(),
            dst: "10.20.0.10".into(),
            proto: "tcp".into(),
            src_port: 40_000,
            dst_port: 22,
            from_zone: "dev".into(),
            to_zone: "accounting".into(),
            verdict: Verdict::Deny,
            reason: "no-rule".into(),
            rule: None,
            would_be: None,
            state: None,
            interface: Some("lan30".into()),
            connections: None,
            first: None,
        }
    }

    fn allowed() -> FlowLine {
        FlowLine {
            dst_port: 5432,
            verdict: Verdict::Allow,
            reason: "rule".into(),
            rule: Some("dev-reads-ledger".into()),
            state: Some("half-open".into()),
            interface: None,
            ..denied()
        }
    }

    #[test]
    fn flows_name_both_ends_the_service_and_the_rule_or_reason() {
        let audited = FlowLine {
            proto: "47".into(),
            dst_port: 0,
            verdict: Verdict::Allow,
            reason: "audit".into(),
            would_be: Some("no-rule".into()),
            ..denied()
        };
        let shown = anstream::adapter::strip_str(&table(&[denied(), allowed(), audited], &Page::sample())).to_string();
        assert_eq!(
            shown,
            "\
TIME      INITIATOR        RESPONDER                SERVICE   VERDICT
19:59:58  10.30.0.5 (dev)  10.20.0.10 (accounting)  tcp/22    deny: no-rule
19:59:58  10.30.0.5 (dev)  10.20.0.10 (accounting)  tcp/5432  allow: dev-reads-ledger (half-open)
19:59:58  10.30.0.5 (dev)  10.20.0.10 (accounting)  proto/47  audit: no-rule"
        );
    }

    #[test]
    fn a_followed_line_has_the_same_columns() {
        let shown = followed(&Line::Flow(Box::new(denied())), &Page::sample());
        assert_eq!(
            anstream::adapter::strip_str(&shown).to_string(),
            "19:59:58  10.30.0.5 (dev)       10.20.0.10 (accounting)  tcp/22     deny: no-rule"
        );
    }

    #[test]
    fn missing_lines_are_told_apart_from_flows() {
        assert_eq!(serde_json::from_str::<Line>(r#"{"lost":3}"#).unwrap(), Line::Lost(LostLine { lost: 3 }));
        let line = serde_json::to_string(&denied()).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&line).unwrap(), Line::Flow(Box::new(denied())));
    }

    #[test]
    fn a_json_line_has_the_keys_of_the_contract() {
        let value = serde_json::to_value(denied()).unwrap();
        for key in
            ["time", "src", "dst", "proto", "src_port", "dst_port", "from_zone", "to_zone", "verdict", "reason", "rule"]
        {
            assert!(value.get(key).is_some(), "{key}");
        }
    }
}
