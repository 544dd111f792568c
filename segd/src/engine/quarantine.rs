//! Cutting somebody off, and letting them back: answered when the kernel does it, with a frame as proof.

use std::net::IpAddr;

use jiff::Timestamp;

use super::explain::{candidates, special};
use super::grants::zone_names;
use super::refusal::Refusal;
use super::writer::Core;
use crate::api::types::{QuarantineReport, QuarantineRequest, QuarantineView};
use crate::compile::Whom;
use crate::config::{LONGEST, says_something};
use crate::history::Who;
use crate::policy::ZoneName;
use crate::state::quarantine::{Quarantine, whom};

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
        let before = self.quarantine.find(&meant).is_some();
        if before {
            self.put_quarantine(self.quarantine.without(&meant))?;
        } else if let Some(wider) = self.wider(&meant) {
            return Err(Refusal::bad(
                format!("{target} is cut off as a part of {wider}"),
                format!("segctl release {wider} lets all of it back"),
            ));
        }
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

    /// Forgets those whose time is over. The kernel has let them back by itself.
    pub(super) fn let_back(&mut self) {
        let (over, rest) = self.quarantine.split(Timestamp::now());
        if over.is_empty() {
            return;
        }
        if let Err(refusal) = self.put_quarantine(rest) {
            tracing::error!("the quarantines that are over could not be taken off the list: {refusal}");
            return;
        }
        for entry in over {
            tracing::info!("{} is no longer cut off: its time is over", entry.target);
            let before = serde_json::to_value(&entry).ok();
            self.note(&Who::daemon(), "release", &entry.target, Some("its time is over"), (before, None));
        }
    }

    /// Keeps and publishes; if the kernel can't have it, it is not kept either. What cuts its caller never gets to the disk: the
    /// next start would do it.
    fn put_quarantine(&mut self, next: Quarantine) -> Result<(), Refusal> {
        let before = std::mem::replace(&mut self.quarantine, next);
        let mut kept = false;
        let outcome = self.compiled_again().and_then(|(judged, facts, policy)| {
            self.keeps_caller(&judged, &facts)?;
            self.state.save_quarantine(&self.quarantine)?;
            kept = true;
            self.publish(judged, facts, &policy)
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

    /// Of those who are cut off, one that includes `meant`.
    fn wider(&self, meant: &Whom) -> Option<&str> {
        let Whom::Network(network) = meant else { return None };
        let includes = |entry: &&QuarantineView| matches!(whom(&entry.target), Some(Whom::Network(other)) if other.contains(network));
        self.quarantine.0.iter().find(includes).map(|entry| entry.target.as_str())
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
