//! `segctl selftest`: crafted frames through the loaded programs, and whether each got what it had to.

use std::process::ExitCode;

use segd::api::types::{SelftestFrame, SelftestReport, SelftestRequest};

use crate::cli::Session;
use crate::client::Call;
use crate::failure::NO;
use crate::table::{Grid, cell, toned};
use crate::words::{Page, Tone, number_of};

const EXAMPLES: &str = "\
The frames go through the programs that are loaded in the kernel, not over a wire. Each is counted as a drop of its reason
(ARP: as an essential packet), and segctl flows shows it: a run adds some dozen drops to the metrics. What a rule allows
is left out, for it would be counted as a connection of that rule; --allowed runs the policy's own tests that expect
allow as well.

Exit status 0: every frame got what it had to; 1: one did not, or none could be run.

Examples:
  segctl selftest
  segctl selftest --allowed -o json | jq '.frames[] | select(.right | not)'";

/// Run crafted frames through the loaded programs and check each verdict
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Also the policy's tests that expect allow; each counts as a connection of its rule
    #[arg(long)]
    allowed: bool,
}

/// Runs them, shows them, and exits with the answer.
pub(crate) async fn run(args: &Args, session: &Session) -> anyhow::Result<ExitCode> {
    let call = Call::post("/v1/selftest").json(&SelftestRequest { allowed: args.allowed })?;
    let report: SelftestReport = session.client.send(call).await?.body;
    session.screen.show(&report, text)?;
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

fn text(report: &SelftestReport, page: &Page) -> String {
    let mut lines = if report.frames.is_empty() { Vec::new() } else { vec![table(report, page), String::new()] };
    lines.extend(report.skipped.iter().map(|what| format!("left out: {what}")));
    let wrong = report.frames.iter().filter(|frame| !frame.right).count();
    let count = number_of(report.frames.len(), "frame");
    let generation = report.generation;
    lines.push(match (report.passed, wrong) {
        (true, _) => format!("{}  {count}, each as expected from generation {generation}", Tone::Good.paint("PASSED")),
        (false, 0) => format!("{}  no frame could be run\n  to see why: segctl status", Tone::Bad.paint("FAILED")),
        (false, _) => format!(
            "{}  {wrong} of {count} got something else from generation {generation}\n  \
             to look further: segctl status, segctl explain; then restart segd, which loads the programs anew",
            Tone::Bad.paint("FAILED")
        ),
    });
    lines.join("\n")
}

fn table(report: &SelftestReport, page: &Page) -> String {
    let mut grid = Grid::new(&["", "EXPECTED", "GOT", "BY"], page);
    for frame in &report.frames {
        let SelftestFrame { what, interface, hook, expected, expected_reason, verdict, moved, right } = frame;
        grid.row(vec![
            if *right { toned("ok", Tone::Good) } else { toned("WRONG", Tone::Bad) },
            cell(format!("{expected}: {expected_reason}")),
            if *right { cell(verdict) } else { toned(format!("{verdict}: {}", moved.join(", ")), Tone::Bad) },
            cell(format!("{interface} ({hook})")),
        ]);
        grid.note(what);
    }
    grid.text()
}

#[cfg(test)]
mod tests {
    use segd::api::types::Verdict;

    use super::*;

    fn frame(right: bool) -> SelftestFrame {
        SelftestFrame {
            what: "a source on loopback".into(),
            interface: "lan0".into(),
            hook: "tc".into(),
            expected: Verdict::Deny,
            expected_reason: "spoofed-source".into(),
            verdict: if right { Verdict::Deny } else { Verdict::Allow },
            moved: vec![if right { "spoofed-source" } else { "rule" }.into()],
            right,
        }
    }

    fn plain(report: &SelftestReport) -> String {
        anstream::adapter::strip_str(&text(report, &Page::sample())).to_string()
    }

    #[test]
    fn a_frame_that_went_wrong_stands_out_and_decides() {
        let good =
            SelftestReport { passed: true, generation: 7, frames: vec![frame(true)], skipped: vec!["much".into()] };
        assert_eq!(
            plain(&good),
            "    EXPECTED              GOT   BY
ok  deny: spoofed-source  deny  lan0 (tc)
    a source on loopback

left out: much
PASSED  1 frame, each as expected from generation 7"
        );
        let bad =
            SelftestReport { passed: false, frames: vec![frame(true), frame(false)], skipped: Vec::new(), ..good };
        assert!(plain(&bad).contains("WRONG  deny: spoofed-source  allow: rule"), "{}", plain(&bad));
        assert!(plain(&bad).contains("FAILED  1 of 2 frames got something else"));
        let none = SelftestReport { frames: Vec::new(), ..bad };
        assert!(plain(&none).starts_with("FAILED  no frame could be run"));
    }
}
