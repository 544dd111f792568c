//! Holds the rooms together: the policy in force, the kernel, the machine and those who ask.
//!
//! There is one writer. Requests, signals and news of the machine come one after the other; what they ask of the
//! kernel is quick, so they block, and callers on an async runtime give them a thread of their own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use jiff::Timestamp;

use self::events::{EventLog, wanted};
use self::names::Names;
use self::writer::Core;
use crate::api::types::{
    Amiss, CheckReport, DiffReport, ExplainQuery, Explanation, FlowLine, FlowsQuery, HistoryEntry, HistoryQuery,
    HistoryReport, InterfaceStatus, MatrixCell, PairTraffic, PolicyText, PolicyView, QuarantineView, RuleView,
    SelftestReport, SelftestRequest, ServiceView, Status, VerifyQuery, ZoneView,
};
use crate::datapath::Event;
use crate::history::Who;
use crate::interfaces::Change;
use crate::metrics::Scrape;
use crate::seen::Seen;

mod acting;
mod arm;
mod change;
mod claims;
mod confirm;
mod events;
mod explain;
mod first_boot;
mod grants;
mod guarding;
#[cfg(any(test, fuzzing))]
pub(crate) mod house;
mod judge;
mod kernel;
mod names;
mod numbers;
mod probe;
mod pulse;
mod quarantine;
mod refusal;
mod report;
mod seen;
mod selftest;
mod shadow;
mod start;
mod status;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trial_tests;
mod views;
mod writer;

pub use acting::Acting;
pub use arm::{Armed, arm};
pub use events::{Followed, Follower};
pub use first_boot::FirstBoot;
pub use guarding::Machine;
pub use judge::check;
pub use refusal::Refusal;
pub use start::{CheckedPolicy, Folders, StartError, Started, Unloaded, read_policy, unload};

/// The engine, shared by all who ask it.
pub struct Engine {
    core: Mutex<Core>,
    events: EventLog,
    names: RwLock<Arc<Names>>,
    seen: Seen,
}

/// An answer, and the `ETag` of the policy that it speaks of.
#[derive(Clone, Debug)]
#[must_use]
pub struct Tagged<T> {
    /// The answer.
    pub value: T,
    /// SHA-256 of the policy's files, in hex.
    pub etag: String,
}

impl Engine {
    fn new(core: Core, seen: Seen) -> Self {
        let names = RwLock::new(Arc::new(core.names()));
        Self { core: Mutex::new(core), events: EventLog::default(), names, seen }
    }

