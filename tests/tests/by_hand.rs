//! What people do to a running gateway by hand, with every right to: take programs off, remove pins, apply at the same time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use segd_tests::lab::{Lab, Port, Watch, Zones, is_silence, until};
use segd_tests::needs_root;
use segd_tests::packet::udp;

const SOON: Duration = Duration::from_secs(15);

fn ledger() -> Zones {
    Zones::new().rule("ledger", "dev", "accounting", "tcp/5432")
}

/// What the rule allows passes, and nothing else does.
fn is_enforced(lab: &Lab) -> Result<()> {
    lab.office.know_each_other()?;
    for to in lab.office.accounting.both() {
        ensure!(lab.office.dev.reaches_tcp(to, 5432), "what the rule allows, to {to}");
        ensure!(is_silence(&lab.office.dev.connects(to, 5433)), "another port of {to}");
        ensure!(is_silence(&lab.office.guest.connects(to, 5432)), "somebody else, to {to}");
    }
    Ok(())
}

#[test]
fn f3_programs_are_not_taken_off_by_the_tools_that_put_programs_on() -> Result<()> {
    needs_root!();
    for (hook, off) in [("xdp", "xdp"), ("xdp", "xdpdrv"), ("xdp-generic", "xdpgeneric"), ("xdp-generic", "xdp")] {
        let lab = Lab::enforcing(ledger().hooks(hook))?;
        let _servers = [lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_tcp(5433)?];
        for force in ["", "-force "] {
            let words = format!("{force}link set lan30 {off} off");
            let words: Vec<_> = words.split_whitespace().collect();
            let said = lab.office.gateway.output("ip", &words)?;
            // Taking nothing off a mode that has nothing goes well.
            let nothing_there = (hook, off) == ("xdp-generic", "xdp");
            ensure!(nothing_there || !said.status.success(), "{hook}: ip {words:?} went well");
        }
        is_enforced(&lab).with_context(|| format!("{hook}, {off} off"))?;
        assert_eq!(lab.daemon.health(&lab.office.gateway)?, 200, "{hook}");
    }
    Ok(())
}

