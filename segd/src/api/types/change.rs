//! What changes the policy or judges a new one: requests and their answers. Plain data only.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{FlowLine, Names};
use crate::policy::Mode;

/// A zone file, whole. Body of `POST /v1/check` and `/v1/diff`; the daemon reads it in the place of its
/// own `zones.yaml`, together with the drop-ins of its `zones.d`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyText {
    /// Name of the file, for faults.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// One fault or warning of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultView {
    /// `FILE:LINE:COLUMN`.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What mends it.
    pub mend: String,
    /// The line shown with a mark under it, ready to print; empty when the text is not at hand.
    pub picture: String,
}

/// One entry of `tests:` and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestView {
    /// `FILE:LINE:COLUMN`.
    pub place: String,
    /// What was claimed.
    pub claim: String,
    /// Whether it holds.
    pub passed: bool,
    /// What was found instead; empty when it holds.
    pub found: String,
}

/// Answer of `POST /v1/check`. The policy is good if there is no fault and no test failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Why it is refused.
    pub faults: Vec<FaultView>,
    /// What does not stop it.
    pub warnings: Vec<FaultView>,
    /// The policy's own tests.
    pub tests: Vec<TestView>,
}

impl CheckReport {
    /// Whether the policy may be put in force.
    #[must_use]
    pub fn good(&self) -> bool {
        self.faults.is_empty() && self.tests.iter().all(|test| test.passed)
    }
}

/// Answer of `POST /v1/diff`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffReport {
    /// What is denied now and would pass.
    pub newly_pass: Vec<DiffLine>,
    /// What passes now and would be denied.
    pub newly_fail: Vec<DiffLine>,
    /// What else would differ, in words: which interfaces are guarded, where a zone is believed, which essentials pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub besides: Vec<String>,
    /// Whom that would have met; left out if nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_cut: Option<WouldCut>,
}

/// Connections that were seen in the last days, that pass now, and that would be denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WouldCut {
    /// Seen since then.
    pub since: Timestamp,
    /// How many.
    pub connections: u64,
    /// The latest of them, one line for each pair of addresses and service.
    pub flows: Vec<FlowLine>,
}

/// One service between one pair of zones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffLine {
    /// Initiators' zone.
    pub from_zone: String,
    /// Responders' zone.
    pub to_zone: String,
    /// What of it: `tcp/8000-8010`, ….
    pub service: String,
    /// The rule that allows it, before or after.
    pub rule: Option<String>,
}

/// Body of `POST /v1/rules`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowRequest {
    /// Its name; left out, one is made from the zones and the first service.
    #[serde(default)]
    pub id: Option<String>,
    /// Initiators.
    pub from: Names,
    /// Responders.
    pub to: Names,
    /// Named or literal services.
    pub services: Vec<String>,
    /// Why.
    pub reason: String,
    /// Who approved it.
    pub approved_by: String,
    /// Ticket of the change.
    #[serde(default)]
    pub ticket: Option<String>,
    /// When it stops to allow.
    #[serde(default)]
    pub expires: Option<Timestamp>,
    /// `audit`: let it pass, and report it as would-be dropped.
    #[serde(default)]
    pub mode: Mode,
}

/// Body of `PATCH /v1/rules/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendRequest {
    /// When the rule stops to allow.
    pub expires: Timestamp,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Answer of `POST /v1/rules`, `PATCH` and `DELETE /v1/rules/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleChanged {
    /// The rule's name.
    pub id: String,
    /// The generation that has the change.
    pub generation: u32,
}

/// Query of `DELETE /v1/rules/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeQuery {
    /// Why it goes.
    pub reason: String,
}

/// Body of `POST /v1/apply`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// Name of the file, for faults.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Only for so many seconds, unless somebody confirms it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_secs: Option<u32>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ApplyRequest {
    /// For good, and by nobody in particular.
    #[must_use]
    pub fn of(PolicyText { name, text }: PolicyText) -> Self {
        Self { name, text, ..Self::default() }
    }
}

/// The header of a change that names the connection by which its caller reaches this machine. A change that would cut that
/// is refused; without the header nothing is asked.
pub const CALLER_HEADER: &str = "segd-caller";

/// A TCP connection from the caller to this machine. In the header: where from, where to, and the port, as in
/// `10.30.0.5 10.30.0.1 22`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerConnection {
    /// Where the caller is.
    pub src: IpAddr,
    /// The address of this machine that was called.
    pub dst: IpAddr,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for CallerConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.src, self.dst, self.port)
    }
}

impl FromStr for CallerConnection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(' ');
        let (Some(src), Some(dst), Some(port), None) = (words.next(), words.next(), words.next(), words.next()) else {
            return Err(format!("'{text}' is no connection: two addresses and a port belong there"));
        };
        let parsed = |word: &str| word.parse().map_err(|_| format!("'{word}' is no address"));
        let address = |word: &str| parsed(word).map(|address: IpAddr| address.to_canonical());
        let port = port.parse().map_err(|_| format!("'{port}' is no port"))?;
        Ok(Self { src: address(src)?, dst: address(dst)?, port })
    }
}

/// Body of `POST /v1/confirm` and `POST /v1/rollback`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhyRequest {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `PUT /v1/pairs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairRequest {
    /// Initiators' zone, or `any`.
    pub from: String,
    /// Responders' zone, or `any`.
    pub to: String,
    /// What shall happen to what no rule allows.
    pub mode: Mode,
    /// Only show what `enforce` would have dropped; nothing changes.
    #[serde(default)]
    pub preview: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was seen since then is looked at; left out: for the last seven days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// Answer of `PUT /v1/pairs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairReport {
    /// Initiators' zone, or `any`.
    pub from: String,
    /// Responders' zone, or `any`.
    pub to: String,
    /// The mode that was asked for.
    pub mode: Mode,
    /// Whether it is in force now; `false` for a preview.
    pub applied: bool,
    /// The generation in force after the request.
    pub generation: u32,
    /// From when on it was looked for what enforce would have dropped.
    pub since: Timestamp,
    /// Packets of the pair that only the audit mode let pass since then.
    pub would_drop_packets: u64,
    /// Connections that enforce would drop under the policy in force.
    pub would_drop_connections: u64,
    /// Connections that only the audit mode let pass then, and that a rule allows by now; they are not among those.
    #[serde(default)]
    pub allowed_by_now: u64,
    /// These connections by class, the most recent first.
    pub would_drop: Vec<FlowLine>,
}

/// Answer of `POST /v1/apply`, `/v1/confirm`, `/v1/rollback` and `/v1/reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The generation in force now.
    pub generation: u32,
    /// What did not stop it.
    pub warnings: Vec<FaultView>,
    /// How many of the policy's own tests were run; all passed.
    pub tests: usize,
    /// On trial: until then it has to be confirmed, or the old policy is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_by: Option<Timestamp>,
}

/// Answer of `GET /v1/policy`: the files in force, `zones.yaml` first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// The generation that enforces them.
    pub generation: u32,
    /// The same as the `ETag` header, without its quotes.
    pub etag: String,
    /// File names and texts.
    pub files: Vec<PolicyText>,
}
