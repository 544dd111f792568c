//! The one writer: the policy in force, the registry, the kernel and the machine, held together. Every change goes
//! load, check, compile, test, publish, keep; what fails on the way changes nothing.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use super::confirm::{ComesBack, Owed, Pending};
use super::first_boot::FirstBoot;
use super::guarding::{Guards, Machine, Wishes};
use super::judge::{Judged, Written, judge, judge_known};
use super::kernel::Kernel;
use super::names::Names;
use super::quarantine::LetBack;
use super::refusal::{Refusal, fault_views};
use crate::api::types::{Applied, CallerConnection, PolicyText, TestView};
use crate::compile::{Clock, Facts, Image, InterfaceFact, Registry};
use crate::config::{Source, read_sources};
use crate::datapath::{Datapath, Fallback, Published, Sizes};
use crate::history::{History, Who};
use crate::interfaces::{Admission, Change, Guard};
use crate::policy::Policy;
use crate::state::image::Header;
use crate::state::quarantine::Quarantine;
use crate::state::{LastGood, StateDir};

/// Fill of a connection table at which status warns.
pub(super) const NEARLY_FULL_PERCENT: u64 = 80;

/// How often names that are gone are asked to give up their numbers.
const RETIRE_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// What the engine is made of at start.
pub(super) struct Parts {
    pub(super) config: PathBuf,
    pub(super) state: StateDir,
    pub(super) registry: Registry,
    pub(super) quarantine: Quarantine,
    /// The policy that was last in force.
    pub(super) last: Option<LastGood>,
    pub(super) kernel: Box<dyn Kernel>,
    pub(super) machine: Machine,
}

/// The engine's state.
pub(super) struct Core {
    pub(super) config: PathBuf,
    pub(super) state: StateDir,
    pub(super) registry: Registry,
    pub(super) kernel: Box<dyn Kernel>,
    pub(super) machine: Machine,
    pub(super) guards: Guards,
    /// When names were last asked to give up their numbers.
    pub(super) retired: Timestamp,
    /// Stops traffic through interfaces that are not guarded yet; none where the caller has no use for it.
    pub(super) fallback: Option<Guard>,
    pub(super) force: InForce,
    pub(super) started: Timestamp,
    /// Policies that were refused.
    pub(super) apply_errors: u64,
    /// A policy on trial.
    pub(super) pending: Option<Pending>,
    /// How whoever asked for the change under way reaches this machine.
    pub(super) caller: Option<CallerConnection>,
    pub(super) history: History,
    pub(super) quarantine: Quarantine,
    pub(super) let_back: LetBack,
    /// What the end of a trial could not do with the files yet.
    pub(super) owed: Option<Owed>,
    /// What a boot begins with where no policy is left.
    pub(super) first_boot: FirstBoot,
    /// What went wrong since the last good apply, with its mend; shown by status.
    pub(super) troubles: Vec<(String, String)>,
    /// Why what somebody has broken in the kernel could not be mended when it was last tried.
    pub(super) unmended: Option<String>,
    /// What the loaded programs got wrong when they were last tried.
    pub(super) misjudged: Vec<String>,
}

/// The policy that the kernel enforces.
pub(super) struct InForce {
    pub(super) written: Written,
    pub(super) generation: u32,
    pub(super) since: Timestamp,
    /// When its policy was put in force; generations that only follow the machine don't count.
    pub(super) applied: Timestamp,
    /// The wall clock against the kernel's, as the deadlines in force were made with.
    clock: Clock,
    /// The machine's part of the image.
    pub(super) facts: Facts,
}

impl Core {
    /// Puts the first policy in force and guards the machine's interfaces.
    pub(super) fn start(parts: Parts, written: Written) -> Result<Self, Refusal> {
        let Parts { config, state, registry, quarantine, last, mut kernel, machine } = parts;
        let history = History::new(state.path());
        let facts = gather(kernel.as_mut(), &machine, &written.policy, &quarantine);
        let (judged, failed) = judge_known(&written.policy, &facts, &registry)?;
        if !failed.is_empty() && last.as_ref().is_none_or(|last| last.digest != written.digest) {
            return Err(Refusal::Tests(failed));
        }
        let Judged { image, registry, tests, sizes } = judged;
        state.save_registry(&registry).map_err(|error| Refusal::Failed(error.to_string()))?;
        for link in machine.guarded(&written.policy.interfaces) {
            // Guarding it says the same again, and keeps what goes wrong with it.
            if let Err(error) = kernel.introduce(link) {
                tracing::warn!("{}: {error}", link.name);
            }
        }
        let generation = kernel.publish(&image).map_err(|error| Refusal::Failed(error.to_string()))?;
        keep_image(&state, &written.policy, &image, &facts, sizes);
        tracing::info!("generation {generation} is in force; {} of its own tests passed", tests - failed.len());
        // A start with the same files puts nothing new in force.
        let same = last.as_ref().filter(|last| last.digest == written.digest);
        let applied = same.map_or_else(Timestamp::now, |last| last.applied);
        let force = InForce { written, generation, since: Timestamp::now(), applied, clock: facts.clock, facts };
        let mut core = Self {
            config,
            state,
            registry,
            kernel,
            machine,
            guards: Guards::default(),
            retired: Timestamp::now(),
            fallback: None,
            force,
            started: Timestamp::now(),
            apply_errors: 0,
            pending: None,
            caller: None,
            history,
            quarantine,
            let_back: LetBack::default(),
            owed: None,
            first_boot: FirstBoot::default(),
            troubles: tests_that_fail(&failed).into_iter().collect(),
            unmended: None,
            misjudged: Vec::new(),
        };
        // The image is in the kernel; here it was the largest thing of all.
        drop(image);
        give_back_memory();
        core.guard_interfaces();
        core.keep_last_good();
        core.note_start(last.map(|last| (last.digest, last.generation)));
        core.note_names();
        core.retire_names(Timestamp::now());
        Ok(core)
    }

