//! Cutting somebody off, and letting them back: answered when the kernel does it, with a frame as proof.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::explain::{candidates, special, zone_of};
use super::grants::zone_names;
use super::refusal::Refusal;
use super::writer::Core;
use crate::api::types::{Amiss, QuarantineReport, QuarantineRequest, QuarantineView};
use crate::compile::Whom;
use crate::config::{LONGEST, says_something};
use crate::history::Who;
use crate::policy::ZoneName;
use crate::state::quarantine::{Quarantine, whom};

/// Those whose time was over by a clock that may be wrong, as one is that comes up years ahead, and when they were let back.
/// Kept in memory alone: of a clock that is behind at boot the file could not be told from one that was ahead.
#[derive(Default)]
pub(super) struct LetBack(Vec<(Instant, QuarantineView)>);

/// Whoever sets a clock right does it sooner.
const CLOCK_IS_RIGHT: Duration = Duration::from_hours(24);

impl LetBack {
    /// Those whose time is not over by the clock as it is now.
    fn too_soon(&self, now: Timestamp) -> Vec<QuarantineView> {
        let entries = self.0.iter().map(|(_, entry)| entry);
        entries.filter(|entry| entry.until.is_some_and(|end| end > now)).cloned().collect()
    }

    fn add(&mut self, over: &[QuarantineView]) {
        self.0.retain(|(since, _)| since.elapsed() < CLOCK_IS_RIGHT);
        self.0.extend(over.iter().map(|entry| (Instant::now(), entry.clone())));
    }

    /// Something else was decided about them.
    fn forget(&mut self, meant: &Whom) {
        self.0.retain(|(_, entry)| whom(&entry.target).as_ref() != Some(meant));
    }
}

impl Core {
    /// Cuts somebody off. Twice is once: the later reason and end hold.
    pub(super) fn quarantine(&mut self, request: &QuarantineRequest, who: &Who) -> Result<QuarantineReport, Refusal> {
        let QuarantineRequest { target, until, reason } = request;
        if !says_something(reason) || reason.chars().count() > LONGEST {
            let fault = format!("cutting {target} off needs a reason, of {LONGEST} letters at most");
            return Err(Refusal::bad(fault, "give one with --reason"));
        }
        let now = Timestamp::now();
        if until.is_some_and(|end| end <= now) {
            return Err(Refusal::bad("it would have ended already", "give an end that is still to come, such as 4h"));
        }
        let meant = self.cuttable(target)?;
        let before = self.quarantine.find(&meant).cloned();
        let mut next = self.quarantine.without(&meant);
        let since = before.as_ref().map_or(now, |entry| entry.since);
        next.0.push(QuarantineView {
            target: target.clone(),
            until: *until,
            reason: reason.clone(),
            since,
            user: who.user.clone(),
        });
        self.put_quarantine(next)?;
        self.let_back.forget(&meant);
        let proof = self.member_of(&meant).map(|member| self.prove_cut(member)).transpose()?.flatten();
        Ok(QuarantineReport {
            target: target.clone(),
            quarantined: true,
            before: before.is_some(),
            until: *until,
            generation: self.enforced_generation()?,
            proof,
        })
    }

    /// Lets somebody back. Whoever is not cut off is let back already.
    pub(super) fn release(&mut self, target: &str) -> Result<QuarantineReport, Refusal> {
        let meant = self.known(target)?;
        if let Some(wider) = self.wider(&meant) {
            return Err(Refusal::bad(
                format!("{target} is cut off as a part of {wider}"),
                format!("segctl release {wider} lets all of it back"),
            ));
        }
        let before = self.quarantine.find(&meant).is_some();
        if before {
            self.put_quarantine(self.quarantine.without(&meant))?;
        }
        self.let_back.forget(&meant);
        let generation = self.enforced_generation()?;
        Ok(QuarantineReport {
            target: target.to_owned(),
            quarantined: false,
            before,
            until: None,
            generation,
            proof: None,
        })
    }

