//! One test program of the plan, run to its end, and what it said counted.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::verdict::Report;

/// Where skipped tests are noted; see `segd_tests::lab::can_run`.
const SKIPS: &str = "/tmp/skips";
/// What a test prints for the host begins with this.
const FOR_THE_HOST: &str = "verified_insns ";

/// A name and a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    pub(crate) name: String,
    program: String,
    arguments: Vec<String>,
}

/// How a suite ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    passed: usize,
    failed: usize,
    skipped: usize,
    succeeded: bool,
}

impl Outcome {
    /// Everything ran, something did, and all of it passed.
    pub(crate) const fn good(self) -> bool {
        self.succeeded && self.failed == 0 && self.skipped == 0 && self.passed > 0
    }

    fn add(&mut self, line: &str) {
        let Some(numbers) = line.strip_prefix("test result: ") else { return };
        let count = |word: &str| -> usize {
            let before = numbers.split_once(word).map_or("", |(before, _)| before.trim_end());
            before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        self.passed += count("passed");
        self.failed += count("failed");
        self.skipped += count("ignored");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped, succeeded } = self;
        write!(f, "passed {passed} failed {failed} skipped {skipped} exit {}", if *succeeded { "good" } else { "bad" })
    }
}

impl Suite {
    pub(crate) fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some(Self { name: words.next()?, program: words.next()?, arguments: words.collect() })
    }

    pub(crate) fn run(&self, report: &mut Report) -> Result<Outcome> {
        let _ = std::fs::remove_file(SKIPS);
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs([("PATH", "/bin"), ("SEGD_TEST_SKIPS", SKIPS), ("SEGD_TEST_PATIENCE", "900"), ("TMPDIR", "/tmp")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not run {}", self.program))?;
        let output = child.stdout.take().context("a suite without output")?;
        let mut outcome = Outcome::default();
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            println!("{line}");
            outcome.add(&line);
            if line.starts_with(FOR_THE_HOST) || line.ends_with("... FAILED") {
                report.tell(&line);
            }
        }
        outcome.succeeded = child.wait()?.success();
        let skips = std::fs::read_to_string(SKIPS).unwrap_or_default().lines().count();
        outcome.skipped += skips;
        // The harness counts a test that left early as passed.
        outcome.passed = outcome.passed.saturating_sub(skips);
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_s_line_is_a_name_and_a_command() {
        let suite = Suite { name: "life".into(), program: "/t/life".into(), arguments: vec!["--nocapture".into()] };
        assert_eq!(Suite::read("life /t/life --nocapture"), Some(suite));
        assert_eq!(Suite::read("  "), None);
        assert_eq!(Suite::read("lonely"), None);
    }

    #[test]
    fn only_a_suite_that_ran_whole_and_passed_is_good() {
        let mut outcome = Outcome { succeeded: true, ..Outcome::default() };
        assert!(!outcome.good(), "nothing ran");
        outcome.add("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.5s");
        assert!(outcome.good());
        assert!(!Outcome { succeeded: false, ..outcome }.good(), "its exit status says otherwise");
        for line in ["test result: ok. 3 passed; 0 failed; 1 ignored;", "test result: FAILED. 3 passed; 1 failed;"] {
            let mut worse = outcome;
            worse.add(line);
            assert!(!worse.good(), "{line}");
        }
    }
}
