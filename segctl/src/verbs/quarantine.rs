//! `segctl quarantine` and `segctl release`: somebody is cut off, or let back; answered when the kernel does it.

use std::process::ExitCode;

use jiff::Timestamp;
use segd::api::types::{ProbeView, QuarantineQuery, QuarantineReport, QuarantineRequest, QuarantineView};

use crate::cli::Session;
use crate::client::Call;
use crate::complete;
use crate::failure::Failure;
use crate::ssh::Insist;
use crate::table::{Grid, cell};
use crate::words::{Page, ago, left, moment};

const EXAMPLES: &str = "\
Open connections are cut at their next packet. The failsafe still gets in, and so does what a network needs to work at
all. It holds in audit mode too, over reloads and restarts, and ends by itself in the kernel, segd dead or alive. The
answer comes when the kernel enforces it; a frame that was run through the loaded program is the proof, and is counted
as one drop.

Examples:
  segctl quarantine                                       who is cut off?
  segctl quarantine 10.30.0.5 --for 4h --reason 'Beacons, INC-7'
  segctl quarantine fd00:30::/64 --reason 'Worm'
  segctl quarantine guest --for 1h --reason 'Scans'       a whole zone
  curl --unix-socket /run/segd/segd.sock http://segd/v1/quarantine -H 'Content-Type: application/json' \\
       -d '{\"target\": \"10.30.0.5\", \"reason\": \"EDR alert 4711\", \"until\": \"2027-01-01T00:00:00Z\"}'";

/// Cut a host, a network or a zone off; without one, list who is
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct QuarantineArgs {
    /// An address, a network or a zone
    #[arg(value_name = "ADDR", requires = "reason", add = complete::zone())]
    target: Option<String>,
    /// How long: 4h, 2d, or until when; left out, until segctl release
    #[arg(long = "for", value_name = "TIME", requires = "target")]
    time: Option<String>,
    /// Why
    #[arg(long, value_name = "R", requires = "target")]
    reason: Option<String>,
    #[command(flatten)]
    insist: Insist,
}

/// Let a host, a network or a zone back
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  segctl quarantine\n  segctl release 10.30.0.5 --reason 'Reinstalled'")]
pub(crate) struct ReleaseArgs {
    /// As it was cut off
    #[arg(value_name = "ADDR", add = complete::quarantined())]
    target: String,
    /// Why, for the history
    #[arg(long, value_name = "R")]
    reason: Option<String>,
}

/// Cuts off, or lists.
pub(crate) async fn quarantine(args: QuarantineArgs, session: &Session) -> anyhow::Result<ExitCode> {
    let (Some(target), Some(reason)) = (args.target, args.reason) else {
        let all: Vec<QuarantineView> = session.client.get("/v1/quarantine").await?;
        session.screen.show(&all, |all, page| listed(all, page))?;
        return Ok(ExitCode::SUCCESS);
    };
    let request = checked(target, args.time.as_deref(), reason, Timestamp::now())?;
    let call = Call::post("/v1/quarantine").json(&request)?.keeping(args.insist.connection());
    let report: QuarantineReport = session.client.send(call).await?.body;
    session.screen.show(&report, text)?;
    Ok(ExitCode::SUCCESS)
}

/// Lets back.
pub(crate) async fn release(args: ReleaseArgs, session: &Session) -> anyhow::Result<ExitCode> {
    let QuarantineQuery { target, reason } = QuarantineQuery { target: args.target, reason: args.reason };
    let mut pairs = vec![("target", target.as_str())];
    pairs.extend(reason.as_deref().map(|reason| ("reason", reason)));
    let report: QuarantineReport = session.client.send(Call::delete("/v1/quarantine").query(&pairs)).await?.body;
    session.screen.show(&report, text)?;
    Ok(ExitCode::SUCCESS)
}

fn checked(target: String, time: Option<&str>, reason: String, now: Timestamp) -> Result<QuarantineRequest, Failure> {
    let until = time.map(|time| super::allow::expiry("--for", time, now)).transpose()?;
    Ok(QuarantineRequest { target, until, reason: super::allow::spoken(reason, "--reason")? })
}

