//! The loaded programs and the independent model agree, frame by frame, on policies and packets of chance.

use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use jiff::Timestamp;
use segd::compile::{Facts, Registry, compile};
use segd::config::{Source, load_sources};
use segd::datapath::{Datapath, Sizes};
use segd_common::reason::Reason;
use segd_tests::lab::Scratch;
use segd_tests::needs_root;
use segd_tests::oracle::{Conserved, Ground, Played, Random, Style, ask, case, conserve, play, policy, shrink};

/// Over all CPUs.
const FRAMES: u64 = 1_000_000;
const STEPS: usize = 6000;

/// Another one each time, unless `SEGD_SEED` names it.
fn seed() -> u64 {
    let told = std::env::var("SEGD_SEED").ok().and_then(|word| word.parse().ok());
    told.unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(1, |since| since.as_micros() as u64)
    })
}

/// Plays every `stride`th case from `first` on. Every frame that went in has to be counted exactly once, under the reasons
/// that the model gave: this is checked frame by frame, and over all of them at the end.
fn share(seed: u64, first: u64, stride: u64, frames: u64) -> Result<Played> {
    let mut ground = Ground::new()?;
    let mut played = Played::default();
    let mut number = first;
    while played.frames < frames {
        let style = Style { steps: STEPS, tc: number % 4 == 3 };
        let case = case(&mut Random::new(seed, number), style);
        if let Some(difference) = play(&mut ground, &case, &mut played)? {
            let (small, difference) = shrink(&mut ground, &case, &difference);
            return Err(anyhow!(
                "case {number} of seed {seed} differs:\n{small}{difference}\nagain: cargo xtask differential --seed {seed} --case {number}"
            ));
        }
        number += stride;
    }
    let counted: u64 = ground.packets()?.iter().sum();
    ensure!(
        counted + played.forwarded == played.frames,
        "{} frames went in, {} of them passed their second hook, and {counted} were counted",
        played.frames,
        played.forwarded
    );
    Ok(played)
}

#[test]
fn a_million_frames_get_from_the_kernel_what_the_model_says() -> Result<()> {
    needs_root!();
    let seed = seed();
    println!("seed {seed}");
    let cpus = thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    let shares: Vec<_> =
        (0..cpus).map(|first| thread::spawn(move || share(seed, first, cpus, FRAMES.div_ceil(cpus)))).collect();
    let mut all = Played::default();
    for share in shares {
        all.add(&share.join().map_err(|_| anyhow!("a share panicked; seed {seed}"))??);
    }
    assert!(all.frames >= FRAMES);
    // A comparison that never sees a reason says nothing of it.
    let never = [Reason::Quarantined, Reason::TableFull];
    for reason in Reason::ALL {
        let times = all.reasons[reason as usize];
        assert_eq!(times == 0, never.contains(&reason), "{times} frames of seed {seed} were {}", reason.name());
    }
    assert!(all.passed * 10 > all.frames, "too few of the frames pass: {} of {}", all.passed, all.frames);
    assert!(all.forgotten * 1000 < all.frames, "{} datagrams were forgotten", all.forgotten);
    Ok(())
}

/// Through each hook.
const CONSERVED: u64 = 10_000;

#[test]
fn what_goes_into_a_hook_comes_out_of_its_counters() -> Result<()> {
    needs_root!();
    let seed = seed();
    println!("seed {seed}");
    let mut ground = Ground::new()?;
    let mut all = Conserved::default();
    for number in 0.. {
        let case = case(&mut Random::new(seed, number), Style { steps: STEPS, tc: number % 2 == 1 });
        if let Some(lost) = conserve(&mut ground, &case, &mut all)? {
            panic!("case {number} of seed {seed}: {lost}");
        }
        if all.0.iter().all(|flow| flow.frames >= CONSERVED) {
            break;
        }
    }
    let too_few = all.0.iter().any(|flow| flow.passed * 20 < flow.frames);
    assert!(!too_few, "where hardly anything passes, little is proven:\n{all}");
    Ok(())
}

/// Policies that questions are put to, and how many to each.
const POLICIES: u64 = 100;
const QUESTIONS: u64 = 500;

#[test]
fn what_is_explained_is_what_the_kernel_does() -> Result<()> {
    needs_root!();
    let seed = seed();
    println!("seed {seed}");
    let mut ground = Ground::new()?;
    for number in 0..POLICIES {
        let mut random = Random::new(seed, number);
        let policy = policy(&mut random);
        ground.publish(&policy)?;
        if let Some(other) = ask(&mut ground, &mut random, &policy, QUESTIONS)? {
            panic!("policy {number} of seed {seed}: {other}");
        }
    }
    Ok(())
}

/// Each has pages that no other one has, and the map has room for a few of them.
#[test]
fn policies_come_and_go_and_their_pages_with_them() -> Result<()> {
    needs_root!();
    let scratch = Scratch::new()?;
    let sizes = Sizes { zones: 16, rules: 32, pages: 256, buckets: 1 << 10, connections: 1 << 12, half_open: 1 << 12 };
    let mut datapath = Datapath::open(&scratch.bpffs().join("segd"), &sizes)?;
    let mut registry = Registry::default();
    for number in 0..250 {
        let networks: Vec<String> =
            (0..40).map(|third| format!("10.{number}.{third}.{}/32", number + third % 3)).collect();
        let text = format!("version: 1\nzones:\n  a: {{ networks: [{}] }}\n", networks.join(", "));
        let loaded = load_sources(vec![Source { name: "zones.yaml".to_owned(), text }])
            .map_err(|faults| anyhow!("{}", faults.render(false)))?;
        let facts = Facts {
            host: Vec::new(),
            interfaces: Vec::new(),
            cuts: Vec::new(),
            now: Timestamp::now(),
            clock: datapath.clock(),
        };
        let image = compile(&loaded.policy, &facts, &mut registry)?;
        assert!(image.page_count() > 10, "{} pages are too few to say anything", image.page_count());
        datapath.publish(&image).with_context(|| format!("policy {number}"))?;
    }
    Ok(())
}
