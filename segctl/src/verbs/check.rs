//! `segctl check`: faults of a zone file, and its own tests. Needs neither the daemon nor any right: the daemon's own
//! rooms are called, so the two cannot disagree.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use segd::api::types::{CheckReport, FaultView, TestView};
use segd::config::{Fault, Faults, read_sources};

use crate::cli::Session;
use crate::failure::INVALID;
use crate::words::{Tone, number_of};

const EXAMPLES: &str = "\
zones.d/*.yaml beside the file are read with it, as the daemon does. Exit status 0: good; 5: faults, or a test fails.

Examples:
  segctl check /etc/segd/zones.yaml
  segctl check new-zones.yaml -o json | jq -r '.faults[].place'";

/// Show every fault of a zone file and run its tests; needs no daemon and no privileges
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A zone file
    #[arg(value_name = "FILE", default_value = "/etc/segd/zones.yaml")]
    file: PathBuf,
}

/// Checks and shows.
pub(crate) fn run(args: &Args, session: &Session) -> anyhow::Result<ExitCode> {
    let report = report(&args.file);
    session.screen.show(&report, |report, _| text(report, &args.file.display().to_string()))?;
    Ok(if report.good() { ExitCode::SUCCESS } else { ExitCode::from(INVALID) })
}

/// What the daemon would say, with this file in the place of its own.
fn report(file: &Path) -> CheckReport {
    read_sources(file).map_or_else(|faults| unreadable(&faults), segd::engine::check)
}

fn unreadable(faults: &Faults) -> CheckReport {
    let view = |fault: &Fault| FaultView {
        place: fault.file.clone(),
        what: fault.message.clone(),
        mend: fault.mend.clone(),
        picture: fault.render(false),
    };
    CheckReport { faults: faults.faults.iter().map(view).collect(), ..CheckReport::default() }
}

/// A blank line after each, as each has several lines of its own.
fn text(report: &CheckReport, file: &str) -> String {
    let CheckReport { faults, warnings, tests } = report;
    let mut parts: Vec<String> = faults.iter().map(fault).collect();
    parts.extend(warnings.iter().map(warning));
    parts.extend(tests.iter().filter(|test| !test.passed).map(failed_test));
    parts.push(summary(report, file));
    parts.join("\n\n")
}

fn summary(report: &CheckReport, file: &str) -> String {
    let failed = report.tests.iter().filter(|test| !test.passed).count();
    let tests = number_of(report.tests.len(), "test");
    if report.good() {
        let held = if report.tests.is_empty() { "it has no tests".into() } else { format!("{tests} run, none failed") };
        return format!(
            "{file} is {}; {held}\n  to see what it would change: segctl diff {file}",
            Tone::Good.paint("good")
        );
    }
    let bad = Tone::Bad.paint("refused");
    if report.faults.is_empty() {
        return format!(
            "{file} is {bad}: {failed} of {tests} failed\n  mend the rules, or the tests if they claim too much"
        );
    }
    let faults = number_of(report.faults.len(), "fault");
    format!("{file} is {bad}: {faults}; tests are run when there are none")
}

/// One fault as people read it: place, what, the line with its mark, the mend.
pub(crate) fn fault(fault: &FaultView) -> String {
    told(Tone::Bad, "error", fault)
}

/// One warning, likewise.
pub(crate) fn warning(fault: &FaultView) -> String {
    told(Tone::Warn, "warning", fault)
}

fn told(tone: Tone, word: &str, fault: &FaultView) -> String {
    let FaultView { place, what, mend, picture } = fault;
    let word = tone.paint(word);
    if picture.is_empty() { format!("{word}: {place}: {what}\n  mend: {mend}") } else { format!("{word}: {picture}") }
}

/// One test that failed.
pub(crate) fn failed_test(test: &TestView) -> String {
    let TestView { place, claim, found, .. } = test;
    format!("{}: {place}: {claim}\n  found instead: {found}", Tone::Bad.paint("test failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(passed: bool) -> TestView {
        TestView {
            place: "zones.yaml:40:5".into(),
            claim: "10.30.0.5 to 10.20.0.10 tcp/22: expect deny".into(),
            passed,
            found: if passed { String::new() } else { "allowed (rule, disk-swap) from dev to accounting".into() },
        }
    }

    fn plain(report: &CheckReport) -> String {
        anstream::adapter::strip_str(&text(report, "zones.yaml")).to_string()
    }

    #[test]
    fn a_good_file_says_how_many_tests_were_run() {
        let report = CheckReport { tests: vec![test(true)], ..CheckReport::default() };
        assert_eq!(
            plain(&report),
            "zones.yaml is good; 1 test run, none failed\n  to see what it would change: segctl diff zones.yaml"
        );
    }

    #[test]
    fn a_failed_test_says_what_was_found_instead() {
        let report = CheckReport { tests: vec![test(true), test(false)], ..CheckReport::default() };
        assert_eq!(
            plain(&report),
            "\
test failed: zones.yaml:40:5: 10.30.0.5 to 10.20.0.10 tcp/22: expect deny
  found instead: allowed (rule, disk-swap) from dev to accounting

zones.yaml is refused: 1 of 2 tests failed
  mend the rules, or the tests if they claim too much"
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_a_fault_with_a_mend() {
        let report = report(Path::new("/nonexistent/zones.yaml"));
        assert!(!report.good());
        assert!(
            plain(&report).starts_with("error: /nonexistent/zones.yaml: there is no such file\n  mend: "),
            "{report:?}"
        );
    }
}
