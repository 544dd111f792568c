//! What Prometheus scrapes: the kernel's counters, read at the scrape and shown under the names of the contract.
//!
//! Nothing is counted here. No label ever carries an address.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;
use segd_common::reason::{Reason, Verdict};

use self::family::Family;
use crate::datapath::{Counters, Occupancy, PairCounters, RuleCounters};
use crate::interfaces::Hook;

mod family;
#[cfg(test)]
mod tests;

/// Content type of the exposition.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Everything that one scrape shows, read at one time.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    /// The kernel's counters.
    pub counters: Counters,
    /// Names of the zones that the counters speak of by number.
    pub zones: BTreeMap<u16, String>,
    /// The rules of the policy.
    pub rules: Vec<RuleSeries>,
    /// Fill of the connection tables.
    pub occupancy: Occupancy,
    /// What the kernel enforces.
    pub generation: u32,
    /// When it was published.
    pub last_apply: Option<Timestamp>,
    /// Policies that were refused since the daemon started.
    pub apply_errors: u64,
    /// Guarded interfaces: name, hook, and whether the kernel says that it is enforced.
    pub interfaces: Vec<(String, Hook, bool)>,
}

/// A rule that has series of its own, hits or not.
#[derive(Clone, Debug)]
pub struct RuleSeries {
    /// Its number in the kernel's counters.
    pub number: u32,
    /// Its name.
    pub id: String,
    /// When it stops to allow.
    pub expires: Option<Timestamp>,
}

const PAIR: &[&str] = &["from_zone", "to_zone"];
const PAIR_VERDICT: &[&str] = &["from_zone", "to_zone", "verdict"];
const PAIR_REASON: &[&str] = &["from_zone", "to_zone", "reason"];
const RULE: &[&str] = &["rule"];

/// The exposition, in Prometheus' text format.
pub fn render(scrape: &Scrape) -> Result<String, prometheus::Error> {
    let mut families = pair_families(scrape);
    families.extend(rule_families(scrape));
    families.extend(machine_families(scrape));
    TextEncoder::new().encode_to_string(&families)
}

/// The `verdict` label of a reason: audited packets passed, but not because policy allows them.
const fn verdict_label(reason: Reason) -> &'static str {
    match (reason, reason.verdict()) {
        (Reason::Audit, _) => "audit",
        (_, Verdict::Allow) => "allow",
        (_, Verdict::Deny) => "deny",
    }
}

/// Sums `values`, one for each reason, by verdict; verdicts that saw nothing are left out.
fn by_verdict(values: &[u64; Reason::COUNT]) -> impl Iterator<Item = (&'static str, u64)> {
    ["allow", "deny", "audit"].into_iter().filter_map(move |verdict| {
        let of_verdict = Reason::ALL.iter().zip(values).filter(|(reason, _)| verdict_label(**reason) == verdict);
        let sum = of_verdict.map(|(_, value)| value).sum::<u64>();
        (sum > 0).then_some((verdict, sum))
    })
}

/// The values of the reasons that drop, without those that saw nothing.
fn by_deny_reason(values: &[u64; Reason::COUNT]) -> impl Iterator<Item = (&'static str, u64)> {
    Reason::ALL
        .iter()
        .zip(values)
        .filter(|(reason, value)| reason.verdict() == Verdict::Deny && **value > 0)
        .map(|(reason, value)| (reason.name(), *value))
}

fn pair_families(scrape: &Scrape) -> Vec<MetricFamily> {
    let mut packets = Family::counter(
        "segd_packets_total",
        "Packets judged at guarded hooks, by pair of zones and verdict.",
        PAIR_VERDICT,
    );
    let mut bytes =
        Family::counter("segd_bytes_total", "Bytes of the packets judged, by pair of zones and verdict.", PAIR_VERDICT);
    let mut blocked = Family::counter(
        "segd_blocked_flows_total",
        "Distinct blocked connections, retransmissions not counted again.",
        PAIR_REASON,
    );
    let mut drops = Family::counter("segd_drops_total", "Packets dropped, by reason.", PAIR_REASON);
    let mut connections = Family::counter("segd_connections_total", "New connections that were allowed.", PAIR);
    for PairCounters { from, to, packets: pair_packets, bytes: pair_bytes, blocked_flows, connections: new } in
        &scrape.counters.pairs
    {
        let (from, to) = (zone_label(scrape, *from), zone_label(scrape, *to));
        by_verdict(pair_packets).for_each(|(verdict, sum)| packets.count(&[&from, &to, verdict], sum));
        by_verdict(pair_bytes).for_each(|(verdict, sum)| bytes.count(&[&from, &to, verdict], sum));
        by_deny_reason(blocked_flows).for_each(|(reason, sum)| blocked.count(&[&from, &to, reason], sum));
        by_deny_reason(pair_packets).for_each(|(reason, sum)| drops.count(&[&from, &to, reason], sum));
        if *new > 0 {
            connections.count(&[&from, &to], *new);
        }
    }
    [packets, bytes, blocked, drops, connections].into_iter().filter_map(Family::finish).collect()
}

