//! The second ground: packets through a gateway, its filters side by side. In each round every candidate gets every kind of
//! packets once; whatever is compared comes from one round.

mod bed;
mod candidate;
mod ends;
mod iptables;
pub(crate) mod nftables;
mod report;
mod rules;
mod throughput;
mod traffic;
mod xdp_filter;

use std::path::Path;

use anyhow::Result;
use segd::policy::Policy;

use crate::measure::Effort;
use crate::policy::{Size, Written, write};
use candidate::{Candidate, Standing};
use ends::Ends;
pub(crate) use report::section;
use throughput::Throughput;
use traffic::Traffic;

/// What this ground found.
#[derive(Debug)]
pub(crate) struct Found {
    policies: Vec<Compared>,
    throughput: Throughput,
}

/// One policy, all candidates.
#[derive(Debug)]
struct Compared {
    size: Size,
    costs: Vec<Cost>,
    /// CPUs that send at one time, and what that does.
    cpus: u32,
    together: Vec<Together>,
    /// Candidates that can't run here, and why.
    absent: Vec<(Candidate, String)>,
}

/// CPU nanoseconds a packet, by round.
#[derive(Debug)]
struct Cost {
    candidate: Candidate,
    traffic: Traffic,
    rounds: Vec<f64>,
}

/// Packets a second of all CPUs together, as a multiple of one's, by round.
#[derive(Debug)]
struct Together {
    candidate: Candidate,
    traffic: Traffic,
    rounds: Vec<f64>,
}

impl Compared {
    /// Nobody if it is absent.
    fn rounds(&self, candidate: Candidate, traffic: Traffic) -> &[f64] {
        let found = self.costs.iter().find(|cost| cost.candidate == candidate && cost.traffic == traffic);
        found.map_or(&[], |cost| &cost.rounds)
    }
}

/// Packets before a run's length is chosen.
const TRIAL: u32 = 1 << 12;
/// A few batches at least; and fewer new flows than nftables' table holds.
const RUN: (u32, u32) = (1 << 11, 1 << 17);
/// Time that a run is meant to take, for each packet of a run in the other ground.
const NANOS: f64 = 200.0;

/// Measures with policies of these sizes.
pub(crate) fn measure(object: &Path, sizes: &[Size], effort: Effort) -> Result<Found> {
    let mut policies = Vec::new();
    for size in sizes {
        eprintln!("packets through a gateway: {} zones, {} rules …", size.zones, size.rules);
        policies.push(compare(object, *size, effort)?);
    }
    eprintln!("TCP through a gateway …");
    let (written, policy) = checked(sizes[0])?;
    Ok(Found { policies, throughput: throughput::measure(&written, &policy, effort)? })
}

fn checked(size: Size) -> Result<(Written, Policy)> {
    let written = write(size);
    let policy = crate::ground::checked(&written.zones)?.0;
    Ok((written, policy))
}

fn compare(object: &Path, size: Size, effort: Effort) -> Result<Compared> {
    let (written, policy) = checked(size)?;
    let mut ends = Ends::load(object, &written.sources)?;
    let (mut standing, mut absent) = (Vec::new(), Vec::new());
    for candidate in Candidate::ALL {
        match Standing::new(candidate, &written, &policy, &mut ends) {
            Ok(ready) => standing.push(ready),
            Err(why) => {
                eprintln!("{candidate} can't be measured: {why:#}");
                absent.push((candidate, format!("{why:#}")));
            }
        }
    }
    let mut costs = Vec::new();
    for traffic in [&Traffic::ALL[..2], &Traffic::ALL[2..]] {
        costs.extend(rounds(&mut standing, traffic, &mut ends, effort)?);
    }
    let (cpus, together) = (ends.cpus(), together(&mut standing, &mut ends, effort)?);
    Ok(Compared { size, costs, cpus, together, absent })
}

fn rounds(standing: &mut [Standing], kinds: &[Traffic], ends: &mut Ends, effort: Effort) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    let mut counts = Vec::new();
    for traffic in kinds {
        for one in &mut *standing {
            // Also the proof that it does what it should before anything is measured.
            one.send(*traffic, RUN.0, 1, ends)?;
            let nanos = one.send(*traffic, TRIAL, 1, ends)?.max(1.0);
            counts.push(length(effort, nanos));
            costs.push(Cost { candidate: one.candidate, traffic: *traffic, rounds: Vec::new() });
        }
    }
    for _ in 0..effort.rounds {
        for (place, (cost, count)) in costs.iter_mut().zip(&counts).enumerate() {
            let one = place % standing.len();
            cost.rounds.push(standing[one].send(cost.traffic, *count, 1, ends)?);
        }
    }
    Ok(costs)
}

/// Whether CPUs get in each other's way: one and all of them, in turns.
fn together(standing: &mut [Standing], ends: &mut Ends, effort: Effort) -> Result<Vec<Together>> {
    let cpus = ends.cpus();
    let mut all = Vec::new();
    for one in standing.iter_mut().filter(|one| one.candidate.is_compared_by_cpus()) {
        for traffic in Traffic::ALL {
            let nanos = one.send(traffic, TRIAL, cpus, ends)?.max(1.0);
            let count = length(effort, nanos) / cpus;
            let mut rounds = Vec::new();
            for _ in 0..if effort.brief { 1 } else { effort.rounds.min(7) } {
                let alone = one.send(traffic, count, 1, ends)?;
                rounds.push(alone / one.send(traffic, count, cpus, ends)? * f64::from(cpus));
            }
            all.push(Together { candidate: one.candidate, traffic, rounds });
        }
    }
    Ok(all)
}

/// How many packets make a run, if one takes so long.
#[expect(clippy::cast_sign_loss, reason = "it lies between two positive numbers")]
fn length(effort: Effort, nanos: f64) -> u32 {
    (f64::from(effort.repeat) * NANOS / nanos).clamp(RUN.0.into(), RUN.1.into()) as u32
}
