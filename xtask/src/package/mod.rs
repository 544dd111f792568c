//! Makes the Debian package: static binaries, manual, completions, and what lies in `packaging/`. `--check` installs,
//! upgrades, removes and purges it on a Debian of its own, with systemd as its first process.

mod base;
mod tools;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use crate::command::{cargo, root, run, step, target_dir};

/// What a person asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Then try it: install, upgrade, boot, remove and purge on a Debian of its own; needs root, takes minutes
    #[arg(long)]
    check: bool,
    /// With --check: only what has this word in its name
    #[arg(long, value_name = "WORD", requires = "check")]
    only: Option<String>,
}

/// Where pages, scripts and packages are put; the list of what is packed, in segd/Cargo.toml, names it.
fn folder() -> PathBuf {
    root().join("target/package")
}

/// Builds the package and says where it is.
pub(crate) fn run_package(options: &Options) -> Result<()> {
    // SAFETY: a plain system call.
    if options.check && unsafe { libc::geteuid() } != 0 {
        bail!("a Debian of its own needs root: `sudo -E env \"PATH=$PATH\" cargo xtask package --check`");
    }
    tools::install()?;
    let programs = build()?;
    write_pages(&programs)?;
    let package = pack(None)?;
    println!("{} ({} KiB)", package.display(), fs::metadata(&package)?.len() / 1024);
    if options.check {
        tools::install_for_check()?;
        check(&package, options.only.as_deref())?;
    }
    Ok(())
}

/// The two programs of a release, without a library that a machine could lack.
struct Programs {
    segd: PathBuf,
    segctl: PathBuf,
}

fn build() -> Result<Programs> {
    let target = tools::target();
    run(&mut cargo(&["build", "--release", "--locked", "--target", &target, "-p", "segd", "-p", "segctl"]))?;
    let built = target_dir().join(&target).join("release");
    let programs = Programs { segd: built.join("segd"), segctl: built.join("segctl") };
    for program in [&programs.segd, &programs.segctl] {
        ensure!(is_static(program)?, "{} asks for libraries of the machine that it runs on", program.display());
    }
    Ok(programs)
}

/// A program without a loader brings everything along.
fn is_static(program: &Path) -> Result<bool> {
    let bytes = fs::read(program).with_context(|| format!("could not read {}", program.display()))?;
    let elf = object::elf::FileHeader64::<object::Endianness>::parse(&*bytes)?;
    let endian = elf.endian()?;
    let headers = elf.program_headers(endian, &*bytes)?;
    Ok(headers.iter().all(|header| header.p_type(endian) != object::elf::PT_INTERP))
}

/// Manual and completions, each written by the program that they are about.
fn write_pages(programs: &Programs) -> Result<()> {
    for (program, section) in [(&programs.segd, "man8"), (&programs.segctl, "man1")] {
        let dir = folder().join(section);
        empty(&dir)?;
        step(&format!("writing {section}"), Command::new(program).arg("man").arg(&dir))?;
    }
    for (shell, prefix, ending) in [("bash", "", ""), ("zsh", "_", ""), ("fish", "", ".fish")] {
        let dir = folder().join(shell);
        empty(&dir)?;
        for (name, program) in [("segd", &programs.segd), ("segctl", &programs.segctl)] {
            let script = dir.join(format!("{prefix}{name}{ending}"));
            run(Command::new(program).args(["completions", shell]).stdout(File::create(script)?))?;
        }
    }
    Ok(())
}

/// Packs what was built; with a version that is not that of the workspace, for an upgrade to be tried.
fn pack(version: Option<&str>) -> Result<PathBuf> {
    let dir = folder().join(version.unwrap_or("deb"));
    empty(&dir)?;
    let mut deb = cargo(&["deb", "--locked", "--no-build", "--strip", "-p", "segd", "--target", &tools::target()]);
    deb.arg("--output").arg(&dir);
    if let Some(version) = version {
        deb.args(["--deb-version", version]);
    }
    step("packing", &mut deb)?;
    let package = fs::read_dir(&dir)?.next().context("cargo-deb wrote no package")??.path();
    Ok(package)
}

/// Builds what tries the package, gets a bare Debian, and starts the one on the other.
fn check(package: &Path, only: Option<&str>) -> Result<()> {
    let next = pack(Some("99.0.0-1"))?;
    let base = base::fetch()?;
    // It runs on that Debian, whatever this machine's libraries are.
    run(&mut cargo(&["build", "--locked", "--target", &tools::target(), "-p", "segd-tests", "--bin", "segd-abuse"]))?;
    let attacker = target_dir().join(tools::target()).join("debug/segd-abuse");
    let mut check = cargo(&["run", "--quiet", "--locked", "-p", "segd-tests", "--bin", "segd-package", "--"]);
    check.arg("--package").arg(package).arg("--next").arg(next).arg("--base").arg(base);
    check.arg("--attacker").arg(attacker);
    if let Some(word) = only {
        check.args(["--only", word]);
    }
    run(&mut check)
}

fn empty(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir).with_context(|| format!("could not make {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_has_a_loader_is_not_static() {
        assert!(!is_static(&std::env::current_exe().unwrap()).unwrap());
        assert!(is_static(Path::new("/dev/null")).is_err());
    }
}
