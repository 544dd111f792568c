//! Builds the player of mutated zone files and starts it; it lives beside the tests.

use anyhow::Result;

use crate::command::{cargo, run};

/// Plays so many sets of files to the loader; what it must never do is made small, shown, and a failure.
pub(crate) fn run_loader(files: &str, seed: Option<u64>, case: Option<u64>) -> Result<()> {
    let mut loader = cargo(&["run", "--quiet", "--locked", "-p", "segd-tests", "--bin", "segd-loader", "--"]);
    loader.args(["--files", files]);
    for (word, number) in [("--seed", seed), ("--case", case)] {
        if let Some(number) = number {
            loader.args([word, &number.to_string()]);
        }
    }
    run(&mut loader)
}
