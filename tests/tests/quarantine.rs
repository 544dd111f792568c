//! Cutting somebody off, with real sessions through the real daemon.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use segd_tests::docs::{blocks, page, types};
use segd_tests::lab::{Lab, Port, Session, Zones, is_silence, until};
use segd_tests::needs_root;
use segd_tests::packet::{icmp_error, tcp};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(5);

fn open() -> Zones {
    Zones::new().rule("open", "any", "any", "tcp/5432, icmp/echo-request, icmpv6/echo-request")
}

fn session(lab: &Lab, ipv6: bool) -> Result<Session> {
    let [v4, v6] = lab.office.accounting.both();
    let mut session = lab.office.dev.connects(if ipv6 { v6 } else { v4 }, 5432)?;
    session.says("hello\n")?;
    Ok(session)
}

fn cut(lab: &Lab, target: &str, more: &[&str]) -> Result<Value> {
    lab.daemon.json(&[&["quarantine", target, "--reason", "beacons"], more].concat())
}

fn counted(lab: &Lab) -> Result<u64> {
    Ok(lab.metrics()?.count("segd_drops_total", &[("reason", "quarantined")]))
}

#[test]
fn a_quarantined_host_is_cut_at_its_next_packet_and_back_when_it_is_released() -> Result<()> {
    needs_root!();
    for hook in ["tc", "xdp", "xdp-generic"] {
        let lab = Lab::enforcing(open().hooks(hook))?;
        let _server = lab.office.accounting.serves_tcp(5432)?;
        let (mut v4, mut v6) = (session(&lab, false)?, session(&lab, true)?);
        // The second as whoever saw it by a socket of both families names it.
        let target = if hook == "xdp" { "::ffff:10.30.0.5" } else { "10.30.0.5" };
        let report = cut(&lab, target, &[])?;
        let proof = &report["proof"];
        assert_eq!((&proof["verdict"], &proof["reason"]), (&"deny".into(), &"quarantined".into()), "{report}");
        assert_eq!((&proof["interface"], &proof["hook"]), (&"lan30".into(), &hook.into()), "{report}");
        assert_eq!(counted(&lab)?, 1, "the proof is the one drop so far");
        assert!(v4.says("beacon\n").is_err(), "the open session is cut");
        assert!(is_silence(&lab.office.dev.connects(lab.office.accounting.v4(), 5432)));
        assert!(!lab.office.accounting.pings(lab.office.dev.v4(), 56)?, "nobody reaches it either");
        assert!(v6.says("the other family was not meant\n").is_ok());
        assert!(lab.office.guest.reaches_tcp(lab.office.accounting.v4(), 5432), "others go on");
        let told = lab.daemon.json(&["explain", "10.30.0.5", "10.20.0.10", "tcp/5432"])?;
        assert_eq!((&told["verdict"], &told["reason"]), (&"deny".into(), &"quarantined".into()));
        let drops = lab.metrics()?.drops();
        assert!(drops.keys().all(|what| what.ends_with("quarantined")), "{drops:?}");
        lab.daemon.ctl(&["release", "10.30.0.5", "--reason", "reinstalled"])?;
        assert!(lab.office.dev.reaches_tcp(lab.office.accounting.v4(), 5432), "{hook}");
    }
    Ok(())
}

#[test]
fn a_quarantined_host_tells_nobody_of_errors_about_the_connections_of_others() -> Result<()> {
    needs_root!();
    for hook in ["tc", "xdp"] {
        let lab = Lab::enforcing(open().hooks(hook))?;
        let _server = lab.office.accounting.serves_tcp(5432)?;
        let (dev, accounting, guest) = (lab.office.dev.v4(), lab.office.accounting.v4(), lab.office.guest.v4());
        let session = session(&lab, false)?;
        cut(&lab, &guest.to_string(), &[])?;
        let before = lab.metrics()?;
        let about = tcp(session.local()?.port(), 5432).between(dev, accounting);
        let wire = Port::open(&lab.office.guest.net, "eth0")?;
        wire.send(&icmp_error(3, 3, &about).between(guest, dev).frame())?;
        let drops = lab.metrics()?.since(&before).drops();
        assert_eq!(drops, [("guest > dev: quarantined".to_owned(), 1)].into(), "{hook}");
    }
    Ok(())
}

#[test]
fn a_quarantine_ends_by_itself_with_the_daemon_dead() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(open())?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let to = lab.office.accounting.v4();
    cut(&lab, "10.30.0.5", &["--for", "4s"])?;
    cut(&lab, "10.40.0.7", &["--for", "1h"])?;
    lab.daemon.kill()?;
    assert!(is_silence(&lab.office.dev.connects(to, 5432)));
    thread::sleep(Duration::from_secs(4));
    assert!(lab.office.dev.reaches_tcp(to, 5432), "its time is over");
    assert!(is_silence(&lab.office.guest.connects(to, 5432)), "the other's is not");
    lab.start()?;
    assert!(until(SOON, || lab.daemon.json(&["quarantine"]).is_ok_and(|all| all[0]["target"] == "10.40.0.7")));
    assert!(is_silence(&lab.office.guest.connects(to, 5432)), "the restart kept it");
    let verbs: Vec<Value> = lab.daemon.json(&["history"])?.as_array().context("a list")?.clone();
    assert_eq!(verbs.last().context("an entry")?["reason"], "its time is over");
    Ok(())
}

