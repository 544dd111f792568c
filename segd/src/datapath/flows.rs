//! The connection table, read where it stands.

use std::collections::BTreeSet;
use std::net::IpAddr;

use segd_common::addr::Addr;
use segd_common::flow::{self, State, WAYS};
use segd_common::image::{Locator, Page, Place, Root, Slot, slot};
use segd_common::policy::{Question, judge};
use segd_common::reason::Reason;

use super::DatapathError;
use super::raw::Mapping;
use super::set::MapSet;

/// A live connection.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Initiator.
    pub src: IpAddr,
    /// Responder.
    pub dst: IpAddr,
    /// IP protocol.
    pub proto: u8,
    /// Initiator's port; an ICMP query's id.
    pub src_port: u16,
    /// Responder's port; an ICMP type; a protocol number.
    pub dst_port: u16,
    /// Initiator's zone.
    pub from: u16,
    /// Responder's zone.
    pub to: u16,
    /// Rule that allows it.
    pub rule: Option<u32>,
    /// What allows it: `rule`, `intra-zone`, `failsafe` or `audit`.
    pub reason: Reason,
    /// How far it has come.
    pub state: &'static str,
    /// Seconds since its last packet.
    pub idle_secs: u64,
}

/// How full the connection table is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Occupancy {
    /// Connections whose responder has answered.
    pub established: u64,
    /// `limits.connections`.
    pub established_capacity: u64,
    /// Connections whose responder has not.
    pub half_open: u64,
    /// `limits.half_open`.
    pub half_open_capacity: u64,
}

/// Buckets that are looked at together: the table may be larger than all else that the daemon has.
const AT_ONCE: usize = 4096;

/// Calls `visit` with every entry that has not been forgotten. A table that can't be read is told, and shown as empty.
fn each_live(set: &MapSet, now: u64, mut visit: impl FnMut(&flow::Flow)) {
    if let Err(error) = try_each_live(set, now, &mut visit) {
        tracing::error!("the connections can't be read: {error}; enforcement goes on");
    }
}

fn try_each_live(set: &MapSet, now: u64, visit: &mut impl FnMut(&flow::Flow)) -> Result<(), DatapathError> {
    let hz = set.control.read(0).map_or(0, |control| control.hz);
    let buckets = set.buckets()?;
    for first in (0..buckets.len()).step_by(AT_ONCE) {
        let part = AT_ONCE.min(buckets.len() - first);
        let flows = set.flows_of(first, part)?;
        for number in 0..part {
            let Some(bucket) = buckets.get(first + number) else { continue };
            for way in 0..WAYS as usize {
                let tag = bucket.0[way / 4].get() >> (way % 4 * 16) & 0xffff;
                let entry = if tag == 0 { None } else { flows.get(number * WAYS as usize + way) };
                if let Some(entry) = entry {
                    let generation = entry.generation.get();
                    if generation != 0 && generation != flow::BUSY && entry.live(now, hz) {
                        visit(entry);
                    }
                }
            }
        }
    }
    Ok(())
}

pub(super) fn occupancy(set: &MapSet, now: u64) -> Occupancy {
    let mut occupancy = Occupancy {
        established_capacity: u64::from(set.sizes.connections),
        half_open_capacity: u64::from(set.sizes.half_open),
        ..Occupancy::default()
    };
    each_live(set, now, |entry| {
        if entry.state.get() == State::HalfOpen as u8 {
            occupancy.half_open += 1;
        } else {
            occupancy.established += 1;
        }
    });
    occupancy
}

/// The zones that live connections name.
pub(super) fn zones(set: &MapSet, now: u64) -> BTreeSet<u16> {
    let mut zones = BTreeSet::new();
    each_live(set, now, |entry| zones.extend([entry.from.get(), entry.to.get()]));
    zones
}

/// The live connections that the policy still allows.
pub(super) fn read(set: &MapSet, now: u64) -> Vec<Flow> {
    let root = set.root(now);
    let hz = u64::from(set.control.read(0).map_or(1, |control| control.hz).max(1));
    let mut flows = Vec::new();
    let Ok(image) = set.image().inspect_err(|error| tracing::error!("the connections can't be read: {error}")) else {
        return flows;
    };
    each_live(set, now, |entry| {
        flows.extend(shown(&image, &root, entry, now).map(|flow| finish(flow, entry, now, hz)));
    });
    flows
}

/// Who allows a connection now: its slot, or, if the policy has changed since its last packet, what that would be told.
fn shown(image: &Mapping<Page>, root: &Root, entry: &flow::Flow, now: u64) -> Option<(Reason, u32)> {
    if entry.generation.get() == root.generation {
        let slot = Slot::read(image, Locator(entry.slot.get()))?;
        return (!slot.expired(now)).then_some((slot.reason, slot.rule));
    }
    let (src, dst) = ends(entry);
    let translated = entry.flags.get() & flow::flag::TRANSLATED != 0;
    let from = if translated { Place(u32::from(entry.from.get())) } else { root.place(image, src) };
    let to = root.place(image, dst);
    let question = Question { from, to, proto: entry.proto.get(), service: entry.service() };
    let judgement = judge(image, root, &question, now);
    judgement.allows().then_some((judgement.reason, judgement.rule))
}

fn ends(entry: &flow::Flow) -> (Addr, Addr) {
    let src = Addr { hi: entry.src_hi.get(), lo: entry.src_lo.get() };
    (src, Addr { hi: entry.dst_hi.get(), lo: entry.dst_lo.get() })
}

fn finish((reason, rule): (Reason, u32), entry: &flow::Flow, now: u64, hz: u64) -> Flow {
    let (src, dst) = ends(entry);
    Flow {
        src: src.into(),
        dst: dst.into(),
        proto: entry.proto.get(),
        src_port: (entry.ports.get() >> 16) as u16,
        dst_port: entry.service(),
        from: entry.from.get(),
        to: entry.to.get(),
        rule: (rule != slot::NO_RULE).then_some(rule),
        reason,
        state: flow::state_name(entry.state.get()),
        idle_secs: u64::from(entry.idle(now)) / hz,
    }
}
