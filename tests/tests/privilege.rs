//! The daemon as its unit runs it: a user of its own with three capabilities, and pins that are nobody else's. What its
//! capture, its admins, its readers and strangers must not be able to do is the table in `segd_tests::abuse`; rows that
//! need a unit's hardening are tried by `cargo xtask package --check`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use segd_tests::abuse::{self, Scene, Wall, Who};
use segd_tests::lab::{ADMINS, Lab, Zones, binary, copy_program, is_silence};
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

/// What `segd arm` says with these capabilities. It finds none of its own in /proc, so the kernel itself is asked.
fn arms_with(lab: &Lab, capabilities: &str) -> Result<(bool, String)> {
    let mut command = Command::new("unshare");
    let blind = "mount --bind /dev/null /proc/$$/status && exec setpriv \"$@\"";
    command.args(["--mount", "sh", "-c", blind, "sh", "--clear-groups", "--no-new-privs"]);
    command.arg(format!("--reuid={SEGD}")).arg(format!("--regid={SEGD}"));
    for set in ["inh-caps", "ambient-caps", "bounding-set"] {
        command.arg(format!("--{set}=-all,{capabilities}"));
    }
    command.arg(lab.daemon.copied_program()).args(["arm", "--first-boot", "failsafe"]);
    command.arg("--state-dir").arg(lab.daemon.state()).arg("--bpffs").arg(lab.daemon.pins());
    let out = lab.office.gateway.run(|| command.output())?;
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    Ok((out.status.success(), said))
}

#[test]
fn each_of_the_three_capabilities_is_needed_by_the_kernels_own_word() -> Result<()> {
    needs_root!();
    let mut lab = Lab::prepared(ledger())?;
    lab.daemon.run_as(SEGD)?;
    for (capabilities, refusal) in [
        ("+net_admin,+perfmon", "failed to create map"),
        ("+bpf,+perfmon", "Operation not permitted"),
        // The verifier's: it lets only who may look into the kernel keep half of a pointer.
        ("+bpf,+net_admin", "partial copy of pointer"),
    ] {
        let (armed, said) = arms_with(&lab, capabilities)?;
        assert!(!armed && said.contains(refusal), "{capabilities}: {said}");
    }
    let (armed, said) = arms_with(&lab, "+bpf,+net_admin,+perfmon")?;
    assert!(armed && said.contains("on 4 of 4 interfaces"), "{said}");
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

/// The instance under attack, and the attacker's program where everybody may run it.
fn scene(lab: &Lab) -> Result<(Scene, PathBuf)> {
    let attacker = lab.daemon.copied_program().with_file_name("segd-abuse");
    copy_program(&binary("segd-abuse")?, &attacker)?;
    let etc = lab.daemon.config().parent().context("the zone file stands in a folder")?.to_owned();
    let scene = Scene {
        pins: lab.daemon.pins(),
        state: lab.daemon.state(),
        etc,
        socket: lab.daemon.socket(),
        pid: lab.daemon.pid().context("it runs")?.cast_signed(),
        segd: lab.daemon.copied_program(),
    };
    Ok((scene, attacker))
}

/// The attacker's program as this person.
fn as_whom(who: Who, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    let groups = match who {
        Who::Daemon => {
            command.arg(format!("--reuid={SEGD}")).arg(format!("--regid={SEGD}")).arg("--no-new-privs");
            for set in ["inh-caps", "ambient-caps", "bounding-set"] {
                command.arg(format!("--{set}=-all,+bpf,+net_admin,+perfmon"));
            }
            command.arg("--clear-groups").arg(program);
            return command;
        }
        Who::Admin => format!("--groups={ADMINS}"),
        Who::Reader => format!("--groups={SEGD}"),
        Who::Stranger => "--clear-groups".to_owned(),
    };
    command.args(["--reuid", STRANGER, "--regid", STRANGER, &groups]).arg(program);
    command
}

#[test]
fn every_abuse_in_the_table_is_refused_and_the_daemon_goes_on() -> Result<()> {
    needs_root!();
    let lab = confined(ledger())?;
    let (scene, attacker) = scene(&lab)?;
    let mut faults = Vec::new();
    let mut tried = 0;
    for abuse in abuse::all().filter(|abuse| abuse.wall == Wall::Rights) {
        for who in abuse.who {
            tried += 1;
            let command = as_whom(*who, &attacker);
            let outcome = lab.office.gateway.run(|| abuse::outcome(command, abuse, &scene))?;
            if !abuse.refusals.contains(&outcome) {
                faults.push(format!("{who:?} can {}: {outcome}", abuse.name));
            }
        }
    }
    assert!(faults.is_empty(), "of {tried}:\n{}", faults.join("\n"));
    assert!(tried > 100, "{tried}");
    let _server = lab.office.accounting.serves_tcp(5432)?;
    assert!(lab.office.dev.reaches_tcp(lab.office.accounting.v4(), 5432));
    assert!(is_silence(&lab.office.guest.connects(lab.office.accounting.v4(), 5432)));
    assert_eq!(lab.daemon.json(&["status"])?["generation"], 1, "nothing has changed");
    Ok(())
}

#[test]
fn no_abuse_is_refused_to_root_in_the_same_way() -> Result<()> {
    needs_root!();
    let lab = confined(ledger())?;
    let (scene, attacker) = scene(&lab)?;
    let mut faults = Vec::new();
    for abuse in abuse::all().filter(|abuse| abuse.wall == Wall::Rights) {
        let outcome = lab.office.gateway.run(|| abuse::outcome(Command::new(&attacker), abuse, &scene))?;
        if abuse.refusals.contains(&outcome) {
            faults.push(format!("{}: {outcome}", abuse.name));
        }
    }
    assert!(faults.is_empty(), "attempts that nobody could succeed with:\n{}", faults.join("\n"));
    Ok(())
}

#[test]
fn a_crowd_of_strangers_or_readers_keeps_no_admin_out_of_the_socket() -> Result<()> {
    needs_root!();
    let lab = confined(ledger())?;
    let (scene, attacker) = scene(&lab)?;
    for who in [Who::Stranger, Who::Reader] {
        let mut crowd = as_whom(who, &attacker);
        let mut crowd = crowd.arg("--crowd").arg(&scene.socket).arg("4").spawn()?;
        std::thread::sleep(Duration::from_secs(1));
        let began = Instant::now();
        let out = lab.daemon.segctl(&["status"])?;
        assert!(out.status.success() && began.elapsed() < Duration::from_secs(2), "{who:?}: {out:?}");
        ensure!(crowd.wait()?.success());
    }
    Ok(())
}

#[test]
fn what_the_programs_hold_as_constant_is_frozen() -> Result<()> {
    needs_root!();
    let lab = confined(ledger())?;
    let pid = lab.daemon.pid().context("it runs")?;
    let read_only: Vec<String> = fs::read_dir(format!("/proc/{pid}/fdinfo"))?
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
        // BPF_F_RDONLY_PROG
        .filter(|text| flags(text).is_some_and(|flags| flags & 0x80 != 0))
        .collect();
    assert!(!read_only.is_empty(), "no map of constants is open");
    for map in read_only {
        assert!(map.contains("frozen:\t1"), "{map}");
    }
    Ok(())
}

fn flags(fdinfo: &str) -> Option<u32> {
    let word = fdinfo.lines().find_map(|line| line.strip_prefix("map_flags:\t0x"))?;
    u32::from_str_radix(word, 16).ok()
}
