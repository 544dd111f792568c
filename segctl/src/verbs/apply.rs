//! `segctl apply`: a zone file takes the place of the one in force, all or nothing; with `--confirm` only until a
//! deadline, unless somebody who still reaches the machine confirms it.

use std::path::PathBuf;
use std::process::ExitCode;

use jiff::SignedDuration;
use segd::api::types::{Applied, ApplyRequest, DiffReport, PolicyView};

use crate::cli::Session;
use crate::client::{Answer, Call};
use crate::screen::{page, say};
use crate::ssh::Insist;
use crate::verbs::{check, diff};
use crate::words::{Page, moment, number_of};

const EXAMPLES: &str = "\
The file is checked and its tests are run first, and what newly passes and fails is told. The zone file that was in
force is kept beside the new one as zones.yaml.previous. What would cut your own SSH connection is refused.

With --confirm the kernel itself goes back to the old policy when the time is over, even if segd is dead by then, and
the old zone file comes back. Nothing else can be changed until then.

Examples:
  segctl diff new-zones.yaml; segctl apply new-zones.yaml
  segctl apply new-zones.yaml --confirm 60s --reason 'Ledger moves, SEC-142'";

/// Check a zone file and put it in force in the place of zones.yaml, all or nothing
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A zone file; the drop-ins in force stay
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Go back after this time (60s, 5m) unless segctl confirm is typed
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    confirm: Option<u32>,
    #[command(flatten)]
    insist: Insist,
    /// Why, for the history
    #[arg(long, value_name = "R")]
    reason: Option<String>,
}

/// A span in whole seconds, at least one.
fn seconds(text: &str) -> Result<u32, String> {
    let mend = || "give a time such as 60s or 5m".to_owned();
    let span: SignedDuration = text.parse().map_err(|_| mend())?;
    u32::try_from(span.as_secs()).ok().filter(|secs| *secs > 0).ok_or_else(mend)
}

/// Hands the file over, on the condition that nobody changes the policy in between.
pub(crate) async fn run(args: &Args, session: &Session) -> anyhow::Result<ExitCode> {
    let policy = super::read_policy(&args.file)?;
    let now: Answer<PolicyView> = session.client.send(Call::get("/v1/policy")).await?;
    // A file with faults has no preview; the daemon refuses it in a moment and says why.
    if let Ok(preview) = session.client.send::<DiffReport>(Call::post("/v1/diff").json(&policy)?).await {
        say(&diff::preview(&preview.body, &page()))?;
    }
    let request = ApplyRequest { confirm_secs: args.confirm, reason: args.reason.clone(), ..ApplyRequest::of(policy) };
    let call = Call::post("/v1/apply").json(&request)?.only_if(now.etag).keeping(args.insist.connection());
    let applied: Applied = session.client.send(call).await?.body;
    session.screen.show(&applied, |applied, page| text(applied, "segctl status", page))?;
    Ok(ExitCode::SUCCESS)
}

/// What is in force, what was noticed, and the next step.
pub(super) fn text(applied: &Applied, next: &str, page: &Page) -> String {
    let mut lines: Vec<String> = applied.warnings.iter().map(check::warning).collect();
    let tests = if applied.tests == 1 {
        "its test holds".into()
    } else {
        format!("all {} hold", number_of(applied.tests, "test"))
    };
    let tests = if applied.tests == 0 { "it has no tests".into() } else { tests };
    let generation = applied.generation;
    lines.push(match applied.confirm_by {
        None => format!("generation {generation} is in force; {tests}\n  to look at it: {next}"),
        Some(end) => format!(
            "generation {generation} is in force on trial; {tests}\n  at {} the old policy is back, unless you type, over a new connection: segctl confirm\n  \
             to take it back at once: segctl rollback",
            moment(end, page)
        ),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use segd::api::types::FaultView;

    use super::*;

    fn applied() -> Applied {
        Applied { generation: 4, warnings: Vec::new(), tests: 0, confirm_by: None }
    }

    #[test]
    fn a_trial_says_when_it_ends_and_how_to_end_it_sooner() {
        let trial = Applied { confirm_by: "2026-11-23T20:01:00Z".parse().ok(), ..applied() };
        assert_eq!(
            text(&trial, "segctl status", &Page::sample()),
            "generation 4 is in force on trial; it has no tests\n  \
             at 2026-11-23 20:01:00 the old policy is back, unless you type, over a new connection: segctl confirm\n  \
             to take it back at once: segctl rollback"
        );
    }

    #[test]
    fn a_time_to_confirm_in_is_some_seconds() {
        assert_eq!((seconds("60s"), seconds("2m"), seconds("1h 5s")), (Ok(60), Ok(120), Ok(3605)));
        for text in ["", "60", "0s", "-5s", "10ms", "soon"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn warnings_come_before_what_is_in_force() {
        let warning = FaultView {
            place: "/etc/segd/zones.yaml:20:5".into(),
            what: "rule old has expired".into(),
            mend: "remove it".into(),
            picture: String::new(),
        };
        let shown = text(&Applied { warnings: vec![warning], tests: 3, ..applied() }, "segctl status", &Page::sample());
        assert_eq!(
            anstream::adapter::strip_str(&shown).to_string(),
            "warning: /etc/segd/zones.yaml:20:5: rule old has expired\n  mend: remove it\n\
             generation 4 is in force; all 3 tests hold\n  to look at it: segctl status"
        );
    }
}
