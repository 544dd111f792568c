//! Changes of the policy that come over the control socket. Each edits text, and goes the same way as a hand-written
//! file; the hand-written file is never edited.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use segd_common::reason::Verdict;

use super::grants::zone_names;
use super::judge::{Written, compiled, judge, report};
use super::refusal::Refusal;
use super::seen::would_cut;
use super::writer::Core;
use crate::api::types::{
    AllowRequest, Applied, ApplyRequest, CheckReport, DiffLine, DiffReport, PairRequest, PolicyText, RuleChanged,
};
use crate::compile::{Facts, Image, Question, compare};
use crate::config::dropin::{self, DropinError};
use crate::config::{Source, nearest, read_sources};
use crate::policy::{Mode, PairMode, Policy, Rule, Service, Zone, ZoneName};
use crate::seen::Row;
use crate::state::FileError;
use crate::state::file::Prepared;
use crate::state::pending::beside;

/// Mode of a zone file that is new.
const FILE_MODE: u32 = 0o644;

impl Core {
    /// The policy that the caller saw has to be the one in force. `*` and no tag at all stand for any.
    pub(super) fn expect(&self, if_match: Option<&str>) -> Result<(), Refusal> {
        let digest = &self.force.written.digest;
        let same = |tag: &str| tag == "*" || tag.trim_start_matches("W/").trim_matches('"') == digest;
        if if_match.is_none_or(|tags| tags.split(',').map(str::trim).any(same)) {
            return Ok(());
        }
        Err(Refusal::Changed {
            detail: format!("generation {} is in force, and it is not the policy that you saw", self.force.generation),
            mend: "look at it again, then repeat the change".to_owned(),
        })
    }

    /// Adds a rule to the drop-in file and puts it in force.
    pub(super) fn allow(&mut self, request: &AllowRequest) -> Result<RuleChanged, Refusal> {
        self.known_zones(request.from.as_slice().iter().chain(request.to.as_slice()))?;
        self.known_services(&request.services)?;
        let id = match &request.id {
            Some(id) => id.clone(),
            None => free_id(&self.force.written.policy, request),
        };
        if let Some(rule) = self.rule(&id) {
            return Err(Refusal::bad(
                format!("there is a rule {id} already, at {}", rule.place),
                "choose another --id, or revoke that one first",
            ));
        }
        let Applied { generation, .. } = self.edit(|text| dropin::add_rule(text, &new_rule(&id, request)))?;
        tracing::info!("rule {id} was added: {}; approved by {}", request.reason, request.approved_by);
        Ok(RuleChanged { id, generation })
    }

    /// Removes a rule from the drop-in file and puts the rest in force.
    pub(super) fn revoke(&mut self, id: &str, reason: &str) -> Result<RuleChanged, Refusal> {
        if reason.trim().is_empty() {
            return Err(Refusal::bad(format!("revoking {id} needs a reason"), "give one with --reason"));
        }
        self.own_rule(id, "remove it")?;
        let Applied { generation, .. } = self.edit(|text| dropin::remove_rule(text, id))?;
        tracing::info!("rule {id} was revoked: {reason}");
        Ok(RuleChanged { id: id.to_owned(), generation })
    }

    /// Gives a rule of the drop-in file another end, and puts that in force.
    pub(super) fn extend(&mut self, id: &str, expires: Timestamp) -> Result<RuleChanged, Refusal> {
        if expires <= Timestamp::now() {
            let mend = "name a time to come; segctl revoke ends the rule at once";
            return Err(Refusal::bad(format!("{expires} lies in the past"), mend));
        }
        self.own_rule(id, &format!("write expires: {expires}"))?;
        let Applied { generation, .. } = self.edit(|text| dropin::set_expiry(text, id, expires))?;
        Ok(RuleChanged { id: id.to_owned(), generation })
    }

    /// A rule that is not in the drop-in file is not ours to change: `instead` says what to do by hand.
    fn own_rule(&self, id: &str, instead: &str) -> Result<(), Refusal> {
        let Some(Rule { place, .. }) = self.rule(id) else {
            return Err(Refusal::NotFound {
                detail: format!("there is no rule {id}"),
                mend: "segctl rules lists them".to_owned(),
            });
        };
        if Path::new(&place.file) == self.dropin() {
            return Ok(());
        }
        let detail = format!(
            "rule {id} is written by hand in {}, line {}; segctl never touches that file",
            place.file, place.line
        );
        Err(Refusal::bad(detail, format!("{instead} there, then segctl reload (or segctl apply {})", place.file)))
    }

