//! Compares the loaded programs with the model, for as long as it is told to. Started by `cargo xtask differential`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use segd_tests::oracle::{Conserved, Ground, Played, Random, Style, ask, case, conserve, play, policy, shrink};

/// Frames of one case, about.
const STEPS: usize = 6000;

/// Questions about one policy.
const QUESTIONS: u64 = 2000;

/// What it is told.
struct Told {
    packets: u64,
    questions: u64,
    conserve: u64,
    seed: u64,
    only: Option<u64>,
}

fn main() -> Result<ExitCode> {
    let told = read_words(std::env::args().skip(1))?;
    println!("seed {}: {} packets, {} questions", told.seed, HumanCount(told.packets), HumanCount(told.questions));
    let mut ground = Ground::new()?;
    let agree = compare_packets(&mut ground, &told)?
        && compare_answers(&mut ground, &told)?
        && count_frames(&mut ground, &told)?;
    Ok(if agree { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn bar(length: u64, what: &str) -> Result<ProgressBar> {
    let progress = ProgressBar::new(length);
    let form = format!("{{wide_bar}} {{human_pos}} of {{human_len}} {what}, {{per_sec}}, {{eta}} left");
    progress.set_style(ProgressStyle::with_template(&form)?);
    Ok(progress)
}

/// Whether the programs and the model agree on every frame.
fn compare_packets(ground: &mut Ground, told: &Told) -> Result<bool> {
    if told.packets == 0 {
        return Ok(true);
    }
    let progress = bar(told.packets, "packets")?;
    let began = Instant::now();
    let mut played = Played::default();
    let mut agree = true;
    for number in told.only.unwrap_or(0).. {
        let style = Style { steps: STEPS, tc: number % 4 == 3 };
        let case = case(&mut Random::new(told.seed, number), style);
        if let Some(difference) = play(ground, &case, &mut played)? {
            agree = false;
            progress.suspend(|| println!("case {number} differs:\n{difference}\nmaking it smaller …"));
            let (case, difference) = shrink(ground, &case, &difference);
            progress.suspend(|| println!("\n{case}{difference}\n"));
            println!("again: cargo xtask differential --seed {} --case {number}", told.seed);
        }
        progress.set_position(played.frames);
        if !agree || told.only.is_some() || played.frames >= told.packets {
            break;
        }
    }
    progress.finish_and_clear();
    report(&played, began.elapsed());
    Ok(agree)
}

/// Whether what the daemon explains is what the programs do.
fn compare_answers(ground: &mut Ground, told: &Told) -> Result<bool> {
    let questions = if told.only.is_some() { 0 } else { told.questions };
    let progress = bar(questions, "questions")?;
    for number in 0..questions.div_ceil(QUESTIONS) {
        let mut random = Random::new(told.seed, number);
        let policy = policy(&mut random);
        ground.publish(&policy)?;
        if let Some(other) = ask(ground, &mut random, &policy, QUESTIONS)? {
            progress.finish_and_clear();
            println!("policy {number} of seed {}: {other}", told.seed);
            return Ok(false);
        }
        progress.inc(QUESTIONS);
    }
    progress.finish_and_clear();
    println!("{} questions were answered as the kernel does", HumanCount(questions));
    Ok(true)
}

/// Whether every frame and byte that goes into a hook comes out of its counters.
fn count_frames(ground: &mut Ground, told: &Told) -> Result<bool> {
    if told.conserve == 0 {
        return Ok(true);
    }
    let progress = bar(told.conserve, "frames")?;
    let began = Instant::now();
    let mut all = Conserved::default();
    for number in told.only.unwrap_or(0).. {
        let case = case(&mut Random::new(told.seed, number), Style { steps: STEPS, tc: number % 2 == 1 });
        let lost = conserve(ground, &case, &mut all)?;
        progress.set_position(all.frames());
        if let Some(lost) = lost {
            progress.finish_and_clear();
            println!("case {number} of seed {}: {lost}", told.seed);
            println!("again: cargo xtask differential --seed {} --case {number} --conserve 1", told.seed);
            return Ok(false);
        }
        if told.only.is_some() || all.frames() >= told.conserve {
            break;
        }
    }
    progress.finish_and_clear();
    let secs = began.elapsed().as_secs();
    println!("{} frames were counted in {secs} s, each once, with its bytes:\n{all}", HumanCount(all.frames()));
    Ok(true)
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
}

fn read_words(mut words: impl Iterator<Item = String>) -> Result<Told> {
    let mut told = Told { packets: 1_000_000, questions: 1_000_000, conserve: 0, seed: rand_seed(), only: None };
    while let Some(word) = words.next() {
        let number = || -> Result<u64> {
            let number = words.next().with_context(|| format!("{word} needs a number"))?;
            number.replace('_', "").parse().with_context(|| format!("{number} is no number"))
        };
        let mut number = number;
        match word.as_str() {
            "--packets" => told.packets = number()?,
            "--questions" => told.questions = number()?,
            "--conserve" => told.conserve = number()?,
            "--seed" => told.seed = number()?,
            "--case" => told.only = Some(number()?),
            other => anyhow::bail!(
                "segd-differential takes --packets, --questions, --conserve, --seed and --case, not {other}"
            ),
        }
    }
    Ok(told)
}

fn rand_seed() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |since| since.as_micros() as u64)
}
