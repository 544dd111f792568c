//! The fallback guard: tables of our own in nftables that stop traffic through interfaces which no program guards
//! yet. It fails static: when the daemon dies they stay. Never touches a table that is not ours.

use std::io::{self, Write};
use std::process::{Command, Stdio};

use super::ruleset::{self, Admission, Instance};

/// Families that each kernel with nftables has, and with bridging beside.
const WITH_BRIDGE: [&str; 2] = ["inet", "bridge"];
const WITHOUT_BRIDGE: [&str; 1] = ["inet"];

/// The guard could not be set.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// There is no `nft` to run.
    #[error("cannot run nft: {0}; install nftables, or new interfaces are open until they are guarded")]
    NoNft(#[source] io::Error),
    /// It said no; nothing was changed.
    #[error("nft refused to {what} table {table}: {words}; the kernel needs nf_tables and the daemon CAP_NET_ADMIN")]
    Refused {
        /// Replace or remove.
        what: &'static str,
        /// Name of the table.
        table: String,
        /// What it printed.
        words: String,
    },
}

/// Stops what comes in or goes out through interfaces that are neither enforced nor left alone by the policy.
///
/// All calls run `nft` in the network namespace of the calling thread and take about ten milliseconds.
#[derive(Debug)]
pub struct Guard {
    instance: Instance,
    families: &'static [&'static str],
    /// What is in force, as far as we set it.
    in_force: Option<Admission>,
    unavailable: Option<String>,
}

impl Guard {
    /// Sets the guard, in the place of one that an earlier daemon of this instance left. Call it when all interfaces
    /// that are there have been attached to. Where it cannot be set, [`Self::unavailable`] says why.
    #[must_use]
    pub fn install(instance: Instance, admission: &Admission) -> Self {
        let mut guard = Self { instance, families: &WITH_BRIDGE, in_force: None, unavailable: None };
        // The failure stays in `unavailable`, for status to tell.
        _ = guard.update(admission);
        guard
    }

    /// Puts `admission` in force, all or nothing: no packet sees half of it. Does nothing if it is in force and
    /// still there; sets the tables again if someone flushed them.
    ///
    /// # Errors
    /// What was in force before stays so.
    pub fn update(&mut self, admission: &Admission) -> Result<(), GuardError> {
        if self.in_force.as_ref() == Some(admission) && self.present() {
            return Ok(());
        }
        let outcome = self.replace(admission);
        self.unavailable = outcome.as_ref().err().map(ToString::to_string);
        if outcome.is_ok() {
            self.in_force = Some(admission.clone());
        }
        outcome
    }

    /// Whether all its tables are there, by the kernel's word.
    #[must_use]
    pub fn present(&self) -> bool {
        let table = self.instance.table();
        self.families.iter().all(|family| nft(&["list", "table", family, &table], "").is_ok_and(|run| run.is_ok()))
    }

    /// Why new interfaces are open until they are guarded; `None` if they are not. A guard that was once set and
    /// could not be updated is told here too: it stops more than it should.
    #[must_use]
    pub fn unavailable(&self) -> Option<&str> {
        self.unavailable.as_deref()
    }

    /// Whether frames from bridge port to bridge port are stopped as well.
    #[must_use]
    pub fn covers_bridges(&self) -> bool {
        self.in_force.is_some() && self.families == WITH_BRIDGE
    }

    /// Takes the tables of `instance` away, as `segd unload` does. No table, or no nft at all, is fine.
    ///
    /// # Errors
    /// The tables are still there.
    pub fn remove(instance: &Instance) -> Result<(), GuardError> {
        match apply("remove", instance, &ruleset::removal_of(instance, &WITH_BRIDGE)) {
            Err(GuardError::NoNft(_)) => Ok(()),
            Err(GuardError::Refused { .. }) => {
                apply("remove", instance, &ruleset::removal_of(instance, &WITHOUT_BRIDGE))
            }
            outcome => outcome,
        }
    }

    fn replace(&mut self, admission: &Admission) -> Result<(), GuardError> {
        let set =
            |families: &[&str]| apply("replace", &self.instance, &admission.transaction(&self.instance, families));
        match set(self.families) {
            // A kernel without the bridge family refuses the whole transaction, so the rest is tried alone.
            Err(GuardError::Refused { .. }) if self.in_force.is_none() && self.families == WITH_BRIDGE => {
                set(&WITHOUT_BRIDGE)?;
                self.families = &WITHOUT_BRIDGE;
                Ok(())
            }
            outcome => outcome,
        }
    }
}

fn apply(what: &'static str, instance: &Instance, transaction: &str) -> Result<(), GuardError> {
    let refused = |words| GuardError::Refused { what, table: instance.table(), words };
    nft(&["-f", "-"], transaction).map_err(GuardError::NoNft)?.map_err(refused)
}

/// Runs nft; `Ok(Err(words))` if it ran and said no.
fn nft(arguments: &[&str], input: &str) -> io::Result<Result<(), String>> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // An nft that ends early breaks the pipe; what it says is worth more than that.
        _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    let words = || String::from_utf8_lossy(&output.stderr).lines().take(3).collect::<Vec<_>>().join(" ");
    Ok(if output.status.success() { Ok(()) } else { Err(words()) })
}
