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
use super::{iptables, xdp_filter};
use crate::policy::Written;

/// What stands in the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// No gateway: generator and drain alone.
    Floor,
    /// The kernel forwards, nobody filters.
    Nothing,
    /// Programs that look at nothing and let everything pass, wherever segd's are with this hook.
    Empty(&'static str),
    /// nftables as well as it can be written.
    NftMaps,
    /// The same with a flow table.
    NftFlowtable,
    /// nftables as people write it.
    NftLinear,
    /// iptables with ipset, as well as it can be written.
    Ipset,
    /// xdp-filter, which knows ports.
    XdpFilter,
    /// The daemon with this hook.
    Segd(&'static str),
    /// The daemon with native XDP, which forwards what is established.
    Shortcut,
}

impl Candidate {
    /// In the order of each round.
    pub(super) const ALL: [Self; 13] = [
        Self::Floor,
        Self::Nothing,
        Self::Empty("xdp"),
        Self::Empty("tc"),
        Self::NftMaps,
        Self::NftFlowtable,
        Self::NftLinear,
        Self::Ipset,
        Self::XdpFilter,
        Self::Segd("xdp"),
        Self::Segd("xdp-generic"),
        Self::Segd("tc"),
        Self::Shortcut,
    ];

    /// Whether it has to stop what the policy does not allow.
    const fn filters(self) -> bool {
        !matches!(self, Self::Floor | Self::Nothing | Self::Empty(_))
    }

    /// Whether it is run on all CPUs at one time too.
    pub(super) fn is_compared_by_cpus(self) -> bool {
        matches!(self, Self::Nothing | Self::NftMaps | Self::Ipset | Self::Segd("xdp" | "tc"))
    }

    /// Whether the kernel's own table of connections is at work.
    const fn tracks(self) -> bool {
        matches!(self, Self::NftMaps | Self::NftFlowtable | Self::NftLinear | Self::Ipset)
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Floor => f.write_str("generator and drain alone"),
            Self::Nothing => f.write_str("no filter"),
            Self::Empty(hook) => write!(f, "empty programs, {hook}"),
            Self::NftMaps => f.write_str("nftables, verdict maps"),
            Self::NftFlowtable => f.write_str("nftables, verdict maps and flow table"),
            Self::NftLinear => f.write_str("nftables, linear"),
            Self::Ipset => f.write_str("iptables with ipset"),
            Self::XdpFilter => f.write_str("xdp-filter, ports only"),
            Self::Segd(hook) => write!(f, "segd, {hook}"),
            Self::Shortcut => f.write_str("segd, xdp, forward: shortcut"),
        }
    }
}

/// A candidate on its gateway, ready for packets.
pub(super) struct Standing {
    /// Which.
    pub(super) candidate: Candidate,
    /// It drops before its network.
    _filter: Filter,
    bed: Bed,
    /// Number of the next new flow.
    next: u32,
    run: u32,
}

/// What keeps a filter at work.
pub(super) enum Filter {
    /// The kernel alone.
    Kernel,
    /// segd.
    Daemon(Daemon),
    /// xdp-filter's pins.
    Pins(#[expect(dead_code, reason = "it is only kept")] xdp_filter::Held),
}

/// Keys below are those of the live connections.
const FIRST_NEW: u32 = 1 << 20;
/// One in so many packets: new ones may find no room, and a few may be lost where softirqs are put off.
const TOLERATED: u32 = 500;
/// The same when several CPUs send: one's packets may overrun a queue that another one serves, of 256 places (`veth`).
const TOLERATED_OF_SEVERAL: u32 = 10;

impl Standing {
    /// Sets it up and opens the live connections through it.
    pub(super) fn new(candidate: Candidate, written: &Written, policy: &Policy, ends: &mut Ends) -> Result<Self> {
        let bed = if candidate == Candidate::Floor { Bed::joined()? } else { Bed::routed()? };
        bed.poll()?;
        // Before the daemon: native XDP at the other end is what makes a veth take redirected frames.
        ends.drain(&bed.source)?;
        ends.drain(&bed.sink)?;
        let filter = match (candidate, &bed.gateway) {
            (Candidate::Empty(hook), Some(gateway)) => ends.pass_all(gateway, hook).map(|()| Filter::Kernel)?,
            _ => enforce(candidate, &bed, written, policy)?,
        };
        let standing = Self { candidate, _filter: filter, bed, next: FIRST_NEW, run: 0 };
        standing.establish(ends)?;
        Ok(standing)
    }

