//! Single connections: what would happen to one, and what happened to those that were seen. Plain data only.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::policy::Mode;

/// Query of `GET /v1/explain`. `src` and `dst` are addresses, or both are names of zones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// Initiator.
    pub src: String,
    /// Responder.
    pub dst: String,
    /// One service: `tcp/443`, `icmp/echo-request`, ….
    pub service: String,
}

/// Answer of `GET /v1/explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Whether a new connection passes.
    pub verdict: Verdict,
    /// Why, as the counters spell it.
    pub reason: String,
    /// The rule that allows it, or that would if it had not run out.
    pub rule: Option<String>,
    /// Initiator's zone.
    pub from_zone: String,
    /// Responder's zone.
    pub to_zone: String,
    /// The mode of this pair of zones.
    pub mode: Mode,
    /// The generation that answered.
    pub generation: u32,
    /// What would change the verdict: rules that nearly fit, then the command to type.
    #[serde(default)]
    pub hints: Vec<String>,
}

/// Query of `GET /v1/flows`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowsQuery {
    /// Only what was dropped, or would have been.
    pub blocked: bool,
    /// Only from this zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Only to this zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Stay, and send each new event as it comes.
    pub follow: bool,
    /// What was seen since then, out of the history: one line for each class of connections. Not with `follow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// One line of `GET /v1/flows`: a connection that is open, or an event about one that passed or was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowLine {
    /// When its last packet was seen, or when the event happened; of several connections, the last one.
    pub time: Timestamp,
    /// Initiator; out of the history also `*`: all that found no line of their own.
    pub src: String,
    /// Responder, or `*` likewise.
    pub dst: String,
    /// IP protocol: `tcp`, `udp`, `sctp`, `icmp`, `icmpv6`, or its number.
    pub proto: String,
    /// Initiator's port; 0 where there is none.
    pub src_port: u16,
    /// Responder's port, or the ICMP type.
    pub dst_port: u16,
    /// Initiator's zone.
    pub from_zone: String,
    /// Responder's zone.
    pub to_zone: String,
    /// Whether it passed.
    pub verdict: Verdict,
    /// Why, as the counters spell it.
    pub reason: String,
    /// The rule that allows it, or that would if it had not run out.
    pub rule: Option<String>,
    /// In audit mode: the reason it would have been dropped for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_be: Option<String>,
    /// Of an open connection: `half-open`, `established`, `closing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Of an event: the interface it was seen on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Out of the history: how many connections, or blocked attempts without their retransmissions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Out of the history: when the first of them was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
}

/// A line in a followed stream of flows: the stream was read too slowly, and so many lines were left out here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostLine {
    /// How many lines.
    pub lost: u64,
}
