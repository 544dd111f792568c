//! Builds everything with optimisation and starts the bench, which lives beside the lab. Never a part of the tests: the
//! numbers are only good on a quiet machine.

use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::command::{cargo, root, run, target_dir};
use crate::ebpf_toolchain::Toolchain;
use crate::setup;

/// Measures and writes `BENCHMARKS.md`; `quick` runs less, `only` one part; both only show what they saw.
pub(crate) fn run_bench(quick: bool, only: Option<&str>) -> Result<()> {
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } != 0 {
        bail!(
            "the bench loads kernel programs, and needs root for that: `sudo -E env \"PATH=$PATH\" cargo xtask bench`"
        );
    }
    setup::install_for_bench()?;
    run(&mut cargo(&["build", "--release", "--quiet", "--locked", "-p", "segd", "-p", "segctl"]))?;
    let mut bench =
        cargo(&["run", "--release", "--quiet", "--locked", "-p", "segd-tests", "--bin", "segd-bench", "--"]);
    let toolchain = Toolchain::find().map_err(|missing| anyhow!("this machine lacks {missing}"))?;
    for program in ["segd-bench", "segd-bench-gateway"] {
        let built = toolchain.build_bench(program, &root().join("segd-ebpf"), &target_dir().join("ebpf"));
        bench.arg(built.map_err(|why| anyhow!(why))?);
    }
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