    /// Sends `count` packets from each of so many CPUs, makes sure of what became of them, and gives CPU nanoseconds a packet.
    pub(super) fn send(&mut self, traffic: Traffic, count: u32, cpus: u32, ends: &mut Ends) -> Result<f64> {
        if traffic == Traffic::New
            && self.candidate.tracks()
            && let Some(gateway) = &self.bed.gateway
        {
            nftables::forget(gateway)?;
        }
        let mut sent = Vec::new();
        for _ in 0..cpus {
            self.run += 1;
            sent.push(traffic.sent(self.run, self.next));
            if traffic == Traffic::New {
                self.next += count;
            }
        }
        let all = count * cpus;
        let (received, drained) = (self.bed.received()?, ends.drained()?);
        let nanos = ends.send(&self.bed.source, &sent, count)?;
        let (received, drained) = (self.bed.received()? - received, ends.drained()? - drained);
        let passes = traffic.passes() || !self.candidate.filters();
        let tolerated = if cpus > 1 { TOLERATED_OF_SEVERAL } else { TOLERATED };
        let (most, least) = if passes { (all, all - all / tolerated) } else { (0, 0) };
        ensure!(
            received >= u64::from(all - all / tolerated) && (u64::from(least)..=u64::from(most)).contains(&drained),
            "{} with {}: of {all} packets {received} came to the gateway and {drained} through it, not {most}",
            self.candidate,
            traffic.title()
        );
        // What a queue lost was no work done.
        let done = if passes { u32::try_from(drained)? } else { all };
        Ok(nanos / f64::from(done))
    }

    fn establish(&self, ends: &mut Ends) -> Result<()> {
        if self.bed.gateway.is_none() {
            return Ok(());
        }
        for sent in Traffic::handshake() {
            let before = ends.drained()?;
            let reply = sent.reply;
            ends.send(if reply { &self.bed.sink } else { &self.bed.source }, &[sent], FLOWS)?;
            let through = ends.drained()? - before;
            ensure!(
                through == u64::from(FLOWS),
                "{}: {through} of {FLOWS} segments of the handshake came through ({})",
                self.candidate,
                if reply { "answers" } else { "from the initiators" }
            );
        }
        Ok(())
    }
}

/// Puts the policy in force on the bed's gateway.
pub(super) fn enforce(candidate: Candidate, bed: &Bed, written: &Written, policy: &Policy) -> Result<Filter> {
    let Some(gateway) = &bed.gateway else { return Ok(Filter::Kernel) };
    let by_nftables = |form| nftables::enforce(gateway, policy, form).map(|()| Filter::Kernel);
    let (hook, forward) = match candidate {
        Candidate::Floor | Candidate::Nothing | Candidate::Empty(_) => return Ok(Filter::Kernel),
        Candidate::NftMaps => return by_nftables(Form::Maps),
        Candidate::NftFlowtable => return by_nftables(Form::Flowtable),
        Candidate::NftLinear => return by_nftables(Form::Linear),
        Candidate::Ipset => return iptables::enforce(gateway, policy).map(|()| Filter::Kernel),
        Candidate::XdpFilter => return xdp_filter::enforce(gateway, policy).map(Filter::Pins),
        Candidate::Segd(hook) => (hook, "kernel"),
        Candidate::Shortcut => ("xdp", "shortcut"),
    };
    let zones = written.zones.replace("hook: auto", &format!("hook: {hook}, forward: {forward}"));
    let mut daemon = Daemon::new(&zones)?;
    daemon.start(gateway)?;
    crate::ground::end_adoption(&daemon.pins())?;
    let hooks = hooks(&daemon)?;
    ensure!(hook == "auto" || hooks.iter().all(|one| one == hook), "segd does not enforce by {hook} but by {hooks:?}");
    Ok(Filter::Daemon(daemon))
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
