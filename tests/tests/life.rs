//! What happens over time: rules come and go, the daemon dies, interfaces appear, files break.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use segd_tests::lab::{ForeignProgram, Lab, Port, Session, Zones, is_silence, until};
use segd_tests::needs_root;
use segd_tests::packet::udp;

const SOON: Duration = Duration::from_secs(5);

fn ledger() -> Zones {
    Zones::new().rule("ledger", "dev", "accounting", "tcp/5432")
}

/// A session that passes now, in each family.
fn sessions(lab: &Lab, port: u16) -> Result<Vec<Session>> {
    let open = |to| {
        let mut session = lab.office.dev.connects(to, port)?;
        session.says("hello\n")?;
        Ok(session)
    };
    lab.office.accounting.both().into_iter().map(open).collect()
}

fn all_live(sessions: &mut [Session]) -> bool {
    sessions.iter_mut().all(|session| session.says("still there?\n").is_ok())
}

fn all_cut(sessions: &mut [Session]) -> bool {
    sessions.iter_mut().all(|session| session.says("still there?\n").is_err())
}

#[test]
fn a_revoked_rule_cuts_its_live_sessions_and_no_others() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(ledger())?;
    let _servers = (lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_tcp(8000)?);
    let why = ["--reason", "for an hour", "--approved-by", "tests@example.com"];
    lab.daemon.ctl(&[&["allow", "dev", "accounting", "tcp/8000", "--id", "extra"], &why[..]].concat())?;
    let (mut doomed, mut others) = (sessions(&lab, 8000)?, sessions(&lab, 5432)?);
    lab.daemon.ctl(&["revoke", "extra", "--reason", "done"])?;
    assert!(all_cut(&mut doomed), "sessions of the revoked rule");
    assert!(all_live(&mut others), "sessions of the other rule");
    assert!(is_silence(&lab.office.dev.connects(lab.office.accounting.v4(), 8000)), "a new session");
    Ok(())
}

#[test]
fn a_rule_runs_out_on_time_with_the_daemon_dead() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(ledger())?;
    // From here on it only takes a reload, however long the start took.
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(12);
    lab.reload(ledger().rule("brief", "dev", "accounting", "tcp/8000").until(end))?;
    let _servers = (lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_tcp(8000)?);
    let (mut brief, mut lasting) = (sessions(&lab, 8000)?, sessions(&lab, 5432)?);
    lab.daemon.kill()?;
    assert!(all_live(&mut brief), "before its time");
    let left = end.duration_since(jiff::Timestamp::now()).as_secs_f64().max(0.0);
    thread::sleep(Duration::from_secs_f64(left) + Duration::from_millis(500));
    assert!(all_cut(&mut brief), "after its time");
    assert!(is_silence(&lab.office.dev.connects(lab.office.accounting.v4(), 8000)), "a new session");
    assert!(all_live(&mut lasting), "the rule without an end");
    lab.start()?;
    let explained = lab.daemon.json(&["explain", "10.30.0.5", "10.20.0.10", "tcp/8000"])?;
    assert_eq!((&explained["verdict"], &explained["reason"]), (&"deny".into(), &"expired".into()));
    Ok(())
}

#[test]
fn an_interface_goes_from_one_mode_of_xdp_to_the_other_and_sessions_live_on() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(ledger().hooks("xdp"))?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let to = lab.office.accounting.v4();
    let mut live = sessions(&lab, 5432)?;
    for hook in ["xdp-generic", "xdp"] {
        lab.reload(ledger().hooks(hook))?;
        let told = lab.daemon.json(&["interfaces"])?;
        let hooks: Vec<_> = told.as_array().into_iter().flatten().map(|told| told["hook"].as_str()).collect();
        assert!(!hooks.is_empty() && hooks.iter().all(|seen| *seen == Some(hook)), "{told}");
        assert!(all_live(&mut live), "{hook}");
        assert!(lab.office.dev.reaches_tcp(to, 5432), "{hook}");
        assert!(is_silence(&lab.office.guest.connects(to, 5432)), "{hook}");
        assert_eq!(lab.daemon.health(&lab.office.gateway)?, 200, "{hook}");
    }
    Ok(())
}

