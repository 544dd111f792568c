//! A second build of segd that differs from this one in what is pinned: the number of the layouts, and the layouts
//! themselves. It stands for the release before or after this one, in whatever order they follow each other.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};

use crate::command::{step, target_dir};
use crate::copy::Copy;
use crate::ebpf_toolchain::Toolchain;

const VERB: &str = "soak";

/// Behind this stands the number of the layouts.
const ABI: &str = "pub const ABI: u32 = ";

/// What is another there: counters of zone pairs, connections, both tables of what was blocked or cut in pieces.
const LAYOUTS: [(&str, &str, &str); 5] = [
    ("segd-common/src/count.rs", "pub const REASONS: usize = 32;", "pub const REASONS: usize = 64;"),
    (
        "segd-common/src/count.rs",
        "pub const BLOCKED_BUCKETS: u32 = 1 << 14;",
        "pub const BLOCKED_BUCKETS: u32 = 1 << 15;",
    ),
    ("segd-common/src/fragment.rs", "pub const DATAGRAMS: u32 = 8192;", "pub const DATAGRAMS: u32 = 16384;"),
    ("segd-common/src/flow/entry.rs", "#[repr(C, align(64))]", "#[repr(C, align(128))]"),
    ("segd-common/src/flow/entry.rs", "assert!(size_of::<Flow>() == 64)", "assert!(size_of::<Flow>() == 128)"),
];

/// Builds it, and gives its program.
pub(super) fn build() -> Result<PathBuf> {
    let copy = Copy::new(VERB)?;
    change(&copy, "segd-common/src/lib.rs", ABI, "pub const ABI: u32 = 1000 + ")?;
    for (file, from, to) in LAYOUTS {
        change(&copy, file, from, to)?;
    }
    let toolchain = Toolchain::find().map_err(|missing| anyhow!("this machine lacks {missing}"))?;
    let home = target_dir().join(VERB);
    let object =
        toolchain.build(&copy.folder().join("segd-ebpf"), &home.join("ebpf"), false).map_err(|why| anyhow!(why))?;
    let mut cargo = copy.cargo(&["build", "--locked", "-p", "segd"]);
    // Crates that are no part of the workspace are built already, and are the same; the programs are its own.
    cargo.env("CARGO_BUILD_BUILD_DIR", target_dir()).env("SEGD_EBPF_OBJECT_FILE", object);
    step("building segd with other layouts", &mut cargo)?;
    Ok(home.join("target/debug/segd"))
}

fn change(copy: &Copy, file: &str, from: &str, to: &str) -> Result<()> {
    let path = copy.folder().join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    ensure!(
        text.matches(from).count() == 1,
        "{file} does not say '{from}' once: name its layout anew in xtask/src/soak"
    );
    fs::write(&path, text.replace(from, to)).with_context(|| format!("could not write {}", path.display()))
}
