//! Changes, each in somebody's name: what was changed by whom is written down, or told by status if it can't be.

use serde_json::json;

use super::confirm::Way;
use super::refusal::Refusal;
use super::writer::Core;
use super::{Engine, Tagged};
use crate::api::types::{
    AllowRequest, Applied, ApplyRequest, CallerConnection, ExtendRequest, HistoryEntry, PairReport, PairRequest,
    QuarantineReport, QuarantineRequest, RuleChanged,
};
use crate::history::{Draft, Who};
use crate::policy::Rule;
use crate::state::quarantine::whom;

/// The engine in the hands of somebody.
#[derive(Clone)]
pub struct Acting<'e> {
    pub(super) engine: &'e Engine,
    pub(super) who: Who,
    /// How they reach this machine. A change that cuts it is refused.
    pub(super) connection: Option<CallerConnection>,
    /// Which policies they will have changed.
    pub(super) seen: Option<String>,
}

impl Acting<'_> {
    /// Over a connection that no change may cut.
    #[must_use]
    pub fn over(self, connection: Option<CallerConnection>) -> Self {
        Self { connection, ..self }
    }

    /// After a look at a policy: `seen` is its `ETag`, or several of them. A change of another one is refused.
    #[must_use]
    pub fn having_seen(self, seen: Option<String>) -> Self {
        Self { seen, ..self }
    }

    /// Adds a rule.
    pub fn allow(&self, request: &AllowRequest) -> Tagged<Result<RuleChanged, Refusal>> {
        self.change(|core| {
            let changed = core.allow(request)?;
            core.note(&self.who, "allow", &changed.id, Some(&request.reason), (None, core.rule_as_json(&changed.id)));
            Ok(changed)
        })
    }

    /// Takes a rule away.
    pub fn revoke(&self, id: &str, reason: &str) -> Tagged<Result<RuleChanged, Refusal>> {
        self.change(|core| {
            let before = core.rule_as_json(id);
            let changed = core.revoke(id, reason)?;
            core.note(&self.who, "revoke", id, Some(reason), (before, None));
            Ok(changed)
        })
    }

    /// Gives a rule another end.
    pub fn extend(&self, id: &str, request: &ExtendRequest) -> Tagged<Result<RuleChanged, Refusal>> {
        self.change(|core| {
            let before = core.rule_as_json(id);
            let changed = core.extend(id, request.expires)?;
            core.note(&self.who, "extend", id, request.reason.as_deref(), (before, core.rule_as_json(id)));
            Ok(changed)
        })
    }

    /// Puts a whole zone file in force and in the place of ours.
    pub fn apply(&self, request: &ApplyRequest) -> Tagged<Result<Applied, Refusal>> {
        self.change(|core| {
            let before = core.policy_as_json();
            let applied = core.apply(request)?;
            core.note(
                &self.who,
                "apply",
                &request.name,
                request.reason.as_deref(),
                (Some(before), Some(core.policy_as_json())),
            );
            Ok(applied)
        })
    }

    /// Lets the policy that waits for it hold. `opened`: when the caller's connection was opened.
    pub fn confirm(&self, opened: std::time::Instant, reason: Option<&str>) -> Tagged<Result<Applied, Refusal>> {
        self.change(|core| {
            let applied = core.confirm(opened)?;
            core.note(&self.who, "confirm", "", reason, (None, Some(core.policy_as_json())));
            Ok(applied)
        })
    }

    /// Goes back to the policy before the one that waits, or before the last apply.
    pub fn rollback(&self, reason: Option<&str>) -> Tagged<Result<Applied, Refusal>> {
        self.change(|core| {
            let before = core.policy_as_json();
            let applied = core.rollback(Way::Asked)?;
            core.note(&self.who, "rollback", "", reason, (Some(before), Some(core.policy_as_json())));
            Ok(applied)
        })
    }

    /// Cuts somebody off. Goes on during a trial: it holds under either policy.
    pub fn quarantine(&self, request: &QuarantineRequest) -> Tagged<Result<QuarantineReport, Refusal>> {
        self.change(|core| {
            let before = core.quarantined_as_json(&request.target);
            let report = core.quarantine(request, &self.who)?;
            let after = core.quarantined_as_json(&request.target);
            core.note(&self.who, "quarantine", &request.target, Some(&request.reason), (before, after));
            Ok(report)
        })
    }

    /// Lets somebody back.
    pub fn release(&self, target: &str, reason: Option<&str>) -> Tagged<Result<QuarantineReport, Refusal>> {
        self.change(|core| {
            let before = core.quarantined_as_json(target);
            let report = core.release(target)?;
            if report.before {
                core.note(&self.who, "release", target, reason, (before, None));
            }
            Ok(report)
        })
    }

    /// Reads the files on the disk again.
    pub fn reload(&self) -> Tagged<Result<Applied, Refusal>> {
        self.write(|core| {
            let before = core.policy_as_json();
            let applied = core.reload()?;
            core.note(&self.who, "reload", "", None, (Some(before), Some(core.policy_as_json())));
            Ok(applied)
        })
    }

    /// Sets the mode of a pair, or only shows what `enforce` would have dropped.
    pub fn set_pair(&self, request: &PairRequest) -> Tagged<Result<PairReport, Refusal>> {
        let report = self.engine.would_drop(request);
        if request.preview {
            return self.engine.read(|core| {
                core.known_pair(request)?;
                core.would_hold(request)?;
                Ok(PairReport { generation: core.force.generation, ..report? })
            });
        }
        self.change(|core| {
            let before = report?;
            let was = core.pair_as_json(request);
            let applied = core.set_pair(request)?;
            let pair = format!("{} > {}", request.from, request.to);
            let now = core.pair_as_json(request);
            core.note(&self.who, verb_of(request), &pair, request.reason.as_deref(), (was, now));
            Ok(PairReport { applied: true, generation: applied.generation, ..before })
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Core) -> Result<T, Refusal>) -> Tagged<Result<T, Refusal>> {
        self.write(|core| change(core).inspect_err(|refusal| core.count_refusal(refusal)))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Core) -> Result<T, Refusal>) -> Tagged<Result<T, Refusal>> {
        self.engine.write(|core| {
            core.settle();
            core.caller = self.connection;
            let outcome = core.expect(self.seen.as_deref()).and_then(|()| change(core));
            core.caller = None;
            outcome
        })
    }
}

