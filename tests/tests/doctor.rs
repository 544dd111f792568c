//! `segctl doctor` on real machines: one in order, one whose daemon is dead, and one with an interface that is not there.

use anyhow::{Context, Result};
use segd_tests::lab::{Lab, Zones};
use segd_tests::needs_root;

/// Exit status, and what is wrong.
fn doctor(lab: &Lab) -> Result<(Option<i32>, Vec<String>)> {
    let pins = lab.daemon.pins();
    let words = ["-o", "json", "doctor", "--bpffs", pins.to_str().context("a path in words")?];
    let out = lab.daemon.segctl(&words)?;
    let report: serde_json::Value = serde_json::from_slice(&out.stdout)?;
    let checks = report["checks"].as_array().context("checks")?;
    let wrong = checks.iter().filter(|check| check["good"] == false);
    assert!(wrong.clone().all(|check| check["mend"].is_string()), "{report}");
    assert_eq!(report["good"], wrong.clone().count() == 0, "{report}");
    Ok((out.status.code(), wrong.map(|check| format!("{}: {}", check["what"], check["found"])).collect()))
}

#[test]
fn a_machine_in_order_has_nothing_wrong_and_a_dead_daemon_is_named() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(Zones::new().rule("ledger", "dev", "accounting", "tcp/5432"))?;
    assert_eq!(doctor(&lab)?, (Some(0), Vec::new()));
    lab.daemon.kill()?;
    let (code, wrong) = doctor(&lab)?;
    assert_eq!((code, wrong.len()), (Some(1), 1), "{wrong:?}");
    assert!(wrong[0].contains("does not answer"), "{wrong:?}");
    Ok(())
}

#[test]
fn what_status_finds_amiss_the_doctor_names_too() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(Zones::new().hook("lan99", "tc"))?;
    let (code, wrong) = doctor(&lab)?;
    assert_eq!(code, Some(1));
    assert!(wrong.iter().any(|what| what.contains("lan99")), "{wrong:?}");
    Ok(())
}