    /// Sets the mode of one pair of zones in the drop-in file and puts it in force.
    pub(super) fn set_pair(&mut self, request: &PairRequest) -> Result<Applied, Refusal> {
        self.known_pair(request)?;
        self.would_hold(request)?;
        let PairRequest { from, to, mode, .. } = request;
        let applied = self.edit(|text| dropin::set_pair(text, from, to, Some(*mode)))?;
        tracing::info!("from {from} to {to} the mode is {mode} now");
        Ok(applied)
    }

    /// A mode that something written by hand overrides is refused, instead of being taken without effect.
    pub(super) fn would_hold(&self, request: &PairRequest) -> Result<(), Refusal> {
        let PairRequest { from, to, mode, .. } = request;
        let policy = &self.force.written.policy;
        if (policy.mode, *mode) == (Mode::Audit, Mode::Enforce) {
            let detail = "the whole policy is in audit mode, which no pair can leave alone";
            let mend = "set mode: enforce in the zone file, and list under pairs what is still to be watched";
            return Err(Refusal::bad(detail, mend));
        }
        let same = |pair: &&PairMode| pair.from.to_string() == *from && pair.to.to_string() == *to;
        let by_hand = |pair: &&PairMode| Path::new(&pair.place.file) != self.dropin();
        match policy.pairs.iter().filter(same).filter(by_hand).find(|pair| pair.mode != *mode) {
            Some(PairMode { mode, place, .. }) => {
                let detail = format!("from {from} to {to} {mode} is written by hand, at {place}, and holds");
                Err(Refusal::bad(detail, "change it there, then segctl reload"))
            }
            None => Ok(()),
        }
    }

    /// Both sides have to be zones, or `any`.
    pub(super) fn known_pair(&self, request: &PairRequest) -> Result<(), Refusal> {
        self.known_zones([&request.from, &request.to].into_iter())
    }

