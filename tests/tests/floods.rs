//! Many packets at once, from somebody who means harm: what is forbidden stays out, what lives goes on, memory stays flat.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use segd_tests::lab::{Lab, Port, Session, Watch, Zones};
use segd_tests::needs_root;
use segd_tests::packet::{tcp, udp};

const MILLION: u32 = 1_000_000;

/// Sends what `frame` makes of each number, and says how many were taken.
fn flood(port: &Port, frames: u32, mut frame: impl FnMut(u32) -> Vec<u8>) -> u32 {
    (0..frames).map(|number| u32::from(port.send(&frame(number)).is_ok())).sum()
}

/// What somebody does meanwhile, again and again until it is over. Gives how often it went well, and how often not.
fn meanwhile(work: impl FnOnce(), mut going_on: impl FnMut() -> bool + Send) -> (u32, u32) {
    let over = AtomicBool::new(false);
    let (mut well, mut badly) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                *(if going_on() { &mut well } else { &mut badly }) += 1;
                thread::sleep(Duration::from_millis(20));
            }
        });
        work();
        over.store(true, Ordering::Relaxed);
    });
    (well, badly)
}

/// Resident memory of the daemon, in KiB.
fn resident(lab: &Lab) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", lab.daemon.pid().context("it runs")?))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).context("it says its size")?;
    Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
}

#[test]
fn b8_a_million_fragment_ids_smuggle_nothing_and_disturb_nobody() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(Zones::new().rule("ledger", "dev", "accounting", "tcp/5432"))?;
    let (dev, accounting) = (&lab.office.dev, &lab.office.accounting);
    lab.office.know_each_other()?;
    let _server = accounting.serves_tcp(5432)?;
    let mut sessions =
        accounting.both().map(|to| dev.connects(to, 5432)).into_iter().collect::<Result<Vec<Session>, _>>()?;
    let watch = Watch::new(&accounting.net, &["ip saddr 10.40.0.7", "ip6 saddr fd00:40::7"])?;
    let attacker = Port::open(&lab.office.guest.net, "eth0")?;
    let before = lab.metrics()?;
    let datagram = |v4: bool| {
        let ends = if v4 { ("10.40.0.7", "10.20.0.10") } else { ("fd00:40::7", "fd00:20::10") };
        udp(4000, 53).between(ends.0, ends.1).data(b"smuggled in pieces: a datagram of three fragments or more")
    };
    // Firsts and rests by turns, in both families, no two of one datagram.
    let frame =
        |number: u32| datagram(number.is_multiple_of(2)).fragments(number, 24)[usize::from(number % 4 > 1)].clone();
    let mut taken = 0;
    let (well, badly) = meanwhile(
        || taken = flood(&attacker, MILLION, frame),
        || sessions.iter_mut().all(|session| session.says("still here\n").is_ok()),
    );
    assert!(taken > MILLION / 100 * 99, "{taken} frames were sent");
    assert!(well > 20 && badly == 0, "{well} exchanges went well, {badly} did not");
    assert_eq!(watch.leaked()?, 0, "pieces that came through");
    let counted = lab.metrics()?.since(&before);
    let drops = |reason| counted.count("segd_drops_total", &[("from_zone", "guest"), ("reason", reason)]);
    let by_reason = (drops("no-rule"), drops("no-connection"));
    assert_eq!(by_reason.0 + by_reason.1, u64::from(taken), "each is counted once: {by_reason:?}");
    assert!(by_reason.0.abs_diff(by_reason.1) < 10, "firsts are asked about, rests belong to nothing: {by_reason:?}");
    Ok(())
}

#[test]
fn d11_d12_a_million_half_open_connections_take_no_place_of_those_that_live_and_no_memory() -> Result<()> {
    needs_root!();
    let zones =
        Zones::new().rule("web", "internet", "accounting", "tcp/443").rule("ledger", "dev", "accounting", "tcp/5432");
    let lab = Lab::enforcing(zones)?;
    let (dev, accounting, internet) = (&lab.office.dev, &lab.office.accounting, &lab.office.internet);
    lab.office.know_each_other()?;
    let _servers = [accounting.serves_tcp(5432)?, accounting.serves_tcp(443)?];
    let mut idle = Vec::new();
    for to in accounting.both() {
        for _ in 0..50 {
            idle.push(dev.connects(to, 5432)?);
        }
        idle.push(internet.connects(to, 443)?);
    }
    for session in &mut idle {
        session.says("open\n")?;
    }
    let mut talking = dev.connects(accounting.v4(), 5432)?;
    let watch = Watch::new(&accounting.net, &["tcp dport 5433"])?;
    let attacker = Port::open(&internet.net, "eth0")?;
    let before = resident(&lab)?;

    // Every source is another one, of both families; every tenth asks for what nobody allows.
    let frame = |number: u32| {
        let port = if number.is_multiple_of(10) { 5433 } else { 443 };
        let (src, dst): (IpAddr, IpAddr) = if number % 4 == 3 {
            let src = Ipv6Addr::from(0x2001_0db8_ffff_u128 << 80 | u128::from(number));
            (src.into(), accounting.v6())
        } else {
            (Ipv4Addr::from(0x0b00_0000 + number).into(), accounting.v4())
        };
        tcp(20_000 + (number % 40_000) as u16, port).syn().between(src, dst).frame()
    };
    let mut taken = 0;
    let (well, badly) = meanwhile(|| taken = flood(&attacker, MILLION, frame), || talking.says("still here\n").is_ok());
    assert!(taken > MILLION / 100 * 99, "{taken} frames were sent");
    assert!(well > 20 && badly == 0, "{well} exchanges went well, {badly} did not");
    for (number, session) in idle.iter_mut().enumerate() {
        session.says("still open\n").with_context(|| format!("the idle session {number}"))?;
    }
    assert_eq!(watch.leaked()?, 0, "forbidden ones that came through");
    // The server has answered many of those: what it did for nobody takes no room from others.
    for to in accounting.both() {
        for _ in 0..20 {
            dev.connects(to, 5432)?.says("new\n").context("a new connection after the flood")?;
        }
    }

    let metrics = lab.metrics()?;
    let drops = metrics.count("segd_drops_total", &[("from_zone", "internet"), ("reason", "no-rule")]);
    let asked = u64::from(MILLION / 10);
    assert!((asked / 100 * 99..=asked).contains(&drops), "{drops} forbidden ones were dropped");
    let entries = metrics.sum("segd_conntrack_entries", &[("table", "half_open")]);
    let room = metrics.sum("segd_conntrack_capacity", &[("table", "half_open")]);
    assert!(entries <= room, "{entries} half-open connections have room for {room}");
    let after = resident(&lab)?;
    assert!(after < before + 32 * 1024, "the daemon grew from {before} to {after} KiB");
    Ok(())
}
