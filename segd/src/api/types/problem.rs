//! Why a request was refused, and what `segctl` exits with for it. Plain data only.

use serde::{Deserialize, Serialize};

use super::{FaultView, TestView};

/// Why a request was refused (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Which kind.
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    /// The kind in words.
    pub title: String,
    /// What happened, on what.
    pub detail: String,
    /// What mends it.
    pub mend: String,
    /// Of a refused policy: every fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultView>,
    /// Of a refused policy: every test that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<TestView>,
}

/// What kind of problem; each has one HTTP status and one exit status of `segctl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProblemKind {
    /// The request makes no sense: an unknown zone, a bad service, a reason left out.
    #[serde(rename = "urn:segd:bad-request")]
    BadRequest,
    /// The caller may not do this.
    #[serde(rename = "urn:segd:not-permitted")]
    NotPermitted,
    /// There is no such rule, or no such page.
    #[serde(rename = "urn:segd:not-found")]
    NotFound,
    /// The policy has faults, or its tests fail.
    #[serde(rename = "urn:segd:policy-refused")]
    PolicyRefused,
    /// Somebody else changed the policy meanwhile.
    #[serde(rename = "urn:segd:policy-changed")]
    PolicyChanged,
    /// The daemon could not do it.
    #[serde(rename = "urn:segd:failed")]
    Failed,
}

impl ProblemKind {
    /// HTTP status that it is sent with.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::NotPermitted => 403,
            Self::NotFound => 404,
            Self::PolicyRefused => 422,
            Self::PolicyChanged => 412,
            Self::Failed => 500,
        }
    }

    /// What `segctl` exits with. Never 1: that is the answer "no", and a failure is not an answer.
    #[must_use]
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::BadRequest | Self::NotFound => 2,
            Self::NotPermitted => 4,
            Self::PolicyRefused => 5,
            Self::PolicyChanged => 6,
            Self::Failed => 3,
        }
    }

    /// The kind in words.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "the request makes no sense",
            Self::NotPermitted => "not permitted",
            Self::NotFound => "not found",
            Self::PolicyRefused => "the policy is refused",
            Self::PolicyChanged => "somebody else changed the policy meanwhile",
            Self::Failed => "the daemon could not do it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_back_as_it_was_sent_and_leaves_empty_lists_out() {
        let problem = Problem {
            kind: ProblemKind::PolicyChanged,
            title: ProblemKind::PolicyChanged.title().into(),
            detail: "generation 4 is in force, not 3".into(),
            mend: "read it again".into(),
            faults: Vec::new(),
            tests: Vec::new(),
        };
        let text = serde_json::to_string(&problem).unwrap();
        assert_eq!(
            text,
            r#"{"type":"urn:segd:policy-changed","title":"somebody else changed the policy meanwhile","detail":"generation 4 is in force, not 3","mend":"read it again"}"#
        );
        assert_eq!(serde_json::from_str::<Problem>(&text).unwrap(), problem);
    }
}