    /// The first that is neither a zone nor `any` is refused, with the name that was probably meant.
    fn known_zones<'a>(&self, mut named: impl Iterator<Item = &'a String>) -> Result<(), Refusal> {
        let zones = zone_names(&self.force.written.policy);
        let Some(unknown) = named.find(|zone| *zone != ZoneName::ANY && !zones.contains(zone)) else { return Ok(()) };
        let mend = match nearest(unknown, zones.iter().map(String::as_str)) {
            Some(meant) => format!("{meant} is one; segctl zones lists them all"),
            None => format!("zones are: {}", zones.join(", ")),
        };
        Err(Refusal::bad(format!("there is no zone {unknown}"), mend))
    }

    /// The first that is neither a service with a name nor one by itself is refused.
    fn known_services(&self, services: &[String]) -> Result<(), Refusal> {
        let named = &self.force.written.policy.services;
        for text in services.iter().filter(|text| !named.iter().any(|(name, _)| name == *text)) {
            text.parse::<Service>().map_err(|error| {
                match nearest(text, named.iter().map(|(name, _)| name.as_str())) {
                    Some(meant) => {
                        Refusal::bad(error.fault, format!("{meant} is a service; segctl services lists them"))
                    }
                    None => Refusal::bad(error.fault, error.mend),
                }
            })?;
        }
        Ok(())
    }

    /// Puts a whole zone file in force and in the place of `zones.yaml`. The old one is kept beside it.
    pub(super) fn apply(&mut self, request: &ApplyRequest) -> Result<Applied, Refusal> {
        self.not_pending()?;
        // First under the name that the caller knows it by, so that faults speak of that file.
        let ApplyRequest { name, text, .. } = request;
        let named = Written::read(self.with_main(PolicyText { name: name.clone(), text: text.clone() })?)?;
        match self.apply_as_ours(request) {
            // Failed tests too.
            Err(Refusal::Tests(failed)) => match judge(&named.policy, &self.facts_now(), &self.registry) {
                Err(under_its_name) => Err(under_its_name),
                Ok(_) => Err(Refusal::Tests(failed)),
            },
            done => done,
        }
    }

    fn apply_as_ours(&mut self, request: &ApplyRequest) -> Result<Applied, Refusal> {
        let ApplyRequest { text, confirm_secs, .. } = request;
        let main = PolicyText { name: self.config.display().to_string(), text: text.clone() };
        let written = Written::read(self.with_main(main.clone())?)?;
        if let Some(secs) = confirm_secs {
            let file = Prepared::new(&self.config, main.text.as_bytes(), FILE_MODE)?;
            return self.try_out(written, *secs, || Ok(file.commit()?));
        }
        let kept = self.kept_beside(text)?;
        let file = Prepared::new(&self.config, main.text.as_bytes(), FILE_MODE)?;
        self.put_in_force(written, || {
            kept.into_iter().try_for_each(Prepared::commit)?;
            Ok(file.commit()?)
        })
    }

    /// What `text` takes the place of: what is in force, for the way back to it, and what somebody has written on the disk
    /// and never put in force. What is only applied again takes nothing's place.
    fn kept_beside(&self, text: &str) -> Result<Vec<Prepared>, Refusal> {
        let in_force = &self.force.written.sources[0].text;
        let on_disk = match fs::read(&self.config) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(Refusal::Failed(format!("cannot read {} to keep it: {error}", self.config.display())));
            }
        };
        let was_never_in_force = |bytes: &&Vec<u8>| ![in_force.as_bytes(), text.as_bytes()].contains(&bytes.as_slice());
        let previous = Some(in_force.as_bytes()).filter(|_| in_force != text).map(|text| ("previous", text));
        let unapplied = on_disk.as_ref().filter(was_never_in_force).map(|bytes| ("unapplied", bytes.as_slice()));
        let keep = |(name, bytes): (&str, &[u8])| Ok(Prepared::new(&beside(&self.config, name), bytes, FILE_MODE)?);
        previous.into_iter().chain(unapplied).map(keep).collect()
    }

    /// Faults, warnings and tests of a zone file in the place of ours.
    pub(super) fn check(&self, new: PolicyText) -> Result<CheckReport, Refusal> {
        Ok(report(self.with_main(new)?, &self.facts_now()))
    }

    /// What would newly pass and newly fail with a zone file in the place of ours, and whom of those who were seen `since` then
    /// that meets.
    pub(super) fn diff(&self, new: PolicyText, since: Timestamp, seen: &[Row]) -> Result<DiffReport, Refusal> {
        let written = Written::read(self.with_main(new)?)?;
        let facts = self.facts_now();
        // One registry for both, so that a zone has one number in both.
        let before = compiled(&self.force.written.policy, &facts, &self.registry)?;
        let after = compiled(&written.policy, &facts, &before.registry)?;
        let mut report = DiffReport::default();
        for change in compare(&before.image, &after.image) {
            let side = if change.passes { &mut report.newly_pass } else { &mut report.newly_fail };
            side.push(DiffLine {
                from_zone: change.from,
                to_zone: change.to,
                service: change.service,
                rule: change.rule,
            });
        }
        let passes =
            |image: &Image, question: &Question| image.answer(question, facts.clock.jiffies).verdict != Verdict::Deny;
        report.besides = self.besides(&written.policy);
        report.would_cut =
            would_cut(since, seen, |question| passes(&before.image, question) && !passes(&after.image, question));
        Ok(report)
    }

    /// What differs from the policy in force besides what zones let pass.
    fn besides(&self, new: &Policy) -> Vec<String> {
        let old = &self.force.written.policy;
        let guarded = |policy: &Policy| -> BTreeSet<String> {
            self.machine.guarded(&policy.interfaces).map(|link| link.name.clone()).collect()
        };
        let (was, is) = (guarded(old), guarded(new));
        let open =
            was.difference(&is).map(|name| format!("{name} would not be guarded any more: everything passes there"));
        let shut = is.difference(&was).map(|name| format!("{name} would be guarded"));
        let seen_on = |zone: &Zone| match zone.interfaces.as_slice() {
            [] => "every interface".to_owned(),
            globs => globs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        let moved = new.zones.iter().filter_map(|zone| {
            let before = old.zones.iter().find(|before| before.name == zone.name)?;
            let (before, after) = (seen_on(before), seen_on(zone));
            (before != after).then(|| format!("{} would be believed on {after}, not on {before}", zone.name))
        });
        let essentials = (old.essentials != new.essentials)
            .then(|| "what always passes would be something else: the list of essentials differs".to_owned());
        open.chain(shut).chain(moved).chain(essentials).collect()
    }

    /// The machine as the policy in force knows it, at this moment.
    fn facts_now(&self) -> Facts {
        Facts { now: Timestamp::now(), clock: self.kernel.clock(), ..self.force.facts.clone() }
    }

    fn rule(&self, id: &str) -> Option<&Rule> {
        self.force.written.policy.rules.iter().find(|rule| rule.id.0 == id)
    }

    /// `new` with the drop-ins that are on the disk.
    fn with_main(&self, new: PolicyText) -> Result<Vec<Source>, Refusal> {
        let main = self.config.display().to_string();
        let mut sources = match read_sources(&self.config) {
            Ok(sources) => sources,
            // The file that is to be replaced may be missing or unreadable.
            Err(faults) if faults.faults.iter().all(|fault| fault.file == main) => self.force.written.sources.clone(),
            Err(faults) => return Err(faults.into()),
        };
        sources[0] = Source { name: new.name, text: new.text };
        Ok(sources)
    }

    /// Edits the drop-in file and puts the outcome in force. Whatever else was edited on the disk meanwhile is not
    /// taken along: it may be half-written, and it is not what was asked for.
    fn edit(&mut self, edit: impl FnOnce(&str) -> Result<String, DropinError>) -> Result<Applied, Refusal> {
        self.not_pending()?;
        let mut sources = read_sources(&self.config)?;
        if sources != self.force.written.sources {
            return Err(Refusal::Changed {
                detail: format!("{} is not what is in force", changed(&sources, &self.force.written.sources)),
                mend: "segctl reload puts the files on the disk in force; then repeat the change".to_owned(),
            });
        }
        let path = self.dropin();
        let name = path.display().to_string();
        let at = sources.iter().skip(1).position(|source| source.name >= name).map_or(sources.len(), |at| at + 1);
        if sources.get(at).is_none_or(|source| source.name != name) {
            sources.insert(at, Source { name, text: String::new() });
        }
        sources[at].text = edit(&sources[at].text)?;
        let file = Prepared::new(&path, sources[at].text.as_bytes(), FILE_MODE)?;
        self.put_in_force(Written::read(sources)?, || Ok(file.commit()?))
    }

    /// The file that belongs to `segctl`.
    fn dropin(&self) -> PathBuf {
        self.config.parent().unwrap_or(Path::new("")).join(dropin::FILE)
    }
}

