//! `segctl suggest`: rules that would allow what was seen, as a drop-in file that a person completes.

use std::process::ExitCode;

use jiff::Timestamp;
use segd::api::types::Suggestions;

use crate::cli::Session;
use crate::client::Call;
use crate::past;
use crate::screen::{Format, say};
use crate::words::number_of;

const EXAMPLES: &str = "\
Evidence is what was blocked or audited for want of a rule. Addresses that scanned are left out, and named at the end.

Examples:
  segctl suggest > suggested.yaml
  segctl suggest --since 1h
  segctl suggest --passing --since 30d > anew.yaml
  segctl suggest -o json | jq -r '.rules[] | \"\\(.id) \\(.connections)\"'";

/// Rules in YAML that would allow what was seen; reasons and approvers are left for a person to fill
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How far back to look: 7d, 1h, or a date
    #[arg(long, value_name = "WHEN", default_value = "7d", value_parser = past::past)]
    since: Timestamp,
    /// Also what passes by the rules that are there: to write a policy anew
    #[arg(long)]
    passing: bool,
}

/// Asks and shows: the file itself, so that it can be put into one.
pub(crate) async fn run(args: &Args, session: &Session) -> anyhow::Result<ExitCode> {
    let since = past::query(args.since);
    let passing = if args.passing { "true" } else { "false" };
    let call = Call::get("/v1/suggest").query(&[("since", &since), ("passing", passing)]);
    let found: Suggestions = session.client.send(call).await?.body;
    session.screen.show(&found, |found, _| found.yaml.trim_end().to_owned())?;
    if session.screen.format == Format::Table {
        say(&next(&found))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Said beside the file, not in it.
fn next(found: &Suggestions) -> String {
    if found.rules.is_empty() {
        return "nothing to allow; to see what was blocked: segctl flows --blocked --since 7d".to_owned();
    }
    format!(
        "{} suggested; fill in each reason and approver, then: segctl check, segctl reload",
        number_of(found.rules.len(), "rule")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_type_next_depends_on_what_was_found() {
        let none = Suggestions {
            since: Timestamp::UNIX_EPOCH,
            until: Timestamp::UNIX_EPOCH,
            rules: Vec::new(),
            left_out: Vec::new(),
            yaml: "rules: []\n".into(),
        };
        assert!(next(&none).ends_with("segctl flows --blocked --since 7d"));
    }
}
