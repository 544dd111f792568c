//! What others see of the engine: lists for the control API and the scrape for the metrics. Reads only.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use segd_common::reason::{Reason, Verdict};

use super::grants::{Grant, Pair, grants, live, mode_of};
use super::refusal::Refusal;
use super::writer::{Core, texts};
use crate::api::types::{MatrixCell, Names, PairTraffic, PolicyView, RuleView, ServiceView, ZoneView};
use crate::datapath::{Counters, PairCounters, RuleCounters};
use crate::metrics::{RuleSeries, Scrape};
use crate::policy::{IntraZone, Rule, Zone, ZoneName, ZoneRef};

impl Core {
    /// The reserved zones, then those of the policy in file order.
    pub(super) fn zones(&self) -> Vec<ZoneView> {
        let reserved = |name: &str, description: &str, networks| ZoneView {
            name: name.to_owned(),
            description: Some(description.to_owned()),
            networks,
            interfaces: Vec::new(),
            intra_zone: IntraZone::Deny,
            place: None,
        };
        let host = self.machine.addresses.iter().map(ToString::to_string).collect();
        let mut views = vec![
            reserved(ZoneName::HOST, "Every address of this machine", host),
            reserved(ZoneName::UNZONED, "Whatever is in no other zone", Vec::new()),
        ];
        views.extend(self.force.written.policy.zones.iter().map(zone_view));
        views
    }

    /// Named services.
    pub(super) fn services(&self) -> Vec<ServiceView> {
        let view = |(name, members): &(String, Vec<_>)| ServiceView {
            name: name.clone(),
            members: members.iter().map(ToString::to_string).collect(),
        };
        self.force.written.policy.services.iter().map(view).collect()
    }

    /// Rules with what they carried.
    pub(super) fn rules(&self) -> Result<Vec<RuleView>, Refusal> {
        let counters = self.counters()?;
        let counted: BTreeMap<u32, &RuleCounters> = counters.rules.iter().map(|rule| (rule.rule, rule)).collect();
        let now = Timestamp::now();
        let view = |rule: &Rule| {
            let number = self.registry.rule_number(&rule.id.0);
            rule_view(rule, number.and_then(|number| counted.get(&number).copied()), now)
        };
        Ok(self.force.written.policy.rules.iter().map(view).collect())
    }

    /// Pairs of zones with traffic, the busiest first.
    pub(super) fn top(&self) -> Result<Vec<PairTraffic>, Refusal> {
        let names = self.names();
        let traffic = |pair: &PairCounters| {
            let [allowed, audited, denied] = by_verdict(&pair.packets);
            PairTraffic {
                from_zone: names.zone(pair.from),
                to_zone: names.zone(pair.to),
                packets: pair.packets.iter().sum(),
                bytes: pair.bytes.iter().sum(),
                connections: pair.connections,
                allowed,
                audited,
                denied,
                blocked_flows: pair.blocked_flows.iter().sum(),
            }
        };
        let mut pairs: Vec<PairTraffic> =
            self.counters()?.pairs.iter().map(traffic).filter(|pair| pair.packets > 0).collect();
        pairs.sort_by_key(|pair| Reverse(pair.bytes));
        Ok(pairs)
    }

    /// Pairs of zones that may talk, or tried to.
    pub(super) fn matrix(&self) -> Result<Vec<MatrixCell>, Refusal> {
        let names = self.names();
        let packets = |pair: &PairCounters| ((names.zone(pair.from), names.zone(pair.to)), by_verdict(&pair.packets));
        Ok(self.matrix_of(self.counters()?.pairs.iter().map(packets).collect(), &[]))
    }

    /// The same with these packets, and with these pairs even if they may not talk and did not try.
    pub(super) fn matrix_of(&self, mut traffic: BTreeMap<Pair, [u64; 3]>, besides: &[Pair]) -> Vec<MatrixCell> {
        traffic.retain(|_, packets| packets.iter().any(|count| *count > 0));
        let policy = &self.force.written.policy;
        let grants = grants(policy, Timestamp::now());
        let pairs: BTreeSet<_> = grants.keys().chain(traffic.keys()).chain(besides).collect();
        let cell = |pair: &(String, String)| {
            let [allowed, audited, denied] = traffic.get(pair).copied().unwrap_or_default();
            let (services, rules) = granted(grants.get(pair).map_or(&[], Vec::as_slice));
            let mode = mode_of(policy, &pair.0, &pair.1);
            MatrixCell {
                from_zone: pair.0.clone(),
                to_zone: pair.1.clone(),
                mode,
                services,
                rules,
                allowed,
                audited,
                denied,
            }
        };
        pairs.into_iter().map(cell).collect()
    }

