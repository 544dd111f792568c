//! Builds the fuzz targets with libFuzzer and drives them, one after the other. Works with the stable toolchain: the
//! compiler's own coverage is all that libFuzzer needs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::command::{cargo, root, run, target_dir};

/// Every target, with the longest input that is tried, in bytes.
const TARGETS: [(&str, u32); 5] = [("parser", 700), ("flows", 1024), ("loader", 8192), ("api", 4096), ("state", 65536)];

/// Of the targets' own workspace.
const MANIFEST: &str = "fuzz/Cargo.toml";

/// What LLVM's sanitizer coverage has to lay down for libFuzzer: counters at edges, their places, and what is compared.
const COVERAGE: &str = "--cfg=fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// What a person asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this one: parser, flows, loader, api or state; all of them otherwise
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Minutes for each
    #[arg(long, value_name = "N", default_value = "5")]
    minutes: u32,
    /// Draw the same series again
    #[arg(long, default_value = "0")]
    seed: u32,
}

/// Drives them; whatever is found is named with the way to keep it, and is a failure.
pub(crate) fn run_fuzz(options: &Options) -> Result<()> {
    let known = |(name, _): &&(&str, u32)| options.target.as_deref().is_none_or(|wanted| wanted == *name);
    let targets: Vec<&(&str, u32)> = TARGETS.iter().filter(known).collect();
    ensure!(!targets.is_empty(), "there is no such target; there are {}", TARGETS.map(|(name, _)| name).join(", "));
    let built = build()?;
    run(&mut cargo(&["build", "--quiet", "--locked", "-p", "segd-tests", "--bin", "segd-fuzz-seeds"]))?;
    let mut found = Vec::new();
    let mut sums = Vec::new();
    for (name, longest) in targets {
        let sum = drive(&built.join(name), name, *longest, options)?;
        if let Some(case) = &sum.case {
            found.push(format!("{name}: {}", case.display()));
        }
        sums.push((*name, sum));
    }
    println!("\n{:<8} {:>14} {:>8} {:>8} {:>8}", "target", "inputs", "edges", "corpus", "MiB");
    for (name, sum) in &sums {
        println!("{name:<8} {:>14} {:>8} {:>8} {:>8}", HumanCount(sum.runs), sum.edges, sum.corpus, sum.mebibytes);
    }
    if found.is_empty() {
        return Ok(());
    }
    bail!(
        "found:\n  {}\nput the file into tests/fuzz/TARGET/ under a name that says what it is, with a line in \
         tests/fuzz/stories.txt; `cargo test -p segd-tests --test fuzz` plays it from then on",
        found.join("\n  ")
    )
}

/// Fails if the fuzz targets, a workspace of their own, pin other libraries than their manifests ask for.
pub(crate) fn check_lock() -> Result<()> {
    let mut resolve = cargo(&["metadata", "--quiet", "--locked", "--format-version", "1", "--manifest-path", MANIFEST]);
    run(resolve.stdout(Stdio::null()))
        .context("a dependency changed: `cargo update --workspace --manifest-path fuzz/Cargo.toml`")
}

/// The folder of the programs.
fn build() -> Result<PathBuf> {
    let host = host()?;
    let target = target_dir().join("fuzz");
    // Build scripts and macros run here too, without libFuzzer: a named target keeps the coverage out of them. And no target
    // loads a kernel program.
    let mut command = cargo(&["build", "--locked", "--release", "--manifest-path", MANIFEST, "--bins"]);
    command.args(["--target", &host]).arg("--target-dir").arg(&target);
    command.env("RUSTFLAGS", COVERAGE).env("SEGD_EBPF_OBJECT_FILE", "/dev/null");
    run(&mut command).context("could not build the fuzz targets; libFuzzer needs a C++ compiler, Debian's g++")?;
    Ok(target.join(host).join("release"))
}

fn host() -> Result<String> {
    let said = Command::new("rustc").arg("-vV").output().context("could not run rustc")?;
    let said = String::from_utf8(said.stdout)?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    Ok(host.to_owned())
}

