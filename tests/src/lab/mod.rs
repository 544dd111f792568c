//! The lab: networks of their own with the real daemon in their middle, and real sockets around it.
//!
//! Every lab owns its namespaces, its bpffs and its directories, and takes them down when it drops, after a panic
//! too. Labs never meet, so tests run side by side. It must never touch the machine's own network.

mod daemon;
mod foreign;
mod machine;
mod metrics;
mod namespace;
mod office;
mod port;
mod scratch;
mod traffic;
mod tunnel;
mod watch;
mod zones;

use std::fmt::Display;
use std::io::Write;

use anyhow::Result;

pub use daemon::{ADMINS, Daemon, binary, copy_program, until};
pub use foreign::ForeignProgram;
pub use machine::Machine;
pub use metrics::{Metrics, Series};
pub use namespace::Namespace;
pub use office::{
    ACCOUNTING, DEV, FORWARD_8443, GATEWAY_MAC, GUEST, HOST_MAC, Host, INTERNET, MASQUERADE, Office, Place,
};
pub use port::Port;
pub use scratch::Scratch;
pub use traffic::{PATIENCE, Server, Session, is_silence, undisturbed};
pub use tunnel::Tunnel;
pub use watch::Watch;
pub use zones::Zones;

/// The office with the daemon on its gateway.
#[derive(Debug)]
pub struct Lab {
    /// The daemon; it drops first, while its network still stands.
    pub daemon: Daemon,
    /// The network.
    pub office: Office,
}

impl Lab {
    /// Builds the office and enforces this zone file on its gateway.
    pub fn enforcing(zones: impl Display) -> Result<Self> {
        let mut lab = Self::prepared(zones)?;
        lab.start()?;
        Ok(lab)
    }

    /// Builds the office and lays out the zone file; the daemon does not run yet.
    pub fn prepared(zones: impl Display) -> Result<Self> {
        Ok(Self { daemon: Daemon::new(&zones.to_string())?, office: Office::new()? })
    }

    /// Puts another zone file in place, makes the daemon read it, and waits until it is in force.
    pub fn reload(&self, zones: impl Display) -> Result<()> {
        self.daemon.reload_to(&self.office.gateway, &zones.to_string())
    }

    /// Starts the daemon on the gateway.
    pub fn start(&mut self) -> Result<()> {
        self.daemon.start(&self.office.gateway)
    }

    /// What the metrics say now.
    pub fn metrics(&self) -> Result<Metrics> {
        self.daemon.metrics(&self.office.gateway)
    }
}

/// Whether this test can run: namespaces and BPF need root.
///
/// A skip is loud: it is printed, and counted in the file that `SEGD_TEST_SKIPS` names.
///
/// # Panics
/// Under CI, where a skip is a failure.
#[must_use]
pub fn can_run(test: &str) -> bool {
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } == 0 {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{test} needs root, and CI has to run everything");
    eprintln!("SKIPPED {test}: network namespaces and BPF need root");
    if let Some(path) = std::env::var_os("SEGD_TEST_SKIPS")
        && let Ok(mut file) = std::fs::File::options().create(true).append(true).open(path)
    {
        // The line above has told already.
        let _ = writeln!(file, "{test}");
    }
    false
}

/// Leaves the test, loudly, if it can't run here; for tests that give a `Result`.
#[macro_export]
macro_rules! needs_root {
    () => {
        if !$crate::lab::can_run(std::thread::current().name().unwrap_or("a test")) {
            return Ok(());
        }
    };
}
