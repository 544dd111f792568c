//! Is this machine guarded: the answer of `GET /v1/status` and `GET /v1/interfaces`. Plain data only.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Coverage, QuarantineView};
use crate::datapath::Attachment;
use crate::engine::FirstBoot;
use crate::policy::{Forward, Mode};

/// Whether the machine is guarded, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Every guarded interface is enforced, and by the policy that was published last.
    Enforcing,
    /// Some of it is not as it should be; [`Status::amiss`] says what.
    Degraded,
    /// No interface is enforced.
    Open,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enforcing => "enforcing",
            Self::Degraded => "degraded",
            Self::Open => "open",
        })
    }
}

/// Something that is not as it should be, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amiss {
    /// What was found.
    pub what: String,
    /// What mends it.
    pub mend: String,
}

/// Answer of `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// In one word.
    pub state: State,
    /// Everything that is not as it should be; empty when all is well.
    pub amiss: Vec<Amiss>,
    /// What the kernel enforces now; 0: nothing was published yet.
    pub generation: u32,
    /// When this generation was published.
    pub since: Option<Timestamp>,
    /// A policy on trial, which has to be confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<PendingView>,
    /// Who is cut off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<QuarantineView>,
    /// When the daemon started.
    pub started: Timestamp,
    /// The policy's mode; single pairs may have another.
    pub mode: Mode,
    /// Guarded interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// How many zones the policy has, reserved ones not counted.
    pub zones: usize,
    /// How many rules the policy has, expired ones included.
    pub rules: usize,
    /// How far the rollout has come.
    #[serde(default)]
    pub coverage: Coverage,
    /// Fill of the connection tables, `established` then `half_open`.
    pub tables: Vec<TableFill>,
    /// Events that found no room on their way out of the kernel, since the programs were loaded.
    pub events_lost: u64,
    /// The zone file in force.
    pub config: String,
    /// What a boot begins with on this machine where no policy was ever in force; else it begins with the last one.
    #[serde(default)]
    pub first_boot: FirstBoot,
}

/// A policy that waits for its confirmation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingView {
    /// Its generation.
    pub generation: u32,
    /// When the old policy is back without one.
    pub confirm_by: Timestamp,
    /// The generation that the old policy has then.
    pub falls_back_to: u32,
}

/// One connection table and how full it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFill {
    /// `established` or `half_open`.
    pub table: String,
    /// Entries in use.
    pub entries: u64,
    /// Entries that fit.
    pub capacity: u64,
}

/// One guarded interface. `GET /v1/interfaces` answers with a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// `xdp`, `xdp-generic` or `tc`.
    pub hook: String,
    /// `link`, or `filter` where the kernel has no links for TC programs: a filter can be taken off by whoever runs `tc`.
    #[serde(default)]
    pub attachment: Attachment,
    /// Whether the kernel says that our programs run on it.
    pub enforced: bool,
    /// Why this hook was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What is wrong when it is not enforced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Who forwards what comes in by it on established connections: `kernel`, or XDP by the `shortcut`.
    #[serde(default)]
    pub forward: Forward,
    /// Why the kernel does, where the zone file asks for the shortcut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_why: Option<String>,
}