const fn verb_of(request: &PairRequest) -> &'static str {
    match request.mode {
        crate::policy::Mode::Enforce => "enforce",
        crate::policy::Mode::Audit => "audit",
    }
}

/// A second account of the change, in the log: the journal keeps it out of reach of whoever can write the history.
fn told(entry: &HistoryEntry) {
    let HistoryEntry { number, uid, loginuid, user, verb, reason, generation, hash, .. } = entry;
    let object = entry.object.as_deref().unwrap_or_default();
    tracing::info!(
        number,
        uid,
        loginuid,
        user,
        verb,
        object,
        reason,
        generation,
        hash,
        entry = serde_json::to_string(entry).unwrap_or_default(),
        "history {number}: {user}: {verb} {object}; generation {generation}; {hash}"
    );
}

/// What something was, and what it is now.
type Change = (Option<serde_json::Value>, Option<serde_json::Value>);

impl Core {
    /// Writes a change down. It stays in force even if that fails; status then says so.
    pub(super) fn note(&mut self, who: &Who, verb: &'static str, object: &str, reason: Option<&str>, change: Change) {
        let (before, after) = change;
        let generation = self.force.generation;
        let draft = Draft {
            verb,
            object: (!object.is_empty()).then(|| object.to_owned()),
            reason: reason.map(str::to_owned),
            before,
            after,
            generation,
        };
        match self.history.append(who, draft) {
            Ok(entry) => told(&entry),
            Err(error) => {
                tracing::error!("{verb} {object} by {} is in force, but not in the history: {error}", who.user);
                let what = format!("{verb} {object} by {} is not in the history: {error}", who.user);
                self.troubles.push((what, "mend that; segctl history verify shows what is there".to_owned()));
            }
        }
    }

    fn quarantined_as_json(&self, target: &str) -> Option<serde_json::Value> {
        let entry = self.quarantine.find(&whom(target)?)?;
        serde_json::to_value(entry).ok()
    }

    /// A rule in the words of the zone file.
    fn rule_as_json(&self, id: &str) -> Option<serde_json::Value> {
        self.force.written.policy.rules.iter().find(|rule| rule.id.0 == id).map(rule_as_json)
    }

    pub(super) fn policy_as_json(&self) -> serde_json::Value {
        json!({ "etag": self.force.written.digest, "generation": self.force.generation })
    }

    fn pair_as_json(&self, request: &PairRequest) -> Option<serde_json::Value> {
        let same = |pair: &&crate::policy::PairMode| {
            pair.from.to_string() == request.from && pair.to.to_string() == request.to
        };
        let listed = self.force.written.policy.pairs.iter().find(same);
        listed.map(|pair| json!({ "mode": pair.mode.to_string() }))
    }
}

fn rule_as_json(rule: &Rule) -> serde_json::Value {
    let zones = |zones: &[crate::policy::ZoneRef]| zones.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "id": rule.id.0,
        "from": zones(&rule.from),
        "to": zones(&rule.to),
        "services": rule.services_written,
        "reason": rule.reason,
        "approved_by": rule.approved_by,
        "ticket": rule.ticket,
        "expires": rule.expires.map(|end| end.to_string()),
        "mode": rule.mode.to_string(),
        "log": rule.log,
    })
}