impl From<FileError> for Refusal {
    fn from(error: FileError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The first file that differs.
fn changed(disk: &[Source], force: &[Source]) -> String {
    let differs = disk.iter().find(|source| !force.contains(source));
    let gone = force.iter().find(|source| disk.iter().all(|other| other.name != source.name));
    differs.or(gone).map_or_else(String::new, |source| source.name.clone())
}

/// A free name made of the zones and the first service: `dev-accounting-tcp-5432`.
fn free_id(policy: &Policy, request: &AllowRequest) -> String {
    let first = |names: &[String]| names.first().cloned().unwrap_or_default();
    let parts = [first(request.from.as_slice()), first(request.to.as_slice()), first(&request.services)];
    let stem: String =
        parts.join("-").chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let stem = stem.trim_matches('-');
    let taken = |id: &str| policy.rules.iter().any(|rule| rule.id.0 == id);
    let numbered = (2_u32..).map(|number| format!("{stem}-{number}"));
    std::iter::once(stem.to_owned()).chain(numbered).find(|id| !taken(id)).unwrap_or_default()
}

fn new_rule(id: &str, request: &AllowRequest) -> dropin::NewRule {
    let AllowRequest { id: _, from, to, services, reason, approved_by, ticket, expires, mode } = request.clone();
    dropin::NewRule {
        id: id.to_owned(),
        from: from.as_slice().to_vec(),
        to: to.as_slice().to_vec(),
        services,
        reason: Some(reason),
        approved_by: Some(approved_by),
        ticket,
        expires,
        mode,
        log: false,
    }
}

impl From<DropinError> for Refusal {
    fn from(error: DropinError) -> Self {
        match error {
            DropinError::NotInOrder(faults) => Self::Faults(faults),
            DropinError::SameId(_) | DropinError::NoSuchRule(_) | DropinError::NotEditable { .. } => {
                Self::Failed(error.to_string())
            }
        }
    }
}