    /// Takes those off the list whose time is over; the kernel has let them back by itself. Those for whom it was over only by a
    /// clock that was wrong are cut off again.
    pub(super) fn let_back(&mut self) {
        let now = Timestamp::now();
        let (over, mut rest) = self.quarantine.split(now);
        let anew = self.let_back.too_soon(now);
        if over.is_empty() && anew.is_empty() {
            return;
        }
        rest.0.extend(anew.iter().cloned());
        if let Err(refusal) = self.put_quarantine(rest) {
            tracing::error!("the quarantines that are over could not be taken off the list: {refusal}");
            return;
        }
        anew.iter().filter_map(|entry| whom(&entry.target)).for_each(|meant| self.let_back.forget(&meant));
        self.let_back.add(&over);
        let daemon = Who::daemon();
        for entry in over {
            tracing::info!("{} is no longer cut off: its time is over", entry.target);
            let before = serde_json::to_value(&entry).ok();
            self.note(&daemon, "release", &entry.target, Some("its time is over"), (before, None));
        }
        for entry in anew {
            let reason = "the clock was wrong: its time is not over";
            tracing::warn!("{} is cut off again; {reason}", entry.target);
            let after = serde_json::to_value(&entry).ok();
            self.note(&daemon, "quarantine", &entry.target, Some(reason), (None, after));
        }
    }

    /// Keeps and publishes; if the kernel can't have it, it is not kept either. What cuts its caller never gets to the disk: the
    /// next start would do it.
    fn put_quarantine(&mut self, next: Quarantine) -> Result<(), Refusal> {
        let before = std::mem::replace(&mut self.quarantine, next);
        let mut kept = false;
        let outcome = self.compiled_again().and_then(|(judged, facts, policy)| {
            let comes_back = self.comes_back_after(&judged, &facts)?;
            self.state.save_quarantine(&self.quarantine)?;
            kept = true;
            self.publish_with(judged, comes_back, facts, &policy)
        });
        if outcome.is_err() {
            self.quarantine = before;
            if kept && let Err(error) = self.state.save_quarantine(&self.quarantine) {
                tracing::error!("{error}; the next start would cut off, or let back, whom nobody asked for");
                let mend = "mend that, then repeat the last quarantine or release".to_owned();
                self.troubles.push((format!("the list of who is cut off could not be put back: {error}"), mend));
            }
        }
        outcome
    }

    /// The generation, by the kernel's own word.
    fn enforced_generation(&self) -> Result<u32, Refusal> {
        let generation = self.kernel.generation();
        if generation == self.force.generation {
            return Ok(generation);
        }
        Err(Refusal::Failed(format!("the kernel enforces generation {generation}, not {}", self.force.generation)))
    }

    fn known(&self, target: &str) -> Result<Whom, Refusal> {
        let meant = whom(target).ok_or_else(|| {
            let network =
                target.parse::<ipnet::IpNet>().map_or_else(|_| target.to_owned(), |it| it.trunc().to_string());
            Refusal::bad(
                format!("{target} has bits beyond its length"),
                format!("an address, or the network {network}"),
            )
        })?;
        let Whom::Zone(name) = &meant else { return Ok(meant) };
        let zones = zone_names(&self.force.written.policy);
        if zones.contains(&name.0) || self.quarantine.find(&meant).is_some() {
            return Ok(meant);
        }
        let mend = format!("give an address, a network or a zone; zones are: {}", zones.join(", "));
        Err(Refusal::bad(format!("{target} is neither an address nor a zone"), mend))
    }

    /// This machine itself is never cut off: nobody could let it back.
    fn cuttable(&self, target: &str) -> Result<Whom, Refusal> {
        let meant = self.known(target)?;
        let own = match &meant {
            Whom::Zone(name) => name.0 == ZoneName::HOST,
            Whom::Network(network) => {
                network.prefix_len() == network.max_prefix_len() && self.machine.addresses.contains(&network.addr())
            }
        };
        if own {
            return Err(Refusal::bad(format!("{target} is this machine itself"), "cut off whom it should not talk to"));
        }
        if let Whom::Network(network) = &meant
            && network.prefix_len() > 0
            && (network.addr().is_loopback() || network.addr().is_multicast() || network.addr().is_unspecified())
        {
            let fault = format!("{target} is no host's address on any wire");
            return Err(Refusal::bad(fault, "give the address by which others know the host"));
        }
        Ok(meant)
    }

    /// Of those who are cut off, another one that includes `meant`: a network around it, or the zone that it begins in.
    fn wider(&self, meant: &Whom) -> Option<&str> {
        let Whom::Network(network) = meant else { return None };
        let zone = zone_of(&self.force.written.policy, network.network());
        let includes = |entry: &&QuarantineView| match whom(&entry.target) {
            Some(Whom::Network(other)) => other != *network && other.contains(network),
            Some(Whom::Zone(name)) => name.0 == zone,
            None => false,
        };
        self.quarantine.0.iter().find(includes).map(|entry| entry.target.as_str())
    }

