//! A large policy: how long it takes to put it in force, and what the daemon weighs with it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use segd_tests::lab::Lab;

use crate::ground::{Ground, Published};
use crate::policy::{Size, write};

/// Ten thousand of each.
pub(crate) const LARGE: Size = Size { prefixes: 10_000, zones: 100, rules: 10_000, connections: None };
const TIMES: usize = 7;

/// What was found.
#[derive(Debug)]
pub(crate) struct Footprint {
    /// The middle one of several.
    pub(crate) published: Published,
    /// Shortest and longest compile and publish together.
    pub(crate) spread: (Duration, Duration),
    /// Kilobytes of the daemon that are in memory once it enforces.
    pub(crate) resident_kb: f64,
    /// The most that it ever had there.
    pub(crate) peak_kb: f64,
}

/// Publishes the large policy several times, then starts the daemon with it on the gateway of a lab.
pub(crate) fn weigh(programs: &Path) -> Result<Footprint> {
    let policy = write(LARGE);
    let mut all = Vec::new();
    for _ in 0..TIMES {
        all.push(Ground::new(&policy, programs)?.1);
    }
    let time = |published: &Published| published.compile + published.publish;
    all.sort_by_key(time);
    let spread = (time(&all[0]), time(&all[TIMES - 1]));
    let lab = Lab::enforcing(&policy.zones).context("the daemon does not start with the large policy")?;
    let pid = lab.daemon.pid().context("the daemon does not run")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line in its status")?;
        Ok::<f64, anyhow::Error>(line.trim().trim_end_matches(" kB").parse()?)
    };
    Ok(Footprint { published: all[TIMES / 2], spread, resident_kb: field("VmRSS:")?, peak_kb: field("VmHWM:")? })
}