fn text(report: &QuarantineReport, page: &Page) -> String {
    let QuarantineReport { target, quarantined, before, until, generation, proof } = report;
    match (quarantined, before) {
        (true, _) => {
            let end =
                until.map_or_else(|| "until it is released".to_owned(), |end| format!("until {}", moment(end, page)));
            let proof = proof.as_ref().map_or_else(
                || "no frame could be made to prove it: no guarded interface could see one".to_owned(),
                proven,
            );
            format!(
                "{target} is cut off from generation {generation} on, {end}\n  proof: {proof}\n  to let it back: segctl release {target} --reason …"
            )
        }
        (false, true) => format!(
            "{target} is let back from generation {generation} on\n  to see who is still cut off: segctl quarantine"
        ),
        (false, false) => format!("{target} was not cut off\n  to see who is: segctl quarantine"),
    }
}

fn proven(proof: &ProbeView) -> String {
    let ProbeView { src, dst, service, interface, hook, reason, .. } = proof;
    format!("{src} to {dst} {service}, run through the program of {interface} ({hook}): dropped, {reason}")
}

fn listed(all: &[QuarantineView], page: &Page) -> String {
    if all.is_empty() {
        return "nobody is cut off".into();
    }
    let mut grid = Grid::new(&["WHO", "SINCE", "LEFT", "BY"], page);
    for entry in all {
        grid.row(vec![
            cell(&entry.target),
            cell(ago(Some(entry.since), page)),
            cell(left(entry.until, page)),
            cell(&entry.user),
        ]);
        grid.note(&entry.reason);
    }
    grid.text()
}

#[cfg(test)]
mod tests {
    use segd::api::types::Verdict;

    use super::*;

    fn report() -> QuarantineReport {
        QuarantineReport {
            target: "10.30.0.5".into(),
            quarantined: true,
            before: false,
            until: "2026-11-24T00:00:00Z".parse().ok(),
            generation: 9,
            proof: Some(ProbeView {
                src: "10.30.0.5".into(),
                dst: "10.30.0.1".into(),
                service: "udp/9".into(),
                interface: "lan30".into(),
                hook: "tc".into(),
                verdict: Verdict::Deny,
                reason: "quarantined".into(),
            }),
        }
    }

    #[test]
    fn the_answer_has_end_generation_and_proof() {
        assert_eq!(
            text(&report(), &Page::sample()),
            "10.30.0.5 is cut off from generation 9 on, until 2026-11-24 00:00:00\n  \
             proof: 10.30.0.5 to 10.30.0.1 udp/9, run through the program of lan30 (tc): dropped, quarantined\n  \
             to let it back: segctl release 10.30.0.5 --reason …"
        );
        let back = QuarantineReport { quarantined: false, before: true, until: None, proof: None, ..report() };
        assert!(text(&back, &Page::sample()).starts_with("10.30.0.5 is let back from generation 9 on"));
        assert!(text(&QuarantineReport { before: false, ..back }, &Page::sample()).contains("was not cut off"));
    }

    #[test]
    fn a_time_is_a_span_or_a_moment_and_a_reason_is_words() {
        let now = "2026-11-23T20:00:00Z".parse().unwrap();
        let request = checked("guest".into(), Some("4h"), "Scans".into(), now).unwrap();
        assert_eq!(request.until.unwrap().to_string(), "2026-11-24T00:00:00Z");
        assert!(checked("guest".into(), None, " ".into(), now).is_err());
        assert!(checked("guest".into(), Some("soon"), "Scans".into(), now).is_err());
    }

    #[test]
    fn the_list_says_who_and_why() {
        let entry = QuarantineView {
            target: "guest".into(),
            until: None,
            reason: "Scans".into(),
            since: "2026-11-23T19:57:00Z".parse().unwrap(),
            user: "alice".into(),
        };
        let shown = anstream::adapter::strip_str(&listed(&[entry], &Page::sample())).to_string();
        assert!(shown.contains("guest  3m ago") && shown.ends_with("    Scans"), "{shown}");
    }
}
