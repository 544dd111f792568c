//! What a change of the policy's text does and does not do: to what passes, and to what was counted.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use segd_tests::lab::{Lab, Zones, until};
use segd_tests::needs_root;
use serde_json::{Value, json};

/// The rule of this name, as `segctl rules` has it.
fn rule(lab: &Lab, id: &str) -> Result<Value> {
    let rules = lab.daemon.json(&["rules"])?;
    let found = rules.as_array().into_iter().flatten().find(|rule| rule["id"] == id);
    found.cloned().with_context(|| format!("there is no rule {id}: {rules}"))
}

#[test]
fn counters_of_a_rule_live_on_through_edits_reloads_and_restarts() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(Zones::new().rule("ledger", "dev", "accounting", "tcp/5432"))?;
    let _servers = (lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_tcp(5433)?);
    let to = lab.office.accounting.v4();
    assert!(lab.office.dev.reaches_tcp(to, 5432));
    let first = rule(&lab, "ledger")?;
    assert_eq!(first["connections"], 1);
    assert!(first["packets"].as_u64().is_some_and(|packets| packets >= 6), "{first}");

    // Everything but its name is another: its place in the file, its neighbours, its ends, its services.
    let edited = || {
        Zones::new().rule("another", "guest", "accounting", "tcp/80").rule(
            "ledger",
            "[dev, guest]",
            "accounting",
            "tcp/5000-6000, udp/53",
        )
    };
    lab.reload(edited())?;
    let kept = rule(&lab, "ledger")?;
    for count in ["packets", "bytes", "connections"] {
        assert!(kept[count].as_u64() >= first[count].as_u64(), "{count}: {kept}");
    }
    assert_eq!(kept["connections"], 1);
    assert_ne!(kept["last_hit"], Value::Null);
    assert_eq!(rule(&lab, "another")?["connections"], 0, "its neighbour did not take them over");

    assert!(lab.office.dev.reaches_tcp(to, 5433));
    assert!(
        until(std::time::Duration::from_secs(2), || rule(&lab, "ledger").is_ok_and(|rule| rule["connections"] == 2))
    );
    let before = rule(&lab, "ledger")?;
    lab.daemon.kill()?;
    lab.start()?;
    let after = rule(&lab, "ledger")?;
    let second = |rule: &Value| rule["last_hit"].as_str().map(|time| time[..19].to_owned());
    assert_eq!(after["connections"], 2);
    // The clock is read anew, and a tick of it is some milliseconds.
    let (hit, again) = (time(&before)?, time(&after)?);
    assert!(again.duration_since(hit).as_millis().abs() < 1000, "{:?} {:?}", second(&before), second(&after));

    // Gone for one policy and back again: the name is what counts.
    lab.reload(Zones::new())?;
    lab.reload(edited())?;
    assert_eq!(rule(&lab, "ledger")?["connections"], 2);
    Ok(())
}

fn time(rule: &Value) -> Result<jiff::Timestamp> {
    Ok(rule["last_hit"].as_str().context("it was never hit")?.parse()?)
}

#[test]
fn diff_speaks_of_what_passes_and_not_of_the_text() -> Result<()> {
    needs_root!();
    let two = |first: &str, second: &str| {
        [first, second].into_iter().fold(Zones::new(), |zones, id| {
            let port = if id == "web" { "tcp/443" } else { "tcp/5432, udp/53" };
            zones.rule(id, "dev", "accounting", port)
        })
    };
    let lab = Lab::enforcing(two("web", "ledger"))?;
    let file = lab.daemon.config().with_file_name("new.yaml");
    let diff = |text: String| -> Result<(Option<i32>, Value, String)> {
        fs::write(&file, text)?;
        let words = lab.daemon.segctl(&["diff", &file.display().to_string()])?;
        let data = lab.daemon.json(&["diff", &file.display().to_string()])?;
        Ok((words.status.code(), data, String::from_utf8_lossy(&words.stdout).into_owned()))
    };

    let moved = format!("# a comment\n{}\n# and another\n", two("ledger", "web")).replace("a test", "another reason");
    let (status, data, words) = diff(moved)?;
    assert_eq!((status, data), (Some(0), json!({ "newly_pass": [], "newly_fail": [] })));
    assert!(words.ends_with("lets pass exactly what passes now\n"), "{words}");

    let (status, data, words) = diff(two("ledger", "web").to_string().replace("tcp/5432, udp/53", "tcp/5430-5432"))?;
    let line =
        |service: &str| json!({ "from_zone": "dev", "to_zone": "accounting", "service": service, "rule": "ledger" });
    let expected = json!({ "newly_pass": [line("tcp/5430-5431")], "newly_fail": [line("udp/53")] });
    assert_eq!((status, data), (Some(1), expected));
    assert!(words.contains("+ would pass  dev   accounting  tcp/5430-5431  ledger"), "{words}");
    assert!(words.contains("- would fail  dev   accounting  udp/53         ledger"), "{words}");
    assert!(words.contains("1 would newly pass, 1 would newly fail"), "{words}");
    Ok(())
}

#[test]
fn a_preview_names_the_connections_of_the_last_days_that_a_policy_would_cut() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(Zones::new().rule("ledger", "dev", "accounting", "tcp/5432, tcp/443"))?;
    let (dev, accounting) = (&lab.office.dev, &lab.office.accounting);
    let _servers = [accounting.serves_tcp(5432)?, accounting.serves_tcp(443)?];
    for _ in 0..3 {
        drop(dev.connects(accounting.v4(), 5432)?);
    }
    drop(dev.connects(accounting.v6(), 5432)?);
    drop(dev.connects(accounting.v4(), 443)?);
    assert!(!dev.reaches_tcp(accounting.v4(), 22), "what never passed is not cut");

    let file = lab.daemon.config().with_file_name("new.yaml");
    fs::write(&file, Zones::new().rule("ledger", "dev", "accounting", "tcp/443").to_string())?;
    let file = file.display().to_string();
    let told = lab.daemon.json(&["diff", &file])?;
    let mut met: Vec<_> = told["would_cut"]["flows"].as_array().context("flows")?.iter().collect();
    met.sort_by_key(|flow| flow["src"].as_str().map(str::len));
    let of = |flow: &Value| {
        let text = |key: &str| flow[key].as_str().unwrap_or_default().to_owned();
        (text("src"), text("dst"), text("proto"), flow["dst_port"].as_u64(), flow["connections"].as_u64(), text("rule"))
    };
    let line = |from: IpAddr, to: IpAddr, connections| {
        (from.to_string(), to.to_string(), "tcp".to_owned(), Some(5432), Some(connections), "ledger".to_owned())
    };
    let expected = [line(dev.v4(), accounting.v4(), 3), line(dev.v6(), accounting.v6(), 1)];
    assert_eq!(met.into_iter().map(of).collect::<Vec<_>>(), expected, "{told:#}");
    assert_eq!(told["would_cut"]["connections"], 4, "{told:#}");

    let said = lab.daemon.segctl(&["apply", &file])?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
    assert!(said.contains("it cuts 4 connections:") && said.contains(&accounting.v6().to_string()), "{said}");
    // Now that it is in force, it cuts nobody else.
    assert_eq!(lab.daemon.json(&["diff", &file])?, json!({ "newly_pass": [], "newly_fail": [] }));
    Ok(())
}
