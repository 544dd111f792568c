//! The boot: the last policy is in force before a daemon runs or a zone file is read, and the daemon takes it over.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use segd_tests::lab::{Lab, Port, Session, Zones, is_silence, until};
use segd_tests::needs_root;
use segd_tests::packet::tcp;

const SOON: Duration = Duration::from_secs(5);

fn ledger() -> Zones {
    Zones::new().rule("ledger", "dev", "accounting", "tcp/5432")
}

/// A machine that was booted: its state folder is there, and nothing is in the kernel.
fn booted(zones: Zones) -> Result<Lab> {
    let mut lab = Lab::enforcing(zones)?;
    lab.daemon.terminate()?;
    let out = lab.daemon.unload(&lab.office.gateway)?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(lab)
}

fn arms(lab: &Lab) -> Result<String> {
    let out = lab.daemon.arm(&lab.office.gateway)?;
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    ensure!(out.status.success(), "{said}");
    Ok(said)
}

fn session(lab: &Lab, port: u16) -> Result<Session> {
    let mut session = lab.office.dev.connects(lab.office.accounting.v4(), port)?;
    session.says("hello\n")?;
    Ok(session)
}

#[test]
fn armed_without_a_daemon_or_a_zone_file_the_policy_holds_and_the_daemon_adopts_it() -> Result<()> {
    needs_root!();
    let mut lab = booted(ledger())?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let to = lab.office.accounting.v4();
    assert!(lab.office.guest.reaches_tcp(to, 5432), "nothing is in force before");
    let zones = fs::read_to_string(lab.daemon.config())?;
    fs::write(lab.daemon.config(), "no: [zone, file")?;
    let said = arms(&lab)?;
    assert!(said.contains("is in force on 4 of 4 interfaces"), "{said}");
    assert!(!said.contains("compiled anew"), "the kept image is taken: {said}");
    let mut live = session(&lab, 5432)?;
    assert!(is_silence(&lab.office.guest.connects(to, 5432)), "what is forbidden is dropped");
    assert!(arms(&lab)?.contains("already; nothing was changed"), "a second time changes nothing");
    fs::write(lab.daemon.config(), zones)?;
    lab.start()?;
    assert!(lab.daemon.log().contains("taken over from an earlier daemon"), "{}", lab.daemon.log());
    live.says("still there?\n")?;
    let metrics = lab.metrics()?;
    let guest = [("from_zone", "guest"), ("to_zone", "accounting"), ("reason", "no-rule")];
    assert_eq!(metrics.count("segd_blocked_flows_total", &guest), 1, "what was counted without a daemon");
    assert_eq!(metrics.count("segd_rule_connections_total", &[("rule", "ledger")]), 1);
    assert_eq!(lab.daemon.json(&["status"])?["state"], "enforcing");
    Ok(())
}

#[test]
fn a_rule_that_runs_out_after_the_boot_ends_on_time_without_a_daemon() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(ledger())?;
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(25);
    lab.reload(ledger().rule("brief", "dev", "accounting", "tcp/8000").until(end))?;
    lab.daemon.terminate()?;
    ensure!(lab.daemon.unload(&lab.office.gateway)?.status.success());
    arms(&lab)?;
    let _servers = (lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_tcp(8000)?);
    let (mut brief, mut lasting) = (session(&lab, 8000)?, session(&lab, 5432)?);
    let ended = until(SOON + Duration::from_secs(25), || jiff::Timestamp::now() > end);
    assert!(ended);
    std::thread::sleep(Duration::from_millis(500));
    assert!(brief.says("still there?\n").is_err(), "after its time");
    lasting.says("still there?\n")?;
    Ok(())
}

#[test]
fn a_damaged_image_is_said_and_the_policys_text_is_compiled_anew() -> Result<()> {
    needs_root!();
    let lab = booted(ledger())?;
    let image = lab.daemon.state().join("image.bin");
    let whole = fs::read(&image)?;
    fs::write(&image, &whole[..whole.len() / 2])?;
    let said = arms(&lab)?;
    assert!(said.contains("image.bin is damaged") && said.contains("is in force on 4 of 4"), "{said}");
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let to = lab.office.accounting.v4();
    assert!(lab.office.dev.reaches_tcp(to, 5432), "what is allowed passes");
    assert!(is_silence(&lab.office.guest.connects(to, 5432)), "what is forbidden does not");
    Ok(())
}

