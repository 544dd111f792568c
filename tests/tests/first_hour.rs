//! `docs/first-hour.md` is true: its zone file and all of its commands, in their order, with an office's traffic in between.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use segd_tests::docs::{blocks, page, types};
use segd_tests::lab::{Lab, Port, Server, until};
use segd_tests::needs_root;
use segd_tests::packet::tcp;

fn servers(lab: &Lab) -> Result<Vec<Server>> {
    let office = &lab.office;
    let mut servers = vec![office.internet.serves_udp(53)?];
    for port in [139, 445, 9100] {
        servers.push(office.accounting.serves_tcp(port)?);
    }
    Ok(servers)
}

/// Files and printing for the desks, printing for guests, and names. What did not work is named.
fn work(lab: &Lab) -> Vec<String> {
    let office = &lab.office;
    let mut failed = Vec::new();
    for to in office.accounting.both() {
        for port in [139, 445, 9100] {
            if !office.dev.reaches_tcp(to, port) {
                failed.push(format!("a desk to tcp/{port} of {to}"));
            }
        }
        if !office.guest.reaches_tcp(to, 9100) {
            failed.push(format!("a guest prints at {to}"));
        }
    }
    for to in office.internet.both() {
        if !office.dev.reaches_udp(to, 53) {
            failed.push(format!("a name from {to}"));
        }
    }
    failed
}

/// Somebody among the guests tries all doors of a server, and never answers. Those that are open must not call after him:
/// later that would be counted as his attempt again.
fn scan(lab: &Lab) -> Result<()> {
    lab.office.accounting.net.sysctl("net/ipv4/tcp_synack_retries", "0")?;
    let port = Port::open(&lab.office.guest.net, "eth0")?;
    for door in 1..=200 {
        port.send(&tcp(40_000 + door, door).between("10.40.0.66", lab.office.accounting.v4()).syn().frame())?;
    }
    Ok(())
}

/// What happens on the network before a line is typed.
fn before(lab: &Lab, line: &str) -> Result<()> {
    if line.starts_with("segctl matrix") {
        assert_eq!(work(lab), Vec::<String>::new(), "nothing is dropped while it is watched");
        scan(lab)?;
    }
    if line.starts_with("segctl suggest") {
        let told = || lab.daemon.json(&["suggest", "--since", "1h"]);
        let all = || told().is_ok_and(|told| told["rules"].as_array().is_some_and(|rules| rules.len() >= 3));
        ensure!(until(Duration::from_secs(20), all), "three rules were to be suggested: {:?}", told()?);
    }
    Ok(())
}

#[test]
fn the_first_hour_leads_from_nothing_to_a_proven_allow_list() -> Result<()> {
    needs_root!();
    let page = page("first-hour.md")?;
    let zones = blocks(&page, "yaml");
    assert_eq!(zones.len(), 1);
    let mut lab = Lab::prepared(zones[0])?;
    let servers = servers(&lab)?;
    let mut at_build = 0;
    let mut said = BTreeMap::new();
    for line in blocks(&page, "sh").into_iter().flat_map(str::lines) {
        before(&lab, line)?;
        if line.starts_with("cargo build ") || line.starts_with("install ") {
            // What this very run was built by, into another folder.
            at_build += 1;
        } else if line.starts_with("segd run ") {
            lab.start()?;
        } else {
            said.insert(line, types(&lab, line)?);
        }
    }
    assert_eq!(at_build, 2);
    let of = |start: &str| {
        let found = said.iter().find(|(line, _)| line.starts_with(start));
        found.map(|(_, said)| said.as_str()).with_context(|| format!("no line begins with {start}"))
    };
    let denied = of("segctl explain 10.40.0.7")?;
    assert!(denied.starts_with("DENY") && denied.contains("as it should be"), "{denied}");
    assert!(of("segctl explain 10.30.0.5")?.starts_with("ALLOW"));
    let rules = of("segctl rules")?;
    assert!(!rules.contains("10.40.0.66") && rules.contains("Daily work of the office"), "{rules}");

    let earlier = lab.metrics()?;
    assert_eq!(work(&lab), Vec::<String>::new());
    assert_eq!(lab.metrics()?.since(&earlier).drops(), BTreeMap::new(), "all work goes on, without a drop");
    scan(&lab)?;
    let drops = lab.metrics()?.since(&earlier).drops();
    assert!(drops.get("guest > accounting: no-rule").is_some_and(|dropped| *dropped >= 195), "{drops:?}");
    drop(servers);
    Ok(())
}
