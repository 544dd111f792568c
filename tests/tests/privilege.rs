//! The daemon as its unit runs it: a user of its own with three capabilities, and pins that are nobody else's.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use segd_tests::lab::{Lab, Zones, is_silence};
use segd_tests::needs_root;

/// Nobody has this number.
const SEGD: u32 = 47_110;
const STRANGER: &str = "47111";
/// `CAP_NET_ADMIN`, `CAP_PERFMON` and `CAP_BPF`, as masks of `linux/capability.h`.
const ALLOWED: u64 = 1 << 12 | 1 << 38 | 1 << 39;

fn ledger() -> Zones {
    Zones::new().rule("ledger", "dev", "accounting", "tcp/5432")
}

fn confined(zones: Zones) -> Result<Lab> {
    let mut lab = Lab::prepared(zones)?;
    lab.daemon.run_as(SEGD)?;
    lab.start()?;
    Ok(lab)
}

/// Everything below a folder.
fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { found.extend(below(&entry.path())?) } else { found.push(entry.path()) }
    }
    Ok(found)
}

#[test]
fn the_daemon_does_all_its_work_as_its_own_user_with_three_capabilities() -> Result<()> {
    needs_root!();
    let mut lab = confined(ledger().hook("lan40", "xdp-generic"))?;
    let pid = lab.daemon.pid().context("it runs")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        let line = status.lines().find(|line| line.starts_with(set)).context("a set of capabilities")?;
        let mask = u64::from_str_radix(line.split_whitespace().last().unwrap_or_default(), 16)?;
        assert_eq!(mask, ALLOWED, "{line}");
    }
    assert!(status.contains(&format!("Uid:\t{SEGD}\t{SEGD}\t{SEGD}\t{SEGD}")), "{status}");
    let _servers = (lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_tcp(8000)?);
    let to = lab.office.accounting.v4();
    assert!(lab.office.dev.reaches_tcp(to, 5432));
    assert!(is_silence(&lab.office.guest.connects(to, 5432)));
    let status = lab.daemon.json(&["status"])?;
    assert_eq!((&status["state"], &status["amiss"]), (&"enforcing".into(), &serde_json::json!([])), "{status}");
    let dropin = lab.daemon.config().with_file_name("zones.d/50-segctl.yaml");
    fs::write(&dropin, "version: 1\n# by root's editor\n").context("root edits what segctl wrote")?;
    lab.daemon.ctl(&["reload"])?;
    let why = ["--reason", "for an hour", "--approved-by", "tests@example.com"];
    lab.daemon.ctl(&[&["allow", "dev", "accounting", "tcp/8000", "--id", "extra"], &why[..]].concat())?;
    assert!(lab.office.dev.reaches_tcp(to, 8000));
    let new = lab.daemon.config().with_file_name("new.yaml");
    fs::write(&new, ledger().rule("more", "guest", "accounting", "tcp/8000").to_string())?;
    lab.daemon.ctl(&["apply", new.to_str().unwrap_or_default(), "--force"])?;
    assert!(lab.office.guest.reaches_tcp(to, 8000), "a policy that was applied is in force, and its file in place");
    lab.daemon.ctl(&["selftest"])?;
    lab.daemon.ctl(&["quarantine", "10.30.0.5", "--reason", "a test"])?;
    assert!(is_silence(&lab.office.dev.connects(to, 5432)));
    lab.daemon.ctl(&["release", "10.30.0.5"])?;
    lab.daemon.kill()?;
    lab.start()?;
    assert!(lab.daemon.log().contains("taken over from an earlier daemon"), "{}", lab.daemon.log());
    assert!(lab.office.dev.reaches_tcp(to, 5432));
    Ok(())
}

#[test]
fn the_boot_arms_with_the_same_three_capabilities() -> Result<()> {
    needs_root!();
    let mut lab = confined(ledger())?;
    lab.daemon.terminate()?;
    ensure!(lab.daemon.unload(&lab.office.gateway)?.status.success());
    lab.daemon.run_as(SEGD)?;
    let out = lab.daemon.arm(&lab.office.gateway)?;
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let to = lab.office.accounting.v4();
    assert!(lab.office.dev.reaches_tcp(to, 5432));
    assert!(is_silence(&lab.office.guest.connects(to, 5432)));
    Ok(())
}

#[test]
fn pins_and_state_are_nobody_elses_to_read_or_write() -> Result<()> {
    needs_root!();
    let lab = confined(ledger())?;
    let (pins, state) = (below(&lab.daemon.pins())?, below(&lab.daemon.state())?);
    assert!(pins.len() > 13 && state.len() > 2, "{pins:?} {state:?}");
    for path in pins {
        let there = fs::symlink_metadata(&path)?;
        let mode = there.permissions().mode() & 0o777;
        let others = if there.is_dir() { 0o022 } else { 0o077 };
        assert_eq!((there.uid(), mode & others), (SEGD, 0), "{}: {mode:o}", path.display());
    }
    for path in [lab.daemon.pins(), lab.daemon.state()] {
        let stranger = Command::new("setpriv")
            .args(["--reuid", STRANGER, "--regid", STRANGER, "--clear-groups", "ls"])
            .arg(&path)
            .output()?;
        assert!(!stranger.status.success(), "a stranger reads {}", path.display());
    }
    Ok(())
}