#[test]
fn an_interface_that_came_before_the_boot_lets_in_no_source_that_is_bound_to_another() -> Result<()> {
    needs_root!();
    let lab = booted(ledger())?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    lab.office.cable(&lab.office.guest, "lan50", "eth1")?;
    assert!(arms(&lab)?.contains("is in force on 5 of 5 interfaces"));
    let (newcomer, desk) = (Port::open(&lab.office.guest.net, "eth1")?, Port::open(&lab.office.dev.net, "eth0")?);
    let mut at = Port::open(&lab.office.accounting.net, "eth0")?;
    let frame = |words: &'static [u8]| tcp(4000, 5432).between("10.30.0.5", "10.20.0.10").syn().data(words).frame();
    newcomer.send(&frame(b"by another interface"))?;
    desk.send(&frame(b"by its own"))?;
    assert!(at.hears(b"by its own", Duration::from_secs(5))?.is_some());
    assert_eq!(at.hears(b"by another interface", Duration::from_millis(300))?, None);
    Ok(())
}

#[test]
fn nothing_is_armed_where_no_policy_ever_was_in_force() -> Result<()> {
    needs_root!();
    let lab = Lab::prepared(ledger())?;
    let said = arms(&lab)?;
    assert!(said.contains("no policy was ever in force"), "{said}");
    assert!(!lab.daemon.state().exists() && !lab.daemon.pins().exists(), "and nothing is left behind");
    Ok(())
}

#[test]
fn a_machine_that_never_had_a_policy_is_closed_but_for_the_failsafe_where_that_was_chosen() -> Result<()> {
    needs_root!();
    let mut lab = Lab::prepared(ledger())?;
    let note = lab.daemon.socket().with_file_name("boot.json");
    let note = note.to_str().unwrap_or_default();
    let choice = ["--first-boot", "failsafe", "--failsafe-from", "10.40.0.0/24, fd00:40::/64", "--note", note];
    let out = lab.daemon.arm_with(&lab.office.gateway, &choice)?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("all but the failsafe is closed on 4 of 4 interfaces"), "{said}");
    let _servers = (lab.office.accounting.serves_tcp(22)?, lab.office.accounting.serves_tcp(5432)?);
    for to in lab.office.accounting.both() {
        assert!(lab.office.guest.reaches_tcp(to, 22), "who and what the failsafe names, to {to}");
        assert!(is_silence(&lab.office.guest.connects(to, 5432)), "another service of his, to {to}");
        assert!(is_silence(&lab.office.dev.connects(to, 22)), "somebody else, to {to}");
        assert!(is_silence(&lab.office.dev.connects(to, 5432)), "what no policy allows yet, to {to}");
    }
    let told = lab.daemon.segctl(&["status"])?;
    let words = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.status.code() == Some(3) && words.contains("has closed everything but the failsafe"), "{words}");
    lab.start()?;
    assert!(!fs::exists(note)?, "from now on the daemon tells");
    assert!(lab.daemon.log().contains("taken over from an earlier daemon"), "{}", lab.daemon.log());
    assert!(lab.office.dev.reaches_tcp(lab.office.accounting.v4(), 5432), "the policy's rule");
    assert!(is_silence(&lab.office.guest.connects(lab.office.accounting.v4(), 22)), "a policy has its own failsafe");
    // From now on a boot begins with the policy, whatever was chosen.
    lab.daemon.terminate()?;
    ensure!(lab.daemon.unload(&lab.office.gateway)?.status.success());
    let out = lab.daemon.arm_with(&lab.office.gateway, &choice)?;
    assert!(String::from_utf8_lossy(&out.stdout).contains("is in force on 4 of 4"), "{out:?}");
    assert!(lab.office.dev.reaches_tcp(lab.office.accounting.v4(), 5432));
    Ok(())
}

#[test]
fn a_choice_for_the_first_boot_that_makes_no_sense_is_refused_with_the_word() -> Result<()> {
    needs_root!();
    let lab = Lab::prepared(ledger())?;
    for (words, complaint) in [
        (["--first-boot", "failsafe", "--failsafe-from", "10.0.0.0/33"], "10.0.0.0/33 is no network"),
        (["--first-boot", "failsafe", "--failsafe-services", "ssh"], "ssh is no service"),
    ] {
        let out = lab.daemon.arm_with(&lab.office.gateway, &words)?;
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(complaint), "{said}");
    }
    assert!(!lab.daemon.pins().exists());
    Ok(())
}

