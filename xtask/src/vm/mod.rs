//! Boots other kernels in qemu and runs the product on them: real daemon, real verifier, real packets. Nothing of it runs
//! in `cargo xtask test`; it takes minutes.
//!
//! It must never take silence for success: see [`guest::Verdict`].

mod archive;
mod guest;
mod initramfs;
mod insns;
mod kernel;
mod matrix;
mod modules;
mod payload;
mod plan;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::command::target_dir;
use crate::setup;
use guest::{Guest, Proof, Run};
use kernel::Kernel;

/// What a person asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A kernel: 6.1, 6.12, newest (all three are the default), or 5.10, which has to be refused
    #[arg(long = "kernel", value_name = "KERNEL")]
    kernels: Vec<Kernel>,
    /// Run only this suite
    #[arg(long = "suite", value_name = "SUITE")]
    suites: Vec<String>,
    /// Only run the verifiers, and note in tests/verifier-insns.json what they count instead of comparing it
    #[arg(long)]
    record: bool,
    /// Boot guests that fail, panic and hang, and see that none of them is taken for success
    #[arg(long)]
    prove: bool,
    /// Guests at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

/// Guests get this long. The slowest kernel takes a fifth of it on a quiet machine.
const PATIENCE: Duration = Duration::from_hours(1);

/// Where kernels, initramfs images and logs are kept.
fn folder() -> PathBuf {
    target_dir().join("vm")
}

/// Boots what was asked for, shows the matrix, and fails if anything in it did.
pub(crate) fn run_vm(options: &Options) -> Result<()> {
    setup::install_for_vm()?;
    let kernels = if options.kernels.is_empty() { Kernel::ALL.to_vec() } else { options.kernels.clone() };
    let payload = payload::build()?;
    if options.prove {
        return prove(kernels[0], &payload);
    }
    let suites = if options.record { vec![plan::VERIFIER.to_owned()] } else { options.suites.clone() };
    let guest = |kernel: &Kernel| Guest::prepare(*kernel, &payload, &plan::of(kernel.kind(), &suites)?, None);
    let guests: Vec<Guest> = kernels.iter().map(guest).collect::<Result<_>>()?;
    let runs = run_all(guests, options.jobs)?;
    if options.record {
        return insns::record(&runs);
    }
    let table = matrix::draw(&runs);
    println!("{table}");
    let file = folder().join("matrix.md");
    std::fs::write(&file, &table)?;
    println!("also in {}, with the guests' consoles beside it", file.display());
    let failed: Vec<_> = runs.iter().filter(|run| !run.passed()).map(Run::what_failed).collect();
    ensure!(failed.is_empty(), "not every kernel passed:\n{}", failed.join("\n"));
    Ok(())
}

/// A few guests at a time, in the order given.
fn run_all(guests: Vec<Guest>, jobs: usize) -> Result<Vec<Run>> {
    let count = guests.len();
    let waiting = Mutex::new(guests.into_iter().enumerate());
    let done = Mutex::new(Vec::with_capacity(count));
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, count.max(1)) {
            scope.spawn(|| {
                loop {
                    // A thread that panicked ends everything at the scope's end.
                    let next = waiting.lock().ok().and_then(|mut waiting| waiting.next());
                    let Some((place, guest)) = next else { return };
                    let run = guest.boot(PATIENCE);
                    if let Ok(mut done) = done.lock() {
                        done.push((place, run));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, run)| run).collect()
}

/// Each way to fail has to be seen as what it is.
fn prove(kernel: Kernel, payload: &payload::Payload) -> Result<()> {
    for proof in Proof::ALL {
        let run = Guest::prepare(kernel, payload, plan::FAILING, Some(proof))?.boot(Duration::from_secs(90))?;
        println!("a guest that {proof}: {}", run.verdict);
        ensure!(proof.is_seen_as(&run.verdict), "a guest that {proof} was taken for one that {}", run.verdict);
    }
    println!("each was seen as what it is");
    Ok(())
}
