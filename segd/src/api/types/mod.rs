//! What goes over the control socket: requests, answers and problems, as `segctl -o json` prints them.
//!
//! These are wire types: plain data with serde, shared by the daemon and `segctl`. No behaviour beyond showing
//! themselves lives here, and nothing here reads the policy or the kernel.

use std::fmt;

use serde::{Deserialize, Serialize};

mod change;
mod flows;
mod history;
mod lists;
mod problem;
mod quarantine;
mod seen;
mod selftest;
mod status;

pub use change::{
    AllowRequest, Applied, ApplyRequest, CALLER_HEADER, CallerConnection, CheckReport, DiffLine, DiffReport,
    ExtendRequest, FaultView, PairReport, PairRequest, PolicyText, PolicyView, RevokeQuery, RuleChanged, TestView,
    WhyRequest, WouldCut,
};
pub use flows::{ExplainQuery, Explanation, FlowLine, FlowsQuery, LostLine};
pub use history::{HistoryEntry, HistoryQuery, HistoryReport, VerifyQuery};
pub use lists::{MatrixCell, PairTraffic, RuleView, ServiceView, ZoneView};
pub use problem::{Problem, ProblemKind};
pub use quarantine::{ProbeView, QuarantineQuery, QuarantineReport, QuarantineRequest, QuarantineView};
pub use seen::{
    Coverage, LeftOut, Report, ReportQuery, SeenService, Shadowed, SinceQuery, SuggestQuery, SuggestedRule, Suggestions,
};
pub use selftest::{SelftestFrame, SelftestReport, SelftestRequest};
pub use status::{Amiss, InterfaceStatus, PendingView, State, Status, TableFill};

/// One name, or several: written as in the zone file, so that one zone stays one word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Names {
    /// A single name.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Names {
    /// The names, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

impl From<Vec<String>> for Names {
    fn from(mut names: Vec<String>) -> Self {
        if names.len() == 1 { Self::One(names.remove(0)) } else { Self::Many(names) }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_slice().join(", "))
    }
}

/// The outcome of policy, in the words of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It passes.
    Allow,
    /// It is dropped.
    Deny,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

impl From<segd_common::reason::Verdict> for Verdict {
    fn from(verdict: segd_common::reason::Verdict) -> Self {
        match verdict {
            segd_common::reason::Verdict::Allow => Self::Allow,
            segd_common::reason::Verdict::Deny => Self::Deny,
        }
    }
}
