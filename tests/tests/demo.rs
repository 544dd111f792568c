//! The demo is what the README shows first, so it is a test too.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use segd_tests::needs_root;

#[test]
fn the_demo_holds_what_it_shows_in_under_a_minute_at_80_columns() -> Result<()> {
    needs_root!();
    let started = Instant::now();
    let out = Command::new(env!("CARGO_BIN_EXE_segd-demo")).output()?;
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}\n{}", String::from_utf8_lossy(&out.stderr));
    assert!(started.elapsed() < Duration::from_mins(1));
    let wide: Vec<_> = said.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:#?}");
    Ok(())
}
