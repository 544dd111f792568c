//! The daemon's command line, as it is typed. Decides nothing.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use segd::engine::FirstBoot;
use segd::policy::Policy;
use tracing::level_filters::LevelFilter;

/// Where the zone file lies unless told otherwise.
const CONFIG: &str = "/etc/segd/zones.yaml";
/// Where the pins lie unless told otherwise.
const BPFFS: &str = "/sys/fs/bpf/segd";
/// Where state is kept unless told otherwise.
const STATE_DIR: &str = "/var/lib/segd";

/// Network micro-segmentation in the kernel: zone files in, enforcement out.
#[derive(Debug, Parser)]
#[command(name = "segd", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  segd check /etc/segd/zones.yaml      is this policy in order? (needs no privileges)
  segd run                             enforce /etc/segd/zones.yaml on this machine
  segd unload                          take enforcement off; the one way to do it

Exit status: 0 done; 1 failed; 2 usage; 4 not permitted; 5 the policy is invalid or its tests fail.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Enforce a zone file until SIGTERM; what is enforced stays enforced after that
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Check a zone file and its drop-ins, and run its tests; changes nothing and needs no privileges
    #[command(after_help = "Examples:\n  segd check\n  segd check ./zones.yaml")]
    Check(Check),
    /// Put the policy that was last in force in force again, before any daemon runs; for the boot, reads no zone file
    #[command(after_help = ARM_EXAMPLES)]
    Arm(Arm),
    /// Take enforcement off: programs, pins and counters; refused while a daemon is at work there
    #[command(after_help = "Examples:\n  segd unload\n  segd unload --bpffs /sys/fs/bpf/segd-lab")]
    Unload(Unload),
    /// Print the manual page, or write one for each command into a directory
    #[command(after_help = "Examples:\n  segd man | man -l -\n  segd man /usr/local/share/man/man8")]
    Man(ManArgs),
    /// Print the completions for a shell
    #[command(after_help = "Examples:\n  segd completions bash > /etc/bash_completion.d/segd")]
    Completions(Completions),
}

const ARM_EXAMPLES: &str = "\
Examples:
  segd arm
  segd arm --state-dir /var/lib/segd-lab --bpffs /sys/fs/bpf/segd-lab

  segd arm --first-boot failsafe --failsafe-from 10.0.0.0/24,fd00::/64 --failsafe-services tcp/22

It changes nothing where a policy is in force already. `segd run` takes over what it put there.
Exit status: 0 a policy is in force, or none was ever kept; 1 failed; 4 not permitted; 5 the policy is invalid.";

const RUN_EXAMPLES: &str = "\
Examples:
  segd run
  segd run --config ./zones.yaml --log-level debug
  segd run --config /etc/segd/lab.yaml --state-dir /var/lib/segd-lab \\
           --bpffs /sys/fs/bpf/segd-lab --socket /run/segd-lab.sock --metrics 127.0.0.1:9799

SIGHUP reads the zone file again, SIGTERM ends the daemon. Enforcement goes on without it,
expiry of rules included; `segd unload` takes it off.";

/// What a boot begins with where no policy was ever in force.
#[derive(Debug, Args)]
pub(crate) struct First {
    /// Where no policy was ever in force: open (nothing is enforced) or failsafe (all but that is dropped)
    #[arg(long, value_name = "CHOICE", env = "SEGD_FIRST_BOOT", default_value = "open")]
    #[arg(value_parser = ["open", "failsafe"], hide_env_values = true)]
    pub(crate) first_boot: String,
}

/// `segd run`
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) first: First,
    /// Zone file; zones.d/*.yaml beside it is merged in
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    pub(crate) config: PathBuf,
    /// What is kept over restarts
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub(crate) state_dir: PathBuf,
    /// Pins of programs, maps and links, on a bpffs; one folder per instance
    #[arg(long, value_name = "DIR", default_value = BPFFS)]
    pub(crate) bpffs: PathBuf,
    /// Control socket, which segctl talks to
    #[arg(long, value_name = "PATH", default_value = segd::api::DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// Address of /metrics and /healthz
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9798")]
    pub(crate) metrics: SocketAddr,
    /// What to log: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LevelFilter,
}

/// `segd check`
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Zone file; zones.d/*.yaml beside it is merged in
    #[arg(value_name = "FILE", default_value = CONFIG)]
    pub(crate) file: PathBuf,
}

/// `segd arm`
#[derive(Debug, Args)]
pub(crate) struct Arm {
    /// Where to note what was put in force, for segctl to tell while no daemon runs: boot.json beside the socket
    #[arg(long, value_name = "FILE")]
    pub(crate) note: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) first: First,
    /// With failsafe: networks that are never blocked, with commas between
    #[arg(long, value_name = "NETWORKS", env = "SEGD_FAILSAFE_FROM", default_value = "", hide_env_values = true)]
    pub(crate) failsafe_from: String,
    /// With failsafe: what they may reach
    #[arg(
        long,
        value_name = "SERVICES",
        env = "SEGD_FAILSAFE_SERVICES",
        default_value = "tcp/22",
        hide_env_values = true
    )]
    pub(crate) failsafe_services: String,
    /// Where the daemon keeps the compiled policy
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub(crate) state_dir: PathBuf,
    /// Pins of the instance
    #[arg(long, value_name = "DIR", default_value = BPFFS)]
    pub(crate) bpffs: PathBuf,
}

/// `segd unload`
#[derive(Debug, Args)]
pub(crate) struct Unload {
    /// Pins of the instance
    #[arg(long, value_name = "DIR", default_value = BPFFS)]
    pub(crate) bpffs: PathBuf,
    /// Also forget what is kept there: the numbers that the counters had, and the last good policy
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// `segd man`
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Where segd.8, segd-run.8, … are written; left out, segd(8) is printed
    #[arg(value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// `segd completions`
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

impl First {
    /// The choice as the engine knows it.
    pub(crate) fn choice(&self) -> FirstBoot {
        if self.first_boot == "failsafe" { FirstBoot::Failsafe } else { FirstBoot::Open }
    }
}

impl Arm {
    /// The policy for a machine that never had one.
    ///
    /// # Errors
    /// Names the word that is no network or no service.
    pub(crate) fn first_policy(&self) -> anyhow::Result<Option<Policy>> {
        let choice = self.first.choice();
        if choice == FirstBoot::Open {
            return Ok(None);
        }
        let from = words(&self.failsafe_from)
            .map(|word| {
                word.parse().with_context(|| format!("--failsafe-from: {word} is no network; write 10.0.0.0/24"))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let services = words(&self.failsafe_services)
            .map(|word| {
                word.parse().with_context(|| format!("--failsafe-services: {word} is no service; write tcp/22"))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(choice.policy(from, services))
    }
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty())
}