    /// Zones that are cut off and that the policy no longer has: whoever was in them is back.
    pub(super) fn quarantine_amiss(&self) -> Vec<Amiss> {
        let zones = zone_names(&self.force.written.policy);
        let lost =
            |entry: &&QuarantineView| matches!(whom(&entry.target), Some(Whom::Zone(name)) if !zones.contains(&name.0));
        let amiss = |QuarantineView { target, .. }: &QuarantineView| Amiss {
            what: format!("zone {target} is cut off, but the policy has no such zone: nobody is cut off by that"),
            mend: format!(
                "segctl quarantine its networks, or what the zone is called now; then segctl release {target}"
            ),
        };
        self.quarantine.0.iter().filter(lost).map(amiss).collect()
    }

    /// An address that is meant.
    fn member_of(&self, meant: &Whom) -> Option<IpAddr> {
        match meant {
            Whom::Zone(name) => [false, true].into_iter().find_map(|ipv6| self.member(&name.0, ipv6, None)),
            Whom::Network(network) => candidates(&self.force.written.policy, *network)
                .into_iter()
                .find(|address| !special(*address) && !self.machine.addresses.contains(address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::HistoryQuery;
    use crate::engine::house::House;

    #[test]
    fn whoever_is_cut_off_by_another_entry_too_is_not_said_to_be_back() {
        let house = House::new();
        let cut = |target: &str| {
            let request = QuarantineRequest { target: target.into(), until: None, reason: "A worm".into() };
            house.admin().quarantine(&request).value.unwrap();
        };
        let release = |target: &str| house.admin().release(target, None).value;
        let passes = || house.passes("10.30.0.9", "10.20.0.1", "tcp/5432");
        for wider in ["10.30.0.0/25", "dev"] {
            cut(wider);
            cut("10.30.0.9");
            let refused = release("10.30.0.9").unwrap_err().to_string();
            assert!(refused.contains(wider) && !passes(), "{refused}");
            release(wider).unwrap();
            assert!(!passes(), "its own entry is still there");
            release("10.30.0.9").unwrap();
            assert!(passes());
        }
    }

    #[test]
    fn a_zone_that_is_cut_off_and_no_longer_there_is_told() {
        let house = House::new();
        let request = QuarantineRequest { target: "admin".into(), until: None, reason: "A worm".into() };
        house.admin().quarantine(&request).value.unwrap();
        let told = || house.engine.core().quarantine_amiss().first().map(|amiss| amiss.what.clone());
        assert_eq!(told(), None);
        let text = std::fs::read_to_string(house.config()).unwrap().replace("admin:", "admins:");
        let new = crate::api::types::PolicyText { name: "new.yaml".into(), text };
        house.admin().apply(&crate::api::types::ApplyRequest::of(new)).value.unwrap();
        assert!(told().unwrap().contains("zone admin is cut off, but the policy has no such zone"));
    }

    #[test]
    fn whose_time_was_over_by_a_wrong_clock_is_cut_off_again() {
        let house = House::new();
        let passes = || house.passes("10.30.0.9", "10.20.0.1", "tcp/5432");
        let [yesterday, tomorrow] = [-24, 24].map(|hours| Timestamp::now() + jiff::SignedDuration::from_hours(hours));
        let cut_until_the_clock_is_ahead = || {
            let (until, reason) = (Some(tomorrow), "A worm".to_owned());
            house.admin().quarantine(&QuarantineRequest { target: "10.30.0.9".into(), until, reason }).value.unwrap();
            assert!(!passes());
            // By that clock tomorrow is long past.
            house.engine.core().quarantine.0[0].until = Some(yesterday);
            house.engine.tick();
            assert!(passes() && house.engine.quarantined().value.is_empty());
        };
        cut_until_the_clock_is_ahead();
        // And by the right one it is not.
        house.engine.core().let_back.0[0].1.until = Some(tomorrow);
        house.engine.tick();
        assert!(!passes());
        assert_eq!(house.engine.quarantined().value[0].until, Some(tomorrow));
        assert!(house.engine.core().let_back.0.is_empty());
        let verbs: Vec<String> =
            house.engine.history(&HistoryQuery::default()).unwrap().into_iter().map(|entry| entry.verb).collect();
        assert_eq!(verbs, ["start", "quarantine", "release", "quarantine"]);
        // Whoever is let back by somebody stays so.
        house.admin().release("10.30.0.9", None).value.unwrap();
        cut_until_the_clock_is_ahead();
        house.admin().release("10.30.0.9", None).value.unwrap();
        assert!(house.engine.core().let_back.0.is_empty());
        house.engine.tick();
        assert!(passes());
    }
}