    /// Files that were changed while nobody ran are a change as well.
    fn note_start(&mut self, before: Option<(String, u32)>) {
        let InForce { written, generation, .. } = &self.force;
        let after = serde_json::json!({ "etag": written.digest, "generation": generation });
        if before.as_ref().is_some_and(|(digest, _)| *digest == written.digest) {
            return;
        }
        let before = before.map(|(etag, generation)| serde_json::json!({ "etag": etag, "generation": generation }));
        self.note(&Who::daemon(), "start", "", Some("the files on the disk"), (before, Some(after)));
    }

    /// Judges `written`, and puts it in force if it is good. `install` puts its files in their places once the kernel
    /// has it; if that fails, the kernel goes back to what it had.
    pub(super) fn put_in_force(
        &mut self,
        written: Written,
        install: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<Applied, Refusal> {
        let facts = gather(self.kernel.as_mut(), &self.machine, &written.policy, &self.quarantine);
        let judged = judge(&written.policy, &facts, &self.registry)?;
        let tests = judged.tests;
        self.publish(judged, facts, &written.policy)?;
        if let Err(refusal) = install() {
            self.pending = None;
            self.republish();
            return Err(refusal);
        }
        for warning in &written.warnings {
            tracing::warn!("{}", warning.render(false));
        }
        let warnings = fault_views(&written.warnings);
        self.force.written = written;
        self.force.applied = self.force.since;
        self.troubles.clear();
        if self.pending.is_none() && self.owed.is_some() {
            // What came back after a trial has a successor.
            self.end_trial(None);
        }
        self.guard_interfaces();
        let confirm_by = self.pending_view().map(|pending| pending.confirm_by);
        if confirm_by.is_none() {
            self.keep_last_good();
            self.note_names();
        }
        give_back_memory();
        tracing::info!("generation {} is in force; {tests} of its own tests passed", self.force.generation);
        Ok(Applied { generation: self.force.generation, warnings, tests, confirm_by })
    }

    /// Puts it in force, unless that would cut the caller off.
    fn publish(&mut self, judged: Judged, facts: Facts, policy: &Policy) -> Result<(), Refusal> {
        let comes_back = self.comes_back_after(&judged, &facts)?;
        self.publish_with(judged, comes_back, facts, policy)
    }

    /// The same once `comes_back_after` was asked. The numbers are kept before the kernel counts by them, and what the next boot
    /// begins with is never a policy on trial.
    pub(super) fn publish_with(
        &mut self,
        judged: Judged,
        comes_back: Option<ComesBack>,
        facts: Facts,
        policy: &Policy,
    ) -> Result<(), Refusal> {
        let Judged { image, mut registry, tests: _, mut sizes } = judged;
        if let Some(ComesBack { judged: old, .. }) = &comes_back {
            // One registry for both: a number means the same under either policy.
            registry = old.registry.clone();
            sizes = sizes.with(&old.sizes);
        }
        if registry != self.registry {
            self.state.save_registry(&registry).map_err(|error| Refusal::Failed(error.to_string()))?;
            self.registry = registry;
        }
        let published = self.kernel.make_room(&sizes).and_then(|()| match &comes_back {
            Some(ComesBack { judged: old, deadline, .. }) => {
                self.kernel.publish_until(&image, Fallback { image: &old.image, deadline: *deadline })
            }
            None => self.kernel.publish(&image).map(|generation| Published { generation, fallback: None }),
        });
        match (&published, &comes_back, &self.pending) {
            (Ok(_), Some(ComesBack { judged: old, facts, .. }), Some(pending)) => {
                keep_image(&self.state, &pending.old.policy, &old.image, facts, old.sizes);
            }
            (Ok(_), None, _) => keep_image(&self.state, policy, &image, &facts, sizes),
            _ => {}
        }
        drop((image, comes_back));
        let Published { generation, fallback } = published.map_err(|error| Refusal::Failed(error.to_string()))?;
        if let (Some(pending), Some(fallback)) = (&mut self.pending, fallback) {
            pending.fallback = fallback;
        }
        self.force.generation = generation;
        self.force.since = Timestamp::now();
        self.force.clock = facts.clock;
        self.force.facts = facts;
        Ok(())
    }

    /// Reads the files again and puts them in force. A refusal is counted, logged with every fault, and shown by
    /// status until a good policy comes.
    pub(super) fn reload(&mut self) -> Result<Applied, Refusal> {
        self.not_pending().inspect_err(|refusal| tracing::warn!("the files were not read: {refusal}"))?;
        let sources = read_sources(&self.config).map_err(Refusal::from);
        let outcome = sources.and_then(Written::read).and_then(|written| self.put_in_force(written, || Ok(())));
        // Files that only cut whoever asks are good ones.
        if let Err(refusal) = &outcome
            && !matches!(refusal, Refusal::CutsCaller { .. })
        {
            self.count_refusal(refusal);
            let files = self.config.display();
            self.troubles = vec![(
                format!(
                    "the files at {files} were refused at the last reload; generation {} stays in force",
                    self.force.generation
                ),
                format!("segctl check {files}, mend what it says, and reload"),
            )];
        }
        outcome
    }

    /// Counts and logs a policy that was refused.
    pub(super) fn count_refusal(&mut self, refusal: &Refusal) {
        if !matches!(
            refusal,
            Refusal::BadRequest { .. }
                | Refusal::NotFound { .. }
                | Refusal::Changed { .. }
                | Refusal::CutsCaller { .. }
        ) {
            self.apply_errors += 1;
            tracing::error!("the policy was refused, nothing was changed:\n{refusal}");
        }
    }

    /// Takes changes of the machine in: the zone `host` follows its addresses, interfaces are guarded as they come.
    pub(super) fn machine_changed(&mut self, changes: Vec<Change>) {
        self.settle();
        let mut gone = false;
        for change in changes {
            if let Change::Gone { index } = change {
                gone = true;
                self.guards.gone(self.kernel.as_mut(), index);
            }
            self.machine.apply(change);
        }
        if gone {
            // Before all that takes time: the next interface may get the number of one that is gone, and not its leave.
            self.update_fallback();
        }
        let facts = gather(self.kernel.as_mut(), &self.machine, &self.force.written.policy, &self.quarantine);
        if (&facts.host, &facts.interfaces) != (&self.force.facts.host, &self.force.facts.interfaces) {
            self.republish();
        }
        self.guard_interfaces();
    }

    /// What has to be looked at now and then: a wall clock that was set, and interfaces that could not be guarded.
    pub(super) fn tick(&mut self) {
        self.settle();
        self.pay_owed();
        self.let_back();
        if self.kernel.clock().drifted_from(&self.force.clock) {
            tracing::warn!("the wall clock was set; expiry times are published anew");
            self.republish();
        }
        self.mend();
        if self.guards.amiss(self.kernel.as_ref()) {
            self.guard_interfaces();
        }
        self.guards.steer(self.kernel.as_mut(), &self.machine, &self.force.written.policy.interfaces);
        self.take_pulse();
        let now = Timestamp::now();
        if now.duration_since(self.retired).abs() > RETIRE_EVERY {
            self.retire_names(now);
        }
    }

    /// What is pinned lives on without a daemon. Somebody who removes pins is told, and finds them there again.
    fn mend(&mut self) {
        let (made, failed) = self.kernel.mend();
        if let Some(first) = made.first() {
            tracing::error!(
                "somebody has removed {} pins, {} among them; they are made anew. `segd unload` is the way to end enforcement",
                made.len(),
                first.display()
            );
        }
        let failed = failed.map(|error| error.to_string());
        if let Some(error) = failed.as_ref().filter(|_| failed != self.unmended) {
            tracing::error!("{error}; it is tried again every few seconds");
        }
        self.unmended = failed;
    }

    /// Compiles the policy in force for the machine as it is now. Its own tests don't count here: the machine changed,
    /// not the policy.
    pub(super) fn republish(&mut self) {
        // Nobody asks for this: what the machine needs, or the policy before, is not held back for the sake of a caller.
        let caller = self.caller.take();
        let published = self.publish_again();
        self.caller = caller;
        give_back_memory();
        match published {
            Ok(()) => tracing::info!("generation {} follows the machine", self.force.generation),
            Err(refusal) => {
                tracing::error!("the policy could not follow the machine: {refusal}");
                let mend = "look at the daemon's log, then segctl reload or restart segd".to_owned();
                self.troubles.push((format!("the policy could not follow the machine: {refusal}"), mend));
            }
        }
    }

    /// The same, and how it went.
    fn publish_again(&mut self) -> Result<(), Refusal> {
        let (judged, facts, policy) = self.compiled_again()?;
        self.publish(judged, facts, &policy)
    }

    /// The policy in force, for the machine and those who are cut off as they are now.
    pub(super) fn compiled_again(&mut self) -> Result<(Judged, Facts, Policy), Refusal> {
        let policy = self.force.written.policy.clone();
        let facts = gather(self.kernel.as_mut(), &self.machine, &policy, &self.quarantine);
        let judged = super::judge::compiled(&policy, &facts, &self.registry)?;
        Ok((judged, facts, policy))
    }

    pub(super) fn guard_interfaces(&mut self) {
        let policy = &self.force.written.policy;
        let wishes = Wishes {
            selectors: &policy.interfaces,
            ports_are_closed: self.fallback.as_ref().is_some_and(Guard::covers_bridges),
            by_interface: policy.binds_sources(),
        };
        self.guards.sync(self.kernel.as_mut(), &self.machine, &wishes);
        self.update_fallback();
    }

    fn update_fallback(&mut self) {
        let admission = self.admission();
        if let Some(fallback) = &mut self.fallback
            && let Err(error) = fallback.update(&admission)
        {
            tracing::warn!("{error}");
        }
    }

    /// Whom the fallback lets through: what is enforced, and what the policy leaves alone.
    pub(super) fn admission(&self) -> Admission {
        self.guards.admission(&self.machine, &self.force.written.policy.interfaces)
    }

    pub(super) fn keep_last_good(&self) {
        let Written { sources, digest, .. } = &self.force.written;
        let files = texts(sources);
        let last =
            LastGood { digest: digest.clone(), generation: self.force.generation, applied: self.force.applied, files };
        if let Err(error) = self.state.save_last_good(&last) {
            tracing::error!("the policy is in force, but was not kept: {error}");
        }
    }

    /// Names for the numbers of the generation in force.
    pub(super) fn names(&self) -> Names {
        let interfaces = self.machine.links.values().map(|link| (link.index, link.name.clone())).collect();
        Names { registry: self.registry.clone(), interfaces }
    }
}

/// Hands what a compilation has freed back to the machine. A C library that keeps it (glibc does, for each thread) would hold
/// several times of what the daemon needs, for good.
fn give_back_memory() {
    // SAFETY: it touches nothing but memory that the allocator has free.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Keeps what the next boot puts in force before a daemon runs. That an older one is kept instead is told, and stops nobody.
pub(super) fn keep_image(state: &StateDir, policy: &Policy, image: &Image, facts: &Facts, sizes: Sizes) {
    // A build without kernel programs enforces nothing that could be kept.
    let Ok(build) = Datapath::build() else { return };
    let interfaces = facts.interfaces.iter().map(|fact| (fact.name.clone(), fact.slot)).collect();
    let selectors = policy.interfaces.iter().map(Into::into).collect();
    let by_interface = policy.binds_sources();
    let header = Header { build, clock: facts.clock, sizes, interfaces, selectors, by_interface };
    if let Err(error) = state.save_image(&header, image.laid()) {
        tracing::error!("the policy is in force, but the next boot begins with the one before it: {error}");
    }
}

/// Sources as they go over the socket and into the state folder.
pub(super) fn texts(sources: &[Source]) -> Vec<PolicyText> {
    sources.iter().map(|source| PolicyText { name: source.name.clone(), text: source.text.clone() }).collect()
}

/// What `policy` has to know of this machine to be compiled.
pub(super) fn gather(kernel: &mut dyn Kernel, machine: &Machine, policy: &Policy, quarantine: &Quarantine) -> Facts {
    let slot = |link: &crate::interfaces::Link| InterfaceFact {
        name: link.name.clone(),
        above: machine.names_above(link),
        ifindex: link.index,
        slot: kernel.interface_slot(link.index, &link.name),
    };
    let interfaces = machine.guarded(&policy.interfaces).map(slot).collect();
    Facts {
        host: machine.addresses.iter().copied().collect(),
        interfaces,
        cuts: quarantine.cuts(),
        now: Timestamp::now(),
        clock: kernel.clock(),
    }
}

/// A rule that has expired since, or a clock that is wrong: the policy is in force all the same.
fn tests_that_fail(failed: &[TestView]) -> Option<(String, String)> {
    let first = failed.first()?;
    let what = format!("{} of the policy's own tests fail by now, the one at {} first", failed.len(), first.place);
    tracing::warn!("{what}; it was in force before, and is again");
    Some((what, "segctl check says what they ask; mend them, or the clock, and reload".to_owned()))
}