/// Every pin below a folder.
fn pins(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(pins(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

#[test]
fn f4_pins_that_somebody_removes_are_made_anew_and_told_and_nothing_opens() -> Result<()> {
    needs_root!();
    for hook in ["tc", "xdp"] {
        let mut lab = Lab::enforcing(ledger().hooks(hook))?;
        let _servers = [lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_tcp(5433)?];
        let folder = lab.daemon.pins();
        let there = pins(&folder)?;
        assert!(there.len() > 10, "{there:?}");
        let watch = Watch::new(&lab.office.accounting.net, &["udp dport 53"])?;
        let attacker = Port::open(&lab.office.guest.net, "eth0")?;
        let forbidden = udp(4000, 53).between("10.40.0.7", "10.20.0.10").frame();
        let over = AtomicBool::new(false);
        let sent = thread::scope(|scope| -> Result<u64> {
            let flood = scope.spawn(|| {
                let mut sent = 0;
                while !over.load(Ordering::Relaxed) {
                    sent += u64::from(attacker.send(&forbidden).is_ok());
                }
                sent
            });
            let removed = there.iter().try_for_each(fs::remove_file);
            let enforced = is_enforced(&lab).with_context(|| format!("{hook}: without a pin"));
            over.store(true, Ordering::Relaxed);
            removed?;
            enforced?;
            Ok(flood.join().expect("sending does not panic"))
        })?;
        assert_eq!(watch.leaked()?, 0, "{hook}: of {sent} forbidden packets");
        let is_told = || lab.daemon.log().contains("pin");
        assert!(until(SOON, is_told), "{hook}: it is told; the daemon said:\n{}", lab.daemon.log());
        let are_back = || there.iter().all(|pin| pin.exists() || pin.display().to_string().contains("called_"));
        assert!(until(SOON, are_back), "{hook}: pins are back; the daemon said:\n{}", lab.daemon.log());
        // One in the place of another is none.
        let mut links = there.iter().filter(|pin| pin.to_string_lossy().contains("ss_"));
        let (one, other) = (links.next().context("a link")?, links.next().context("another")?);
        fs::rename(one, other)?;
        assert!(until(SOON, || one.exists()), "{hook}: the daemon said:\n{}", lab.daemon.log());
        let is_well = || lab.daemon.health(&lab.office.gateway).is_ok_and(|code| code == 200);
        assert!(until(SOON, is_well), "{hook}: the daemon said:\n{}", lab.daemon.log());
        lab.daemon.kill()?;
        is_enforced(&lab).with_context(|| format!("{hook}: with the daemon dead"))?;
        lab.start()?;
        is_enforced(&lab).with_context(|| format!("{hook}: with the next daemon"))?;
    }
    Ok(())
}

#[test]
fn f4_where_no_pin_can_be_made_any_more_what_is_attached_stays_and_is_told() -> Result<()> {
    needs_root!();
    for hook in ["tc", "xdp"] {
        let mut lab = Lab::enforcing(ledger().hooks(hook))?;
        let _servers = [lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_tcp(5433)?];
        let mut live = lab.office.dev.connects(lab.office.accounting.v4(), 5432)?;
        live.says("hello\n")?;
        // The pins are gone, and their folder is on no bpffs any more.
        lab.daemon.loses_its_bpffs();
        let is_told = || {
            lab.daemon.json(&["status"]).is_ok_and(|status| {
                let amiss = status["amiss"].to_string();
                status["state"] == "degraded"
                    && amiss.contains("as long as this daemon runs")
                    && amiss.contains("cannot make anew the pin")
                    && amiss.contains("lan30")
            })
        };
        assert!(until(SOON, is_told), "{hook}: it is told; the daemon said:\n{}", lab.daemon.log());
        // Longer than it takes to try and mend it twice.
        thread::sleep(Duration::from_secs(7));
        is_enforced(&lab).with_context(|| format!("{hook}: without a bpffs"))?;
        live.says("still there?\n")?;
        let interfaces = lab.daemon.json(&["interfaces"])?;
        let all = interfaces.as_array().context("a list")?;
        assert!(all.len() == 4 && all.iter().all(|one| one["enforced"] == true), "{hook}: {interfaces}");
        lab.reload(ledger().hooks(hook).rule("web", "dev", "accounting", "tcp/5433"))?;
        assert!(lab.office.dev.reaches_tcp(lab.office.accounting.v4(), 5433), "{hook}: policies go on changing");
        lab.reload(ledger().hooks(hook))?;
        lab.daemon.gets_a_bpffs()?;
        let is_well = || lab.daemon.health(&lab.office.gateway).is_ok_and(|code| code == 200);
        assert!(until(SOON, is_well), "{hook}: the pins are back; the daemon said:\n{}", lab.daemon.log());
        lab.daemon.kill()?;
        is_enforced(&lab).with_context(|| format!("{hook}: with the daemon dead"))?;
        lab.start()?;
        assert!(lab.daemon.log().contains("taken over"), "{hook}: {}", lab.daemon.log());
        is_enforced(&lab).with_context(|| format!("{hook}: with the next daemon"))?;
        live.says("and now?\n")?;
    }
    Ok(())
}

#[test]
fn f11_of_applies_at_the_same_time_one_wins_whole() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(ledger())?;
    let folder = lab.daemon.config().parent().context("a folder")?.to_path_buf();
    let files: Vec<PathBuf> = (0..4)
        .map(|number| {
            let file = folder.join(format!("candidate-{number}.yaml"));
            let zones = (0..50).fold(Zones::new(), |zones, rule| {
                zones.rule(
                    &format!("r{number}-{rule}"),
                    "dev",
                    "accounting",
                    &format!("tcp/{}", 1000 + number * 100 + rule),
                )
            });
            fs::write(&file, zones.to_string()).map(|()| file)
        })
        .collect::<Result<_, _>>()?;
    let mut won = 0;
    for _ in 0..6 {
        let statuses: Vec<Option<i32>> = thread::scope(|scope| {
            let apply = |file: &PathBuf| lab.daemon.segctl(&["apply", &file.display().to_string()]);
            let all: Vec<_> = files.iter().map(|file| scope.spawn(move || apply(file))).collect();
            all.into_iter().map(|one| Ok(one.join().expect("no panic")?.status.code())).collect::<Result<_>>()
        })?;
        assert!(
            statuses.iter().all(|status| matches!(status, Some(0 | 6))),
            "done, or changed meanwhile: {statuses:?}"
        );
        won += statuses.iter().filter(|status| **status == Some(0)).count();
        let there = fs::read_to_string(lab.daemon.config())?;
        let wins: Vec<_> =
            files.iter().filter(|file| fs::read_to_string(file).is_ok_and(|text| text == there)).collect();
        assert_eq!(wins.len(), 1, "one file is in its place, whole");
        let same = lab.daemon.segctl(&["diff", &wins[0].display().to_string()])?;
        assert_eq!(same.status.code(), Some(0), "and that is in force: {}", String::from_utf8_lossy(&same.stdout));
    }
    assert!(won >= 6, "each time somebody wins: {won}");
    lab.daemon.ctl(&["history", "verify"])?;
    let entries = lab.daemon.json(&["history"])?;
    let applies = entries.as_array().into_iter().flatten().filter(|entry| entry["verb"] == "apply").count();
    assert_eq!(applies, won, "{entries:#}");
    Ok(())
}
