//! Changing policy without fear: trials that end by themselves, and who did what.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use segd_tests::lab::{Lab, Session, Zones, is_silence, until};
use segd_tests::needs_root;

/// How much later than the deadline the old policy may be back: a tick of the kernel, and the test's own slowness.
const GRACE: Duration = Duration::from_millis(700);

fn ledger() -> Zones {
    Zones::new().rule("ledger", "dev", "accounting", "tcp/5432")
}

/// Lets dev reach another port, and no longer the ledger.
fn moved() -> Zones {
    Zones::new().rule("moved", "dev", "accounting", "tcp/8000")
}

/// Writes a zone file beside the daemon's own; gives its path.
fn written(lab: &Lab, zones: &Zones) -> Result<String> {
    let path = lab.daemon.config().with_file_name("new.yaml");
    fs::write(&path, zones.to_string())?;
    Ok(path.to_str().context("a path in words")?.to_owned())
}

fn tried(lab: &Lab, zones: &Zones, time: &str) -> Result<serde_json::Value> {
    lab.daemon.json(&["apply", &written(lab, zones)?, "--confirm", time])
}

fn zone_file(lab: &Lab) -> String {
    fs::read_to_string(lab.daemon.config()).unwrap_or_default()
}

fn session(lab: &Lab, port: u16) -> Result<Session> {
    let mut session = lab.office.dev.connects(lab.office.accounting.v4(), port)?;
    session.says("hello\n")?;
    Ok(session)
}

fn verbs(lab: &Lab) -> Result<Vec<String>> {
    let entries = lab.daemon.json(&["history"])?;
    let verb = |entry: &serde_json::Value| entry["verb"].as_str().unwrap_or_default().to_owned();
    Ok(entries.as_array().context("a list")?.iter().map(verb).collect())
}

#[test]
fn an_unconfirmed_policy_is_gone_in_time_with_the_daemon_dead_and_the_old_one_is_back() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(ledger())?;
    let _servers = (lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_tcp(8000)?);
    let to = lab.office.accounting.v4();
    let mut old = session(&lab, 5432)?;
    let before = zone_file(&lab);
    let applied = tried(&lab, &moved(), "6s")?;
    let deadline = Instant::now() + Duration::from_secs(6);
    assert!(applied["confirm_by"].is_string(), "{applied}");
    let mut new = session(&lab, 8000)?;
    assert!(lab.office.dev.connects(to, 5432).is_err(), "the new policy holds");
    lab.daemon.kill()?;
    assert!(new.says("still on trial\n").is_ok(), "until the deadline the new policy holds without a daemon");
    thread::sleep((deadline + GRACE).saturating_duration_since(Instant::now()));
    assert!(new.says("over\n").is_err(), "a session of the refused policy is cut");
    assert!(is_silence(&lab.office.dev.connects(to, 8000)), "and there is no new one");
    assert!(lab.office.dev.reaches_tcp(to, 5432), "the old policy lets in what it did");
    assert!(old.says("I was here before\n").is_ok(), "the old session lives again");
    assert_ne!(zone_file(&lab), before, "nobody was there to put the file back");
    lab.start()?;
    assert_eq!(zone_file(&lab), before, "the daemon that comes puts it back");
    assert!(is_silence(&lab.office.dev.connects(to, 8000)), "and publishes the old policy");
    assert!(old.says("and still\n").is_ok());
    assert_eq!(verbs(&lab)?, ["start", "apply", "rollback"]);
    assert!(lab.daemon.ctl(&["history", "verify"])?.starts_with("INTACT"));
    Ok(())
}

#[test]
fn a_daemon_that_is_killed_during_a_trial_comes_back_with_the_old_policy_at_once() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(ledger())?;
    let _servers = (lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_tcp(8000)?);
    let to = lab.office.accounting.v4();
    let before = zone_file(&lab);
    tried(&lab, &moved(), "10m")?;
    assert!(lab.office.dev.reaches_tcp(to, 8000));
    lab.daemon.kill()?;
    lab.start()?;
    assert_eq!(zone_file(&lab), before);
    assert!(is_silence(&lab.office.dev.connects(to, 8000)));
    assert!(lab.office.dev.reaches_tcp(to, 5432));
    let refused = lab.daemon.segctl(&["confirm"])?;
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
    let kept = lab.daemon.config().with_file_name("zones.yaml.unconfirmed");
    assert_eq!(fs::read_to_string(kept)?, moved().to_string(), "what was refused can be mended");
    Ok(())
}

