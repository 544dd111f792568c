//! Every kept case of the fuzzers, and every seed, through the functions that libFuzzer drives. `api` is played where its
//! engine is, in `segd`.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use segd_tests::fuzz::{TARGETS, run, seeds};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The kept cases of a target, by name.
fn kept(target: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = folder().join(target);
    let mut kept = Vec::new();
    // A target of which nothing was kept yet has no folder.
    if !folder.exists() {
        return Ok(kept);
    }
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        kept.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    Ok(kept)
}

#[test]
fn every_kept_case_and_every_seed_holds() -> Result<()> {
    for target in TARGETS {
        let kept = kept(target.name)?;
        let seeds = seeds(target.name);
        assert!(kept.len() + seeds.len() >= 4, "{} is hardly played", target.name);
        for (name, bytes) in kept {
            println!("{}/{name}", target.name);
            run(target.name, &bytes);
        }
        for (number, seed) in seeds.iter().enumerate() {
            println!("{}, seed {number}", target.name);
            run(target.name, seed);
        }
    }
    Ok(())
}

/// Every byte of the seeds in turn: a parser that reads beyond a frame would be noticed here.
#[test]
fn every_frame_holds_cut_short_and_with_each_of_its_first_bytes_changed() {
    for frame in seeds("parser") {
        for end in 0..frame.len().min(120) {
            run("parser", &frame[..end]);
            for value in [0, 1, 0x45, 0x7f, 0x80, 0xff] {
                let mut changed = frame.clone();
                changed[end] = value;
                run("parser", &changed);
            }
        }
    }
}

#[test]
fn every_kept_case_has_its_story_and_every_story_its_case() -> Result<()> {
    let text = fs::read_to_string(folder().join("stories.txt"))?;
    let mut told = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, story) = line.split_once(": ").with_context(|| format!("no story: {line}"))?;
        assert!(story.len() > 10 && told.insert(name.to_owned()), "{line}");
    }
    let mut there = BTreeSet::new();
    for target in TARGETS.map(|target| target.name).into_iter().chain(["api"]) {
        there.extend(kept(target)?.into_iter().map(|(name, _)| format!("{target}/{name}")));
    }
    assert_eq!(told, there);
    Ok(())
}

#[test]
fn a_name_that_is_no_target_is_no_silent_success() {
    assert!(catch_unwind(|| run("parsers", &[])).is_err());
}
