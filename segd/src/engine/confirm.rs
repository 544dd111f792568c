//! A policy on trial: it holds until a deadline that the kernel keeps, and for good only if somebody who can still reach
//! this machine says so. Whatever happens to the daemon meanwhile, the old policy comes back, and its file with it.

use std::fs;
use std::time::Instant;

use jiff::Timestamp;
use segd_common::reason::{Reason, Verdict};

use super::judge::{Judged, Written, compiled};
use super::refusal::Refusal;
use super::writer::{Core, gather, keep_image};
use crate::api::types::{Amiss, Applied, ApplyRequest, CallerConnection, PendingView, PolicyText};
use crate::compile::{Answer, Facts, InterfaceFact, Question, names_interface};
use crate::history::Who;
use crate::policy::{Policy, Service, Zone};
use crate::state::file::Prepared;
use crate::state::pending::{Marker, beside};

/// What holds again after a trial.
pub(super) struct ComesBack {
    pub(super) judged: Judged,
    /// What it was compiled for.
    pub(super) facts: Facts,
    /// When, in jiffies.
    pub(super) deadline: u64,
}

/// What the end of a trial could not do with the files.
pub(super) struct Owed {
    /// What has to be put back, if something has, and what stands in its place; then the marker has to go.
    back: Option<(Marker, Option<Vec<u8>>)>,
    why: String,
}

/// Mode of a file that is new.
const FILE_MODE: u32 = 0o644;
/// The longest trial: longer than that nobody remembers it.
const LONGEST_SECS: u32 = 24 * 60 * 60;

/// A policy that waits for its confirmation, and what comes back without one.
pub(super) struct Pending {
    /// What was in force before.
    pub(super) old: Written,
    /// When that was put in force.
    old_applied: Timestamp,
    /// The generation that the kernel gives it past the deadline.
    pub(super) fallback: u32,
    /// Jiffies from which on it holds again.
    pub(super) deadline: u64,
    confirm_by: Timestamp,
    /// Connections that were opened before prove nothing.
    published: Instant,
    marker: Marker,
}

/// Why a policy goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Somebody said so.
    Asked,
    /// Nobody confirmed it.
    Late,
}

impl Core {
    /// While a policy is on trial, nothing else is changed: there would be no telling what goes back with it.
    pub(super) fn not_pending(&self) -> Result<(), Refusal> {
        let Some(Pending { confirm_by, .. }) = &self.pending else { return Ok(()) };
        Err(Refusal::Changed {
            detail: format!(
                "generation {} waits for its confirmation until {confirm_by:.0}; nothing else changes until then",
                self.force.generation
            ),
            mend: "segctl confirm keeps it, segctl rollback takes it back; then repeat the change".to_owned(),
        })
    }

