//! Who is cut off: `POST`, `GET` and `DELETE /v1/quarantine`. Plain data only.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Verdict;

/// Somebody who is cut off. `GET /v1/quarantine` answers with a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuarantineView {
    /// An address, a network or a zone.
    pub target: String,
    /// When it ends by itself; `null`: when it is released.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Who did it.
    pub user: String,
}

/// Body of `POST /v1/quarantine`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuarantineRequest {
    /// An address, a network or a zone.
    pub target: String,
    /// When it ends by itself; left out: when it is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: String,
}

/// Query of `DELETE /v1/quarantine`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuarantineQuery {
    /// As it was cut off.
    pub target: String,
    /// Why it may come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Answer of `POST` and `DELETE /v1/quarantine`, given when the kernel enforces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineReport {
    /// An address, a network or a zone.
    pub target: String,
    /// Whether it is cut off now.
    pub quarantined: bool,
    /// Whether it was before.
    pub before: bool,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// The generation that enforces it.
    pub generation: u32,
    /// A frame that was run through the loaded program of each interface that it may come in by, told for the first of them;
    /// `null`: none could be made, or there was nothing to prove.
    pub proof: Option<ProbeView>,
}

/// A frame that was run through a loaded program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeView {
    /// Its source.
    pub src: String,
    /// Its destination.
    pub dst: String,
    /// What of it.
    pub service: String,
    /// The interface that it was run for.
    pub interface: String,
    /// That interface's hook.
    pub hook: String,
    /// What the program answered.
    pub verdict: Verdict,
    /// The counter that moved.
    pub reason: String,
}
