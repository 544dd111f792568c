//! Compares the loaded programs with the model, for as long as it is told to. Started by `cargo xtask differential`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use segd_tests::oracle::{Ground, KNOWN, Played, Random, Style, case, play, shrink};

/// Frames of one case, about.
const STEPS: usize = 6000;

/// What it is told.
struct Told {
    packets: u64,
    seed: u64,
    only: Option<u64>,
}

fn main() -> Result<ExitCode> {
    let told = read_words(std::env::args().skip(1))?;
    println!("seed {}: {} packets", told.seed, HumanCount(told.packets));
    let progress = ProgressBar::new(told.packets);
    progress.set_style(ProgressStyle::with_template(
        "{wide_bar} {human_pos} of {human_len} packets, {per_sec}, {eta} left",
    )?);
    let began = Instant::now();
    let mut ground = Ground::new()?;
    let mut played = Played::default();
    let mut number = told.only.unwrap_or(0);
    let mut differs = false;
    while played.frames < told.packets && !differs {
        let style = Style { steps: STEPS, tc: number % 4 == 3 };
        let case = case(&mut Random::new(told.seed, number), style);
        if let Some(difference) = play(&mut ground, &case, &mut played)? {
            differs = true;
            progress.suspend(|| println!("case {number} differs:\n{difference}\nmaking it smaller …"));
            let (case, difference) = shrink(&mut ground, &case, &difference);
            progress.suspend(|| println!("\n{case}{difference}\n"));
            println!("again: cargo xtask differential --seed {} --case {number}", told.seed);
        }
        progress.set_position(played.frames);
        if told.only.is_some() {
            break;
        }
        number += 1;
    }
    progress.finish_and_clear();
    report(&played, began.elapsed());
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn report(played: &Played, took: Duration) {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    println!(
        "{} packets compared in {} s, {} a second; {} passed",
        HumanCount(played.frames),
        took.as_secs(),
        HumanCount(played.frames * 1000 / millis),
        HumanCount(played.passed)
    );
    println!("{} later fragments found their first one forgotten", HumanCount(played.forgotten));
    for (known, count) in KNOWN.iter().zip(played.known) {
        println!("{} times, known: {}", HumanCount(count), known.what);
    }
}

fn read_words(mut words: impl Iterator<Item = String>) -> Result<Told> {
    let mut told = Told { packets: 1_000_000, seed: rand_seed(), only: None };
    while let Some(word) = words.next() {
        let number = || -> Result<u64> {
            let number = words.next().with_context(|| format!("{word} needs a number"))?;
            number.replace('_', "").parse().with_context(|| format!("{number} is no number"))
        };
        let mut number = number;
        match word.as_str() {
            "--packets" => told.packets = number()?,
            "--seed" => told.seed = number()?,
            "--case" => told.only = Some(number()?),
            other => anyhow::bail!("segd-differential takes --packets, --seed and --case, not {other}"),
        }
    }
    Ok(told)
}

fn rand_seed() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |since| since.as_micros() as u64)
}
