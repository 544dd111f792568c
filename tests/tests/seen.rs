//! What was seen becomes policy: the history under floods and restarts, suggestions from an office's day, and the same
//! day again under what they became. Real packets, the real daemon, the real segctl.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use segd_tests::lab::{Host, Lab, PATIENCE, Port, Server, Zones, is_silence, until};
use segd_tests::needs_root;
use segd_tests::packet::tcp;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
/// Connections that are made during a flood.
const CALLS: u64 = 20;
/// Desks beside the one that the lab has.
const DESKS: [&str; 3] = ["10.30.0.6", "10.30.0.7", "10.30.0.8"];
const SERVICES: &str = "\
services:
  smb: [tcp/139, tcp/445]
  printing: [tcp/631, tcp/9100]
  dns: [udp/53, tcp/53]
  erp: [tcp/8000-8010]
  postgres: [tcp/5432]
  backup: [tcp/10050]
  web: [tcp/80, tcp/443]
  ping: [icmp/echo-request, icmpv6/echo-request]
";

/// The office's zone file with names for what an office does.
fn office(zones: &Zones) -> String {
    format!("{zones}{SERVICES}")
}

/// One JSON object a line.
fn lines(lab: &Lab, words: &[&str]) -> Result<Vec<Value>> {
    let text = lab.daemon.ctl(&[&["-o", "json"], words].concat())?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// Connections of these lines.
fn connections(lines: &[Value]) -> u64 {
    lines.iter().filter_map(|line| line["connections"].as_u64()).sum()
}

/// Servers of the office, for as long as they are kept.
fn servers(lab: &Lab) -> Result<Vec<Server>> {
    let mut servers = Vec::new();
    for port in [139, 445, 631, 9100, 8003, 5432] {
        servers.push(lab.office.accounting.serves_tcp(port)?);
    }
    servers.push(lab.office.dev.serves_tcp(10_050)?);
    servers.push(lab.office.internet.serves_udp(53)?);
    for port in [53, 443] {
        servers.push(lab.office.internet.serves_tcp(port)?);
    }
    Ok(servers)
}

/// A connection from one of a host's addresses, with an echo over it.
fn talks(host: &Host, from: &str, to: IpAddr, port: u16) -> Result<()> {
    let from: SocketAddr = (from.parse::<IpAddr>()?, 0).into();
    host.net.run(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&from.into())?;
        socket.connect_timeout(&SocketAddr::new(to, port).into(), PATIENCE)?;
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"a page")?;
        stream.read_exact(&mut [0; 6])?;
        Ok(())
    })
}

/// A day at the office: files, printing, names, the web, ERP with its database, backup. What did not work is named.
fn a_day(lab: &Lab) -> Result<Vec<String>> {
    let office = &lab.office;
    let mut failed = Vec::new();
    let mut did = |what: String, worked: bool| {
        if !worked {
            failed.push(what);
        }
    };
    for to in office.accounting.both() {
        for port in [139, 445, 631, 9100, 8003] {
            did(format!("a desk to tcp/{port} of {to}"), office.dev.reaches_tcp(to, port));
        }
        did(format!("the guests' kiosk prints at {to}"), office.guest.reaches_tcp(to, 9100));
        did(format!("the guests' kiosk prints at {to} by IPP"), office.guest.reaches_tcp(to, 631));
        did(format!("a desk pings {to}"), office.dev.pings(to, 56)?);
    }
    for desk in DESKS {
        did(format!("files for {desk}"), talks(&office.dev, desk, office.accounting.v4(), 445).is_ok());
        did(format!("the database for {desk}"), talks(&office.dev, desk, office.accounting.v4(), 5432).is_ok());
    }
    for to in office.dev.both() {
        did(format!("the backup of {to}"), office.accounting.reaches_tcp(to, 10_050));
    }
    for to in office.internet.both() {
        did(format!("a name from {to}"), office.dev.reaches_udp(to, 53));
        did(format!("a long name from {to}"), office.dev.reaches_tcp(to, 53));
        did(format!("a page from {to}"), office.dev.reaches_tcp(to, 443));
    }
    Ok(failed)
}

/// Somebody on the guests' network tries many doors, and never answers. Those that are open must not call after him: later
/// that would be counted as his attempt again.
fn a_scan(lab: &Lab) -> Result<()> {
    for servers in [&lab.office.accounting, &lab.office.dev] {
        servers.net.sysctl("net/ipv4/tcp_synack_retries", "0")?;
    }
    let port = Port::open(&lab.office.guest.net, "eth0")?;
    for door in 1..=300 {
        port.send(&tcp(40_000 + door, door).between("10.40.0.66", lab.office.accounting.v4()).syn().frame())?;
    }
    for host in 1..=100 {
        port.send(
            &tcp(41_000 + host, 3389).between("10.40.0.67", format!("10.30.0.{host}").parse::<IpAddr>()?).syn().frame(),
        )?;
    }
    Ok(())
}