#[test]
fn quarantines_outlive_reloads_and_trials_and_are_no_fault_of_the_policys_tests() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(open())?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let to = lab.office.accounting.v4();
    let tests = "tests:\n  - { from: 10.30.0.5, to: 10.20.0.10, service: tcp/5432, expect: allow }\n";
    cut(&lab, "dev", &[])?;
    lab.reload(format!("{}{tests}", open()))?;
    assert!(is_silence(&lab.office.dev.connects(to, 5432)), "after a reload");
    let new = lab.daemon.config().with_file_name("new.yaml");
    std::fs::write(&new, open().to_string())?;
    lab.daemon.ctl(&["apply", new.to_str().context("a path")?, "--confirm", "5s"])?;
    assert!(is_silence(&lab.office.dev.connects(to, 5432)), "during a trial");
    let report = cut(&lab, "10.40.0.0/24", &[])?;
    assert_eq!(report["proof"]["reason"], "quarantined", "a trial is no reason to wait: {report}");
    lab.daemon.kill()?;
    thread::sleep(Duration::from_millis(5300));
    assert!(is_silence(&lab.office.dev.connects(to, 5432)), "after the way back");
    assert!(is_silence(&lab.office.guest.connects(to, 5432)), "the later one too");
    lab.start()?;
    assert!(is_silence(&lab.office.dev.connects(to, 5432)), "after a restart");
    lab.daemon.ctl(&["release", "dev"])?;
    lab.daemon.ctl(&["release", "10.40.0.0/24"])?;
    assert!(lab.office.dev.reaches_tcp(to, 5432) && lab.office.guest.reaches_tcp(to, 5432));
    Ok(())
}

#[test]
fn the_failsafe_gets_in_audit_lets_nobody_out_and_the_machine_itself_is_refused() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(format!(
        "{}failsafe: {{ from: [10.40.0.7/32], services: [tcp/5432] }}\n",
        Zones::new().audit()
    ))?;
    let _server = lab.office.dev.serves_tcp(5432)?;
    let dev = lab.office.dev.v4();
    assert!(lab.office.internet.reaches_tcp(dev, 5432), "the mode only watches");
    for target in ["10.30.0.5", "10.30.0.5/32"] {
        let report = cut(&lab, target, &[])?;
        assert_eq!(report["before"], target.ends_with("32"), "twice is once: {report}");
    }
    assert_eq!(lab.daemon.json(&["quarantine"])?.as_array().map(Vec::len), Some(1));
    assert!(lab.office.guest.reaches_tcp(dev, 5432), "the failsafe");
    assert!(is_silence(&lab.office.internet.connects(dev, 5432)), "anybody else");
    for (target, words) in [
        ("host", "this machine itself"),
        ("10.30.0.1", "this machine itself"),
        ("127.0.0.1", "no host's address"),
        ("::", "no host's address"),
        ("ff02::1", "no host's address"),
        ("10.30.0.5/24", "10.30.0.0/24"),
        ("nowhere", "neither an address nor a zone"),
    ] {
        let refused = lab.daemon.segctl(&["quarantine", target, "--reason", "x"])?;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{target}: {said}");
        assert!(said.contains(words), "{said}");
    }
    Ok(())
}

#[test]
fn the_page_on_cutting_a_host_off_is_true() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(open())?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let to = lab.office.accounting.v4();
    let page = page("quarantine.md")?;
    let [terminal, api] = blocks(&page, "sh")[..] else { anyhow::bail!("two blocks of commands") };
    for block in [terminal, api] {
        let [cut, list, release] = block.lines().collect::<Vec<_>>()[..] else { anyhow::bail!("three commands") };
        let mut open = session(&lab, false)?;
        let before = lab.metrics()?.sum("segd_policy_generation", &[]);
        let answer = types(&lab, cut)?;
        assert!(open.says("beacon\n").is_err(), "{cut}");
        assert!(is_silence(&lab.office.dev.connects(to, 5432)), "{cut}");
        assert!(types(&lab, list)?.contains("10.30.0.5"), "{list}");
        if cut.starts_with("curl") {
            let answer: Value = serde_json::from_str(&answer)?;
            let example: Value = serde_json::from_str(blocks(&page, "json")[0])?;
            let keys = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
            assert_eq!((keys(&answer), keys(&answer["proof"])), (keys(&example), keys(&example["proof"])), "{answer}");
            let enforced = lab.metrics()?.sum("segd_policy_generation", &[]);
            assert_eq!((answer["generation"].as_f64(), &answer["before"]), (Some(enforced), &false.into()), "{answer}");
            assert!(enforced > before);
            assert_eq!(answer["proof"]["reason"], "quarantined");
            assert!(counted(&lab)? > 0);
            let again: Value = serde_json::from_str(&types(&lab, cut)?)?;
            assert_eq!(again["before"], true, "twice is once: {again}");
        }
        types(&lab, release)?;
        assert!(lab.office.dev.reaches_tcp(to, 5432), "{release}");
    }
    let refused = types(&lab, &api.lines().next().unwrap_or_default().replace("10.30.0.5", "nowhere"));
    let said = refused.expect_err("nobody is called so").to_string();
    assert!(said.contains("neither an address nor a zone") && said.contains("mend"), "{said}");
    Ok(())
}
