//! What was seen, asked of the store: past flows, traffic of a span of time, what enforcing would have dropped, and the
//! rules that would allow it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use segd_common::reason::{Reason, Verdict};

use super::names::{Names, protocol_name};
use super::refusal::Refusal;
use super::views::by_verdict;
use super::writer::Core;
use super::{Engine, Tagged};
use crate::api::types::{
    FlowLine, FlowsQuery, MatrixCell, PairReport, PairRequest, PairTraffic, SinceQuery, SuggestQuery, Suggestions,
    WouldCut,
};
use crate::compile::Question;
use crate::policy::ZoneName;
use crate::seen::{Asked, Named, PairSum, Row, StoreError};
use crate::suggest::{Material, service_of, suggest};

/// How far back `enforce` looks unless told otherwise, and `diff` in any case.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(24 * 7);
/// Classes of connections that a preview shows.
const PREVIEWED: usize = 50;
/// What stands for addresses and services that were not told apart.
const MANY: &str = "*";

impl Named for Names {
    fn zone(&self, number: u16) -> String {
        Self::zone(self, number)
    }

    fn rule(&self, number: u32) -> String {
        self.rule(Some(number)).unwrap_or_default()
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Engine {
    /// Writes down what was seen since the last call. Every few seconds, at the end, and before the store is asked. What
    /// hinders it is logged and told by status.
    pub fn keep_seen(&self) {
        let counters = self.core().counters();
        match counters {
            Ok(counters) => self.seen.keep(Timestamp::now(), &counters, &*self.names()),
            Err(refusal) => tracing::error!("what was seen is not written down: {refusal}"),
        }
    }

    /// Classes of connections that were seen since `since`, the latest last.
    pub fn past_flows(&self, query: &FlowsQuery, since: Timestamp) -> Result<Vec<FlowLine>, Refusal> {
        self.keep_seen();
        let FlowsQuery { blocked, from, to, follow: _, since: _ } = query;
        let asked = Asked { since, blocked: *blocked, from: from.clone(), to: to.clone() };
        Ok(self.seen.rows(&asked)?.iter().map(past_line).collect())
    }

    /// Pairs of zones by traffic, since the counters began or since a point in time; the busiest first.
    pub fn top_since(&self, query: &SinceQuery) -> Tagged<Result<Vec<PairTraffic>, Refusal>> {
        let Some(since) = query.since else { return self.top() };
        let pairs = self.pairs_since(since);
        self.read(|_| {
            let mut traffic: Vec<PairTraffic> = pairs?.into_values().map(|sum| traffic(&sum)).collect();
            traffic.retain(|pair| pair.packets > 0 || pair.connections + pair.blocked_flows > 0);
            traffic.sort_by_key(|pair| Reverse(pair.bytes));
            Ok(traffic)
        })
    }

    /// The zone-by-zone table, since the counters began or since a point in time.
    pub fn matrix_since(&self, query: &SinceQuery) -> Tagged<Result<Vec<MatrixCell>, Refusal>> {
        let Some(since) = query.since else { return self.matrix() };
        let pairs = self.pairs_since(since);
        self.read(|core| Ok(core.matrix_of(packets(&pairs?), &[])))
    }

    /// Rules that would allow what was seen.
    pub fn suggest(&self, query: &SuggestQuery) -> Tagged<Result<Suggestions, Refusal>> {
        self.keep_seen();
        let rows = self.seen.rows(&Asked::since(query.since));
        self.read(|core| {
            let material = Material {
                policy: &core.force.written.policy,
                host: &core.force.facts.host,
                rows: &rows?,
                passing: query.passing,
                since: query.since,
                until: Timestamp::now(),
            };
            Ok(suggest(&material))
        })
    }

    /// What the audit mode let pass between a pair of zones: the counters' sum, and connections by class.
    pub(super) fn would_drop(&self, request: &PairRequest) -> Result<PairReport, Refusal> {
        let PairRequest { from, to, mode, preview: _, since, reason: _ } = request;
        let since = since.unwrap_or_else(|| Timestamp::now() - LOOK_BACK);
        let meant = |asked: &str, zone: &str| asked == ZoneName::ANY || asked == zone;
        let of_pair = |from_zone: &str, to_zone: &str| meant(from, from_zone) && meant(to, to_zone);
        let pairs = self.pairs_since(since)?;
        let audited = |((from, to), sum): (&(String, String), &PairSum)| {
            if of_pair(from, to) { sum.packets[Reason::Audit as usize] } else { 0 }
        };
        let rows = self.seen.rows(&Asked { blocked: true, ..Asked::since(since) })?;
        let audited_rows =
            rows.iter().rev().filter(|row| row.reason == Reason::Audit && of_pair(&row.from_zone, &row.to_zone));
        let (would_be, by_now) = self.core().still_dropped(audited_rows.collect())?;
        Ok(PairReport {
            from: from.clone(),
            to: to.clone(),
            mode: *mode,
            applied: false,
            generation: 0,
            since,
            would_drop_packets: pairs.iter().map(audited).sum(),
            would_drop_connections: flows(&would_be),
            allowed_by_now: flows(&by_now),
            would_drop: would_be.into_iter().take(PREVIEWED).map(past_line).collect(),
        })
    }

    /// What was seen in the last days, and since when; nothing if the store can't tell, of which status speaks.
    pub(super) fn lately(&self) -> (Timestamp, Vec<Row>) {
        self.keep_seen();
        let since = Timestamp::now() - LOOK_BACK;
        (since, self.seen.rows(&Asked::since(since)).unwrap_or_default())
    }

    /// What pairs of zones did since then.
    pub(super) fn pairs_since(&self, since: Timestamp) -> Result<BTreeMap<(String, String), PairSum>, Refusal> {
        self.keep_seen();
        let pairs = self.seen.pairs(since)?;
        Ok(pairs.into_iter().map(|sum| ((sum.from_zone.clone(), sum.to_zone.clone()), sum)).collect())
    }
}

impl Core {
    /// Parts what the audit mode let pass into what enforcement would drop under the policy in force, and what a rule allows by
    /// now. What was not told apart by address counts as dropped.
    fn still_dropped<'a>(&self, rows: Vec<&'a Row>) -> Result<(Vec<&'a Row>, Vec<&'a Row>), Refusal> {
        let questions: Vec<Question> = rows.iter().filter_map(|row| asked_again(row)).collect();
        let mut answers = self.answers(&questions)?.into_iter();
        Ok(rows.into_iter().partition(|row| {
            let answer = asked_again(row).and_then(|_| answers.next());
            answer.is_none_or(|answer| answer.would.verdict() == Verdict::Deny)
        }))
    }

    /// What is amiss with the history of what was seen, for status.
    pub(super) fn seen_amiss(amiss: Option<String>) -> Option<crate::api::types::Amiss> {
        let mend = "enforcement goes on; suggest, report and past flows know less until it is mended".to_owned();
        amiss.map(|what| crate::api::types::Amiss { what, mend })
    }
}

/// Of the connections that passed, those that `cut` says yes to, one line for each pair of addresses and service. Connections
/// whose ends were not told apart are not asked about.
pub(super) fn would_cut(since: Timestamp, seen: &[Row], cut: impl Fn(&Question) -> bool) -> Option<WouldCut> {
    let mut met: BTreeMap<_, Row> = BTreeMap::new();
    for row in seen.iter().filter(|row| row.reason.verdict() != Verdict::Deny) {
        if asked_again(row).is_some_and(|question| cut(&question)) {
            let Row { src, dst, proto, port, .. } = row;
            met.entry((*src, *dst, *proto, *port))
                .and_modify(|sum| {
                    sum.flows += row.flows;
                    sum.first = sum.first.min(row.first);
                    sum.last = sum.last.max(row.last);
                })
                .or_insert_with(|| row.clone());
        }
    }
    let mut met: Vec<Row> = met.into_values().collect();
    met.sort_by_key(|row| Reverse(row.last));
    let flows = met.iter().take(PREVIEWED).map(past_line).collect();
    (!met.is_empty()).then(|| WouldCut { since, connections: met.iter().map(|row| row.flows).sum(), flows })
}

/// The question that a connection of the past would be today; none if its ends were not told apart.
fn asked_again(row: &Row) -> Option<Question> {
    Some(Question { src: row.src?, dst: row.dst?, service: service_of(row.proto, row.port)? })
}

fn flows(rows: &[&Row]) -> u64 {
    rows.iter().map(|row| row.flows).sum()
}

/// Packets by pair and verdict.
pub(super) fn packets(pairs: &BTreeMap<(String, String), PairSum>) -> BTreeMap<(String, String), [u64; 3]> {
    pairs.iter().map(|(pair, sum)| (pair.clone(), by_verdict(&sum.packets))).collect()
}

fn traffic(sum: &PairSum) -> PairTraffic {
    let PairSum { from_zone, to_zone, packets, bytes, connections, blocked_flows } = sum;
    let [allowed, audited, denied] = by_verdict(packets);
    PairTraffic {
        from_zone: from_zone.clone(),
        to_zone: to_zone.clone(),
        packets: packets.iter().sum(),
        bytes: *bytes,
        connections: *connections,
        allowed,
        audited,
        denied,
        blocked_flows: *blocked_flows,
    }
}

/// A class of connections as `segctl flows` shows it.
pub(super) fn past_line(row: &Row) -> FlowLine {
    let address = |address: Option<std::net::IpAddr>| address.map_or_else(|| MANY.to_owned(), |one| one.to_string());
    FlowLine {
        time: row.last,
        src: address(row.src),
        dst: address(row.dst),
        proto: if row.dst.is_none() && row.proto == 0 { MANY.to_owned() } else { protocol_name(row.proto) },
        src_port: row.src_port,
        dst_port: row.port,
        from_zone: row.from_zone.clone(),
        to_zone: row.to_zone.clone(),
        verdict: row.reason.verdict().into(),
        reason: row.reason.name().to_owned(),
        rule: row.rule.clone(),
        would_be: row.would_be.map(|reason| reason.name().to_owned()),
        state: None,
        interface: None,
        connections: Some(row.flows),
        first: Some(row.first),
    }
}
