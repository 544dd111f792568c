//! Plays mutated zone files one after the other, counts, and makes small what is found.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use anyhow::Result;

use super::judge::{Judge, Judged, Measured};
use super::mutate::mutate;
use super::shrink::shrink;
use super::texts::{Files, valid};
use crate::oracle::Random;

/// What was played.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Sets of files.
    pub cases: u64,
    /// Of them, those that are a policy.
    pub taken: u64,
    /// The most that a load held, and the bytes of its text.
    pub most_held: (usize, usize),
    /// The longest that a load took, and the bytes of its text.
    pub longest: (Duration, usize),
}

impl Tally {
    fn note(&mut self, judged: &Judged, measured: Measured) {
        self.cases += 1;
        self.taken += u64::from(*judged == Judged::Taken);
        self.most_held = self.most_held.max((measured.held_bytes, measured.text_bytes));
        self.longest = self.longest.max((measured.time, measured.text_bytes));
    }
}

/// Files with which the loader does what it must never do.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which case of the seed it was.
    pub number: u64,
    /// What it does.
    pub wrong: String,
    /// As few files, lines and bytes as were found to show it.
    pub files: Files,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "case {}: {}", self.number, self.wrong)?;
        for file in &self.files {
            writeln!(f, "--- {}\n{}", file.name, file.bytes.escape_ascii().to_string().replace("\\n", "\n"))?;
        }
        Ok(())
    }
}

/// The files of one case.
#[must_use]
pub fn drawn(seed: u64, number: u64) -> Files {
    let mut random = Random::new(seed, number);
    let mut files = valid(&mut random);
    mutate(&mut random, &mut files);
    files
}

/// Plays cases up to the first finding. `told` hears of each before it is played, and of
/// nothing in particular while a finding is made small.
///
/// # Errors
/// The files could not be written.
pub fn play(
    judge: &Judge,
    seed: u64,
    numbers: Range<u64>,
    tally: &mut Tally,
    mut told: impl FnMut(Option<u64>),
) -> Result<Option<Finding>> {
    for number in numbers {
        told(Some(number));
        let files = drawn(seed, number);
        let (judged, measured) = judge.judge(&files)?;
        tally.note(&judged, measured);
        if let Judged::Wrong(wrong) = judged {
            let kind = kind_of(&wrong).to_owned();
            let shows = |files: &Files| {
                told(None);
                matches!(judge.judge(files), Ok((Judged::Wrong(other), _)) if kind_of(&other) == kind)
            };
            return Ok(Some(Finding { number, wrong, files: shrink(&files, shows) }));
        }
    }
    Ok(None)
}

/// What is wrong without what it is wrong with: a smaller finding has to be the same one.
fn kind_of(wrong: &str) -> &str {
    wrong.split_once(':').map_or(wrong, |(kind, _)| kind).trim_end_matches(|c: char| c.is_ascii_digit())
}
