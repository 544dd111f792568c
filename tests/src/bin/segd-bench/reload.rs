//! One rule of a policy changed, by segd and by nftables: the whole policy put in force anew, as people do it from a file, and
//! for nftables also the one element that differs.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use segd_tests::lab::Namespace;

use crate::gateway::nftables::ruleset_anew;
use crate::ground::{Ground, checked};
use crate::measure::{Effort, Series};
use crate::policy::{Shape, Size, with_one_rule_changed, write};

/// What a change took, in milliseconds.
#[derive(Debug)]
pub(crate) struct Reload {
    /// Of which policy.
    pub(crate) size: Size,
    /// From the text to the kernel.
    pub(crate) segd: Series,
    /// `nft -f` of the whole file, in one transaction.
    pub(crate) file: Series,
    /// `nft add element`, and `delete` of the same.
    pub(crate) element: Series,
}

const SIZES: [Size; 2] = [size(1_000, 50, 500), size(10_000, 1_000, 100_000)];
const ROUNDS: usize = 5;

const fn size(prefixes: usize, zones: usize, rules: usize) -> Size {
    // nftables' maps can say it too.
    Size { prefixes, zones, rules, connections: None, shape: Shape::Even }
}

/// Both policies, interleaved.
pub(crate) fn measure_all(programs: &Path, effort: Effort) -> Result<Vec<Reload>> {
    let count = if effort.brief { 1 } else { SIZES.len() };
    SIZES.into_iter().take(count).map(|size| measure(size, programs)).collect()
}

fn measure(size: Size, programs: &Path) -> Result<Reload> {
    eprintln!("changing one of {} rules, by segd and by nftables …", size.rules);
    let policy = write(size);
    let texts = [with_one_rule_changed(&policy.zones)?, policy.zones.clone()];
    let (mut ground, _) = Ground::new(&policy, programs)?;
    let (net, folder) = (Namespace::new("reload")?, tempfile::tempdir()?);
    let mut files = Vec::new();
    for (name, text) in ["changed", "first"].iter().zip(&texts) {
        let file = folder.path().join(name);
        std::fs::write(&file, ruleset_anew(&checked(text)?.0)?)?;
        files.push(file.to_string_lossy().into_owned());
    }
    net.command("nft", &["-f", &files[1]]).context("nftables refused the policy")?;
    let mut reload = Reload { size, segd: Series::default(), file: Series::default(), element: Series::default() };
    for _ in 0..ROUNDS {
        for (text, file) in texts.iter().zip(&files) {
            let published = ground.change(text)?;
            reload.segd.push(ms(published.read + published.compile + published.publish));
            reload.file.push(timed(|| net.command("nft", &["-f", file]))?);
        }
        // Between zones and at a port of which no rule speaks.
        let element = "{ 4 . 5 . tcp . 79 : accept }";
        for verb in ["add", "delete"] {
            let words = [verb, "element", "ip", "bench", "verdict", element];
            reload.element.push(timed(|| net.command("nft", &words))?);
        }
    }
    Ok(reload)
}

fn timed(work: impl FnOnce() -> Result<String>) -> Result<f64> {
    let began = Instant::now();
    work()?;
    Ok(ms(began.elapsed()))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
