//! Mutated zone files: the loader takes all of them or refuses them with their places, in bounded memory, and never panics.

use std::thread;

use anyhow::{Result, anyhow};
use segd_tests::loader::{Counting, Judge, Judged, Tally, drawn, play};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Sets of files, over all CPUs.
const SETS: u64 = 1000;

/// Another one each time, unless `SEGD_SEED` names it.
fn seed() -> u64 {
    let told = std::env::var("SEGD_SEED").ok().and_then(|word| word.parse().ok());
    told.unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(1, |since| since.as_micros() as u64)
    })
}

#[test]
fn mutated_zone_files_are_taken_whole_or_refused_with_their_places() -> Result<()> {
    let seed = seed();
    println!("seed {seed}");
    let cpus = thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    let share = SETS.div_ceil(cpus);
    let shares: Vec<_> = (0..cpus)
        .map(|cpu| {
            thread::spawn(move || -> Result<Tally> {
                let mut tally = Tally::default();
                let numbers = cpu * share..(cpu + 1) * share;
                match play(&Judge::new()?, seed, numbers, &mut tally, |_| {})? {
                    None => Ok(tally),
                    Some(finding) => {
                        Err(anyhow!("{finding}\nagain: cargo xtask loader --seed {seed} --case {}", finding.number))
                    }
                }
            })
        })
        .collect();
    for tally in shares {
        let tally = tally.join().map_err(|_| anyhow!("a share panicked; seed {seed}"))??;
        assert_eq!(tally.cases, share);
        // Where nothing is taken, or everything, nothing is tried.
        assert!(tally.taken > share / 20 && tally.taken < share * 3 / 4, "{} of {share} were taken", tally.taken);
        assert!(tally.most_held.0 > 0, "nothing was measured");
    }
    Ok(())
}

#[test]
fn the_same_seed_draws_the_same_files() {
    assert_eq!(drawn(7, 11), drawn(7, 11));
    assert_ne!(drawn(7, 11), drawn(8, 11));
}

#[test]
fn a_valid_file_is_taken_and_a_spoiled_one_is_not() -> Result<()> {
    let judge = Judge::new()?;
    let file = |text: &str| {
        let bytes = text.as_bytes().to_vec();
        vec![segd_tests::loader::File { name: "zones.yaml".to_owned(), bytes }]
    };
    let good = "version: 1\nzones:\n  a: { networks: [10.0.0.0/8] }\n";
    let (judged, measured) = judge.judge(&file(good))?;
    assert_eq!(judged, Judged::Taken);
    assert_eq!(measured.text_bytes, good.len());
    assert!((good.len()..4 << 20).contains(&measured.held_bytes), "{measured:?}");
    assert_eq!(judge.judge(&file(&good.replace("/8", "/99")))?.0, Judged::Refused);
    Ok(())
}
