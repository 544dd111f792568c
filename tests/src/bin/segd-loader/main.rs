//! Plays mutated zone files to the loader, for as long as it is told to. Started by `cargo xtask loader`.

use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use segd_tests::loader::{Counting, Finding, Judge, Tally, play};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A load that takes longer hangs.
const HANGS: Duration = Duration::from_mins(2);

/// What it is told.
struct Told {
    files: u64,
    seed: u64,
    only: Option<u64>,
}

fn main() -> Result<ExitCode> {
    let told = read_words(std::env::args().skip(1))?;
    println!("seed {}: {} sets of mutated zone files", told.seed, HumanCount(told.files));
    // A panic is a finding, and is told as one.
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let (tally, finding) = watched(&told)?;
    report(&tally, began.elapsed());
    let Some(finding) = finding else { return Ok(ExitCode::SUCCESS) };
    println!("\n{finding}\nagain: cargo xtask loader --seed {} --case {}", told.seed, finding.number);
    Ok(ExitCode::FAILURE)
}

/// Plays on a thread as small as the daemon's, and watches it from this one.
fn watched(told: &Told) -> Result<(Tally, Option<Finding>)> {
    let numbers = told.only.map_or(0..told.files, |only| only..only + 1);
    let progress = ProgressBar::new(numbers.end - numbers.start);
    progress
        .set_style(ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} sets, {per_sec}, {eta} left")?);
    let judge = Judge::new()?;
    let folder = judge.folder().to_owned();
    println!("should it die, the files that killed it are in {}", folder.display());
    let (tell, heard) = mpsc::channel();
    let seed = told.seed;
    let played = thread::spawn(move || played(&judge, seed, numbers, &tell));
    loop {
        match heard.recv_timeout(HANGS) {
            Ok(number) => progress.inc(u64::from(number.is_some())),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => bail!("a load of {} hangs", folder.display()),
        }
    }
    progress.finish_and_clear();
    played.join().map_err(|_| anyhow!("the harness panicked"))?
}

fn played(
    judge: &Judge,
    seed: u64,
    numbers: std::ops::Range<u64>,
    tell: &Sender<Option<u64>>,
) -> Result<(Tally, Option<Finding>)> {
    let mut tally = Tally::default();
    let finding = play(judge, seed, numbers, &mut tally, |number| {
        // Nobody listens any more once it hangs, and then the program ends.
        let _ = tell.send(number);
    })?;
    Ok((tally, finding))
}

fn report(tally: &Tally, took: Duration) {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = HumanCount(tally.cases * 1000 / millis);
    println!("{} sets in {} s, {rate} a second; {} were taken", HumanCount(tally.cases), took.as_secs(), tally.taken);
    let ((held, text), (longest, of)) = (tally.most_held, tally.longest);
    println!("the most held at a time: {} for {} of text", HumanBytes(held as u64), HumanBytes(text as u64));
    println!("the longest load: {} ms for {} of text", longest.as_millis(), HumanBytes(of as u64));
}

fn read_words(mut words: impl Iterator<Item = String>) -> Result<Told> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut told = Told { files: 100_000, seed: since.map_or(1, |since| since.as_micros() as u64), only: None };
    while let Some(word) = words.next() {
        let number = words.next().with_context(|| format!("{word} needs a number"))?;
        let number = number.replace('_', "").parse().with_context(|| format!("{number} is no number"))?;
        match word.as_str() {
            "--files" => told.files = number,
            "--seed" => told.seed = number,
            "--case" => told.only = Some(number),
            other => bail!("segd-loader takes --files, --seed and --case, not {other}"),
        }
    }
    Ok(told)
}
