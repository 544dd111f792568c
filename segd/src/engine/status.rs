//! Is this machine guarded? Answered by what the kernel says, never by what the daemon believes it did.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::grants::coverage;
use super::guarding::in_place;
use super::writer::{Core, NEARLY_FULL_PERCENT};
use crate::api::types::{Amiss, InterfaceStatus, State, Status, TableFill};
use crate::datapath::{Attachment, Occupancy};
use crate::interfaces::{ForwardDecision, Hook};

/// An interface that should be guarded, and what the kernel says about it.
pub(super) struct Guarding {
    pub(super) ifindex: u32,
    pub(super) name: String,
    pub(super) hook: Hook,
    attachment: Attachment,
    pub(super) enforced: bool,
    why: Option<String>,
    detail: Option<String>,
    forward: ForwardDecision,
}

impl Core {
    /// Every interface that should be guarded.
    pub(super) fn guarded(&self) -> Vec<Guarding> {
        let truth: BTreeMap<u32, _> =
            self.kernel.enforced().into_iter().map(|enforced| (enforced.ifindex, enforced)).collect();
        let in_place = in_place(self.kernel.as_ref());
        let of = |(ifindex, guarded): (&u32, &super::guarding::Guarded)| {
            let told = truth.get(ifindex);
            let decided = guarded.decision.as_ref();
            let absent = || "the kernel has no program of ours on it".to_owned();
            let (enforced, detail) = match (&guarded.fault, told) {
                (Some(fault), _) => (false, Some(fault.clone())),
                (None, _) if !guarded.covered_by.is_empty() => {
                    let open = guarded.covered_by.iter().find(|below| !self.guards.holds(**below, &in_place));
                    let why = |below| format!("it lies upon {}, which is not enforced", self.guards.name(below));
                    (open.is_none(), open.copied().map(why))
                }
                (None, Some(told)) if told.enforced => (true, told.detail.clone()),
                (None, Some(told)) => (false, Some(told.detail.clone().unwrap_or_else(absent))),
                (None, None) => (false, Some(absent())),
            };
            Guarding {
                ifindex: *ifindex,
                name: guarded.name.clone(),
                hook: told.map(|told| told.hook).or(decided.map(|decision| decision.hook)).unwrap_or(Hook::Tc),
                attachment: told.map(|told| told.attachment).unwrap_or_default(),
                enforced,
                why: decided.map(|decision| decision.why.clone()),
                detail,
                forward: guarded.forward.clone(),
            }
        };
        self.guards.0.iter().map(of).collect()
    }

    /// Guarded interfaces as they go over the socket.
    pub(super) fn interfaces(&self) -> Vec<InterfaceStatus> {
        self.guarded().into_iter().map(interface_status).collect()
    }

    /// Whether the kernel enforces what was published, or what that falls back to.
    pub(super) fn follows_the_kernel(&self) -> bool {
        let generation = self.kernel.generation();
        let gone_back = self.pending.as_ref().is_some_and(|pending| pending.fallback == generation);
        generation == self.force.generation || gone_back
    }

    /// What keeps this machine from being guarded by the policy in force; empty when the kernel says that it is.
    pub(super) fn health(&self) -> Vec<Amiss> {
        let generation = self.kernel.generation();
        let mut amiss = Vec::new();
        if !self.follows_the_kernel() {
            amiss.push(Amiss {
                what: format!(
                    "the kernel enforces generation {generation}, not {} as was published",
                    self.force.generation
                ),
                mend: "segctl reload; if it stays so, restart segd".to_owned(),
            });
        }
        amiss.extend(self.misjudgements());
        let guarded = self.guarded();
        if guarded.is_empty() {
            amiss.push(Amiss {
                what: "no interface is guarded".to_owned(),
                mend: "compare `interfaces:` of the zone file with `ip link`".to_owned(),
            });
        }
        for Guarding { name, hook, detail, enforced, .. } in guarded {
            match detail {
                None if enforced => {}
                Some(detail) if enforced => amiss.push(Amiss {
                    what: format!("interface {name}: {detail}"),
                    mend: "look at the daemon's log and mend what it names, without restarting segd before; it is tried again \
                           every few seconds"
                        .to_owned(),
                }),
                detail => amiss.push(Amiss {
                    what: format!("interface {name} is not enforced ({hook}): {}", detail.unwrap_or_default()),
                    mend: format!("see what else uses the hook (`bpftool net show dev {name}`), then restart segd"),
                }),
            }
        }
        amiss
    }

