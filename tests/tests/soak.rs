//! What `cargo xtask soak` plays for hours, a dozen rounds of each: nothing forbidden passes, and what is allowed goes on.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use segd_tests::needs_root;
use segd_tests::soak::{Figures, swaps};

/// One flood at a time: two would share the machine, and neither would be one.
static ALONE: Mutex<()> = Mutex::new(());

/// Plays a scenario, and looks at what every one has to give.
fn plays(scenario: impl FnOnce(&mut dyn FnMut(u64)) -> Result<Figures>) -> Result<Figures> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let figures = scenario(&mut |_| {})?;
    println!("{figures}");
    assert_eq!(figures.leaked, 0, "{figures}");
    assert!(figures.rate() > 50_000, "that is no load: {figures}");
    assert!(figures.datagrams.sent > 100 && figures.session.sent > 100, "nobody talked: {figures}");
    Ok(figures)
}

#[test]
fn policies_change_under_load_and_nothing_forbidden_passes() -> Result<()> {
    needs_root!();
    let figures = plays(|progress| swaps(12, progress))?;
    assert_eq!(figures.rounds, 12);
    Ok(())
}
