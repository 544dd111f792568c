//! `segctl apply`: a zone file takes the place of the one in force, all or nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use segd::api::types::{Applied, PolicyView};

use crate::cli::Session;
use crate::client::{Answer, Call};
use crate::verbs::check;
use crate::words::number_of;

const EXAMPLES: &str = "\
The file is checked and its tests are run first; the zone file that was in force is kept beside the new one.

Examples:
  segctl diff new-zones.yaml; segctl apply new-zones.yaml";

/// Check a zone file and put it in force in the place of zones.yaml, all or nothing
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A zone file; the drop-ins in force stay
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Hands the file over, on the condition that nobody changes the policy in between.
pub(crate) async fn run(args: &Args, session: &Session) -> anyhow::Result<ExitCode> {
    let policy = super::read_policy(&args.file)?;
    let now: Answer<PolicyView> = session.client.send(Call::get("/v1/policy")).await?;
    let call = Call::post("/v1/apply").json(&policy)?.only_if(now.etag);
    let applied: Applied = session.client.send(call).await?.body;
    session.screen.show(&applied, |applied, _| text(applied, "segctl status"))?;
    Ok(ExitCode::SUCCESS)
}

/// What is in force, what was noticed, and the next step.
pub(super) fn text(applied: &Applied, next: &str) -> String {
    let mut lines: Vec<String> = applied.warnings.iter().map(check::warning).collect();
    let tests = if applied.tests == 1 {
        "its test holds".into()
    } else {
        format!("all {} hold", number_of(applied.tests, "test"))
    };
    let tests = if applied.tests == 0 { "it has no tests".into() } else { tests };
    lines.push(format!("generation {} is in force; {tests}\n  to look at it: {next}", applied.generation));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use segd::api::types::FaultView;

    use super::*;

    #[test]
    fn warnings_come_before_what_is_in_force() {
        let warning = FaultView {
            place: "/etc/segd/zones.yaml:20:5".into(),
            what: "rule old has expired".into(),
            mend: "remove it".into(),
            picture: String::new(),
        };
        let shown = text(&Applied { generation: 4, warnings: vec![warning], tests: 3 }, "segctl status");
        assert_eq!(
            anstream::adapter::strip_str(&shown).to_string(),
            "warning: /etc/segd/zones.yaml:20:5: rule old has expired\n  mend: remove it\n\
             generation 4 is in force; all 3 tests hold\n  to look at it: segctl status"
        );
    }
}