fn lab(zones: &Zones) -> Result<Lab> {
    let lab = Lab::enforcing(office(zones))?;
    for desk in DESKS {
        lab.office.dev.net.ip(&format!("addr add {desk}/24 dev eth0"))?;
    }
    Ok(lab)
}

/// What was suggested, as the drop-in of this lab.
fn drop_in(lab: &Lab, text: &str) -> Result<()> {
    let folder = lab.daemon.config().parent().context("a folder")?.join("zones.d");
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join("60-suggested.yaml"), text)?)
}

/// Waits until everything that happened has been told.
fn suggestions(lab: &Lab, rules: usize) -> Result<Value> {
    let mut found = Value::Null;
    let complete = until(SOON, || {
        found = lab.daemon.json(&["suggest", "--since", "1h"]).unwrap_or_default();
        found["rules"].as_array().is_some_and(|found| found.len() >= rules)
    });
    ensure!(complete, "{rules} rules were to be suggested: {found:#}");
    Ok(found)
}

fn told(found: &Value) -> Vec<String> {
    let list = |names: &Value| match names {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        name => name.as_str().unwrap_or_default().to_owned(),
    };
    let rules = found["rules"].as_array().into_iter().flatten();
    let mut told: Vec<String> = rules
        .map(|rule| format!("{} > {}: {}", list(&rule["from"]), list(&rule["to"]), list(&rule["services"])))
        .collect();
    told.sort();
    told
}

#[test]
fn what_an_office_did_while_it_was_watched_becomes_rules_under_which_the_same_day_has_no_drop() -> Result<()> {
    needs_root!();
    let lab = lab(&Zones::new().audit())?;
    let _servers = servers(&lab)?;
    assert_eq!(a_day(&lab)?, Vec::<String>::new());
    a_scan(&lab)?;

    let found = suggestions(&lab, 4)?;
    let expected = [
        "accounting > dev: backup",
        "dev > accounting: ping postgres printing smb tcp/8003",
        "dev > internet: dns tcp/443",
        "guest > accounting: printing",
    ];
    // The range of the ERP is named, as one of its ports was seen.
    assert_eq!(
        told(&found),
        expected.map(|rule| rule.replace("ping postgres printing smb tcp/8003", "erp ping postgres printing smb"))
    );
    let left: Vec<&str> =
        found["left_out"].as_array().into_iter().flatten().filter_map(|left| left["who"].as_str()).collect();
    assert!(left.contains(&"10.40.0.66") && left.contains(&"10.40.0.67"), "{left:?}");

    let text = lab.daemon.ctl(&["suggest", "--since", "1h"])?;
    assert!(!text.contains("any"), "{text}");
    drop_in(&lab, &text)?;
    let refused = lab.daemon.segctl(&["check", &lab.daemon.config().display().to_string()])?;
    let said = String::from_utf8_lossy(&refused.stdout);
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("has no 'reason'") && said.contains("has no 'approved_by'"), "{said}");
    assert!(!lab.daemon.segctl(&["reload"])?.status.success(), "the daemon refuses it as well");

    drop_in(
        &lab,
        &text
            .replace("reason: \"\"", "reason: A day at the office")
            .replace("approved_by: \"\"", "approved_by: me@example.com"),
    )?;
    lab.reload(office(&Zones::new()))?;
    let before = lab.metrics()?;
    assert_eq!(a_day(&lab)?, Vec::<String>::new());
    assert_eq!(lab.metrics()?.since(&before).drops(), std::collections::BTreeMap::new(), "a whole day without a drop");
    a_scan(&lab)?;
    let drops = lab.metrics()?.since(&before).drops();
    assert!(drops["guest > accounting: no-rule"] >= 298, "{drops:?}");
    assert!(drops["guest > dev: no-rule"] >= 90, "{drops:?}");
    Ok(())
}

#[test]
fn what_was_blocked_becomes_rules_too_and_enforce_tells_what_it_would_drop() -> Result<()> {
    needs_root!();
    let lab = lab(&Zones::new())?;
    lab.daemon.ctl(&["audit", "guest", "accounting"])?;
    let _servers = servers(&lab)?;
    let to = lab.office.accounting.v4();
    assert!(is_silence(&lab.office.dev.connects(to, 5432)), "nothing allows it yet");
    assert!(lab.office.guest.reaches_tcp(to, 9100), "only watched");
    let found = suggestions(&lab, 2)?;
    assert_eq!(told(&found), ["dev > accounting: postgres", "guest > accounting: tcp/9100"]);

    let out = lab.daemon.segctl(&["enforce", "guest", "accounting"])?;
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "nobody is there to agree: {said}");
    assert!(said.contains("enforce would have dropped 1 connections"), "{said}");
    assert!(said.contains("10.40.0.7 (guest)  10.20.0.10 (accounting)  tcp/9100  audit: no-rule"), "{said}");
    let status = lab.daemon.json(&["status"])?;
    assert_eq!(status["coverage"]["audited"], 1, "{status}");
    Ok(())
}

