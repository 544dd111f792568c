//! What may come over a daemon while it enforces: other policies, restarts, kills, other builds, interfaces that appear.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use segd_common::ABI;

use super::figures::Figures;
use super::flood::Flood;
use super::ground::{Ground, forbidden};
use crate::lab::{Lab, Port, until};
use crate::oracle::Random;
use crate::packet::udp;

const SOON: Duration = Duration::from_secs(10);
/// A swap takes some tens of milliseconds and a start one or two seconds: a kill within this hits any part of them.
const SWAP_MS: usize = 120;
const START_MS: usize = 2500;
/// Forbidden packets a second by an interface that appears, beside the flood.
const NEWCOMER_RATE: u64 = 40_000;

/// Another policy each time, by a reload.
pub fn swaps(ground: &mut Ground, rounds: u64, progress: &mut dyn FnMut(u64)) -> Result<Figures> {
    ground.under_load(rounds, |lab, number| lab.reload(Ground::policy(number + 1)).map(|()| 0), progress)
}

/// The daemon ends, by its own will or not, and the next one puts its programs in the place of those that are there, with
/// another policy.
pub fn restarts(ground: &mut Ground, rounds: u64, seed: u64, progress: &mut dyn FnMut(u64)) -> Result<Figures> {
    let mut random = Random::new(seed, 1);
    let restart = |lab: &mut Lab, number| {
        if random.percent(50) {
            lab.daemon.kill()?
        } else {
            lab.daemon.terminate()?
        };
        thread::sleep(Duration::from_millis(random.below(200) as u64));
        lab.daemon.write_zones(&Ground::policy(number + 1).to_string())?;
        lab.start()?;
        Ok(0)
    };
    ground.under_load(rounds, restart, progress)
}

/// `kill -9` at a random moment of a swap or of a start. Every fourth policy wants larger or smaller maps.
pub fn kills(ground: &mut Ground, rounds: u64, seed: u64, progress: &mut dyn FnMut(u64)) -> Result<Figures> {
    let mut random = Random::new(seed, 2);
    let kill = |lab: &mut Lab, number| {
        let mut zones = Ground::policy(number + 1).to_string();
        if random.percent(25) {
            zones = zones.replace("connections: 4096", "connections: 40000");
        }
        lab.daemon.write_zones(&zones)?;
        let within = if random.percent(50) {
            if !lab.daemon.runs() {
                lab.start()?;
                lab.daemon.write_zones(&Ground::policy(number).to_string())?;
            }
            lab.daemon.reload()?;
            SWAP_MS
        } else {
            if lab.daemon.runs() {
                lab.daemon.kill()?;
            }
            // Nobody listens any more when it is ready; that ends no daemon.
            drop(lab.daemon.begin(&lab.office.gateway)?);
            START_MS
        };
        thread::sleep(Duration::from_millis(random.below(within) as u64));
        lab.daemon.kill()?;
        Ok(0)
    };
    let figures = ground.under_load(rounds, kill, progress)?;
    ground.lab.start()?;
    is_enforcing(&ground.lab)?;
    Ok(figures)
}

/// One build follows the other: `other` keeps its maps in other layouts under another number, so nothing of its kernel state
/// can be taken over but what is attached. Without it, what the one build left is given the other's number, which comes to
/// the same for whoever finds it.
pub fn upgrades(
    ground: &mut Ground,
    rounds: u64,
    seed: u64,
    other: Option<&Path>,
    progress: &mut dyn FnMut(u64),
) -> Result<Figures> {
    let (mut random, own) = (Random::new(seed, 3), crate::lab::binary("segd")?);
    let upgrade = |lab: &mut Lab, number: u64| {
        let counted = packets(lab)?;
        if random.percent(50) {
            lab.daemon.kill()?
        } else {
            lab.daemon.terminate()?
        };
        match other {
            Some(other) => lab.daemon.becomes(if number.is_multiple_of(2) { other } else { &own }),
            None => fs::rename(lab.daemon.pins().join(format!("maps_{ABI}")), lab.daemon.pins().join("maps_1"))?,
        }
        lab.daemon.write_zones(&Ground::policy(number + 1).to_string())?;
        lab.start()?;
        let sets = sets(lab)?;
        ensure!(sets.len() == 1, "of the build before a set is left that it would take up again: {sets:?}");
        let (before, now) = (counted, packets(lab)?);
        ensure!(now >= before && before > 0.0, "{before} packets were counted, and {now} after the change of builds");
        Ok(0)
    };
    let figures = ground.under_load(rounds, upgrade, progress)?;
    is_enforcing(&ground.lab)?;
    Ok(figures)
}

/// An interface appears, sends what is forbidden, and goes again, each time.
pub fn hotplug(ground: &mut Ground, rounds: u64, progress: &mut dyn FnMut(u64)) -> Result<Figures> {
    ground.under_load(rounds, |lab, number| plug_in(lab, number), progress)
}

/// An interface that appears, and sends what is forbidden from its first moment on, before it is guarded and after. Then it
/// goes again. Gives how many packets it sent.
pub fn plug_in(lab: &Lab, number: u64) -> Result<u64> {
    let (office, name) = (&lab.office, format!("lan{}", 50 + number % 7));
    office.cable(&office.guest, &name, "eth1")?;
    let strange = udp(4000, 5000).between("10.50.0.5", office.accounting.v4()).data(b"new here").frame();
    let frames = [vec![strange], forbidden(&office.guest, &office.accounting)].concat();
    let flood = Flood::start(NEWCOMER_RATE, vec![(Port::open(&office.guest.net, "eth1")?, frames)]);
    let enforced = || lab.metrics().is_ok_and(|now| now.sum("segd_interface_enforced", &[("interface", &name)]) > 0.0);
    ensure!(until(SOON, enforced), "{name} is not guarded; the daemon said:\n{}", lab.daemon.log());
    thread::sleep(Duration::from_millis(30));
    let sent = flood.stop();
    office.gateway.ip(&format!("link del {name}"))?;
    Ok(sent)
}

/// All packets that were counted.
fn packets(lab: &Lab) -> Result<f64> {
    Ok(lab.metrics()?.sum("segd_packets_total", &[]))
}

/// The sets of maps that are pinned.
fn sets(lab: &Lab) -> Result<Vec<String>> {
    let names = fs::read_dir(lab.daemon.pins())?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<Result<Vec<_>>>()?;
    Ok(names.into_iter().filter(|name| name.starts_with("maps_")).collect())
}

/// After all that nothing is amiss.
fn is_enforcing(lab: &Lab) -> Result<()> {
    let enforcing = || lab.daemon.json(&["status"]).is_ok_and(|status| status["state"] == "enforcing");
    ensure!(until(SOON, enforcing), "not enforcing: {}", lab.daemon.ctl(&["status"]).context("and no status")?);
    Ok(())
}
