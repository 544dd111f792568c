//! The hunt for one bug: the tests that ought to catch it, then wider ones, the quick ones first. It ends at the first test
//! that fails.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::stop;
use crate::copy::Copy;

/// What is asked when nobody that was named has caught the bug: first what needs no kernel, then the labs, of which each
/// test makes a network of its own.
const WIDER: &[&str] = &[
    "-p segd-common",
    "-p segd",
    "-p segctl",
    "-p segd-tests --test rows",
    "-p segd-tests --test differential",
    "-p segd-tests --test contract",
    "-p segd-tests --test nat",
    "-p segd-tests",
];

/// Suites among the labs that start no program.
const WITHOUT_PROGRAMS: &[&str] = &["frames", "--lib"];

/// A suite takes minutes at the most. One that goes on for longer has been stopped by the bug: that is a catch too.
const PATIENCE: Duration = Duration::from_mins(15);
/// Stands behind the name of one that went on.
const LATE: &str = "(did not end)";

/// What became of a bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// This test fails.
    Caught(String),
    /// No test does.
    Survived,
    /// The patch is no longer one of this tree.
    DoesNotApply(String),
    /// A bug that the compiler finds is no bug to test tests with.
    DoesNotBuild(String),
}

/// How a `cargo test` ended.
enum Tested {
    Passed(usize),
    Failed(String),
    NotBuilt(String),
}

/// How a hunt ended.
pub(super) struct Hunted {
    pub(super) fate: Fate,
    /// What was asked last.
    words: String,
}

/// Looks for the bug that is in the copy; `quick`: only by the tests that it names.
pub(super) fn hunt(copy: &Copy, named: &[String], quick: bool, mut show: impl FnMut(&str)) -> Result<Hunted> {
    let wider = if quick { &[] } else { WIDER };
    for words in named.iter().map(String::as_str).chain(wider.iter().copied()) {
        let fate = match test(copy, words, &mut show)? {
            Tested::Passed(_) => continue,
            Tested::Failed(name) => Fate::Caught(name),
            Tested::NotBuilt(why) => Fate::DoesNotBuild(why),
        };
        return Ok(Hunted { fate, words: words.to_owned() });
    }
    Ok(Hunted { fate: Fate::Survived, words: String::new() })
}

/// A test that nobody named has caught the bug, which is out again: it has to pass now, or it would have caught anything.
pub(super) fn is_its_own(copy: &Copy, named: &[String], hunted: &Hunted, show: impl FnMut(&str)) -> Result<()> {
    let Hunted { fate: Fate::Caught(test), words } = hunted else { return Ok(()) };
    if named.contains(words) || test.ends_with(LATE) {
        return Ok(());
    }
    let name = test.rsplit(' ').next().unwrap_or_default();
    is_sound(copy, &format!("{words} {name}"), show)
}

/// The tests that are named have to be there and to pass without a bug: one that fails anyway catches nothing.
pub(super) fn is_sound(copy: &Copy, words: &str, show: impl FnMut(&str)) -> Result<()> {
    match test(copy, words, show)? {
        Tested::Passed(0) => anyhow::bail!("`cargo test {words}` runs no test; name one that there is"),
        Tested::Passed(_) => Ok(()),
        Tested::Failed(name) => anyhow::bail!("{name} fails without any bug: mend it first (`cargo test {words}`)"),
        Tested::NotBuilt(why) => anyhow::bail!("the tree does not build:\n{why}"),
    }
}

/// Builds and runs. The labs start programs that a build of the tests alone does not bring up to date.
fn test(copy: &Copy, words: &str, mut show: impl FnMut(&str)) -> Result<Tested> {
    let words: Vec<&str> = words.split_whitespace().collect();
    let has_lab = words.contains(&"segd-tests") && !words.iter().any(|word| WITHOUT_PROGRAMS.contains(word));
    let programs = ["build", "--locked", "-p", "segd", "-p", "segctl", "--bins"];
    let tests = [&["test", "--locked", "--no-run"][..], &words].concat();
    for build in [&programs[..], &tests].into_iter().skip(usize::from(!has_lab)) {
        let built = stop::run(&mut copy.cargo(build), PATIENCE, &mut show)?;
        if !built.success {
            return Ok(Tested::NotBuilt(built.said));
        }
    }
    let ended = stop::run(&mut copy.cargo(&[&["test", "--locked"][..], &words].concat()), PATIENCE, &mut show)?;
    if ended.late {
        return Ok(Tested::Failed(format!("{} {LATE}", words.join(" "))));
    }
    if ended.success {
        return Ok(Tested::Passed(passed(&ended.said)));
    }
    let name = failed(&ended.said);
    ensure!(name.is_some(), "cargo test {} failed and named no test:\n{}", words.join(" "), ended.said);
    Ok(Tested::Failed(name.unwrap_or_default()))
}

/// How many tests passed, over all that ran.
fn passed(said: &str) -> usize {
    let count = |line: &str| line.strip_prefix("test result: ok. ")?.split_once(" passed")?.0.parse::<usize>().ok();
    said.lines().filter_map(count).sum()
}

/// The first test that failed, behind the name of its program; of one that died with its program, the program.
fn failed(said: &str) -> Option<String> {
    let mut program = "";
    let mut died = None;
    for line in said.lines().map(str::trim) {
        if let Some(running) = line.strip_prefix("Running ") {
            program = running.rsplit('/').next()?.rsplit_once('-')?.0;
        } else if let Some(test) = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED")) {
            return Some(format!("{program} {test}"));
        } else if line.starts_with("error: test failed") {
            died = Some(program);
        }
    }
    // With one thread the name and the outcome may stand on lines of their own, with what the test printed between.
    let below = said.split_once("\nfailures:\n\n").and_then(|(_, rest)| rest.strip_prefix("---- ")?.split_once(' '));
    below.map(|(test, _)| format!("{program} {test}")).or_else(|| died.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_test_that_failed_is_named_with_its_program() {
        let said = "   Running tests/pipeline/main.rs (target/debug/deps/pipeline-0123)\ntest udp::a ... ok\n\
                    test udp::b ... FAILED\ntest udp::c ... FAILED\n";
        assert_eq!(failed(said).as_deref(), Some("pipeline udp::b"));
        let said = "   Running unittests src/lib.rs (target/debug/deps/segd-0123)\nrunning 2 tests\n\
                    error: test failed, to rerun pass `-p segd --lib`\n";
        assert_eq!(failed(said).as_deref(), Some("segd"), "a program that was killed");
    }

    #[test]
    fn passed_tests_are_counted_over_all_programs() {
        let said = "test result: ok. 12 passed; 0 failed; 0 ignored\ntest result: ok. 3 passed; 0 failed; 0 ignored\n";
        assert_eq!(passed(said), 15);
    }
}