    /// # Panics
    /// If an earlier request panicked: what it left behind is not to be trusted. The daemon then ends, enforcement
    /// stays, and the next start takes the kernel's state over.
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().expect("an earlier request panicked while it held the engine")
    }

    fn read<T>(&self, ask: impl FnOnce(&Core) -> T) -> Tagged<T> {
        let core = self.core();
        Tagged { value: ask(&core), etag: core.force.written.digest.clone() }
    }

    fn write<T>(&self, change: impl FnOnce(&mut Core) -> T) -> Tagged<T> {
        let mut core = self.core();
        let value = change(&mut core);
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(core.names());
        Tagged { value, etag: core.force.written.digest.clone() }
    }

    fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Is every guarded interface enforced, by which hook, which generation; anything amiss first.
    pub fn status(&self) -> Tagged<Status> {
        let seen = self.seen.amiss();
        self.write(|core| {
            core.settle();
            core.status(seen)
        })
    }

    /// What keeps this machine from being guarded; empty when the kernel says that all is well.
    pub fn health(&self) -> Vec<Amiss> {
        let health = self.write(|core| {
            core.settle();
            core.take_pulse();
            core.health()
        });
        health.value
    }

    /// Whether a restart could help: the daemon can't do its work, or the kernel enforces something else than it was told. An
    /// interface that somebody else holds is no reason, for the next daemon would not get it either.
    pub fn is_vital(&self) -> bool {
        let core = self.core();
        core.follows_the_kernel() && core.misjudgements().next().is_none()
    }

    /// What the metrics show.
    pub fn scrape(&self) -> Result<Scrape, Refusal> {
        self.core().scrape()
    }

    /// All zones, the reserved ones first.
    pub fn zones(&self) -> Tagged<Vec<ZoneView>> {
        self.read(Core::zones)
    }

    /// All named services.
    pub fn services(&self) -> Tagged<Vec<ServiceView>> {
        self.read(Core::services)
    }

    /// All guarded interfaces.
    pub fn interfaces(&self) -> Tagged<Vec<InterfaceStatus>> {
        self.read(Core::interfaces)
    }

    /// All rules with what they carried.
    pub fn rules(&self) -> Tagged<Result<Vec<RuleView>, Refusal>> {
        self.read(Core::rules)
    }

    /// Pairs of zones by traffic.
    pub fn top(&self) -> Tagged<Result<Vec<PairTraffic>, Refusal>> {
        self.read(Core::top)
    }

    /// The zone-by-zone table.
    pub fn matrix(&self) -> Tagged<Result<Vec<MatrixCell>, Refusal>> {
        self.read(Core::matrix)
    }

    /// The files in force.
    pub fn policy(&self) -> Tagged<PolicyView> {
        self.read(Core::policy)
    }

    /// What would happen to one new connection.
    pub fn explain(&self, query: &ExplainQuery) -> Tagged<Result<Explanation, Refusal>> {
        self.read(|core| core.explain(query))
    }

    /// Faults, warnings and tests of a zone file in the place of ours.
    pub fn check(&self, new: PolicyText) -> Tagged<Result<CheckReport, Refusal>> {
        self.read(|core| core.check(new))
    }

    /// What a zone file in the place of ours would change.
    pub fn diff(&self, new: PolicyText) -> Tagged<Result<DiffReport, Refusal>> {
        let (since, seen) = self.lately();
        self.read(|core| core.diff(new, since, &seen))
    }

    /// The engine in the hands of `who`: everything that changes the policy goes this way.
    #[must_use]
    pub fn by(&self, who: Who) -> Acting<'_> {
        Acting { engine: self, who, connection: None, seen: None }
    }

    /// Who changed what, the oldest first; with `last` only so many, the latest.
    pub fn history(&self, query: &HistoryQuery) -> Result<Vec<HistoryEntry>, Refusal> {
        let mut entries = self.core().history.entries().map_err(|error| Refusal::Failed(error.to_string()))?;
        let first = query.last.map_or(0, |last| entries.len().saturating_sub(last));
        Ok(entries.split_off(first))
    }

    /// Who is cut off.
    pub fn quarantined(&self) -> Tagged<Vec<QuarantineView>> {
        self.read(|core| core.quarantine.0.clone())
    }

    /// Runs crafted frames through the loaded programs; they are counted.
    pub fn selftest(&self, request: SelftestRequest) -> Tagged<Result<SelftestReport, Refusal>> {
        self.read(|core| core.selftest(request))
    }

    /// Whether the history is what was written.
    pub fn verify_history(&self, query: &VerifyQuery) -> Result<HistoryReport, Refusal> {
        self.core().history.verify(query.head.as_deref()).map_err(|error| Refusal::Failed(error.to_string()))
    }

    /// Recent events and open connections, the oldest first.
    pub fn flows(&self, query: &FlowsQuery) -> Vec<FlowLine> {
        merged(self.events.recent(query), self.open_flows(query))
    }

    /// The same, and a follower that goes on where they end.
    pub fn follow(&self, query: &FlowsQuery) -> (Vec<FlowLine>, Follower) {
        let (recent, follower) = self.events.recent_and_follow(query);
        (merged(recent, self.open_flows(query)), follower)
    }

    fn open_flows(&self, query: &FlowsQuery) -> Vec<FlowLine> {
        let flows = self.core().kernel.flows();
        let (names, now) = (self.names(), Timestamp::now());
        flows.iter().map(|flow| names.flow_line(flow, now)).filter(|line| wanted(query, line)).collect()
    }

    /// Takes events from the kernel in.
    pub fn take_events(&self, events: &[Event]) {
        self.seen.take(events);
        let names = self.names();
        for event in events {
            self.events.push(names.event_line(event));
        }
    }

    /// Takes news of the machine in.
    pub fn machine_changed(&self, changes: Vec<Change>) {
        let _ = self.write(|core| core.machine_changed(changes));
    }

    /// Looks at what nobody tells: the wall clock, and interfaces that could not be guarded. Every few seconds.
    pub fn tick(&self) {
        let _ = self.write(Core::tick);
    }
}

/// Events and open connections by time. An open connection is told once: the event that it began with is left out.
fn merged(events: Vec<FlowLine>, open: Vec<FlowLine>) -> Vec<FlowLine> {
    let key = |line: &FlowLine| (line.src.clone(), line.dst.clone(), line.proto.clone(), line.src_port, line.dst_port);
    let known: std::collections::HashSet<_> = open.iter().map(key).collect();
    let began = |line: &FlowLine| line.verdict == crate::api::types::Verdict::Allow && known.contains(&key(line));
    let mut lines: Vec<FlowLine> = events.into_iter().filter(|line| !began(line)).chain(open).collect();
    lines.sort_by_key(|line| line.time);
    lines
}
