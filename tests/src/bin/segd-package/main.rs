//! Tries the Debian package on a Debian of its own, with systemd as its first process and an office's network around it.
//! Started by `cargo xtask package --check`.

mod abuses;
mod bare;
mod boot;
mod gateway;
mod life;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

/// What it is told.
struct Told {
    /// The package that is tried.
    package: PathBuf,
    /// The same under a higher version.
    next: PathBuf,
    /// The root of a Debian without it.
    base: PathBuf,
    /// `segd-abuse`, which needs no library of that Debian.
    attacker: PathBuf,
    /// A word that a check's name has to have.
    only: Option<String>,
}

/// What has to hold, and how it is seen.
type Check = (&'static str, fn(&Told) -> Result<()>);

fn main() -> Result<ExitCode> {
    let told = read_words(std::env::args().skip(1))?;
    let all: Vec<Check> = [bare::CHECKS, life::CHECKS, boot::CHECKS, abuses::CHECKS].concat();
    let asked: Vec<&Check> =
        all.iter().filter(|(name, _)| told.only.as_ref().is_none_or(|word| name.contains(word.as_str()))).collect();
    ensure!(!asked.is_empty(), "no check has that word in its name");
    let mut failed = 0;
    for (name, check) in &asked {
        let began = Instant::now();
        let outcome = check(&told);
        let took = began.elapsed().as_secs_f32();
        match outcome {
            Ok(()) => println!("ok      {name} ({took:.1} s)"),
            Err(error) => {
                failed += 1;
                println!("FAILED  {name} ({took:.1} s)\n        {}", format!("{error:#}").replace('\n', "\n        "));
            }
        }
    }
    println!("{} passed, {failed} failed", asked.len() - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read_words(mut words: impl Iterator<Item = String>) -> Result<Told> {
    let (mut package, mut next, mut base, mut attacker, mut only) = (None, None, None, None, None);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--package" => package = Some(value.into()),
            "--next" => next = Some(value.into()),
            "--base" => base = Some(value.into()),
            "--attacker" => attacker = Some(value.into()),
            "--only" => only = Some(value),
            other => bail!("segd-package takes --package, --next, --base, --attacker and --only, not {other}"),
        }
    }
    let missing = "--package, --next, --base and --attacker are needed; `cargo xtask package --check` gives them";
    let [package, next, base, attacker] =
        [package, next, base, attacker].map(|path: Option<PathBuf>| path.context(missing));
    Ok(Told { package: package?, next: next?, base: base?, attacker: attacker?, only })
}