    /// The files in force.
    pub(super) fn policy(&self) -> PolicyView {
        let written = &self.force.written;
        PolicyView { generation: self.force.generation, etag: written.digest.clone(), files: texts(&written.sources) }
    }

    /// Everything that the metrics show.
    pub(super) fn scrape(&self) -> Result<Scrape, Refusal> {
        let counters = self.counters()?;
        let numbers: BTreeSet<u16> = counters.pairs.iter().flat_map(|pair| [pair.from, pair.to]).collect();
        let zones =
            numbers.into_iter().filter_map(|zone| Some((zone, self.registry.zone_name(zone)?.to_owned()))).collect();
        let series = |rule: &Rule| {
            let number = self.registry.rule_number(&rule.id.0)?;
            Some(RuleSeries { number, id: rule.id.0.clone(), expires: rule.expires })
        };
        let rules = self.force.written.policy.rules.iter().filter_map(series).collect();
        let interfaces =
            self.guarded().into_iter().map(|guarded| (guarded.name, guarded.hook, guarded.enforced)).collect();
        Ok(Scrape {
            counters,
            zones,
            rules,
            occupancy: self.kernel.occupancy(),
            generation: self.kernel.generation(),
            last_apply: Some(self.force.applied),
            apply_errors: self.apply_errors,
            interfaces,
        })
    }

    pub(super) fn counters(&self) -> Result<Counters, Refusal> {
        self.kernel.counters().map_err(|error| Refusal::Failed(format!("cannot read the counters: {error}")))
    }
}

/// Packets allowed by policy, let pass by audit, and denied.
pub(super) fn by_verdict(packets: &[u64; Reason::COUNT]) -> [u64; 3] {
    let mut sums = [0; 3];
    for (reason, count) in Reason::ALL.iter().zip(packets) {
        let slot = match (reason, reason.verdict()) {
            (Reason::Audit, _) => 1,
            (_, Verdict::Allow) => 0,
            (_, Verdict::Deny) => 2,
        };
        sums[slot] += count;
    }
    sums
}

/// Services and rules of one pair, each told once.
fn granted(grants: &[Grant]) -> (Vec<String>, Vec<String>) {
    let services: BTreeSet<_> = grants.iter().map(|grant| grant.service).collect();
    let rules: BTreeSet<_> = grants.iter().filter_map(|grant| grant.rule.as_ref()).collect();
    (services.iter().map(ToString::to_string).collect(), rules.iter().map(ToString::to_string).collect())
}

fn zone_view(zone: &Zone) -> ZoneView {
    let Zone { name, description, networks, interfaces, intra_zone, place } = zone;
    ZoneView {
        name: name.0.clone(),
        description: description.clone(),
        networks: networks.iter().map(ToString::to_string).collect(),
        interfaces: interfaces.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
        intra_zone: *intra_zone,
        place: Some(place.to_string()),
    }
}

fn rule_view(rule: &Rule, counted: Option<&RuleCounters>, now: Timestamp) -> RuleView {
    let Rule { id, from, to, services_written, services: _, reason, approved_by, ticket, expires, mode, log, place } =
        rule;
    let names = |refs: &[ZoneRef]| Names::from(refs.iter().map(ToString::to_string).collect::<Vec<_>>());
    RuleView {
        id: id.0.clone(),
        from: names(from),
        to: names(to),
        services: services_written.clone(),
        reason: reason.clone(),
        approved_by: approved_by.clone(),
        ticket: ticket.clone(),
        expires: *expires,
        expired: !live(rule, now),
        mode: *mode,
        log: *log,
        place: place.to_string(),
        packets: counted.map_or(0, |counted| counted.packets),
        bytes: counted.map_or(0, |counted| counted.bytes),
        connections: counted.map_or(0, |counted| counted.connections),
        last_hit: counted.and_then(|counted| counted.last_hit),
    }
}
