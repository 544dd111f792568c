//! Who is measured: nothing at all, the peers, and the real daemon at each hook; each on a gateway of its own. A candidate
//! whose filter is not the one it is called by must never be measured.

use std::fmt;

use anyhow::{Context, Result, ensure};
use segd::policy::Policy;
use segd_tests::lab::Daemon;

use super::bed::Bed;
use super::ends::Ends;
use super::nftables::{self, Form};
use super::traffic::{FLOWS, Traffic};
use crate::policy::Written;

/// What stands in the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// No gateway: generator and drain alone.
    Floor,
    /// The kernel forwards, nobody filters.
    Nothing,
    /// nftables as well as it can be written.
    NftMaps,
    /// nftables as people write it.
    NftLinear,
    /// The daemon with this hook.
    Segd(&'static str),
    /// The daemon with native XDP, which forwards what is established.
    Shortcut,
}

impl Candidate {
    /// In the order of each round.
    pub(super) const ALL: [Self; 8] = [
        Self::Floor,
        Self::Nothing,
        Self::NftMaps,
        Self::NftLinear,
        Self::Segd("xdp"),
        Self::Segd("xdp-generic"),
        Self::Segd("tc"),
        Self::Shortcut,
    ];

    /// Whether it has to stop what the policy does not allow.
    const fn filters(self) -> bool {
        !matches!(self, Self::Floor | Self::Nothing)
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Floor => f.write_str("generator and drain alone"),
            Self::Nothing => f.write_str("no filter"),
            Self::NftMaps => f.write_str("nftables, verdict maps"),
            Self::NftLinear => f.write_str("nftables, linear"),
            Self::Segd(hook) => write!(f, "segd, {hook}"),
            Self::Shortcut => f.write_str("segd, xdp, forward: shortcut"),
        }
    }
}

/// A candidate on its gateway, ready for packets.
pub(super) struct Standing {
    /// Which.
    pub(super) candidate: Candidate,
    /// The daemon of those that have one; it drops before its network.
    _daemon: Option<Daemon>,
    bed: Bed,
    /// Number of the next new flow.
    next: u32,
    run: u32,
}

/// Keys below are those of the live connections.
const FIRST_NEW: u32 = 1 << 20;
/// One in so many packets: new ones may find no room, and a few may be lost where softirqs are put off.
const TOLERATED: u32 = 500;

impl Standing {
    /// Sets it up and opens the live connections through it.
    pub(super) fn new(candidate: Candidate, written: &Written, policy: &Policy, ends: &mut Ends) -> Result<Self> {
        let bed = if candidate == Candidate::Floor { Bed::joined()? } else { Bed::routed()? };
        bed.poll()?;
        // Before the daemon: native XDP at the other end is what makes a veth take redirected frames.
        ends.drain(&bed.source)?;
        ends.drain(&bed.sink)?;
        let daemon = enforce(candidate, &bed, written, policy)?;
        let standing = Self { candidate, _daemon: daemon, bed, next: FIRST_NEW, run: 0 };
        standing.establish(ends)?;
        Ok(standing)
    }

    /// Sends `count` packets, makes sure of what became of them, and gives CPU nanoseconds a packet.
    pub(super) fn send(&mut self, traffic: Traffic, count: u32, ends: &mut Ends) -> Result<f64> {
        if traffic == Traffic::New
            && matches!(self.candidate, Candidate::NftMaps | Candidate::NftLinear)
            && let Some(gateway) = &self.bed.gateway
        {
            nftables::forget(gateway)?;
        }
        self.run += 1;
        let sent = traffic.sent(self.run, self.next);
        if traffic == Traffic::New {
            self.next += count;
        }
        let (received, drained) = (self.bed.received()?, ends.drained()?);
        let nanos = ends.send(&self.bed.source, &sent, count)?;
        let (received, drained) = (self.bed.received()? - received, ends.drained()? - drained);
        let passes = traffic.passes() || !self.candidate.filters();
        let (most, least) = if passes { (count, count - count / TOLERATED) } else { (0, 0) };
        ensure!(
            received >= u64::from(count - count / TOLERATED) && (u64::from(least)..=u64::from(most)).contains(&drained),
            "{} with {}: of {count} packets {received} came to the gateway and {drained} through it, not {most}",
            self.candidate,
            traffic.title()
        );
        Ok(nanos / f64::from(count))
    }

    fn establish(&self, ends: &mut Ends) -> Result<()> {
        if self.bed.gateway.is_none() {
            return Ok(());
        }
        for sent in Traffic::handshake() {
            let before = ends.drained()?;
            ends.send(if sent.reply { &self.bed.sink } else { &self.bed.source }, &sent, FLOWS)?;
            let through = ends.drained()? - before;
            ensure!(
                through == u64::from(FLOWS),
                "{}: {through} of {FLOWS} segments of the handshake came through ({})",
                self.candidate,
                if sent.reply { "answers" } else { "from the initiators" }
            );
        }
        Ok(())
    }
}

/// Puts the policy in force on the bed's gateway.
pub(super) fn enforce(candidate: Candidate, bed: &Bed, written: &Written, policy: &Policy) -> Result<Option<Daemon>> {
    let Some(gateway) = &bed.gateway else { return Ok(None) };
    let hook = match candidate {
        Candidate::Floor | Candidate::Nothing => return Ok(None),
        Candidate::NftMaps => return nftables::enforce(gateway, policy, Form::Maps).map(|()| None),
        Candidate::NftLinear => return nftables::enforce(gateway, policy, Form::Linear).map(|()| None),
        Candidate::Segd(hook) => hook,
        Candidate::Shortcut => "xdp",
    };
    let forward = if candidate == Candidate::Shortcut { "shortcut" } else { "kernel" };
    let zones = written.zones.replace("hook: auto", &format!("hook: {hook}, forward: {forward}"));
    let mut daemon = Daemon::new(&zones)?;
    daemon.start(gateway)?;
    crate::ground::end_adoption(&daemon.pins())?;
    let hooks = hooks(&daemon)?;
    ensure!(hook == "auto" || hooks.iter().all(|one| one == hook), "segd does not enforce by {hook} but by {hooks:?}");
    Ok(Some(daemon))
}

/// What the daemon says that it enforces by, on both interfaces of the gateway.
pub(super) fn hooks(daemon: &Daemon) -> Result<Vec<String>> {
    let status = daemon.json(&["status"])?;
    let interfaces = status["interfaces"].as_array().context("status names no interfaces")?;
    ensure!(interfaces.len() == 2, "segd guards {} interfaces, not 2", interfaces.len());
    let hook = |interface: &serde_json::Value| {
        ensure!(interface["enforced"] == true, "segd does not enforce on every interface: {interface}");
        Ok(interface["hook"].as_str().context("an interface has no hook")?.to_owned())
    };
    interfaces.iter().map(hook).collect()
}
