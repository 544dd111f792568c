//! What there is: zones, services, rules, pairs of zones and their traffic. Plain data only.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Names;
use crate::policy::{IntraZone, Mode};

/// One zone. `GET /v1/zones` answers with a list of them, the reserved ones first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneView {
    /// Its name.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// Its prefixes; for `host` every address of the machine.
    pub networks: Vec<String>,
    /// Where sources of this zone may be seen; empty means anywhere.
    pub interfaces: Vec<String>,
    /// May members talk to each other through us.
    pub intra_zone: IntraZone,
    /// `FILE:LINE:COLUMN`; none for the reserved ones.
    pub place: Option<String>,
}

/// One named service. `GET /v1/services` answers with a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// What it stands for: `tcp/80`, `udp/1000-2000`, ….
    pub members: Vec<String>,
}

/// One rule with what it carried. `GET /v1/rules` answers with a list of them, in file order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    /// Stable name.
    pub id: String,
    /// Initiators.
    pub from: Names,
    /// Responders.
    pub to: Names,
    /// As written.
    pub services: Vec<String>,
    /// Why the rule exists.
    pub reason: Option<String>,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// Ticket of the change.
    pub ticket: Option<String>,
    /// When it stops to allow.
    pub expires: Option<Timestamp>,
    /// Whether the expiry has passed.
    pub expired: bool,
    /// `audit`: what only this rule allows is reported as would-be dropped.
    pub mode: Mode,
    /// An event for each new connection.
    pub log: bool,
    /// `FILE:LINE:COLUMN`.
    pub place: String,
    /// Packets that it carried, since the rule first existed.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// Connections that it allowed.
    pub connections: u64,
    /// When it last allowed a new connection; `null`: never.
    pub last_hit: Option<Timestamp>,
}

/// One pair of zones and its traffic. `GET /v1/top` answers with a list of them, the busiest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairTraffic {
    /// Initiators' zone.
    pub from_zone: String,
    /// Responders' zone.
    pub to_zone: String,
    /// Packets of any verdict.
    pub packets: u64,
    /// Bytes of any verdict.
    pub bytes: u64,
    /// New allowed connections.
    pub connections: u64,
    /// Packets allowed by policy.
    pub allowed: u64,
    /// Packets that would have been dropped, but the mode let them pass.
    pub audited: u64,
    /// Packets dropped.
    pub denied: u64,
    /// Distinct blocked connections.
    pub blocked_flows: u64,
}

/// One cell of the zone-by-zone table. `GET /v1/matrix` answers with a list of them, row by row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatrixCell {
    /// Initiators' zone.
    pub from_zone: String,
    /// Responders' zone.
    pub to_zone: String,
    /// What happens to what no rule allows.
    pub mode: Mode,
    /// What is allowed: the services of all live rules; `any` inside a zone with `intra_zone: allow`.
    pub services: Vec<String>,
    /// Rules that allow it, expired ones left out.
    pub rules: Vec<String>,
    /// Packets allowed by policy.
    pub allowed: u64,
    /// Packets that would have been dropped, but the mode let them pass.
    pub audited: u64,
    /// Packets dropped.
    pub denied: u64,
}