    /// Everything that an admin asks first.
    /// `seen`: what is amiss with the history of what was seen.
    pub(super) fn status(&self, seen: Option<String>) -> Status {
        let mut amiss = self.health();
        let interfaces = self.interfaces();
        let state = match interfaces.iter().any(|interface| interface.enforced) {
            false => State::Open,
            true if amiss.is_empty() => State::Enforcing,
            true => State::Degraded,
        };
        let tables = tables(self.kernel.occupancy());
        amiss.extend(self.troubles.iter().map(|(what, mend)| Amiss { what: what.clone(), mend: mend.clone() }));
        amiss.extend(tables.iter().filter_map(nearly_full));
        amiss.extend(self.owed_amiss());
        amiss.extend(self.quarantine_amiss());
        amiss.extend(self.unmended.iter().map(|what| Amiss {
            what: what.clone(),
            mend: "mend that before segd is restarted: it is tried again every few seconds, and the next daemon finds what is \
                   pinned"
                .to_owned(),
        }));
        amiss.extend(self.fallback_amiss());
        amiss.extend(Self::seen_amiss(seen));
        amiss.extend(self.missing_interfaces());
        let policy = &self.force.written.policy;
        Status {
            state,
            amiss,
            generation: self.kernel.generation(),
            since: Some(self.force.since),
            pending: self.pending_view(),
            quarantined: self.quarantine.0.clone(),
            started: self.started,
            mode: policy.mode,
            interfaces,
            zones: policy.zones.len(),
            rules: policy.rules.len(),
            coverage: coverage(policy, Timestamp::now()),
            tables,
            events_lost: self.kernel.counters().map_or(0, |counters| counters.events_lost),
            config: self.config.display().to_string(),
            first_boot: self.first_boot,
        }
    }

    /// Interfaces that the policy guards by their whole name, and that are not there: a name that is mistyped leaves the one
    /// that was meant unguarded. A pattern may well match nothing today.
    fn missing_interfaces(&self) -> impl Iterator<Item = Amiss> {
        let whole = |name: &&str| !name.contains(['*', '?', '[']);
        let there = |name: &str| self.machine.links.values().any(|link| link.name == name);
        let named = self.force.written.policy.interfaces.iter().map(|selector| selector.name.as_str());
        named.filter(whole).filter(move |name| !there(name)).map(|name| Amiss {
            what: format!("the zone file guards interface {name}, and there is none of that name"),
            mend: "compare `interfaces:` with `ip link`; it is guarded as soon as it is there".to_owned(),
        })
    }

    fn fallback_amiss(&self) -> Option<Amiss> {
        let what = self.fallback.as_ref()?.unavailable()?.to_owned();
        Some(Amiss { what, mend: "until then, attach new interfaces only while segd runs".to_owned() })
    }
}

fn interface_status(guarded: Guarding) -> InterfaceStatus {
    let Guarding { ifindex, name, hook, attachment, enforced, why, detail, forward } = guarded;
    let ForwardDecision { forward, why: forward_why } = forward;
    InterfaceStatus { name, ifindex, hook: hook.to_string(), attachment, enforced, why, detail, forward, forward_why }
}

fn tables(occupancy: Occupancy) -> Vec<TableFill> {
    let Occupancy { established, established_capacity, half_open, half_open_capacity } = occupancy;
    vec![
        TableFill { table: "established".to_owned(), entries: established, capacity: established_capacity },
        TableFill { table: "half_open".to_owned(), entries: half_open, capacity: half_open_capacity },
    ]
}

/// A half-open table may be full, it makes room by itself; an established one may not.
fn nearly_full(fill: &TableFill) -> Option<Amiss> {
    let nearly =
        fill.table == "established" && fill.capacity > 0 && fill.entries * 100 >= fill.capacity * NEARLY_FULL_PERCENT;
    nearly.then(|| Amiss {
        what: format!(
            "{} of {} connections are in use; when it is full, new ones are dropped (table-full)",
            fill.entries, fill.capacity
        ),
        mend: "raise limits.connections in the zone file and restart segd".to_owned(),
    })
}
