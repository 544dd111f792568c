//! What runs in every guest: the product, the suites, the programs that they call, and the libraries of all of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::initramfs::Initramfs;
use super::plan;
use crate::command::{cargo, root, target_dir};
use crate::ebpf_toolchain::on_path;

/// Programs of the machine that the lab calls.
const PROGRAMS: [&str; 5] = ["ip", "nft", "ping", "tc", "wg"];

/// Files for every guest.
#[derive(Debug)]
pub(crate) struct Payload {
    /// Without modules and plan.
    pub(crate) image: Initramfs,
}

/// Builds everything and packs it.
pub(crate) fn build() -> Result<Payload> {
    crate::command::run(&mut cargo(&[
        "build",
        "--quiet",
        "--locked",
        "-p",
        "segd",
        "-p",
        "segctl",
        "-p",
        "segd-tests",
        "--bins",
    ]))?;
    let debug = target_dir().join("debug");
    let mut packer = Packer::default();
    packer.program("/init", &debug.join("segd-guest"))?;
    for name in ["segd", "segctl"] {
        packer.program(&format!("/t/{name}"), &debug.join(name))?;
    }
    for (name, file) in suites()? {
        packer.program(&format!("/t/{name}"), &file)?;
    }
    for name in PROGRAMS {
        let file = on_path(name).or_else(|| Some(Path::new("/usr/sbin").join(name)).filter(|file| file.is_file()));
        packer.program(&format!("/bin/{name}"), &file.with_context(|| format!("this machine lacks {name}"))?)?;
    }
    packer.image.device("/dev/console", 5, 1);
    for folder in ["/proc", "/sys", "/tmp", "/run", "/root"] {
        packer.image.folder(folder);
    }
    Ok(Payload { image: packer.image })
}

/// The test programs that cargo just built, by suite.
fn suites() -> Result<Vec<(String, PathBuf)>> {
    let mut command = cargo(&["test", "--no-run", "--locked", "-p", "segd-tests", "--message-format=json"]);
    let names: Vec<&str> = plan::programs().collect();
    for name in &names {
        command.args(["--test", name]);
    }
    let out = command.stderr(std::process::Stdio::inherit()).output().context("could not run cargo test")?;
    ensure!(out.status.success(), "the tests do not build");
    let found: Vec<_> = String::from_utf8_lossy(&out.stdout).lines().filter_map(executable).collect();
    ensure!(found.len() == names.len(), "cargo built {} of {} suites", found.len(), names.len());
    Ok(found)
}

/// Target and file of a cargo message that tells of a program.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let file = message["executable"].as_str()?;
    let kind = &message["target"]["kind"];
    (kind.as_array()?.iter().any(|kind| kind == "test"))
        .then(|| Some((message["target"]["name"].as_str()?.to_owned(), PathBuf::from(file))))?
}

/// Adds programs, each library once.
#[derive(Default)]
struct Packer {
    image: Initramfs,
    libraries: BTreeSet<PathBuf>,
}

impl Packer {
    fn program(&mut self, path: &str, file: &Path) -> Result<()> {
        self.image.file(path, stripped(file)?);
        let out = Command::new("ldd").arg(file).output().context("could not run ldd")?;
        for library in libraries(&String::from_utf8_lossy(&out.stdout)) {
            if self.libraries.insert(library.clone()) {
                let bytes = std::fs::read(&library).with_context(|| format!("no {}", library.display()))?;
                self.image.file(&library.display().to_string(), bytes);
            }
        }
        Ok(())
    }
}

/// The files that `ldd` names.
fn libraries(listing: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let word = line.split_once("=>").map_or(line, |(_, path)| path).split_whitespace().next()?;
        word.starts_with('/').then(|| PathBuf::from(word))
    };
    listing.lines().filter_map(path).collect()
}

/// Without what only a debugger reads: that is most of a debug build, and a guest unpacks every byte.
fn stripped(file: &Path) -> Result<Vec<u8>> {
    let copy = tempfile::NamedTempFile::new_in(target_dir())?;
    let status = Command::new("strip").arg("-o").arg(copy.path()).arg(file).current_dir(root()).status();
    ensure!(status.context("could not run strip")?.success(), "could not strip {}", file.display());
    Ok(std::fs::read(copy.path())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_what_ldd_found_and_the_loader() {
        let listing = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n\t/lib64/ld.so (0x3)\n";
        assert_eq!(libraries(listing), [PathBuf::from("/lib/libc.so.6"), PathBuf::from("/lib64/ld.so")]);
        assert!(libraries("\tnot a dynamic executable\n").is_empty());
    }

    #[test]
    fn only_messages_about_test_programs_name_one() {
        let test = r#"{"executable":"/x/life","target":{"name":"life","kind":["test"]}}"#;
        assert_eq!(executable(test), Some(("life".into(), "/x/life".into())));
        assert_eq!(executable(r#"{"executable":"/x/segd","target":{"name":"segd","kind":["bin"]}}"#), None);
        assert_eq!(executable(r#"{"executable":null,"target":{"name":"life","kind":["test"]}}"#), None);
    }
}
