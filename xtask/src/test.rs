//! Builds everything, runs every test, sums up in one line, and sees that the packet path is as fast as it was. It must never count a skipped test as passed.

use std::io::{BufRead, BufReader, IsTerminal};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::bench;
use crate::command::{cargo, run};
use crate::fuzz;
use crate::setup;

/// How many tests ended how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// Unit tests first, then what needs the built programs and root.
pub(crate) fn run_all() -> Result<()> {
    setup::install()?;
    fuzz::check_lock()?;
    run(&mut cargo(&["build", "--workspace", "--locked"]))?;
    let skips = tempfile::NamedTempFile::new().context("could not make a file that counts skipped tests")?;
    let mut tally = Tally::default();
    let mut all_ran = true;
    for part in [&["--workspace", "--exclude", "segd-tests"][..], &["-p", "segd-tests"]] {
        let mut tests = cargo(&["test", "--locked", "--no-fail-fast"]);
        tests.args(part).env("SEGD_TEST_SKIPS", skips.path());
        all_ran &= run_counted(&mut tests, &mut tally)?;
    }
    let left_out = std::fs::read_to_string(skips.path()).context("could not count the skipped tests")?;
    for test in left_out.lines() {
        println!("skipped: {test}");
        // The harness counted a test that left early as passed.
        tally.passed = tally.passed.saturating_sub(1);
        tally.skipped += 1;
    }
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    ensure!(all_ran && tally.failed == 0, "not every test passed");
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } == 0 {
        bench::guard(false)?;
    } else {
        println!("skipped: whether the packet path has become slower; that needs root");
    }
    Ok(())
}

/// Runs one `cargo test`, shows what it prints, adds its results; whether it succeeded.
fn run_counted(command: &mut Command, tally: &mut Tally) -> Result<bool> {
    if std::io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().context("could not run cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if let Some(result) = Tally::of(&line) {
            tally.passed += result.passed;
            tally.failed += result.failed;
            tally.skipped += result.skipped;
        }
    }
    Ok(child.wait()?.success())
}

impl Tally {
    /// What a line like `test result: ok. 3 passed; 0 failed; 1 ignored; …` says.
    fn of(line: &str) -> Option<Self> {
        let numbers = line.strip_prefix("test result: ")?;
        let count = |word: &str| -> Option<usize> {
            let before = numbers.split_once(word)?.0.trim_end();
            before.rsplit(' ').next()?.parse().ok()
        };
        Some(Self { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_harness_last_line_becomes_a_tally() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.5s";
        assert_eq!(Tally::of(line), Some(Tally { passed: 12, failed: 3, skipped: 1 }));
        assert_eq!(Tally::of("test parse::tests::result ... ok"), None);
    }
}
