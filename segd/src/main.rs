//! The daemon's entry: arguments in, an exit status out. Everything else is in the library and in `daemon`.

use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use jiff::Timestamp;
use segd::config::load;
use segd::engine::{self, Armed, StartError, Unloaded};
use segd::interfaces::Watcher;
use segd::state::boot::{Begun, BootNote};
use tracing::level_filters::LevelFilter;

use crate::cli::{Arm, Check, Cli, Command, Unload};

mod cli;
mod daemon;
mod manual;

const NOT_PERMITTED: u8 = 4;
const POLICY_REFUSED: u8 = 5;

fn main() -> ExitCode {
    run(Cli::parse()).unwrap_or_else(|error| {
        eprintln!("segd: {error:#}");
        exit_code(&error)
    })
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Run(options) => {
            segd::log::init(options.log_level);
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .context("cannot start the async runtime")?;
            let outcome = runtime.block_on(daemon::run(options));
            // Followers and half-sent answers are not waited for.
            runtime.shutdown_background();
            outcome.map(|()| ExitCode::SUCCESS)
        }
        Command::Check(options) => Ok(check(&options)),
        Command::Arm(options) => arm(&options),
        Command::Unload(options) => unload(&options),
        Command::Man(options) => manual::man(&options).map(|()| ExitCode::SUCCESS),
        Command::Completions(options) => manual::completions(&options).map(|()| ExitCode::SUCCESS),
    }
}

/// What the contract says about a failed start.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<StartError>() {
        Some(StartError::Policy(_)) => ExitCode::from(POLICY_REFUSED),
        Some(StartError::NotPermitted(_)) => ExitCode::from(NOT_PERMITTED),
        _ => ExitCode::FAILURE,
    }
}

/// Says a line on standard error, if somebody still listens: the exit status says the rest.
macro_rules! told {
    ($($words:tt)*) => {{
        // Whoever closed it has read enough.
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

fn check(options: &Check) -> ExitCode {
    // `load` also finds what is wrong around the files, which their texts alone don't tell.
    let loaded = match load(&options.file) {
        Ok(loaded) => loaded,
        Err(faults) => {
            told!("{faults}");
            return ExitCode::from(POLICY_REFUSED);
        }
    };
    let report = engine::check(loaded.sources);
    for warning in loaded.warnings {
        told!("warning: {warning}\n");
    }
    for fault in &report.faults {
        told!("{}\n", fault.picture);
    }
    for test in report.tests.iter().filter(|test| !test.passed) {
        told!("{}: the test fails: {}: {}\n", test.place, test.claim, test.found);
    }
    if !report.good() {
        told!("{}: refused", options.file.display());
        return ExitCode::from(POLICY_REFUSED);
    }
    let said = writeln!(
        std::io::stdout(),
        "{}: in order; {} of its own tests passed",
        options.file.display(),
        report.tests.len()
    );
    match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the policy is in order, but that can't be said on standard output: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arm(options: &Arm) -> anyhow::Result<ExitCode> {
    segd::log::init(LevelFilter::WARN);
    let first = options.first_policy()?;
    if first.is_some() && options.failsafe_from.is_empty() {
        tracing::warn!("the failsafe of the first boot names no network: nobody can reach this machine then");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let machine = runtime.block_on(async { daemon::take_stock(&mut Watcher::open()?).await })?;
    let armed = engine::arm(&options.state_dir, &options.bpffs, &machine, first)?;
    if let Some(path) = &options.note {
        note(&armed, path);
    }
    match armed {
        Armed::Now { generation, enforced, open, is_first } => {
            let all = enforced + open.len();
            if is_first {
                println!(
                    "no policy was ever in force; all but the failsafe is closed on {enforced} of {all} interfaces"
                );
            } else {
                println!("generation {generation} is in force on {enforced} of {all} interfaces");
            }
            for (name, why) in open {
                eprintln!("segd: interface {name} is not guarded: {why}");
            }
        }
        Armed::Already => println!("a policy is in force in {} already; nothing was changed", options.bpffs.display()),
        Armed::Nothing => println!(
            "no policy was ever in force by {}; nothing is enforced until segd runs (segd run)",
            options.state_dir.display()
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// That it can't be noted is told, and stops nobody.
fn note(armed: &Armed, path: &Path) {
    let begun = match armed {
        Armed::Now { is_first: true, .. } => Begun::Failsafe,
        Armed::Now { .. } => Begun::Policy,
        Armed::Nothing => Begun::Open,
        // Whoever put it in force has told of it.
        Armed::Already => return,
    };
    if let Err(error) = (BootNote { begun, at: Timestamp::now() }).write(path) {
        tracing::warn!("what the boot began with can't be noted: {error}");
    }
}

fn unload(options: &Unload) -> anyhow::Result<ExitCode> {
    segd::log::init(LevelFilter::WARN);
    let Unloaded { taken, forgotten } = engine::unload(&options.bpffs, options.state_dir.as_deref())?;
    if taken.is_empty() {
        println!("nothing is pinned in {}; nothing was enforced from there", options.bpffs.display());
    }
    for what in taken {
        println!("taken off: {what}");
    }
    if let Some(dir) = forgotten {
        println!("forgotten: the state in {}", dir.display());
    }
    Ok(ExitCode::SUCCESS)
}
