//! What packing needs beside what building needs: a C compiler and Rust's library for musl, and cargo-deb. Got only when
//! somebody packs.

use std::env::consts::ARCH;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::step;
use crate::ebpf_toolchain::on_path;
use crate::setup;

/// The packer, at the version that was tried.
const CARGO_DEB: &str = "3.8.0";

/// What compiles C for musl, as the flow history's database is, and what packs.
const PROGRAMS: [(&str, &str); 3] = [("musl-gcc", "musl-tools"), ("strip", "binutils"), ("dpkg-deb", "dpkg")];

/// What makes and boots a Debian of its own.
const CHECK_PROGRAMS: [(&str, &str); 2] = [("mmdebstrap", "mmdebstrap"), ("systemd-nspawn", "systemd-container")];

/// What the package's programs are compiled for.
pub(super) fn target() -> String {
    format!("{ARCH}-unknown-linux-musl")
}

/// Gets what is missing for packing.
pub(super) fn install() -> Result<()> {
    setup::install_beside("the package", &PROGRAMS)?;
    if !has_library()? {
        let target = target();
        ensure!(
            on_path("rustup").is_some(),
            "this rustc has no standard library for {target}, which static binaries need, and Debian packs none; get \
             Rust from https://rustup.rs, then `rustup target add {target}`"
        );
        step(&format!("getting Rust's library for {target}"), Command::new("rustup").args(["target", "add", &target]))?;
    }
    if on_path("cargo-deb").is_none() {
        let mut cargo = Command::new("cargo");
        cargo.args(["install", "cargo-deb", "--version", CARGO_DEB, "--locked"]);
        cargo.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_ENCODED_RUSTFLAGS");
        step(&format!("building cargo-deb {CARGO_DEB} (a minute or two)"), &mut cargo)?;
    }
    Ok(())
}

/// Gets what is missing for trying a package.
pub(super) fn install_for_check() -> Result<()> {
    setup::install_beside("a Debian of its own", &CHECK_PROGRAMS)
}

/// Whether the compiler that builds us has a standard library for musl.
fn has_library() -> Result<bool> {
    let target = target();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let out = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", &target])
        .output()
        .context("could not run rustc")?;
    ensure!(out.status.success(), "rustc does not know {target}: {}", String::from_utf8_lossy(&out.stderr).trim());
    let dir = String::from_utf8(out.stdout)?;
    Ok(std::fs::read_dir(Path::new(dir.trim())).is_ok_and(|mut files| files.next().is_some()))
}