#[test]
fn the_daemon_follows_the_kernel_when_nobody_confirms() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(ledger())?;
    let _servers = (lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_tcp(8000)?);
    let to = lab.office.accounting.v4();
    let before = zone_file(&lab);
    tried(&lab, &moved(), "3s")?;
    let pending = &lab.daemon.json(&["status"])?["pending"];
    assert!(pending["generation"].as_u64() < pending["falls_back_to"].as_u64(), "{pending}");
    thread::sleep(Duration::from_secs(3) + GRACE);
    assert!(lab.office.dev.reaches_tcp(to, 5432), "the kernel is on time");
    assert!(until(Duration::from_secs(5), || zone_file(&lab) == before), "{}", lab.daemon.log());
    let status = lab.daemon.json(&["status"])?;
    assert_eq!(status["state"], "enforcing", "{status}");
    assert!(status["pending"].is_null());
    assert!(status["amiss"][0]["what"].as_str().is_some_and(|what| what.contains("not confirmed in time")), "{status}");
    let generation = lab.metrics()?.count("segd_policy_generation", &[]);
    assert_eq!(Some(generation), status["generation"].as_u64());
    assert!(is_silence(&lab.office.dev.connects(to, 8000)));
    Ok(())
}

#[test]
fn a_confirmed_policy_stays_and_so_does_its_file() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(ledger())?;
    let _servers = (lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_tcp(8000)?);
    let to = lab.office.accounting.v4();
    tried(&lab, &moved(), "3s")?;
    let mut live = session(&lab, 8000)?;
    lab.daemon.ctl(&["confirm", "--reason", "the ledger answers"])?;
    thread::sleep(Duration::from_secs(3) + GRACE);
    assert!(live.says("still there\n").is_ok());
    assert_eq!(zone_file(&lab), moved().to_string());
    lab.daemon.kill()?;
    lab.start()?;
    assert!(live.says("after a restart too\n").is_ok());
    assert!(lab.office.dev.reaches_tcp(to, 8000));
    assert_eq!(verbs(&lab)?, ["start", "apply", "confirm"]);
    lab.daemon.ctl(&["rollback"])?;
    assert_eq!(zone_file(&lab), ledger().to_string(), "the file before is still at hand");
    assert!(lab.office.dev.reaches_tcp(to, 5432));
    Ok(())
}

#[test]
fn during_a_trial_nothing_else_is_changed_and_rollback_ends_it() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(ledger())?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    tried(&lab, &moved(), "10m")?;
    let new = written(&lab, &ledger())?;
    let why = ["--reason", "now", "--approved-by", "tests@example.com"];
    for words in [
        &["apply", new.as_str()][..],
        &["apply", &new, "--confirm", "5s"],
        &["reload"],
        &["audit", "dev", "accounting"],
        &[&["allow", "dev", "accounting", "tcp/9"], &why[..]].concat(),
    ] {
        let refused = lab.daemon.segctl(words)?;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(6), "{words:?}: {said}");
        assert!(said.contains("segctl confirm"), "{said}");
    }
    let generation = lab.metrics()?.count("segd_policy_generation", &[]);
    lab.office.cable(&lab.office.guest, "lan50", "eth1")?;
    let follows = || lab.metrics().is_ok_and(|now| now.count("segd_policy_generation", &[]) > generation);
    assert!(until(Duration::from_secs(5), follows), "the machine is followed during a trial: {}", lab.daemon.log());
    assert!(!lab.daemon.json(&["status"])?["pending"].is_null());
    lab.daemon.ctl(&["rollback"])?;
    assert!(lab.office.dev.reaches_tcp(lab.office.accounting.v4(), 5432));
    assert_eq!(zone_file(&lab), ledger().to_string());
    assert!(lab.daemon.json(&["status"])?["pending"].is_null());
    Ok(())
}