/// What a target did.
#[derive(Debug, Default)]
struct Sum {
    runs: u64,
    edges: u64,
    corpus: u64,
    mebibytes: u64,
    /// The input that it failed over.
    case: Option<PathBuf>,
}

impl Sum {
    /// Takes over what a line of libFuzzer's says: `#8192 pulse cov: 512 ft: 900 corp: 77/3Kb … exec/s: 4096 rss: 60Mb`.
    fn note(&mut self, line: &str) {
        let mut words = line.split_whitespace().peekable();
        let Some(runs) = words.next().and_then(|word| word.strip_prefix('#')?.parse().ok()) else { return };
        self.runs = runs;
        while let Some(word) = words.next() {
            let digits = |text: &&str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
            let value = words.peek().map(digits).and_then(|digits| digits.parse().ok());
            match (word, value) {
                ("cov:", Some(value)) => self.edges = value,
                ("corp:", Some(value)) => self.corpus = value,
                ("rss:", Some(value)) => self.mebibytes = value,
                _ => {}
            }
        }
    }
}

fn drive(program: &Path, name: &str, longest: u32, options: &Options) -> Result<Sum> {
    let home = target_dir().join("fuzz-corpus").join(name);
    let [corpus, seeds, found] = ["corpus", "seeds", "found"].map(|folder| home.join(folder));
    for folder in [&corpus, &seeds, &found] {
        fs::create_dir_all(folder).with_context(|| format!("could not make {}", folder.display()))?;
    }
    let mut write_seeds = cargo(&["run", "--quiet", "--locked", "-p", "segd-tests", "--bin", "segd-fuzz-seeds", "--"]);
    run(write_seeds.arg(name).arg(&seeds))?;
    let seconds = u64::from(options.minutes) * 60;
    let mut command = Command::new(program);
    command.arg(&corpus).arg(&seeds);
    // Only of a target that failed once are there cases.
    let kept = root().join("tests/fuzz").join(name);
    if kept.is_dir() {
        command.arg(kept);
    }
    command.args([
        format!("-max_total_time={seconds}"),
        format!("-max_len={longest}"),
        format!("-seed={}", options.seed),
    ]);
    command.args(["-timeout=30", "-rss_limit_mb=4096", "-use_value_profile=1"]);
    command.arg(format!("-artifact_prefix={}/", found.display()));
    let words = root().join("tests/fuzz").join(format!("{name}.dict"));
    if words.exists() {
        command.arg(format!("-dict={}", words.display()));
    }
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("could not run libFuzzer")?;
    let said = child.stderr.take().context("libFuzzer has no standard error")?;
    let (sum, last) = listen(name, seconds, said)?;
    let status = child.wait()?;
    if status.success() {
        return Ok(sum);
    }
    eprintln!("{}", last.join("\n"));
    let case = last.iter().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path.into());
    ensure!(case.is_some(), "{name} failed ({status}) over no input");
    Ok(Sum { case, ..sum })
}

/// Reads what libFuzzer says to its end, behind a bar; gives its last words too.
fn listen(name: &str, seconds: u64, said: impl std::io::Read) -> Result<(Sum, Vec<String>)> {
    /// A panic's words, with its backtrace and the input.
    const LAST: usize = 400;
    let progress = ProgressBar::new(seconds);
    progress.set_style(ProgressStyle::with_template("{prefix:8} {wide_bar} {elapsed} {msg}")?);
    progress.set_prefix(name.to_owned());
    progress.enable_steady_tick(Duration::from_secs(1));
    let (mut sum, mut last) = (Sum::default(), Vec::new());
    for line in BufReader::new(said).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        sum.note(&line);
        progress.set_position(progress.elapsed().as_secs().min(seconds));
        progress.set_message(format!("{} inputs, {} edges", HumanCount(sum.runs), sum.edges));
        if last.len() == LAST {
            last.remove(0);
        }
        last.push(line);
    }
    progress.finish_and_clear();
    Ok((sum, last))
}
