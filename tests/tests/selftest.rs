//! Crafted frames through the loaded programs, asked by segctl.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, ProgramArray};
use segd_tests::lab::{Lab, Zones};
use segd_tests::needs_root;
use serde_json::Value;

const TESTS: &str = "tests:
  - { from: 10.30.0.5, to: 10.20.0.10, service: tcp/5432, expect: allow }
  - { from: 10.30.0.5, to: 10.20.0.10, service: tcp/22, expect: deny }
";

fn ledger() -> Zones {
    Zones::new().rule("ledger", "dev", "accounting", "tcp/5432")
}

fn frames(report: &Value) -> Result<&Vec<Value>> {
    report["frames"].as_array().context("a list of frames")
}

#[test]
fn every_frame_gets_what_explain_and_the_contract_say_at_every_hook() -> Result<()> {
    needs_root!();
    for hook in ["tc", "xdp", "xdp-generic"] {
        let lab = Lab::enforcing(format!("{}{TESTS}", ledger().hooks(hook)))?;
        let before = lab.metrics()?;
        let report = lab.daemon.json(&["selftest"])?;
        let wrong: Vec<&Value> = frames(&report)?.iter().filter(|frame| frame["right"] != true).collect();
        assert!(report["passed"] == true && wrong.is_empty(), "{hook}: {wrong:#?}");
        let after = lab.metrics()?.since(&before);
        for reason in ["spoofed-source", "bad-flags", "bad-header", "truncated", "source-route", "no-rule"] {
            let expected = frames(&report)?.iter().filter(|frame| frame["expected_reason"] == reason).count() as u64;
            assert!(expected > 0, "{hook}: no frame for {reason}");
            assert_eq!(after.count("segd_drops_total", &[("reason", reason)]), expected, "{hook}: {reason}");
        }
        assert_eq!(after.of("segd_connections_total").count(), 0, "{hook}: no connection was opened");
        assert_eq!(after.of("segd_rule_packets_total").count(), 0, "{hook}: no rule looks used");
        let more = lab.daemon.json(&["selftest", "--allowed"])?;
        assert_eq!(more["passed"], true, "{hook}: {more:#}");
        assert_eq!(frames(&more)?.len(), frames(&report)?.len() + 1, "{hook}");
        let opened = lab.metrics()?.since(&before).count("segd_rule_connections_total", &[("rule", "ledger")]);
        assert_eq!(opened, 1, "{hook}: and that is counted");
    }
    Ok(())
}

#[test]
fn a_policy_that_only_watches_and_one_that_cuts_somebody_off_are_asked_as_they_are() -> Result<()> {
    needs_root!();
    let watching = Lab::enforcing(ledger().audit())?;
    assert!(watching.daemon.ctl(&["selftest"])?.contains("PASSED"));
    let lab = Lab::enforcing(ledger())?;
    lab.daemon.ctl(&["quarantine", "guest", "--reason", "scans"])?;
    let report = lab.daemon.json(&["selftest"])?;
    assert_eq!(report["passed"], true, "{report:#}");
    assert!(frames(&report)?.iter().any(|frame| frame["expected_reason"] == "quarantined"));
    Ok(())
}

#[test]
fn without_an_enforced_interface_the_answer_is_no() -> Result<()> {
    needs_root!();
    let nothing = ledger().to_string().replace("\"lan*\"", "\"none*\"").replace("\"wan*\"", "\"none1*\"");
    let lab = Lab::enforcing(nothing)?;
    let out = lab.daemon.segctl(&["selftest"])?;
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    assert!(String::from_utf8_lossy(&out.stdout).contains("no frame could be run"));
    Ok(())
}

/// What the attached programs call: everything but the short way. Somebody with too many rights takes it away.
fn take_the_whole_way_away(pins: &Path) -> Result<()> {
    let entries = fs::read_dir(pins)?.collect::<Result<Vec<_>, _>>()?;
    let called = entries.iter().map(fs::DirEntry::path).find(|path| path.display().to_string().contains("called_"));
    let called = called.context("the folder of the programs that are called")?;
    for map in ["WHOLE_XDP", "WHOLE_TC"] {
        let map = Map::ProgramArray(MapData::from_pin(called.join(map))?);
        ProgramArray::try_from(map)?.clear_index(&0)?;
    }
    Ok(())
}

#[test]
fn healthz_and_status_go_by_frames_that_the_loaded_programs_judge_and_nobody_counts() -> Result<()> {
    needs_root!();
    for hook in ["tc", "xdp", "xdp-generic"] {
        let mut lab = Lab::enforcing(ledger().hooks(hook))?;
        let gateway = &lab.office.gateway;
        let before = lab.metrics()?;
        for _ in 0..5 {
            assert_eq!(lab.daemon.health(gateway)?, 200, "{hook}: {}", lab.daemon.log());
        }
        let after = lab.metrics()?.since(&before);
        for figure in ["segd_packets_total", "segd_drops_total", "segd_blocked_flows_total", "segd_connections_total"] {
            assert_eq!(after.of(figure).count(), 0, "{hook}: no frame of it is in {figure}");
        }

        take_the_whole_way_away(&lab.daemon.pins())?;
        assert_eq!(lab.daemon.health(gateway)?, 503, "{hook}");
        let status = lab.daemon.json(&["status"])?;
        assert_eq!(status["state"], "degraded", "{hook}: {status:#}");
        let said = format!("an ARP probe was run through the loaded program of {hook}, which dropped it");
        assert!(status.to_string().contains(&said), "{hook}: {status:#}");

        lab.daemon.terminate()?;
        lab.start()?;
        assert_eq!(lab.daemon.health(&lab.office.gateway)?, 200, "{hook}: {}", lab.daemon.log());
    }
    Ok(())
}
