//! Finds what a machine lacks for building and testing, and gets it from Debian's archive and crates.io.
//!
//! It must be quick when nothing is missing, must say what it will do before it does it, and must never remove or
//! replace anything.

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::command::step;
use crate::ebpf_toolchain::{LLVM_MAJOR, Missing, Toolchain, on_path};

/// The linker for kernel objects, at the version that was tried.
const BPF_LINKER: &str = "0.13.0";

/// Programs that the tests and the demo call, and the Debian packages they are in.
const PROGRAMS: [(&str, &str); 10] = [
    ("cc", "build-essential"),
    ("curl", "curl"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("ping", "iputils-ping"),
    ("ssh", "openssh-client"),
    ("sshd", "openssh-server"),
    ("udhcpc", "udhcpc"),
    ("udhcpd", "udhcpd"),
];

/// What `cargo xtask vm` calls beside them, and nothing else does.
const VM_PROGRAMS: [(&str, &str); 6] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("strip", "binutils"),
    ("tc", "iproute2"),
    ("wg", "wireguard-tools"),
    ("xz", "xz-utils"),
    ("ldd", "libc-bin"),
];

/// What `cargo xtask bench` calls beside them.
const BENCH_PROGRAMS: [(&str, &str); 4] =
    [("iperf3", "iperf3"), ("iptables-legacy", "iptables"), ("ipset", "ipset"), ("xdp-filter", "xdp-tools")];

/// What has to be got.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    packages: Vec<String>,
    linker: bool,
}

impl Wanted {
    /// Looks at this machine.
    fn find() -> Self {
        let mut wanted = Self { packages: lacking(&PROGRAMS), linker: false };
        if let Err(Missing { compiler, linker }) = Toolchain::find() {
            if compiler {
                wanted.packages.extend(["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"].map(String::from));
            }
            if linker {
                wanted.linker = true;
                wanted.packages.extend(linker_packages());
            }
        }
        wanted
    }

    fn is_nothing(&self) -> bool {
        self.packages.is_empty() && !self.linker
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let linker = self.linker.then(|| format!("bpf-linker {BPF_LINKER}"));
        let names: Vec<_> = self.packages.iter().cloned().chain(linker).collect();
        write!(f, "{}", names.join(", "))
    }
}

/// Packages of the programs that are not there.
fn lacking(programs: &[(&str, &str)]) -> Vec<String> {
    let is_absent = |program: &str| on_path(program).is_none() && !Path::new("/usr/sbin").join(program).exists();
    programs.iter().filter(|(program, _)| is_absent(program)).map(|(_, package)| (*package).to_owned()).collect()
}

/// What bpf-linker is compiled against, as far as it is not there.
fn linker_packages() -> Vec<String> {
    if on_path(&format!("llvm-config-{LLVM_MAJOR}")).is_some() && Path::new("/usr/include/zstd.h").exists() {
        return Vec::new();
    }
    let llvm = [format!("llvm-{LLVM_MAJOR}-dev"), format!("libpolly-{LLVM_MAJOR}-dev")];
    llvm.into_iter().chain(["zlib1g-dev", "libzstd-dev"].map(String::from)).collect()
}

/// Fails, with the mend, if something is missing.
pub(crate) fn check() -> Result<()> {
    let wanted = Wanted::find();
    ensure!(wanted.is_nothing(), "this machine lacks {wanted}; `cargo xtask setup` gets it");
    Ok(())
}

/// Gets what is missing.
pub(crate) fn install() -> Result<()> {
    let wanted = Wanted::find();
    if wanted.is_nothing() {
        println!("Nothing is missing: kernel programs are built by {}.", toolchain()?);
        return Ok(());
    }
    println!("This machine lacks {wanted}.");
    install_packages(&wanted)?;
    if wanted.linker {
        install_linker()?;
    }
    check()?;
    println!("Done: kernel programs are built by {}.", toolchain()?);
    Ok(())
}

/// Gets what is missing for building and for booting other kernels.
pub(crate) fn install_for_vm() -> Result<()> {
    install()?;
    install_beside("other kernels", &VM_PROGRAMS)
}

/// Gets what is missing for building and for measuring.
pub(crate) fn install_for_bench() -> Result<()> {
    install()?;
    install_beside("the bench", &BENCH_PROGRAMS)
}

/// Gets the packages of programs that only one verb calls.
pub(crate) fn install_beside(purpose: &str, programs: &[(&str, &str)]) -> Result<()> {
    let packages = lacking(programs);
    if !packages.is_empty() {
        println!("For {purpose} this machine lacks {}.", packages.join(", "));
        install_packages(&Wanted { packages, linker: false })?;
    }
    Ok(())
}

fn toolchain() -> Result<Toolchain> {
    Toolchain::find().map_err(|missing| anyhow::anyhow!("this machine lacks {missing}"))
}

fn install_packages(wanted: &Wanted) -> Result<()> {
    if wanted.packages.is_empty() {
        return Ok(());
    }
    let names = wanted.packages.join(" ");
    if on_path("apt-get").is_none() {
        bail!(
            "this is not Debian, so get these by the means of your system: {names}\nfor the compiler, rustup does \
             too: `rustup toolchain install nightly --component rust-src`; bpf-linker has to be built with that \
             nightly's LLVM major (`rustc +nightly -vV`)"
        );
    }
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } != 0 {
        bail!("installing packages needs root: `sudo apt-get install {names}`, then `cargo xtask setup` again");
    }
    let title = format!("installing {} packages", wanted.packages.len());
    // The lists of a fresh machine are empty or old: they are read again only if the first try failed.
    if step(&title, &mut apt_install(&wanted.packages)).is_err() {
        step("reading the package lists", Command::new("apt-get").arg("update"))?;
        step(&title, &mut apt_install(&wanted.packages))?;
    }
    Ok(())
}

fn apt_install(packages: &[String]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "--yes", "--no-install-recommends"])
        .args(packages);
    command
}

/// Builds bpf-linker against the LLVM major of the compiler: its default is another one, and a mismatch can break
/// the object's BTF without a word.
fn install_linker() -> Result<()> {
    let config = format!("llvm-config-{LLVM_MAJOR}");
    let prefix = Command::new(&config).arg("--prefix").output().with_context(|| format!("could not run {config}"))?;
    let prefix = String::from_utf8(prefix.stdout)?;
    let mut cargo = Command::new("cargo");
    cargo
        .env("LLVM_PREFIX", prefix.trim())
        .args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked", "--no-default-features", "--features"])
        .arg(format!("llvm-{LLVM_MAJOR}"));
    // The cargo that runs us may have pinned a tool chain for the workspace; this is no part of it.
    cargo.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_ENCODED_RUSTFLAGS");
    step(&format!("building bpf-linker {BPF_LINKER} (a minute or two)"), &mut cargo)
}