#[test]
fn a_policy_that_cuts_the_callers_own_ssh_is_refused_unless_forced() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(ledger().rule("ssh", "dev", "host", "tcp/22"))?;
    let new = written(&lab, &ledger())?;
    let ssh = |client| types_over_ssh(&lab, client, &["apply", &new]);
    let refused = ssh("10.30.0.5")?;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("10.30.0.5 to 10.30.0.1 tcp/22") && said.contains("--force"), "{said}");
    assert!(said.contains("newly fails"), "the preview came first: {said}");
    assert_eq!(lab.daemon.json(&["explain", "10.30.0.5", "10.30.0.1", "tcp/22"])?["verdict"], "allow");
    let other = ssh("10.40.0.7")?;
    assert!(other.status.success(), "who could not reach us before is not cut: {other:?}");
    Ok(())
}

#[test]
fn whoever_types_over_ssh_is_cut_off_by_no_verb_unless_forced() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(ledger())?;
    let why = ["--reason", "Somebody said so"];
    let desk = ["allow", "dev", "host", "tcp/22", "--id", "desk", "--approved-by", "boss@example.com"];
    lab.daemon.ctl(&[&desk[..], &why].concat())?;
    lab.daemon.ctl(&["audit", "guest", "host"])?;
    let (dev, guest) = ("10.30.0.5", "10.40.0.7");
    let cuts: [(&str, Vec<&str>); 5] = [
        (dev, [&["quarantine", dev, "--for", "1h"], &why[..]].concat()),
        (dev, [&["quarantine", "dev"], &why[..]].concat()),
        (dev, [&["revoke", "desk"], &why[..]].concat()),
        (guest, vec!["enforce", "guest", "host", "--yes"]),
        (guest, vec!["reload"]),
    ];
    for (client, words) in &cuts {
        if words[0] == "reload" {
            fs::remove_dir_all(lab.daemon.config().with_file_name("zones.d"))?;
        }
        let passes =
            || lab.daemon.json(&["explain", client, "10.30.0.1", "tcp/22"]).map(|told| told["verdict"] == "allow");
        let generation = || lab.daemon.json(&["status"]).map(|status| status["generation"].clone());
        let before = generation()?;
        assert!(passes()?, "{words:?}");
        let refused = types_over_ssh(&lab, client, words)?;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(5), "{words:?}: {said}");
        let names = [&format!("your own connection: {client} to 10.30.0.1 tcp/22"), "--force"];
        assert!(names.iter().all(|name| said.contains(*name)), "{words:?}: {said}");
        assert!(passes()? && generation()? == before, "{words:?} was refused, and has changed something");
        assert_eq!(lab.daemon.json(&["quarantine"])?, serde_json::json!([]), "{words:?}");
        // From elsewhere it is what was asked for; then it comes back for the next.
        let insisted = types_over_ssh(&lab, client, &[words, &["--force"][..]].concat())?;
        assert!(insisted.status.success(), "{words:?}: {}", String::from_utf8_lossy(&insisted.stderr));
        assert!(!passes()?, "{words:?}");
        match words[0] {
            "quarantine" => _ = lab.daemon.ctl(&["release", words[1]])?,
            "enforce" => _ = lab.daemon.ctl(&["audit", "guest", "host"])?,
            _ => {}
        }
    }
    // Without a trial, going back is an apply like any other.
    lab.daemon.ctl(&["apply", &written(&lab, &ledger().rule("visit", "guest", "host", "tcp/22"))?])?;
    let refused = types_over_ssh(&lab, guest, &["rollback"])?;
    assert_eq!(refused.status.code(), Some(5), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(types_over_ssh(&lab, guest, &["rollback", "--force"])?.status.success());
    Ok(())
}

/// As from a shell that sshd has opened for somebody at `client`.
fn types_over_ssh(lab: &Lab, client: &str, words: &[&str]) -> Result<std::process::Output> {
    let mut command = std::process::Command::new(segd_tests::lab::binary("segctl")?);
    command.arg("--socket").arg(lab.daemon.socket()).args(words);
    Ok(command.env("SSH_CONNECTION", format!("{client} 51122 10.30.0.1 22")).output()?)
}
