//! Embeds the kernel programs: puts their object's path into `SEGD_EBPF_OBJECT` and sets `cfg(segd_ebpf)`.
//!
//! On a machine without a BPF tool chain it embeds an empty file and says so, so that `cargo check`, clippy and
//! unit tests work everywhere. It must never install anything.

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[path = "../xtask/src/ebpf_toolchain.rs"]
#[expect(dead_code, reason = "`cargo xtask setup` uses the parts of the shared file that this script does not")]
mod ebpf_toolchain;

use ebpf_toolchain::{Missing, Toolchain};

/// A ready object from a packager or an editor's settings; nothing is built then.
const READY_OBJECT: &str = "SEGD_EBPF_OBJECT_FILE";

fn main() -> ExitCode {
    println!("cargo:rustc-check-cfg=cfg(segd_ebpf)");
    println!("cargo:rerun-if-env-changed={READY_OBJECT}");
    let root = manifest_dir().join("..");
    watch(&root);
    match object(&root) {
        Ok(path) => {
            println!("cargo:rustc-cfg=segd_ebpf");
            println!("cargo:rustc-env=SEGD_EBPF_OBJECT={}", path.display());
            ExitCode::SUCCESS
        }
        Err(NoObject::ToolsMissing(missing)) => {
            embed_nothing(&format!("this machine lacks {missing}; `cargo xtask setup` gets it"))
        }
        Err(NoObject::Failed(why)) => {
            eprintln!("the kernel programs could not be built: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Why there is nothing to embed.
enum NoObject {
    /// The machine cannot build it: go on without.
    ToolsMissing(Missing),
    /// It could, and the build went wrong: stop.
    Failed(String),
}

fn object(root: &Path) -> Result<PathBuf, NoObject> {
    if let Some(ready) = env::var_os(READY_OBJECT) {
        let ready = PathBuf::from(ready);
        println!("cargo:rerun-if-changed={}", ready.display());
        return ready
            .canonicalize()
            .map_err(|err| NoObject::Failed(format!("{READY_OBJECT} names {}: {err}", ready.display())));
    }
    let toolchain = Toolchain::find().map_err(NoObject::ToolsMissing)?;
    let with_words = env::var_os("CARGO_FEATURE_KERNEL_LOG").is_some();
    toolchain.build(&root.join("segd-ebpf"), &target_dir(), with_words).map_err(NoObject::Failed)
}

fn embed_nothing(why: &str) -> ExitCode {
    println!("cargo:warning=segd is built without its kernel programs and will refuse to run: {why}");
    // Where the tools would appear: look again when something was installed there.
    for dir in ebpf_toolchain::cargo_bin().into_iter().chain([PathBuf::from("/usr/lib/rustlib")]) {
        if dir.is_dir() {
            println!("cargo:rerun-if-changed={}", dir.display());
        }
    }
    let empty = out_dir().join("no-kernel-programs");
    if let Err(err) = std::fs::write(&empty, []) {
        eprintln!("could not write {}: {err}", empty.display());
        return ExitCode::FAILURE;
    }
    println!("cargo:rustc-env=SEGD_EBPF_OBJECT={}", empty.display());
    ExitCode::SUCCESS
}

fn watch(root: &Path) {
    for part in [
        "segd-ebpf/src",
        "segd-ebpf/Cargo.toml",
        "segd-ebpf/Cargo.lock",
        "segd-common/src",
        "segd-common/Cargo.toml",
        "xtask/src/ebpf_toolchain.rs",
        "segd/build.rs",
    ] {
        println!("cargo:rerun-if-changed={}", root.join(part).display());
    }
}

/// One directory for all profiles: `target/ebpf`, four levels above `target/PROFILE/build/segd-HASH/out`.
fn target_dir() -> PathBuf {
    let out = out_dir();
    out.ancestors().nth(4).unwrap_or(&out).join("ebpf")
}

fn out_dir() -> PathBuf {
    PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"))
}

fn manifest_dir() -> PathBuf {
    PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR for build scripts"))
}
