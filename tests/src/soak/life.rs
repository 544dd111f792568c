//! What may come over a daemon while it enforces: other policies, restarts, kills, interfaces that appear.

use anyhow::Result;

use super::figures::Figures;
use super::ground::Ground;

/// Another policy each time, by a reload.
pub fn swaps(rounds: u64, progress: &mut dyn FnMut(u64)) -> Result<Figures> {
    let mut ground = Ground::new()?;
    let swap = |lab: &mut crate::lab::Lab, number: u64| lab.reload(Ground::policy(number + 1));
    ground.under_load(rounds, swap, progress)
}
