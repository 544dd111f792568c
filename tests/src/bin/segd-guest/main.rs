//! The first process of a guest that `cargo xtask vm` boots: it prepares an empty machine, runs the suites of its plan
//! and tells the host how they ended. It must never end without a verdict: what goes wrong here is a failure.

mod machine;
mod suite;
mod verdict;

use std::fs;

use anyhow::{Context, Result};

use suite::Suite;
use verdict::Report;

/// One suite a line: a name, then the words of its command.
const PLAN: &str = "/plan";

fn main() {
    let mut report = Report::open();
    let passed = match run(&mut report) {
        Ok(passed) => passed,
        Err(error) => {
            report.tell(&format!("error {error:#}"));
            false
        }
    };
    report.end(passed);
}

fn run(report: &mut Report) -> Result<bool> {
    machine::prepare()?;
    prove(&fs::read_to_string("/proc/cmdline")?);
    report.tell(&format!("kernel {}", fs::read_to_string("/proc/sys/kernel/osrelease")?.trim()));
    let plan = fs::read_to_string(PLAN).with_context(|| format!("could not read {PLAN}"))?;
    let mut passed = true;
    for suite in plan.lines().filter_map(Suite::read) {
        let outcome = suite.run(report)?;
        passed &= outcome.good();
        report.tell(&format!("suite {} {outcome}", suite.name));
    }
    Ok(passed)
}

/// How the host proves that it notices: a guest that dies, and one that hangs. (One that fails has a failing plan.)
fn prove(command_line: &str) {
    if command_line.contains("segd_prove=panic") {
        // Without a first process the kernel panics.
        std::process::exit(1);
    }
    if command_line.contains("segd_prove=hang") {
        loop {
            std::thread::park();
        }
    }
}
