//! Builds what plays for long, and the second build that upgrades go to, and starts it; the scenarios live beside the lab.

mod other;

use anyhow::{Result, bail};

use crate::command::{cargo, run};
use crate::setup;

/// What a person asked for. Without a count, every scenario is played as often as a release has to stand it.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Reloads with another policy [full: 10000]
    #[arg(long, value_name = "N")]
    swaps: Option<u64>,
    /// Restarts, the programs replaced in place [full: 200]
    #[arg(long, value_name = "N")]
    restarts: Option<u64>,
    /// `kill -9` at a random moment of a swap or a start [full: 1000]
    #[arg(long, value_name = "N")]
    kills: Option<u64>,
    /// Changes between this build and one with other layouts [full: 200]
    #[arg(long, value_name = "N")]
    upgrades: Option<u64>,
    /// Interfaces that appear [full: 1000]
    #[arg(long, value_name = "N")]
    hotplug: Option<u64>,
    /// Policies that lock the caller out, applied over ssh [full: 1000]
    #[arg(long, value_name = "N")]
    lockouts: Option<u64>,
    /// Draw the same series again
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

impl Options {
    /// Each scenario, what was asked for, and how often it is played in full.
    fn counts(&self) -> [(&'static str, Option<u64>, u64); 6] {
        let Self { swaps, restarts, kills, upgrades, hotplug, lockouts, seed: _ } = self;
        [
            ("--swaps", *swaps, 10_000),
            ("--restarts", *restarts, 200),
            ("--kills", *kills, 1000),
            ("--upgrades", *upgrades, 200),
            ("--hotplug", *hotplug, 1000),
            ("--lockouts", *lockouts, 1000),
        ]
    }
}

/// Plays them; a forbidden packet that comes through, or a session that does not come back, is a failure.
pub(crate) fn run_soak(options: &Options) -> Result<()> {
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } != 0 {
        bail!("the lab needs root for its networks: `sudo -E env \"PATH=$PATH\" cargo xtask soak`");
    }
    setup::install()?;
    run(&mut cargo(&["build", "--quiet", "--locked", "-p", "segd", "-p", "segctl", "-p", "segd-tests", "--bins"]))?;
    let mut soak = cargo(&["run", "--quiet", "--locked", "-p", "segd-tests", "--bin", "segd-soak", "--"]);
    // A start under load, on a machine that has other work too, is no failure because it is slow.
    soak.env("SEGD_TEST_PATIENCE", "180");
    let counts = options.counts();
    let everything = counts.iter().all(|(_, asked, _)| asked.is_none());
    for (word, asked, full) in counts {
        let count = asked.unwrap_or(if everything { full } else { 0 });
        soak.args([word, &count.to_string()]);
        if word == "--upgrades" && count > 0 {
            soak.arg("--other").arg(other::build()?);
        }
    }
    if let Some(seed) = options.seed {
        soak.args(["--seed", &seed.to_string()]);
    }
    run(&mut soak)
}
