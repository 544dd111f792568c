//! `segctl completions`: what a shell needs to complete segctl's command line.

use std::process::ExitCode;

use anyhow::Context as _;
use clap_complete::env::Shells;

use crate::complete::ASKED_BY;
use crate::screen::print;

/// Print the completions for a shell, names of zones and rules included
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  segctl completions bash > /etc/bash_completion.d/segctl")]
pub(crate) struct Args {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: clap_complete::Shell,
}

/// Written to memory first: the generator panics on a closed pipe.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let shell = shells.completer(&args.shell.to_string()).context("nobody can complete for that shell")?;
    shell.write_registration(ASKED_BY, "segctl", "segctl", "segctl", &mut script)?;
    print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}