#[test]
fn a_killed_daemon_leaves_everything_enforced_and_the_next_one_adopts_it() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(ledger())?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let to = lab.office.accounting.v4();
    let mut live = sessions(&lab, 5432)?;
    assert!(is_silence(&lab.office.guest.connects(to, 5432)));
    let before = lab.metrics()?;
    lab.daemon.kill()?;
    assert!(all_live(&mut live), "a session while nobody runs");
    assert!(lab.office.dev.reaches_tcp(to, 5432), "a new one too");
    assert!(is_silence(&lab.office.guest.connects(to, 5432)), "what was forbidden stays so");
    lab.start()?;
    assert!(all_live(&mut live), "the session outlives the restart");
    let after = lab.metrics()?;
    let guest = [("from_zone", "guest"), ("to_zone", "accounting"), ("reason", "no-rule")];
    let blocked = |metrics: &segd_tests::lab::Metrics| metrics.count("segd_blocked_flows_total", &guest);
    assert_eq!((blocked(&before), blocked(&after)), (1, 2), "counters go on, and count what nobody saw");
    let connections = after.count("segd_rule_connections_total", &[("rule", "ledger")]);
    assert_eq!(connections, 3, "two before, one while nobody ran");
    Ok(())
}

#[test]
fn a_reload_cuts_what_the_new_file_forbids_and_nothing_else() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(ledger().rule("old", "dev", "accounting", "tcp/8000"))?;
    let _servers = (
        lab.office.accounting.serves_tcp(5432)?,
        lab.office.accounting.serves_tcp(8000)?,
        lab.office.accounting.serves_tcp(9000)?,
    );
    let (mut kept, mut doomed) = (sessions(&lab, 5432)?, sessions(&lab, 8000)?);
    assert!(is_silence(&lab.office.dev.connects(lab.office.accounting.v4(), 9000)));
    lab.reload(ledger().rule("new", "dev", "accounting", "tcp/9000"))?;
    assert!(all_live(&mut kept), "allowed before and after");
    assert!(all_cut(&mut doomed), "allowed before only");
    assert!(lab.office.dev.reaches_tcp(lab.office.accounting.v4(), 9000), "allowed now");
    Ok(())
}

#[test]
fn a_terminated_daemon_leaves_enforcement_and_unload_takes_it_off() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(ledger())?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let to = lab.office.accounting.v4();
    let status = lab.daemon.terminate()?;
    assert!(status.success(), "SIGTERM ended with {status}: {}", lab.daemon.log());
    assert!(lab.office.dev.reaches_tcp(to, 5432), "allowed without a daemon");
    assert!(is_silence(&lab.office.guest.connects(to, 5432)), "forbidden without a daemon");
    let out = lab.daemon.unload(&lab.office.gateway)?;
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(lab.office.guest.reaches_tcp(to, 5432), "nothing is enforced any more");
    assert!(!lab.daemon.pins().exists(), "no pin is left");
    let ruleset = lab.office.gateway.command("nft", &["list", "ruleset"])?;
    assert_eq!(ruleset.trim(), "", "no nftables rule is left");
    Ok(())
}

#[test]
fn unload_is_refused_while_the_daemon_lives_and_takes_nothing_off() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(ledger())?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let to = lab.office.accounting.v4();
    let pid = lab.daemon.pid().unwrap_or_default();
    let state = lab.daemon.state();
    for folders in [vec![], vec!["--state-dir", state.to_str().unwrap_or_default()]] {
        let out = lab.daemon.unload_with(&lab.office.gateway, &folders)?;
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{said}");
        for part in [&format!("process {pid}"), "stop it first", "everything stays enforced"] {
            assert!(said.contains(part), "{part} is not in: {said}");
        }
    }
    // Somebody else's pins, but this daemon's state: its numbers are not thrown away under it.
    let out = Command::new(segd_tests::lab::binary("segd")?)
        .args(["unload", "--bpffs", "/nowhere", "--state-dir"])
        .arg(&state)
        .output()?;
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(state.join("registry.json").exists(), "the numbers are kept");
    assert!(lab.daemon.runs());
    assert_eq!(lab.daemon.json(&["status"])?["state"], "enforcing");
    assert!(is_silence(&lab.office.guest.connects(to, 5432)), "what was forbidden stays so");
    lab.daemon.terminate()?;
    let out = lab.daemon.unload_with(&lab.office.gateway, &["--state-dir", state.to_str().unwrap_or_default()])?;
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(lab.office.guest.reaches_tcp(to, 5432), "nothing is enforced any more");
    assert!(!state.join("registry.json").exists(), "and nothing is kept");
    Ok(())
}

