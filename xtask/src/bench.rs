//! Builds everything with optimisation and starts the bench, which lives beside the lab. Never a part of the tests: the
//! numbers are only good on a quiet machine.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::command::{cargo, root, run, target_dir};
use crate::ebpf_toolchain::Toolchain;
use crate::setup;

/// What the packet path has cost, for the guard to compare with.
const RECORD: &str = "tests/bench-costs.json";

/// Measures and writes `BENCHMARKS.md`; `quick` runs less, `only` one part; both only show what they saw.
pub(crate) fn run_bench(quick: bool, only: Option<&str>) -> Result<()> {
    may_load()?;
    setup::install_for_bench()?;
    run(&mut cargo(&["build", "--release", "--quiet", "--locked", "-p", "segd", "-p", "segctl"]))?;
    let mut bench =
        cargo(&["run", "--release", "--quiet", "--locked", "-p", "segd-tests", "--bin", "segd-bench", "--"]);
    bench.args(objects()?);
    if quick {
        bench.arg("--quick");
    }
    bench.args(only);
    if quick || only.is_some() {
        return run(&mut bench);
    }
    let out = bench.stderr(Stdio::inherit()).output().context("could not run the bench")?;
    ensure!(out.status.success(), "the bench failed ({})", out.status);
    let page = root().join("BENCHMARKS.md");
    std::fs::write(&page, &out.stdout).with_context(|| format!("could not write {}", page.display()))?;
    println!("{}", String::from_utf8_lossy(&out.stdout));
    Ok(())
}

/// Fails if the packet path has become slower than it was recorded to be; `record`: what is seen now is the record.
pub(crate) fn guard(record: bool) -> Result<()> {
    may_load()?;
    // What is measured runs in the kernel: how the rest is built makes no difference.
    let mut bench = cargo(&["run", "--quiet", "--locked", "-p", "segd-tests", "--bin", "segd-bench", "--"]);
    bench.args(objects()?).arg(if record { "--record" } else { "--guard" }).arg(root().join(RECORD));
    run(&mut bench)
}

fn may_load() -> Result<()> {
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } != 0 {
        bail!(
            "the bench loads kernel programs, and needs root for that: `sudo -E env \"PATH=$PATH\" cargo xtask bench`"
        );
    }
    Ok(())
}

/// The programs that are measured, and those at a gateway's ends.
fn objects() -> Result<[PathBuf; 2]> {
    let toolchain = Toolchain::find().map_err(|missing| anyhow!("this machine lacks {missing}"))?;
    let build = |program: &str| {
        let built = toolchain.build_bench(program, &root().join("segd-ebpf"), &target_dir().join("ebpf"));
        built.map_err(|why| anyhow!(why))
    };
    Ok([build("segd-bench")?, build("segd-bench-gateway")?])
}
