//! Plays captures at a guarded machine and at one without a guard. Started by `cargo xtask delivery`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use segd_tests::delivery::{Capture, Effort, Ground, Hook, Report, keep, play, read_folder};

/// What it is told.
struct Told {
    captures: PathBuf,
    effort: Effort,
    hooks: Vec<Hook>,
    keep: PathBuf,
}

fn main() -> Result<ExitCode> {
    let told = read_words(std::env::args().skip(1))?;
    let captures = read_folder(&told.captures)?;
    ensure!(
        !captures.is_empty(),
        "there is no capture below {}: name a folder with .pcap, .pcapng or .cap files",
        told.captures.display()
    );
    for capture in &captures {
        show(capture);
    }
    let frames: usize = captures.iter().map(|capture| capture.frames.len()).sum();
    ensure!(frames > 0, "none of these captures has a frame that can be sent");
    println!("seed {}: {} mutants of each frame, and every truncation", told.effort.seed, told.effort.mutants);
    let mut bypasses = Vec::new();
    for hook in &told.hooks {
        let report = played(*hook, &captures, told.effort, frames as u64)?;
        bypasses.extend(report.bypasses);
    }
    if bypasses.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for bypass in &bypasses {
        print!("\n{}", bypass.told());
    }
    keep(&bypasses, &told.keep)?;
    println!(
        "\n{} forbidden packets were delivered; their frames are in {}\nagain: cargo xtask delivery --captures {} --mutants {} --seed {}",
        bypasses.len(),
        told.keep.display(),
        told.captures.display(),
        told.effort.mutants,
        told.effort.seed
    );
    Ok(ExitCode::FAILURE)
}

fn show(capture: &Capture) {
    let Capture { name, frames, skipped, fault } = capture;
    let skipped = if *skipped > 0 { format!(", {skipped} of an unknown link type") } else { String::new() };
    let fault = fault.as_ref().map(|fault| format!("; read as far as it goes: {fault}")).unwrap_or_default();
    println!("{name}: {} frames{skipped}{fault}", frames.len());
}

fn played(hook: Hook, captures: &[Capture], effort: Effort, frames: u64) -> Result<Report> {
    let mut ground = Ground::new(hook, false)?;
    let progress = ProgressBar::new(frames);
    progress.set_style(ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} frames, {eta} left")?);
    progress.enable_steady_tick(Duration::from_millis(500));
    let (mut report, began) = (Report::default(), Instant::now());
    for capture in captures {
        play(&mut ground, capture, effort, &mut report, &progress)?;
    }
    progress.finish_and_clear();
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    println!(
        "{}: {} frames were sent in {} s, {} a second; without a guard {} packets were delivered, with it {}; forbidden ones among \
         these: {}; allowed datagrams that only the other got: {}",
        hook.name(),
        HumanCount(report.sent),
        millis / 1000,
        HumanCount(report.sent * 1000 / millis),
        HumanCount(report.unfiltered),
        HumanCount(report.filtered),
        report.bypasses.len(),
        HumanCount(report.lost),
    );
    Ok(report)
}

fn read_words(mut words: impl Iterator<Item = String>) -> Result<Told> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = since.map_or(1, |since| since.as_micros() as u64);
    let mut told = Told {
        captures: PathBuf::new(),
        effort: Effort { mutants: 200, seed },
        hooks: Hook::ALL.to_vec(),
        keep: "bypasses.pcap".into(),
    };
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        let number = || value.replace('_', "").parse::<u64>().with_context(|| format!("{value} is no number"));
        match word.as_str() {
            "--captures" => told.captures = value.into(),
            "--mutants" => told.effort.mutants = u32::try_from(number()?).context("so many mutants take for ever")?,
            "--seed" => told.effort.seed = number()?,
            "--keep" => told.keep = value.into(),
            "--hook" => {
                let known = Hook::ALL.into_iter().find(|hook| hook.name() == value);
                told.hooks = vec![known.with_context(|| format!("{value} is no hook: tc, xdp or xdp-generic"))?];
            }
            other => bail!("segd-delivery takes --captures, --mutants, --seed, --hook and --keep, not {other}"),
        }
    }
    Ok(told)
}
