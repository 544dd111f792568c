//! `segctl` as a library: one file per verb, a client of the daemon's control socket, and what shows the answers.
//!
//! It never judges a packet or a policy itself: verdicts come from the daemon, and `check`, which needs no daemon,
//! calls the daemon's own rooms.

mod cli;
mod client;
mod complete;
mod failure;
mod follow;
mod past;
mod plain;
mod screen;
mod ssh;
mod table;
mod verbs;
mod words;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use clap_complete::CompleteEnv;

use crate::cli::Cli;

pub use crate::cli::command;

/// Reads the command line, does what it says, and gives the exit status of the contract. What goes wrong is told on
/// standard error here; an `Err` is left over only for what cannot even be told.
pub fn run() -> anyhow::Result<ExitCode> {
    // Does its work and ends here if a shell asks.
    CompleteEnv::with_factory(command).var(complete::ASKED_BY).complete();
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(cli.run()) {
        Ok(status) => Ok(status),
        Err(error) => {
            tell(&error);
            Ok(failure::status_of(&error))
        }
    }
}

/// Tells an error on standard error. When that is closed too, the exit status has to say it alone.
fn tell(error: &anyhow::Error) {
    if failure::is_closed_pipe(error) {
        return;
    }
    let red = words::Tone::Bad.style();
    let _ = writeln!(anstream::stderr().lock(), "{red}error{red:#}: {error:#}");
}