#[test]
fn enforcing_a_pair_cuts_what_no_rule_allows_and_what_has_got_one_lives_on() -> Result<()> {
    needs_root!();
    let lab = lab(&Zones::new().watched("any", "any"))?;
    let _servers = servers(&lab)?;
    let to = lab.office.accounting.v4();
    let mut needed = lab.office.guest.connects(to, 5432)?;
    let mut other = lab.office.guest.connects(to, 9100)?;
    let why = ["--reason", "the till", "--approved-by", "tests@example.com", "--id", "till"];
    lab.daemon.ctl(&[&["allow", "guest", "accounting", "tcp/5432"], &why[..]].concat())?;
    assert!(needed.says("hello").is_ok() && other.says("hello").is_ok(), "both are only watched");
    let said = lab.daemon.segctl(&["enforce", "guest", "accounting", "--yes"])?;
    let (code, said) = (said.status.code(), String::from_utf8_lossy(&said.stderr).into_owned());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("enforce would have dropped 1 connections since"), "{said}");
    assert!(said.contains("and 1 more that have a rule by now") && !said.contains("tcp/5432"), "{said}");
    for _ in 0..20 {
        assert!(needed.says("still there?").is_ok(), "opened when it was only watched, and a rule allows it");
    }
    let said = other.says("still there?");
    assert!(is_silence(&said), "no rule allows it: {said:?} {:?}", lines(&lab, &["flows"])?);
    let flows = lines(&lab, &["flows"])?;
    let live = flows.iter().find(|flow| flow["dst_port"] == 5432).expect("it is live");
    assert_eq!((&live["rule"], &live["reason"]), (&"till".into(), &"rule".into()), "{live}");
    let out = lab.daemon.segctl(&["enforce", "any", "any", "--yes"])?;
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("from any to any audit is written by hand") && said.contains("change it there"), "{said}");
    Ok(())
}

#[test]
fn a_flood_leaves_its_true_number_and_does_not_bury_what_passes() -> Result<()> {
    needs_root!();
    let lab = lab(&Zones::new().rule("ledger", "dev", "accounting", "tcp/5432"))?;
    let _servers = servers(&lab)?;
    let to = lab.office.accounting.v4();
    let flood = Port::open(&lab.office.guest.net, "eth0")?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for attempt in (0..u32::MAX).take_while(|_| !over.load(Ordering::Relaxed)) {
                let source = IpAddr::from([10, 40, 0, (attempt % 200) as u8 + 10]);
                let (own, door) = ((attempt / 200 % 60_000) as u16 + 1024, (attempt % 50_000) as u16 + 1);
                // A full queue is no fault of the test; what was not sent is not counted either.
                let _ = flood.send(&tcp(own, door).between(source, to).syn().frame());
            }
        });
        for _ in 0..CALLS {
            assert!(lab.office.dev.reaches_tcp(to, 5432));
            thread::sleep(Duration::from_millis(150));
        }
        over.store(true, Ordering::Relaxed);
    });
    let pair = [("from_zone", "guest"), ("to_zone", "accounting")];
    let metrics = lab.metrics()?;
    let blocked = metrics.count("segd_blocked_flows_total", &pair);
    assert!(metrics.count("segd_events_lost_total", &[]) > 1000, "it is a flood only if events are lost");
    let passed = metrics.count("segd_connections_total", &[("from_zone", "dev"), ("to_zone", "accounting")]);
    assert_eq!(passed, CALLS);
    let mut seen = (Vec::new(), Vec::new());
    let told = until(SOON, || {
        seen.0 = lines(&lab, &["flows", "--since", "1h", "--blocked", "--from", "guest"]).unwrap_or_default();
        seen.1 = lines(&lab, &["flows", "--since", "1h", "--from", "dev", "--to", "accounting"]).unwrap_or_default();
        connections(&seen.0) == blocked && connections(&seen.1) == passed
    });
    assert!(told, "{} of {blocked} blocked, {} of {passed} passed", connections(&seen.0), connections(&seen.1));
    assert!(seen.0.len() < 3 * 1100, "{} lines of a flood", seen.0.len());
    let named: u64 =
        seen.1.iter().filter(|line| line["src"] == "10.30.0.5").filter_map(|line| line["connections"].as_u64()).sum();
    assert_eq!(named, passed, "every connection that passed has its line, none is among the others: {:?}", seen.1);
    Ok(())
}

