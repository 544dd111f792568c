//! `segctl report`: the posture at one moment, for an auditor. As text, as data, or as one HTML file that needs nothing
//! else.

mod html;
#[cfg(test)]
mod sample;
mod text;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;
use segd::api::types::Report;
use segd::state::file::replace;

use crate::cli::Session;
use crate::client::Call;
use crate::failure::Failure;
use crate::past;
use crate::plain::cleaned;
use crate::screen::{page, say};

const EXAMPLES: &str = "\
Examples:
  segctl report
  segctl report --html /tmp/report.html
  segctl report --since 90d --ending 60d
  segctl report -o json | jq -r '.unused[]'";

/// Posture for an auditor: zone matrix, approvals, unused and expiring rules, coverage, drift, what was blocked
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Traffic, and rules without use, since: 30d, 1h, or a date
    #[arg(long, value_name = "WHEN", default_value = "30d", value_parser = past::past)]
    since: Timestamp,
    /// Rules that end within this span end soon
    #[arg(long, value_name = "SPAN", default_value = "30d", value_parser = past::ahead)]
    ending: Timestamp,
    /// Write it as one HTML file that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Asks and shows, or writes.
pub(crate) async fn run(args: &Args, session: &Session) -> anyhow::Result<ExitCode> {
    let (since, until) = (past::query(args.since), past::query(args.ending));
    let call = Call::get("/v1/report").query(&[("since", &since), ("until", &until)]);
    let report: Report = session.client.send(call).await?.body;
    match &args.html {
        Some(file) => write(file, &html::written(&cleaned(&report)?, &page()))?,
        None => session.screen.show(&report, text::told)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A report that was there stays whole if this one can't be written. Whatever is no file is written to as it is: a link,
/// a pipe, standard output.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let is_special = fs::symlink_metadata(file).is_ok_and(|there| !there.is_file());
    let written = if is_special {
        fs::write(file, text).map_err(|error| format!("can't write {}: {error}", file.display()))
    } else {
        replace(file, text.as_bytes(), 0o644).map_err(|error| error.to_string())
    };
    written.map_err(|fault| Failure::usage(fault, "name a file that you may write"))?;
    say(&format!("the report is in {}; any browser shows and prints it", file.display()))
}
