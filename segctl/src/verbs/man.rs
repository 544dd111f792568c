//! `segctl man`: the manual, made from the same command line that is parsed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap_mangen::Man;

use crate::screen::{print, say};

/// Print the manual page, or write one for each command into a directory
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  segctl man | man -l -\n  segctl man /usr/local/share/man/man1")]
pub(crate) struct Args {
    /// Where segctl.1, segctl-allow.1, … are written; left out, segctl(1) is printed
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints or writes.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(dir) = &args.dir {
        write(dir)?;
    } else {
        let mut page = Vec::new();
        Man::new(crate::cli::command()).render(&mut page).context("making the manual page")?;
        print(String::from_utf8_lossy(&page).trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("making the directory {}", dir.display()))?;
    clap_mangen::generate_to(crate::cli::command(), dir)
        .with_context(|| format!("writing manual pages into {}", dir.display()))?;
    say(&format!("the manual is in {}; read it with man -l {}/segctl.1", dir.display(), dir.display()))
}
