//! What `cargo xtask soak` plays for hours, a dozen rounds of each: nothing forbidden passes, and what is allowed goes on.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use segd_tests::lab::Lab;
use segd_tests::needs_root;
use segd_tests::soak::{Figures, Ground, hotplug, kills, lockouts, plug_in, restarts, swaps, upgrades};

/// One flood at a time: two would share the machine, and neither would be one.
static ALONE: Mutex<()> = Mutex::new(());

/// Another one each time, unless `SEGD_SEED` names it.
fn seed() -> u64 {
    let told = std::env::var("SEGD_SEED").ok().and_then(|word| word.parse().ok());
    let seed = told.unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(1, |since| since.as_micros() as u64)
    });
    println!("seed {seed}");
    seed
}

/// Plays so many rounds of a scenario, and looks at what every one has to give.
fn plays(name: &str, rounds: u64, scenario: impl FnOnce(&mut dyn FnMut(u64)) -> Result<Figures>) -> Result<Figures> {
    let mut told = 0;
    let figures = scenario(&mut |round| told = round)?;
    println!("{name}: {figures}");
    assert_eq!(figures.leaked, 0, "{name}: {figures}");
    assert_eq!((figures.rounds, told), (rounds, rounds), "{name}: {figures}");
    assert!(figures.rate() > 50_000, "{name}: that is no load: {figures}");
    assert!(figures.datagrams.sent > 100 && figures.session.sent > 100, "{name}: nobody talked: {figures}");
    // No change of the product loses any; a machine that is busy with something else may.
    assert!(figures.datagrams.lost * 100 < figures.datagrams.sent, "{name}: allowed ones were lost: {figures}");
    Ok(figures)
}

#[test]
fn nothing_forbidden_passes_whatever_comes_over_a_daemon_and_what_is_allowed_goes_on() -> Result<()> {
    needs_root!();
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (seed, mut ground) = (seed(), Ground::new()?);
    plays("swaps", 12, |progress| swaps(&mut ground, 12, progress))?;
    let hotplugged = plays("hotplug", 12, |progress| hotplug(&mut ground, 12, progress))?;
    assert!(hotplugged.sent > 1000, "those that appeared have sent: {hotplugged}");
    plays("restarts", 2, |progress| restarts(&mut ground, 2, seed, progress))?;
    plays("upgrades", 2, |progress| upgrades(&mut ground, 2, seed, None, progress))?;
    plays("kills", 6, |progress| kills(&mut ground, 6, seed, progress))?;
    Ok(())
}

/// What all of these assert would hold on a ground that counts nothing.
#[test]
fn a_moment_without_programs_is_counted_as_a_leak() -> Result<()> {
    needs_root!();
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ground = Ground::new()?;
    let figures = ground.under_load(
        3,
        |lab, number| {
            thread::sleep(Duration::from_millis(50));
            if number == 1 {
                lab.daemon.terminate()?;
                ensure!(lab.daemon.unload(&lab.office.gateway)?.status.success(), "it does not unload");
                lab.start()?;
            }
            Ok(0)
        },
        &mut |_| {},
    )?;
    assert!(figures.leaked > 100, "{figures}");
    assert_eq!(figures.rounds, 2, "it ends with the round that leaked: {figures}");
    Ok(())
}

/// An interface is open from its first moment until it is guarded, if nothing closes it until then.
#[test]
fn an_interface_that_appears_without_the_fallback_is_counted_as_a_leak() -> Result<()> {
    needs_root!();
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let without = |lab: &mut Lab, number| {
        lab.office.gateway.nft("flush ruleset")?;
        plug_in(lab, number)
    };
    let figures = Ground::new()?.under_load(30, without, &mut |_| {})?;
    println!("{figures}");
    assert!(figures.leaked > 0, "{figures}");
    Ok(())
}

#[test]
fn whoever_locks_itself_out_by_ssh_is_back_in_time_with_segd_dead_too() -> Result<()> {
    needs_root!();
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let all = lockouts(6, seed(), &mut |_| {})?;
    println!("{all}");
    assert_eq!((all.rounds, all.killed), (6, 3), "{all}");
    assert!(all.longest_closed > Duration::from_secs(1), "nobody was locked out: {all}");
    Ok(())
}
