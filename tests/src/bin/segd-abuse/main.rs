//! Makes one attempt of the table of abuses, as whoever runs it, and prints how it ended; or all that are a captured
//! daemon's, a line for each. The tests start it.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use segd_tests::abuse::{attempt, attempt_all, crowd};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, socket, seconds] = &words[..]
        && verb == "--crowd"
    {
        println!("{} connections", crowd(Path::new(socket), Duration::from_secs(seconds.parse()?)));
        return Ok(());
    }
    match words.split_first() {
        Some((verb, scene)) if verb == "--daemon" => attempt_all(scene),
        _ => attempt(&words),
    }
}
