//! A large policy: how long it takes to put it in force, and what the daemon weighs with it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use segd_tests::lab::Lab;

use crate::ground::{Ground, Published};
use crate::measure::Effort;
use crate::policy::{Shape, Size, write};

/// What an operator is promised of a policy of some size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Milliseconds from the text to the kernel.
    pub(crate) ms: f64,
    /// Megabytes of the daemon, once it enforces.
    pub(crate) megabytes: f64,
}

/// Ten thousand of each; a hundred thousand rules; a block list of a million prefixes.
const LARGE: [(Size, Limits); 3] = [
    (size(10_000, 100, 10_000), Limits { ms: 1000.0, megabytes: 200.0 }),
    (size(10_000, 1_000, 100_000), Limits { ms: 5000.0, megabytes: 500.0 }),
    (size(1_000_000, 5, 12), Limits { ms: 5000.0, megabytes: 500.0 }),
];
const TIMES: usize = 5;

const fn size(prefixes: usize, zones: usize, rules: usize) -> Size {
    Size { prefixes, zones, rules, connections: None, shape: Shape::Mixed }
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Footprint {
    /// Of which policy.
    pub(crate) size: Size,
    /// What is promised of it.
    pub(crate) limits: Limits,
    /// The middle one of several.
    pub(crate) published: Published,
    /// Shortest and longest compile and publish together.
    pub(crate) spread: (Duration, Duration),
    /// Kilobytes of the daemon that are in memory once it enforces.
    pub(crate) resident_kb: f64,
    /// The most that it ever had there.
    pub(crate) peak_kb: f64,
}

/// All large policies.
pub(crate) fn weigh_all(programs: &Path, effort: Effort) -> Result<Vec<Footprint>> {
    let count = if effort.brief { 1 } else { LARGE.len() };
    let times = if effort.brief { 1 } else { TIMES };
    LARGE.into_iter().take(count).map(|(size, limits)| weigh(size, limits, times, programs)).collect()
}

/// Publishes the policy several times, then starts the daemon with it on the gateway of a lab.
fn weigh(size: Size, limits: Limits, times: usize, programs: &Path) -> Result<Footprint> {
    eprintln!("weighing a policy of {} prefixes and {} rules …", size.prefixes, size.rules);
    let policy = write(size);
    let mut all = Vec::new();
    for _ in 0..times {
        all.push(Ground::new(&policy, programs)?.1);
    }
    let time = |published: &Published| published.compile + published.publish;
    all.sort_by_key(time);
    let spread = (time(&all[0]), time(&all[times - 1]));
    let lab = Lab::enforcing(&policy.zones).context("the daemon does not start with the large policy")?;
    let pid = lab.daemon.pid().context("the daemon does not run")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line in its status")?;
        Ok::<f64, anyhow::Error>(line.trim().trim_end_matches(" kB").parse()?)
    };
    let (resident_kb, peak_kb) = (field("VmRSS:")?, field("VmHWM:")?);
    Ok(Footprint { size, limits, published: all[times / 2], spread, resident_kb, peak_kb })
}