#[test]
fn nothing_forbidden_passes_through_an_interface_that_appears() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(ledger())?;
    let office = &lab.office;
    let mut at = Port::open(&office.accounting.net, "eth0")?;
    office.cable(&office.guest, "lan50", "eth1")?;
    let newcomer = Port::open(&office.guest.net, "eth1")?;
    let frame = udp(4000, 53).between("10.50.0.5", "10.20.0.10").data(b"before the guard").frame();
    let guarded = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !guarded.load(Ordering::Relaxed) {
                // The other end may not be up yet.
                let _ = newcomer.send(&frame);
            }
        });
        let is_guarded = || {
            lab.metrics().is_ok_and(|metrics| metrics.sum("segd_interface_enforced", &[("interface", "lan50")]) > 0.0)
        };
        let in_time = until(SOON, is_guarded);
        guarded.store(true, Ordering::Relaxed);
        ensure!(in_time, "lan50 is not guarded; the daemon said:\n{}", lab.daemon.log());
        Ok(())
    })?;
    assert_eq!(at.hears(b"before the guard", Duration::from_millis(300))?, None);
    Ok(())
}

#[test]
fn a_broken_zone_file_refuses_the_start_and_names_the_line() -> Result<()> {
    needs_root!();
    let mut lab = Lab::prepared("version: 1\nzones:\n  dev:\n    networks: [10.30.0.1/24]\n")?;
    let out = lab.daemon.start_refused(&lab.office.gateway)?;
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success());
    assert!(said.contains("zones.yaml") && said.contains("10.30.0.1/24"), "{said}");
    let _server = lab.office.accounting.serves_tcp(5432)?;
    assert!(lab.office.dev.reaches_tcp(lab.office.accounting.v4(), 5432), "nothing was put in force");
    Ok(())
}

#[test]
fn a_broken_zone_file_changes_nothing_at_reload() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(ledger())?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let mut live = sessions(&lab, 5432)?;
    let before = lab.metrics()?;
    lab.daemon.write_zones("version: 1\nzones: [this, is, none]\n")?;
    lab.daemon.reload()?;
    let refused = || lab.metrics().is_ok_and(|now| now.since(&before).sum("segd_policy_apply_errors_total", &[]) > 0.0);
    assert!(until(SOON, refused), "{}", lab.daemon.log());
    assert!(all_live(&mut live));
    assert!(is_silence(&lab.office.guest.connects(lab.office.accounting.v4(), 5432)));
    let generation = |metrics: &segd_tests::lab::Metrics| metrics.count("segd_policy_generation", &[]);
    assert_eq!(generation(&lab.metrics()?), generation(&before));
    assert!(lab.daemon.runs());
    Ok(())
}

#[test]
fn a_foreign_program_is_never_replaced_and_its_interface_stays_closed() -> Result<()> {
    needs_root!();
    let mut lab = Lab::prepared(ledger().hook("lan30", "xdp"))?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let _foreign = ForeignProgram::attach(&lab.office.gateway, "lan30")?;
    let program = || lab.office.gateway.ip("-j link show dev lan30").map(|link| link_program(&link));
    let theirs = program()?;
    assert!(theirs.is_some(), "the foreign program is there");
    lab.daemon.start(&lab.office.gateway)?;
    assert_eq!(lab.office.gateway.ip("-j link show dev lan30").map(|link| link_program(&link))?, theirs);
    let metrics = lab.metrics()?;
    let enforced = |interface| metrics.count("segd_interface_enforced", &[("interface", interface)]);
    assert_eq!((enforced("lan30"), enforced("lan20")), (0, 1));
    assert_eq!(lab.daemon.json(&["status"])?["state"], "degraded");
    assert!(is_silence(&lab.office.dev.connects(lab.office.accounting.v4(), 5432)), "closed, not open");
    Ok(())
}

/// The id of the XDP program in the answer of `ip -j link show`.
fn link_program(json: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(json).ok()?[0]["xdp"]["prog"]["id"].as_u64()
}
