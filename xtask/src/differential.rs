//! Builds the comparison with optimisation and starts it; it lives beside the model and the lab.

use anyhow::{Result, bail};

use crate::command::{cargo, run};
use crate::setup;

/// Compares so many packets and questions; a difference is made small, shown, and a failure.
pub(crate) fn run_differential(
    [packets, questions, conserve]: &[&str; 3],
    seed: Option<u64>,
    case: Option<u64>,
) -> Result<()> {
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } != 0 {
        bail!(
            "the comparison loads kernel programs, and needs root for that: \
             `sudo -E env \"PATH=$PATH\" cargo xtask differential`"
        );
    }
    setup::install()?;
    let mut compare = cargo(&["run", "--quiet", "--locked", "-p", "segd-tests", "--bin", "segd-differential", "--"]);
    compare.args(["--packets", packets, "--questions", questions, "--conserve", conserve]);
    for (word, number) in [("--seed", seed), ("--case", case)] {
        if let Some(number) = number {
            compare.args([word, &number.to_string()]);
        }
    }
    run(&mut compare)
}
