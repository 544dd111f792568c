//! Why the engine did not do what it was asked: a typed value that becomes a problem on the socket and an exit status
//! on the command line.

use crate::api::types::{FaultView, Problem, ProblemKind, TestView};
use crate::config::{Fault, Faults};

/// Why a request was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request makes no sense.
    #[error("{detail}; {mend}")]
    BadRequest {
        /// What makes no sense.
        detail: String,
        /// What to ask instead.
        mend: String,
    },
    /// There is no such thing.
    #[error("{detail}; {mend}")]
    NotFound {
        /// What was looked for.
        detail: String,
        /// Where to look.
        mend: String,
    },
    /// The policy has faults.
    #[error("{0}")]
    Faults(Faults),
    /// Tests of the policy fail.
    #[error("{}", failed_tests(.0))]
    Tests(Vec<TestView>),
    /// The caller would not reach this machine any more.
    #[error("{detail}; {mend}")]
    CutsCaller {
        /// Which connection would be cut.
        detail: String,
        /// How to go on.
        mend: String,
    },
    /// Somebody else changed the policy meanwhile.
    #[error("{detail}; {mend}")]
    Changed {
        /// What is different.
        detail: String,
        /// How to go on.
        mend: String,
    },
    /// The machine did not let us.
    #[error("{0}")]
    Failed(String),
}

fn failed_tests(tests: &[TestView]) -> String {
    let lines: Vec<String> = tests
        .iter()
        .map(|test| format!("{}: the policy's test fails: {}: {}", test.place, test.claim, test.found))
        .collect();
    lines.join("\n")
}

impl Refusal {
    /// A request that makes no sense.
    pub(super) fn bad(detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::BadRequest { detail: detail.into(), mend: mend.into() }
    }

    /// Whether the policy itself is at fault.
    #[must_use]
    pub const fn is_of_policy(&self) -> bool {
        matches!(self, Self::Faults(_) | Self::Tests(_))
    }
}

impl From<Faults> for Refusal {
    fn from(faults: Faults) -> Self {
        Self::Faults(faults)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (mut faults, mut tests) = (Vec::new(), Vec::new());
        let (kind, detail, mend) = match refusal {
            Refusal::BadRequest { detail, mend } => (ProblemKind::BadRequest, detail, mend),
            Refusal::NotFound { detail, mend } => (ProblemKind::NotFound, detail, mend),
            Refusal::Changed { detail, mend } => (ProblemKind::PolicyChanged, detail, mend),
            Refusal::CutsCaller { detail, mend } => (ProblemKind::PolicyRefused, detail, mend),
            Refusal::Failed(detail) => {
                (ProblemKind::Failed, detail, "look at the daemon's log and at segctl status".to_owned())
            }
            Refusal::Faults(all) => {
                faults = fault_views(&all.faults);
                let detail = format!(
                    "{} in the zone files; nothing was changed",
                    counted(all.faults.len() + all.left_out, "fault")
                );
                (ProblemKind::PolicyRefused, detail, "mend each fault and try again".to_owned())
            }
            Refusal::Tests(failed) => {
                let detail = format!("{} of the policy's own fail; nothing was changed", counted(failed.len(), "test"));
                tests = failed;
                (
                    ProblemKind::PolicyRefused,
                    detail,
                    "mend the rules, or the tests if they ask for the wrong thing".to_owned(),
                )
            }
        };
        Self { kind, title: kind.title().to_owned(), detail, mend, faults, tests }
    }
}

/// `1 fault`, `2 faults`.
fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Faults and warnings as they go over the socket.
pub(super) fn fault_views(faults: &[Fault]) -> Vec<FaultView> {
    faults.iter().map(fault_view).collect()
}

fn fault_view(fault: &Fault) -> FaultView {
    let place =
        if fault.line == 0 { fault.file.clone() } else { format!("{}:{}:{}", fault.file, fault.line, fault.column) };
    FaultView { place, what: fault.message.clone(), mend: fault.mend.clone(), picture: fault.render(false) }
}