/// A zone that left the registry keeps its counts, so that the sums still hold.
fn zone_label(scrape: &Scrape, zone: u16) -> String {
    scrape.zones.get(&zone).cloned().unwrap_or_else(|| format!("zone-{zone}"))
}

fn rule_families(scrape: &Scrape) -> Vec<MetricFamily> {
    let mut packets =
        Family::counter("segd_rule_packets_total", "Packets of the connections that a rule allowed.", RULE);
    let mut connections = Family::counter("segd_rule_connections_total", "New connections that a rule allowed.", RULE);
    let mut expiry = Family::gauge(
        "segd_rule_expiry_timestamp_seconds",
        "When a rule stops to allow, in seconds since 1970-01-01.",
        RULE,
    );
    let mut last_hit = Family::gauge(
        "segd_rule_last_hit_timestamp_seconds",
        "When a rule last allowed something, in seconds since 1970-01-01.",
        RULE,
    );
    let counted: BTreeMap<u32, &RuleCounters> = scrape.counters.rules.iter().map(|rule| (rule.rule, rule)).collect();
    for RuleSeries { number, id, expires } in &scrape.rules {
        let counted = counted.get(number);
        packets.count(&[id], counted.map_or(0, |rule| rule.packets));
        connections.count(&[id], counted.map_or(0, |rule| rule.connections));
        if let Some(time) = expires {
            expiry.add(&[id], seconds(*time));
        }
        if let Some(time) = counted.and_then(|rule| rule.last_hit) {
            last_hit.add(&[id], seconds(time));
        }
    }
    [packets, connections, expiry, last_hit].into_iter().filter_map(Family::finish).collect()
}

fn machine_families(scrape: &Scrape) -> Vec<MetricFamily> {
    let Occupancy { established, established_capacity, half_open, half_open_capacity } = scrape.occupancy;
    let mut entries = Family::gauge("segd_conntrack_entries", "Connections in the table.", &["table"]);
    entries.count(&["established"], established);
    entries.count(&["half_open"], half_open);
    let mut capacity = Family::gauge("segd_conntrack_capacity", "Connections that fit into the table.", &["table"]);
    capacity.count(&["established"], established_capacity);
    capacity.count(&["half_open"], half_open_capacity);
    let mut lost =
        Family::counter("segd_events_lost_total", "Events that found no room on their way out of the kernel.", &[]);
    lost.count(&[], scrape.counters.events_lost);
    let mut generation =
        Family::gauge("segd_policy_generation", "Generation of the policy that the kernel enforces; 0 is none.", &[]);
    generation.count(&[], u64::from(scrape.generation));
    let mut rules = Family::gauge("segd_policy_rules", "Rules of the policy, expired ones included.", &[]);
    rules.count(&[], scrape.rules.len() as u64);
    let mut last_apply = Family::gauge(
        "segd_policy_last_apply_timestamp_seconds",
        "When a policy was last put in force, in seconds since 1970-01-01.",
        &[],
    );
    if let Some(time) = scrape.last_apply {
        last_apply.add(&[], seconds(time));
    }
    let mut errors =
        Family::counter("segd_policy_apply_errors_total", "Policies that were refused, since the daemon started.", &[]);
    errors.count(&[], scrape.apply_errors);
    let mut interfaces = Family::gauge(
        "segd_interface_enforced",
        "1 if the kernel says that the programs run on the interface, else 0.",
        &["interface", "hook"],
    );
    for (name, hook, enforced) in &scrape.interfaces {
        interfaces.count(&[name, &hook.to_string()], u64::from(*enforced));
    }
    let families = [entries, capacity, lost, generation, rules, last_apply, errors, interfaces];
    families.into_iter().filter_map(Family::finish).collect()
}

/// Seconds since 1970-01-01, with the fraction.
fn seconds(time: Timestamp) -> f64 {
    time.as_duration().as_secs_f64()
}
