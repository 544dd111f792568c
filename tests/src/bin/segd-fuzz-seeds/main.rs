//! Writes what a fuzzer begins with into a folder, a file each. Started by `cargo xtask fuzz`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use segd_tests::fuzz::seeds;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [target, folder] = &words[..] else { bail!("segd-fuzz-seeds takes a target and a folder") };
    let folder = Path::new(folder);
    fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    for (number, seed) in seeds(target).into_iter().enumerate() {
        let path = folder.join(format!("seed-{number:03}"));
        fs::write(&path, seed).with_context(|| format!("could not write {}", path.display()))?;
    }
    Ok(())
}