    /// Puts `written` in force for so many seconds.
    pub(super) fn try_out(
        &mut self,
        written: Written,
        secs: u32,
        install: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<Applied, Refusal> {
        let sane = (1..=LONGEST_SECS).contains(&secs);
        if !sane {
            let mend = format!("give --confirm something from 1s to {}h", LONGEST_SECS / 3600);
            return Err(Refusal::bad(format!("{secs} seconds are no time to confirm in"), mend));
        }
        self.pay_owed();
        let marker = self.marker(secs)?;
        let (rest, force) = (written.sources.get(1..), self.force.written.sources.get(1..));
        if rest != force {
            return Err(Refusal::Changed {
                detail:
                    "a trial takes one zone file back, and the drop-ins on the disk are not what is in force either"
                        .to_owned(),
                mend: "segctl reload puts them in force; then try the zone file out".to_owned(),
            });
        }
        let clock = self.kernel.clock();
        let deadline = clock.jiffies + u64::from(secs) * u64::from(clock.hz);
        self.state.save_pending(&marker)?;
        self.pending = Some(Pending {
            old: self.force.written.clone(),
            old_applied: self.force.applied,
            fallback: 0,
            deadline,
            confirm_by: marker.confirm_by,
            published: Instant::now(),
            marker,
        });
        let outcome = self.put_in_force(written, install);
        match (&outcome, &mut self.pending) {
            (Ok(_), Some(pending)) => pending.published = Instant::now(),
            _ => self.end_trial(None),
        }
        outcome
    }

    /// The file that comes back has to be the one that is in force.
    fn marker(&self, secs: u32) -> Result<Marker, Refusal> {
        let text = self.force.written.sources.first().map(|source| source.text.clone()).unwrap_or_default();
        let there = fs::read_to_string(&self.config).unwrap_or_default();
        if there != text {
            return Err(Refusal::Changed {
                detail: format!("{} is not what is in force, so it could not come back", self.config.display()),
                mend: "segctl reload puts the file on the disk in force; or apply without --confirm".to_owned(),
            });
        }
        let confirm_by = Timestamp::now() + jiff::SignedDuration::from_secs(secs.into());
        Ok(Marker { config: self.config.clone(), text, confirm_by })
    }

    /// The policy that comes back after a trial, compiled for the machine as it is now. Whoever asks is cut off neither by
    /// `beside` nor by what comes back.
    pub(super) fn comes_back_after(&mut self, beside: &Judged, facts: &Facts) -> Result<Option<ComesBack>, Refusal> {
        self.keeps_caller(beside, facts)?;
        let Some(Pending { old, deadline, .. }) = &self.pending else { return Ok(None) };
        let facts = gather(self.kernel.as_mut(), &self.machine, &old.policy, &self.quarantine);
        let judged = compiled(&old.policy, &facts, &beside.registry)?;
        let comes_back = ComesBack { judged, facts, deadline: *deadline };
        self.is_kept_later(&comes_back, &old.policy)?;
        Ok(Some(comes_back))
    }

    /// Keeps what is on trial. The caller's connection has to be younger than the trial.
    pub(super) fn confirm(&mut self, opened: Instant) -> Result<Applied, Refusal> {
        let Some(Pending { published, marker, .. }) = &self.pending else {
            let mend = "segctl history shows what happened; segctl apply FILE --confirm 60s starts a trial";
            return Err(Refusal::bad("nothing waits for a confirmation", mend));
        };
        if opened <= *published {
            let detail = "this connection was opened before the policy was applied, and proves nothing";
            return Err(Refusal::bad(detail, "confirm over a new connection"));
        }
        // Whatever can fail comes before the kernel forgets the way back.
        let previous = Prepared::new(&beside(&self.config, "previous"), marker.text.as_bytes(), FILE_MODE)?;
        self.kernel.confirm().map_err(|error| Refusal::Failed(error.to_string()))?;
        self.end_trial(None);
        if let Err(error) = previous.commit() {
            tracing::error!("the policy is confirmed, and the one before it was not kept: {error}");
            let mend = "segctl rollback can't go back to it; nothing else is lost".to_owned();
            self.troubles.push((format!("the zone file before the trial was not kept: {error}"), mend));
        }
        self.keep_last_good();
        let policy = &self.force.written.policy;
        match compiled(policy, &self.force.facts, &self.registry) {
            Ok(Judged { image, sizes, .. }) => keep_image(&self.state, policy, &image, &self.force.facts, sizes),
            Err(refusal) => tracing::error!("the next boot begins with the policy before this one: {refusal}"),
        }
        self.note_names();
        tracing::info!("generation {} is confirmed", self.force.generation);
        Ok(self.applied())
    }

    /// Takes the trial back, or where there is none, the last apply.
    pub(super) fn rollback(&mut self, way: Way) -> Result<Applied, Refusal> {
        if let Some(pending) = self.pending.take() {
            return Ok(self.go_back(pending, way));
        }
        let path = beside(&self.config, "previous");
        let text = fs::read_to_string(&path).map_err(|error| {
            Refusal::bad(
                format!("there is nothing to go back to: {}: {error}", path.display()),
                "segctl apply keeps the old zone file; segctl history shows what happened",
            )
        })?;
        self.apply(&ApplyRequest::of(PolicyText { name: path.display().to_string(), text }))
    }

    fn go_back(&mut self, pending: Pending, way: Way) -> Applied {
        let refused = self.force.generation;
        // The kernel is there already if it was late.
        self.force.generation = pending.fallback;
        self.force.written = pending.old;
        self.force.applied = pending.old_applied;
        self.troubles.clear();
        self.end_trial(Some(pending.marker));
        self.republish();
        self.guard_interfaces();
        self.keep_last_good();
        self.note_names();
        if way == Way::Late {
            tracing::warn!("generation {refused} was not confirmed in time; the old policy is back");
            self.troubles.push((
                format!("generation {refused} was not confirmed in time; the old policy is back"),
                format!(
                    "what was refused is kept as {}.unconfirmed; mend it and apply it again",
                    self.config.display()
                ),
            ));
        }
        self.applied()
    }

    /// Follows the kernel when it went back by itself. Comes first in everything that changes or tells.
    pub(super) fn settle(&mut self) {
        let now = || self.kernel.clock().jiffies;
        if self.pending.as_ref().is_none_or(|pending| now() < pending.deadline) {
            return;
        }
        let before = self.policy_as_json();
        if let Err(refusal) = self.rollback(Way::Late) {
            tracing::error!("the old policy holds in the kernel, but could not be published anew: {refusal}");
        }
        let after = self.policy_as_json();
        self.note(&Who::daemon(), "rollback", "", Some("nobody confirmed in time"), (Some(before), Some(after)));
    }

    /// After a start that found a trial and ended it.
    pub(super) fn note_taken_back(&mut self) {
        let reason = "segd ended before anybody confirmed";
        let after = self.policy_as_json();
        self.note(&Who::daemon(), "rollback", "", Some(reason), (None, Some(after)));
        self.troubles.push((
            "segd ended while a policy was on trial, so the old one is back".to_owned(),
            format!("what was on trial is kept as {}.unconfirmed; apply it again", self.config.display()),
        ));
    }

    /// The trial is over: `back` is the file that has to be put back, if one has. As long as the marker stands, the next start
    /// would go back to the file before the trial.
    pub(super) fn end_trial(&mut self, back: Option<Marker>) {
        self.pending = None;
        let before = self.owed.take().map(|owed| owed.why);
        let (back, why) = match back.as_ref().map_or(Ok(()), Marker::restore) {
            Err(error) => (back, error),
            Ok(()) => match self.state.clear_pending() {
                Ok(()) => return,
                Err(error) => (None, error),
            },
        };
        let why = why.to_string();
        if before.as_ref() != Some(&why) {
            tracing::error!("a trial is over, and its files could not be put in order: {why}");
        }
        // Whoever edits the file from now on knows better.
        let back = back.map(|marker| (marker, fs::read(&self.config).ok()));
        self.owed = Some(Owed { back, why });
    }

    /// Tries again what the end of a trial could not do with the files.
    pub(super) fn pay_owed(&mut self) {
        if let Some(Owed { back, .. }) = &self.owed {
            let back = back.as_ref().filter(|(_, refused)| *refused == fs::read(&self.config).ok());
            self.end_trial(back.map(|(marker, _)| marker.clone()));
        }
    }

    /// What is still owed.
    pub(super) fn owed_amiss(&self) -> Option<Amiss> {
        let Owed { back, why } = self.owed.as_ref()?;
        let what = if back.is_some() {
            format!("a trial is over, and the zone file before it could not be put back: {why}")
        } else {
            format!("a trial is over, and its marker could not be removed: {why}")
        };
        let mend = "mend that; it is tried again every few seconds, and a start goes back to the file before the trial"
            .to_owned();
        Some(Amiss { what, mend })
    }

    fn applied(&self) -> Applied {
        let confirm_by = self.pending.as_ref().map(|pending| pending.confirm_by);
        Applied { generation: self.force.generation, warnings: Vec::new(), tests: 0, confirm_by }
    }

    /// The trial, as status shows it.
    pub(super) fn pending_view(&self) -> Option<PendingView> {
        self.pending.as_ref().map(|pending| PendingView {
            generation: self.force.generation,
            confirm_by: pending.confirm_by,
            falls_back_to: pending.fallback,
        })
    }

    /// Whether the caller's zone may be seen on none of the interfaces any more by which the caller can have come in. The
    /// failsafe is let in by any.
    fn is_seen_no_more(&self, before: &Answer, after: &Answer, judged: &Judged, facts: &Facts) -> bool {
        let name = self.names().zone(before.from_zone);
        let zone = self.force.written.policy.zones.iter().find(|zone| zone.name.0 == name);
        let picky = zone.filter(|zone: &&Zone| !zone.interfaces.is_empty());
        let is_now = |interface: &&InterfaceFact| picky.is_none_or(|zone| names_interface(zone, interface));
        let mut now = facts.interfaces.iter().filter(is_now).peekable();
        after.reason != Reason::Failsafe
            && now.peek().is_some()
            && now.all(|interface| !judged.image.may_be_seen(after.from_zone, interface.slot))
    }

    /// A change that cuts its caller off is refused, for the caller could not take it back.
    fn keeps_caller(&self, judged: &Judged, facts: &Facts) -> Result<(), Refusal> {
        let Some((caller, before)) = self.caller_let_in()? else { return Ok(()) };
        let after = judged.image.answer(&asked_by(caller), facts.clock.jiffies);
        if after.verdict == Verdict::Deny {
            Err(cuts(caller, after.reason, ""))
        } else if self.is_seen_no_more(&before, &after, judged, facts) {
            Err(cuts(caller, Reason::SpoofedSource, ""))
        } else {
            Ok(())
        }
    }

    /// What comes back after a trial may let the caller in no more: that is what trials are for. But all that changes
    /// meanwhile is who is cut off, and zones may hold others then than now.
    fn is_kept_later(&self, comes_back: &ComesBack, policy: &Policy) -> Result<(), Refusal> {
        let Some((caller, _)) = self.caller_let_in()? else { return Ok(()) };
        let ComesBack { judged, facts, .. } = comes_back;
        let cut_off =
            |judged: &Judged| judged.image.answer(&asked_by(caller), facts.clock.jiffies).reason == Reason::Quarantined;
        // Who would be cut off by what is so already is not cut off by this.
        let already = Facts { cuts: self.force.facts.cuts.clone(), ..facts.clone() };
        if cut_off(judged) && !cut_off(&compiled(policy, &already, &judged.registry)?) {
            return Err(cuts(caller, Reason::Quarantined, " once the policy before the trial is back"));
        }
        Ok(())
    }

    /// The caller's connection and why it is let in now, if it is.
    fn caller_let_in(&self) -> Result<Option<(&CallerConnection, Answer)>, Refusal> {
        let Some(caller) = &self.caller else { return Ok(None) };
        let answer = self.answer(&asked_by(caller))?;
        Ok(Some((caller, answer)).filter(|_| answer.verdict != Verdict::Deny))
    }
}

const fn asked_by(caller: &CallerConnection) -> Question {
    let CallerConnection { src, dst, port } = *caller;
    Question { src, dst, service: Service::Tcp(port, port) }
}

fn cuts(caller: &CallerConnection, reason: Reason, when: &str) -> Refusal {
    let CallerConnection { src, dst, port } = caller;
    let reason = reason.name();
    Refusal::CutsCaller {
        detail: format!("this would cut your own connection{when}: {src} to {dst} tcp/{port} would be denied ({reason})"),
        mend: "add a rule or a failsafe for it; or insist with --force (by API: without the header), segctl apply best together with --confirm 60s"
            .to_owned(),
    }
}
