//! Finds a tool chain that can build the kernel programs, and runs it.
//!
//! The build script of `segd` and `cargo xtask` share this file, so it uses nothing but `std`. It must never
//! install or download a tool: `cargo xtask setup` does that, and only when a person asks for it.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target that the kernel programs are compiled for.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// The LLVM major that `cargo xtask setup` builds bpf-linker with; it is the one of the Debian compiler.
pub(crate) const LLVM_MAJOR: u32 = 22;

/// Passed to every crate of the object, dependencies included: without `debuginfo` there they have no BTF.
const FLAGS: [&str; 3] = ["-Ctarget-cpu=v3", "-Cdebuginfo=2", "-Clink-arg=--btf"];

/// Where `core` for the kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// Debian's `rustc-web` with a ready `core`; needs no nightly.
    Debian {
        /// `rustc` of that package.
        rustc: PathBuf,
        /// `cargo` of that package.
        cargo: PathBuf,
    },
    /// A rustup nightly that compiles `core` from `rust-src`.
    Nightly {
        /// `rustc` of that tool chain.
        rustc: PathBuf,
        /// `cargo` of that tool chain.
        cargo: PathBuf,
    },
}

/// A compiler and a linker that fit together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// Who compiles.
    pub(crate) compiler: Compiler,
    /// The bpf-linker that is called.
    pub(crate) linker: PathBuf,
}

/// What a machine lacks, in words for a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    /// No compiler with a `core` for the kernel.
    pub(crate) compiler: bool,
    /// No bpf-linker.
    pub(crate) linker: bool,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lacks = Vec::new();
        if self.compiler {
            lacks.push(
                "a rustc with `core` for BPF (Debian's libstd-rust-web-dev-bpf, or rustup nightly with rust-src)",
            );
        }
        if self.linker {
            lacks.push("bpf-linker");
        }
        write!(f, "{}", lacks.join(" and "))
    }
}

impl Toolchain {
    /// Looks at this machine: Debian's packages first, then rustup's nightly.
    pub(crate) fn find() -> Result<Self, Missing> {
        let compiler = debian().or_else(nightly);
        let linker = on_path("bpf-linker");
        match (compiler, linker) {
            (Some(compiler), Some(linker)) => Ok(Self { compiler, linker }),
            (compiler, linker) => Err(Missing { compiler: compiler.is_none(), linker: linker.is_none() }),
        }
    }

    /// Builds the crate in `source` below `target_dir` and gives the object's path; with words for developers, if asked for.
    ///
    /// The inner cargo has its own target directory, so it never waits for a lock of the cargo that called us.
    pub(crate) fn build(&self, source: &Path, target_dir: &Path, with_words: bool) -> Result<PathBuf, String> {
        let features: &[&str] = if with_words { &["--features", "log"] } else { &[] };
        self.build_program("segd-ebpf", features, source, target_dir)
    }

    /// The same for programs that measure the others: `segd-bench` or `segd-bench-gateway`.
    pub(crate) fn build_bench(&self, program: &str, source: &Path, target_dir: &Path) -> Result<PathBuf, String> {
        self.build_program(program, &["--features", "bench"], source, target_dir)
    }

    fn build_program(
        &self,
        program: &str,
        features: &[&str],
        source: &Path,
        target_dir: &Path,
    ) -> Result<PathBuf, String> {
        let mut cargo = self.cargo();
        cargo
            .current_dir(source)
            .args(["build", "--release", "--locked", "--target", TARGET, "--bin", program])
            .args(features)
            .arg("--target-dir")
            .arg(target_dir);
        let status = cargo.status().map_err(|err| format!("could not run {cargo:?}: {err}"))?;
        if !status.success() {
            return Err(format!("{} did not compile ({status}); what the compiler said is above", source.display()));
        }
        Ok(target_dir.join(TARGET).join("release").join(program))
    }

    /// The inner cargo with a clean environment: one that inherits `RUSTC` and friends from an outer cargo
    /// would mix two compilers and fail with E0463.
    fn cargo(&self) -> Command {
        let (Compiler::Debian { rustc, cargo } | Compiler::Nightly { rustc, cargo }) = &self.compiler;
        let mut command = Command::new(cargo);
        for (name, _) in std::env::vars_os() {
            if steers_cargo(&name.to_string_lossy()) {
                command.env_remove(name);
            }
        }
        let mut flags: Vec<OsString> = FLAGS.iter().map(Into::into).collect();
        let mut linker = OsString::from("-Clinker=");
        linker.push(&self.linker);
        flags.push(linker);
        command
            .env("RUSTC", rustc)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}".as_ref()))
            // aya-ebpf uses one unstable feature; a nightly does not mind the variable.
            .env("RUSTC_BOOTSTRAP", "1");
        if matches!(self.compiler, Compiler::Nightly { .. }) {
            command.args(["-Z", "build-std=core"]);
        }
        command
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, rustc) = match &self.compiler {
            Compiler::Debian { rustc, .. } => ("Debian's", rustc),
            Compiler::Nightly { rustc, .. } => ("nightly", rustc),
        };
        write!(f, "{kind} {} with {}", rustc.display(), self.linker.display())
    }
}

/// Variables that change what a cargo builds; where it keeps its downloads and how it reaches them stays.
fn steers_cargo(name: &str) -> bool {
    let kept = ["CARGO_HOME", "RUSTUP_HOME"].contains(&name)
        || ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRIES_"].iter().any(|prefix| name.starts_with(prefix));
    !kept && (name.starts_with("CARGO") || name.starts_with("RUST"))
}

fn debian() -> Option<Compiler> {
    let (rustc, cargo) = (PathBuf::from("/usr/bin/rustc"), PathBuf::from("/usr/bin/cargo"));
    let core = Path::new("/usr/lib/rustlib").join(TARGET);
    (core.is_dir() && rustc.exists() && cargo.exists()).then_some(Compiler::Debian { rustc, cargo })
}

fn nightly() -> Option<Compiler> {
    let which = |tool: &str| {
        let out = Command::new("rustup")
            .args(["which", "--toolchain", "nightly", tool])
            .output()
            .ok()
            .filter(|out| out.status.success())?;
        Some(PathBuf::from(String::from_utf8(out.stdout).ok()?.trim()))
    };
    let (rustc, cargo) = (which("rustc")?, which("cargo")?);
    let sysroot = rustc.parent()?.parent()?;
    sysroot.join("lib/rustlib/src/rust/library/core").is_dir().then_some(Compiler::Nightly { rustc, cargo })
}

/// A program on `PATH`, or where `cargo install` puts it.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(cargo_bin()).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// The directory that `cargo install` fills.
pub(crate) fn cargo_bin() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    Some(home.join("bin"))
}
