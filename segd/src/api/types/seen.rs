//! What was seen, and what follows from it: suggestions and the report for an auditor. Plain data only.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Amiss, FlowLine, InterfaceStatus, MatrixCell, Names, RuleView, State};
use crate::policy::Mode;

/// Query of `GET /v1/matrix` and `GET /v1/top`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SinceQuery {
    /// Only what was seen since then; left out: everything since the counters began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// Query of `GET /v1/suggest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuggestQuery {
    /// What was seen since then is the evidence.
    pub since: Timestamp,
    /// Also what passes by rules that are there: to write a policy anew.
    #[serde(default)]
    pub passing: bool,
}

/// Answer of `GET /v1/suggest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestions {
    /// From when on there is evidence.
    pub since: Timestamp,
    /// Up to when.
    pub until: Timestamp,
    /// The rules, as few and as narrow as the evidence supports.
    pub rules: Vec<SuggestedRule>,
    /// What no rule was made of.
    pub left_out: Vec<LeftOut>,
    /// Rules, evidence and what was left out as a drop-in file; refused until reasons and approvers are filled in.
    pub yaml: String,
}

/// A rule without reason and approver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuggestedRule {
    /// A name that is free.
    pub id: String,
    /// Initiators.
    pub from: Names,
    /// Responders.
    pub to: Names,
    /// Named services where all of one was seen, else single ones.
    pub services: Vec<String>,
    /// Connections that it would have allowed.
    pub connections: u64,
    /// Who opened them.
    pub sources: Vec<String>,
    /// Whom they were opened to.
    pub destinations: Vec<String>,
    /// Connections by service as it was seen.
    pub seen: Vec<SeenService>,
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
    /// Rules that would allow some of it, but have run out.
    pub expired: Vec<String>,
}

/// One service as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenService {
    /// `tcp/443`, ….
    pub service: String,
    /// Connections.
    pub connections: u64,
}

/// What no rule was made of, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// An address, or a pair of zones.
    pub who: String,
    /// Why it is no evidence.
    pub why: String,
    /// Connections.
    pub connections: u64,
}

/// How far the rollout has come, in ordered pairs of zones; the reserved zones count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// What no rule allows is dropped.
    pub enforced: usize,
    /// What no rule allows passes, and is reported.
    pub audited: usize,
    /// Everything is allowed: by a rule for `any` service, or inside a zone with `intra_zone: allow`.
    pub open: usize,
}

/// Query of `GET /v1/report`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportQuery {
    /// Traffic since then; a rule that was not used since then is unused.
    pub since: Timestamp,
    /// Rules that end before then end soon.
    pub until: Timestamp,
}

/// Answer of `GET /v1/report`: the posture at one moment, for an auditor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// When it was made.
    pub time: Timestamp,
    /// Traffic is told since then.
    pub since: Timestamp,
    /// Rules that end before then are told.
    pub until: Timestamp,
    /// Is the machine guarded, in one word.
    pub state: State,
    /// What is not as it should be.
    pub amiss: Vec<Amiss>,
    /// What the kernel enforces.
    pub generation: u32,
    /// When its policy was put in force.
    pub applied: Timestamp,
    /// SHA-256 over names and texts of the files in force.
    pub etag: String,
    /// The policy's mode.
    pub mode: Mode,
    /// The zone file.
    pub config: String,
    /// What on the disk or in the kernel is not what was put in force.
    pub drift: Vec<Amiss>,
    /// Guarded interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// Pairs of zones by mode.
    pub coverage: Coverage,
    /// Every pair of zones: mode, what is allowed, and packets since `since`.
    pub matrix: Vec<MatrixCell>,
    /// Every rule.
    pub rules: Vec<RuleView>,
    /// Rules that have run out.
    pub expired: Vec<String>,
    /// Rules that end before `until`.
    pub expiring: Vec<String>,
    /// Rules that allowed nothing since `since`.
    pub unused: Vec<String>,
    /// Rules that others make needless.
    pub shadowed: Vec<Shadowed>,
    /// What was blocked most since `since`, the most first.
    pub blocked: Vec<FlowLine>,
    /// When the history of what was seen begins; none: it is empty, or can't be read.
    pub seen_since: Option<Timestamp>,
}

/// A rule that could go without changing what passes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadowed {
    /// The rule.
    pub id: String,
    /// Rules that allow all of it.
    pub by: Vec<String>,
}
