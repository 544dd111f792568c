//! A report for tests.

use segd::api::types::{Amiss, Coverage, FlowLine, MatrixCell, Names, Report, RuleView, Shadowed, State};
use segd::policy::Mode;

use crate::verbs::flows::tests::denied;

fn rule(id: &str) -> RuleView {
    RuleView {
        id: id.into(),
        from: Names::One("dev".into()),
        to: Names::One("accounting".into()),
        services: vec!["ledger".into()],
        reason: Some("Nightly reconciliation <b>reads</b> the ledger".into()),
        approved_by: Some("finance-lead@example.com".into()),
        ticket: Some("SEC-142".into()),
        expires: "2026-12-01T00:00:00Z".parse().ok(),
        expired: false,
        mode: Mode::Enforce,
        log: false,
        place: "zones.yaml:7:5".into(),
        packets: 48_211,
        bytes: 1 << 20,
        connections: 120,
        last_hit: "2026-11-23T19:00:00Z".parse().ok(),
    }
}

pub(super) fn report() -> Report {
    let cell = |from: &str, to: &str, mode, services: &[&str], counts: [u64; 3]| MatrixCell {
        from_zone: from.into(),
        to_zone: to.into(),
        mode,
        services: services.iter().map(|service| (*service).to_owned()).collect(),
        rules: Vec::new(),
        allowed: counts[0],
        audited: counts[1],
        denied: counts[2],
    };
    Report {
        time: "2026-11-23T20:00:00Z".parse().unwrap(),
        since: "2026-10-24T20:00:00Z".parse().unwrap(),
        until: "2026-12-23T20:00:00Z".parse().unwrap(),
        state: State::Enforcing,
        amiss: Vec::new(),
        generation: 12,
        applied: "2026-11-20T08:00:00Z".parse().unwrap(),
        etag: "5f2b".into(),
        mode: Mode::Enforce,
        config: "/etc/segd/zones.yaml".into(),
        drift: vec![Amiss {
            what: "/etc/segd/zones.yaml was changed on the disk and is not in force like that".into(),
            mend: "segctl reload".into(),
        }],
        interfaces: Vec::new(),
        coverage: Coverage { enforced: 10, audited: 4, open: 2 },
        matrix: vec![
            cell("dev", "accounting", Mode::Enforce, &["tcp/5432"], [48_211, 0, 34]),
            cell("dev", "dev", Mode::Enforce, &[], [0, 0, 0]),
            cell("dev", "internet", Mode::Audit, &[], [0, 7, 0]),
            cell("accounting", "accounting", Mode::Enforce, &["any"], [12, 0, 0]),
            cell("accounting", "dev", Mode::Enforce, &[], [0, 0, 0]),
        ],
        rules: vec![
            rule("dev-reads-ledger"),
            RuleView { last_hit: None, connections: 0, expires: None, ..rule("old-one") },
        ],
        expired: Vec::new(),
        expiring: vec!["dev-reads-ledger".into()],
        unused: vec!["old-one".into()],
        shadowed: vec![Shadowed { id: "old-one".into(), by: vec!["dev-reads-ledger".into()] }],
        blocked: vec![FlowLine { connections: Some(512), ..denied() }],
        seen_since: "2026-10-24T20:00:00Z".parse().ok(),
    }
}