#[test]
fn a_policy_on_trial_is_not_what_the_next_boot_begins_with() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(ledger())?;
    let new = lab.daemon.config().with_file_name("new.yaml");
    fs::write(&new, Zones::new().rule("moved", "dev", "accounting", "tcp/8000").to_string())?;
    let words = ["apply", new.to_str().unwrap_or_default(), "--confirm", "60s"];
    lab.daemon.ctl(&words)?;
    lab.daemon.kill()?;
    ensure!(lab.daemon.unload(&lab.office.gateway)?.status.success());
    arms(&lab)?;
    let _servers = (lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_tcp(8000)?);
    let to = lab.office.accounting.v4();
    assert!(lab.office.dev.reaches_tcp(to, 5432), "the old policy's");
    assert!(is_silence(&lab.office.dev.connects(to, 8000)), "the one on trial");
    Ok(())
}

#[test]
fn who_is_cut_off_during_a_trial_is_so_at_the_next_boot() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(Zones::new().rule("ledger", "[dev, guest]", "accounting", "tcp/5432"))?;
    let new = lab.daemon.config().with_file_name("new.yaml");
    fs::write(&new, Zones::new().rule("moved", "[dev, guest]", "accounting", "tcp/8000").to_string())?;
    lab.daemon.ctl(&["apply", new.to_str().unwrap_or_default(), "--confirm", "60s"])?;
    lab.daemon.ctl(&["quarantine", "guest", "--reason", "A worm"])?;
    lab.daemon.kill()?;
    ensure!(lab.daemon.unload(&lab.office.gateway)?.status.success());
    let said = arms(&lab)?;
    assert!(!said.contains("compiled anew"), "the kept image is taken: {said}");
    let _servers = (lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_tcp(8000)?);
    for to in lab.office.accounting.both() {
        assert!(lab.office.dev.reaches_tcp(to, 5432), "the old policy's, to {to}");
        assert!(is_silence(&lab.office.dev.connects(to, 8000)), "the one on trial, to {to}");
        assert!(is_silence(&lab.office.guest.connects(to, 5432)), "whoever was cut off meanwhile, to {to}");
    }
    Ok(())
}

/// A policy with a test of its own that holds for a few seconds only.
fn tested_until(end: jiff::Timestamp) -> String {
    let zones = ledger().rule("brief", "dev", "accounting", "tcp/8000").until(end);
    format!("{zones}tests:\n  - {{ from: 10.30.0.5, to: 10.20.0.10, service: tcp/8000, expect: allow }}\n")
}

#[test]
fn a_policy_whose_own_tests_fail_by_now_is_in_force_again_after_a_boot_and_a_restart() -> Result<()> {
    needs_root!();
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(20);
    let mut lab = Lab::enforcing(tested_until(end))?;
    lab.daemon.terminate()?;
    ensure!(lab.daemon.unload(&lab.office.gateway)?.status.success());
    ensure!(until(SOON + Duration::from_secs(20), || jiff::Timestamp::now() > end));
    // As after an upgrade: the image is of no use.
    fs::write(lab.daemon.state().join("image.bin"), "")?;
    let said = arms(&lab)?;
    assert!(said.contains("compiled anew") && said.contains("is in force on 4 of 4"), "{said}");
    lab.start()?;
    let status = lab.daemon.json(&["status"])?;
    assert_eq!(status["state"], "enforcing");
    let amiss = status["amiss"].to_string();
    assert!(amiss.contains("own tests fail by now") && amiss.contains("zones.yaml:"), "{amiss}");
    let _servers = (lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_tcp(8000)?);
    let to = lab.office.accounting.v4();
    assert!(lab.office.dev.reaches_tcp(to, 5432), "what the policy allows");
    assert!(is_silence(&lab.office.dev.connects(to, 8000)), "what it allowed until then");
    // Files that nobody put in force yet are held to their tests.
    fs::write(lab.daemon.config(), format!("{}# changed\n", tested_until(end)))?;
    lab.daemon.terminate()?;
    let refused = lab.daemon.start_refused(&lab.office.gateway)?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(5) && said.contains("tcp/8000"), "{said}");
    assert!(is_silence(&lab.office.guest.connects(to, 5432)), "what is forbidden is dropped all the same");
    Ok(())
}

#[test]
fn a_policy_that_cannot_be_read_is_not_taken_for_none() -> Result<()> {
    needs_root!();
    let lab = booted(ledger())?;
    for kept in ["image.bin", "policy.json"] {
        fs::write(lab.daemon.state().join(kept), "{")?;
    }
    let out = lab.daemon.arm(&lab.office.gateway)?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("policy.json is damaged"), "{said}");
    // Closed is closed, where that was chosen.
    let out = lab.daemon.arm_with(&lab.office.gateway, &["--first-boot", "failsafe"])?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() && said.contains("policy.json is damaged"), "{said}");
    let _server = lab.office.accounting.serves_tcp(5432)?;
    assert!(is_silence(&lab.office.guest.connects(lab.office.accounting.v4(), 5432)));
    Ok(())
}
