//! Plays scenarios for long, as often as it is told to. Started by `cargo xtask soak`.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use segd_tests::soak::{Figures, Ground, hotplug, kills, lockouts, restarts, swaps, upgrades};

/// A second that a scenario has to stand, in forbidden packets.
const LOAD: u64 = 100_000;

/// Of so many allowed datagrams one may be lost: receivers have full buffers now and then. A gap costs far more.
const LOST_OF: u64 = 10_000;

/// What it is told: how often each, and by which chance.
#[derive(Debug, Default)]
struct Told {
    swaps: u64,
    restarts: u64,
    kills: u64,
    upgrades: u64,
    hotplug: u64,
    lockouts: u64,
    seed: u64,
    /// A build with other layouts, for upgrades.
    other: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let told = read_words(std::env::args().skip(1))?;
    println!("seed {}", told.seed);
    let good = play(&told)?;
    if !good {
        println!("again: cargo xtask soak --seed {} and the same counts", told.seed);
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Plays everything, and says whether nothing leaked and nothing allowed was lost, under the load that it has to stand. One that goes wrong does not keep the others from being played.
fn play(told: &Told) -> Result<bool> {
    let seed = told.seed;
    let other = || told.other.as_deref().context("--upgrades needs --other, a build with other layouts");
    let mut good = true;
    good &= under_load("swaps", told.swaps, |ground, progress| swaps(ground, told.swaps, progress))?;
    good &= under_load("restarts", told.restarts, |ground, progress| restarts(ground, told.restarts, seed, progress))?;
    good &= under_load("kills", told.kills, |ground, progress| kills(ground, told.kills, seed, progress))?;
    good &= under_load("hotplug", told.hotplug, |ground, progress| hotplug(ground, told.hotplug, progress))?;
    good &= under_load("upgrades", told.upgrades, |ground, progress| {
        upgrades(ground, told.upgrades, seed, Some(other()?), progress)
    })?;
    let back = shown("lockouts", told.lockouts, |progress| lockouts(told.lockouts, seed, progress))?;
    Ok(good && (back.is_some() || told.lockouts == 0))
}

fn under_load(
    name: &'static str,
    rounds: u64,
    scenario: impl FnOnce(&mut Ground, &mut dyn FnMut(u64)) -> Result<Figures>,
) -> Result<bool> {
    let on_its_own = |progress: &mut dyn FnMut(u64)| scenario(&mut Ground::new()?, progress);
    let Some(figures) = shown(name, rounds, on_its_own)? else { return Ok(rounds == 0) };
    let (busy, lost) = (figures.rate() < LOAD, figures.datagrams.lost * LOST_OF > figures.datagrams.sent);
    if busy {
        println!(
            "{name}: nothing is proved: the machine was too busy for {} forbidden packets a second",
            HumanCount(LOAD)
        );
    }
    if lost {
        println!("{name}: more than one in {} of what is allowed was lost", HumanCount(LOST_OF));
    }
    if figures.leaked > 0 {
        println!("{name}: {} forbidden packets came through in round {}", HumanCount(figures.leaked), figures.rounds);
    }
    Ok(figures.leaked == 0 && !busy && !lost)
}

/// Plays one with its progress, and prints what came of it; `None` if nothing did.
fn shown<T: Display>(
    name: &'static str,
    rounds: u64,
    scenario: impl FnOnce(&mut dyn FnMut(u64)) -> Result<T>,
) -> Result<Option<T>> {
    if rounds == 0 {
        return Ok(None);
    }
    let bar = ProgressBar::new(rounds);
    bar.set_style(ProgressStyle::with_template("{prefix} {wide_bar} {human_pos} of {human_len}, {eta} left")?);
    bar.set_prefix(name);
    let came = scenario(&mut |round| bar.set_position(round));
    bar.finish_and_clear();
    match came {
        Ok(came) => {
            println!("{name}: {came}");
            Ok(Some(came))
        }
        Err(why) => {
            println!("{name}: {why:#}");
            Ok(None)
        }
    }
}

fn read_words(mut words: impl Iterator<Item = String>) -> Result<Told> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut told = Told { seed: since.map_or(1, |since| since.as_micros() as u64), ..Told::default() };
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        let number = || value.replace('_', "").parse().with_context(|| format!("{value} is no number"));
        match word.as_str() {
            "--swaps" => told.swaps = number()?,
            "--restarts" => told.restarts = number()?,
            "--kills" => told.kills = number()?,
            "--upgrades" => told.upgrades = number()?,
            "--hotplug" => told.hotplug = number()?,
            "--lockouts" => told.lockouts = number()?,
            "--seed" => told.seed = number()?,
            "--other" => told.other = Some(value.into()),
            other => bail!("segd-soak does not take {other}"),
        }
    }
    Ok(told)
}
