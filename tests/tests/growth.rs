//! A policy that outgrows the kernel's maps: larger ones take their place, and nobody notices.

use anyhow::Result;
use segd_tests::lab::{Lab, Zones, is_silence};
use segd_tests::needs_root;

fn small() -> Zones {
    Zones::new().rule("ledger", "dev", "accounting", "tcp/5432")
}

/// More rules than the maps of a small policy have counters for.
fn large() -> Zones {
    let grow = |zones: Zones, number: u32| {
        zones.rule(&format!("extra-{number}"), "dev", "accounting", &format!("udp/{}", 10_000 + number))
    };
    (0..3000).fold(small(), grow)
}

/// Opens a session, lets `grow` make the policy large, and looks at the session, at both policies and at the counters.
fn nobody_notices(grow: impl FnOnce(&mut Lab) -> Result<()>) -> Result<()> {
    let mut lab = Lab::enforcing(small())?;
    let (dev, accounting) = (&lab.office.dev, &lab.office.accounting);
    let to = accounting.v4();
    let _server = accounting.serves_tcp(5432)?;
    let mut live = dev.connects(to, 5432)?;
    live.says("hello\n")?;
    assert!(is_silence(&lab.office.guest.connects(to, 5432)));
    let before = lab.metrics()?;
    grow(&mut lab)?;
    live.says("still there?\n")?;
    assert!(lab.office.dev.reaches_tcp(to, 5432), "a new session");
    assert!(is_silence(&lab.office.guest.connects(to, 5432)), "what was forbidden stays so");
    let after = lab.metrics()?;
    let guest = [("from_zone", "guest"), ("to_zone", "accounting"), ("reason", "no-rule")];
    let blocked = |metrics: &segd_tests::lab::Metrics| metrics.count("segd_blocked_flows_total", &guest);
    assert_eq!((blocked(&before), blocked(&after)), (1, 2), "blocked connections go on being counted");
    let packets = |metrics: &segd_tests::lab::Metrics| metrics.count("segd_rule_packets_total", &[("rule", "ledger")]);
    assert!(packets(&after) > packets(&before), "so do the packets of a rule");
    assert_eq!(after.count("segd_policy_rules", &[]), 3001);
    Ok(())
}

#[test]
fn a_reload_that_outgrows_the_maps_changes_them_under_a_live_session() -> Result<()> {
    needs_root!();
    nobody_notices(|lab| lab.reload(large()))
}

#[test]
fn a_restart_with_a_policy_that_outgrows_the_maps_keeps_sessions_and_counters() -> Result<()> {
    needs_root!();
    nobody_notices(|lab| {
        lab.daemon.kill()?;
        lab.daemon.write_zones(&large().to_string())?;
        lab.start()
    })
}