#[test]
fn the_history_survives_the_daemon_and_tells_what_passed_while_nobody_ran() -> Result<()> {
    needs_root!();
    let mut lab = lab(&Zones::new().rule("ledger", "dev", "accounting", "tcp/5432"))?;
    let _servers = servers(&lab)?;
    let to = lab.office.accounting.v4();
    assert!(lab.office.dev.reaches_tcp(to, 5432));
    assert!(is_silence(&lab.office.guest.connects(to, 22)));
    lab.daemon.terminate()?;
    assert!(lab.office.dev.reaches_tcp(to, 5432), "enforcement goes on");
    lab.start()?;
    let passed = || connections(&lines(&lab, &["flows", "--since", "1h", "--from", "dev"]).unwrap_or_default());
    assert!(until(SOON, || passed() == 2), "{} of 2 connections are known", passed());
    let blocked = lines(&lab, &["flows", "--since", "1h", "--blocked"])?;
    assert_eq!((blocked.len(), &blocked[0]["dst_port"], &blocked[0]["reason"]), (1, &22.into(), &"no-rule".into()));

    let cell = |matrix: &Value| {
        let cells = matrix.as_array().cloned().unwrap_or_default();
        cells.into_iter().find(|cell| cell["from_zone"] == "dev" && cell["to_zone"] == "accounting").unwrap_or_default()
    };
    let (all, hour) = (lab.daemon.json(&["matrix"])?, lab.daemon.json(&["matrix", "--last", "1h"])?);
    assert_eq!(cell(&all)["allowed"], cell(&hour)["allowed"], "everything was within the hour");
    assert!(cell(&hour)["allowed"].as_u64().is_some_and(|packets| packets >= 8), "{hour}");
    let busiest = lab.daemon.json(&["top", "--last", "1h"])?;
    let top = busiest
        .as_array()
        .into_iter()
        .flatten()
        .find(|pair| pair["from_zone"] == "dev" && pair["to_zone"] == "accounting");
    assert_eq!(top.map(|pair| &pair["connections"]), Some(&2.into()));
    Ok(())
}

#[test]
fn a_report_tells_approvals_use_drift_and_what_was_blocked() -> Result<()> {
    needs_root!();
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(48);
    let zones = Zones::new()
        .rule("ledger", "dev", "accounting", "tcp/5432")
        .rule("ledger-again", "dev", "accounting", "tcp/5432")
        .rule("idle", "guest", "accounting", "tcp/80")
        .until(end)
        .watched("guest", "internet");
    let lab = lab(&zones)?;
    let _servers = servers(&lab)?;
    let to = lab.office.accounting.v4();
    assert!(lab.office.dev.reaches_tcp(to, 5432));
    assert!(is_silence(&lab.office.guest.connects(to, 22)));
    let mut report = Value::Null;
    let known = until(SOON, || {
        report = lab.daemon.json(&["report"]).unwrap_or_default();
        report["blocked"].as_array().is_some_and(|blocked| !blocked.is_empty())
    });
    assert!(known, "{report:#}");
    assert_eq!(report["drift"], serde_json::json!([]));
    assert_eq!(report["expiring"], serde_json::json!(["idle"]));
    assert!(report["unused"].as_array().is_some_and(|unused| unused.contains(&"idle".into())), "{report:#}");
    assert_eq!(report["shadowed"], serde_json::json!([{ "id": "ledger-again", "by": ["ledger"] }]));
    // Six zones with the reserved ones; accounting is open within, guests to the internet are watched.
    assert_eq!(report["coverage"], serde_json::json!({ "enforced": 33, "audited": 1, "open": 1 }));
    assert_eq!(report["matrix"].as_array().map(Vec::len), Some(35), "every pair of zones");
    assert_eq!((&report["blocked"][0]["src"], &report["blocked"][0]["dst_port"]), (&"10.40.0.7".into(), &22.into()));
    assert_eq!(report["rules"][0]["approved_by"], "tests@example.com");

    drop_in(&lab, "rules: []\n")?;
    let drifted = lab.daemon.json(&["report"])?;
    let what = drifted["drift"][0]["what"].as_str().unwrap_or_default();
    assert!(what.ends_with("60-suggested.yaml is on the disk and not in force"), "{what}");
    let file = lab.daemon.config().with_extension("html");
    lab.daemon.ctl(&["report", "--html", &file.display().to_string()])?;
    let html = fs::read_to_string(file)?;
    assert!(html.contains("ledger-again") && html.contains("10.40.0.7") && !html.contains("http://"), "{html}");
    Ok(())
}
