//! Who changed what, when and why: `GET /v1/history` and `GET /v1/history/verify`. Plain data only.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One change. On disk each is one line, in exactly this form; `GET /v1/history` answers with a list of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryEntry {
    /// 1 for the first, and one more for each.
    pub number: u64,
    /// When it was done.
    pub time: Timestamp,
    /// User id of the process that asked for it; the daemon's own for what it did by itself.
    pub uid: u32,
    /// User id of the login behind it, which `sudo` does not hide; `null`: none.
    pub loginuid: Option<u32>,
    /// Name of the login, or of the user if there is none.
    pub user: String,
    /// `allow`, `revoke`, `apply`, ….
    pub verb: String,
    /// What was changed: a rule's id, a pair of zones, an address, a file.
    pub object: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// What it was before: the rule, or the policy's `ETag` and generation.
    pub before: Option<Value>,
    /// What it is now.
    pub after: Option<Value>,
    /// The generation in force after it.
    pub generation: u32,
    /// Hash of the entry before; of the first, 64 zeros.
    pub previous: String,
    /// SHA-256 over this entry as JSON, with this field empty; in hex.
    pub hash: String,
}

/// Query of `GET /v1/history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryQuery {
    /// Only so many, the latest; left out: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<usize>,
}

/// Query of `GET /v1/history/verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VerifyQuery {
    /// A hash that was noted elsewhere: it has to be in the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
}

/// Answer of `GET /v1/history/verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryReport {
    /// Whether the history is whole, as far as it can tell by itself and by the head that was given.
    pub intact: bool,
    /// Entries up to the first fault, or all.
    pub entries: u64,
    /// Hash of the last of them: note it elsewhere, and a later check finds out whether the end was cut off.
    pub head: String,
    /// What is wrong first, and where.
    pub fault: Option<String>,
    /// The file.
    pub file: String,
}
