//! The package in a root where nothing runs, as an image is built: what it puts where, and that it leaves nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use segd_tests::lab::Machine;

use crate::{Check, Told};

pub(crate) const CHECKS: &[Check] = &[
    ("a bare root: installed, the programs run, the users exist and nothing is enabled", installs),
    ("a bare root: a purge leaves nothing of what the package and its units made", leaves_nothing),
    ("a bare root: manual and completions are read by who reads them", pages),
];

/// A root with the package in it.
fn with_package(told: &Told) -> Result<Machine> {
    let machine = Machine::new(&told.base)?;
    machine.copy(&told.package, "/tmp/segd.deb")?;
    let said = machine.command(&["dpkg", "--install", "/tmp/segd.deb"])?;
    ensure!(said.contains("enforces nothing yet"), "{said}");
    Ok(machine)
}

fn installs(told: &Told) -> Result<()> {
    let machine = with_package(told)?;
    machine.command(&["segd", "check", "/usr/share/doc/segd/examples/zones.example.yaml"])?;
    ensure!(machine.command(&["segctl", "--version"])?.starts_with("segctl "));
    for (name, owner, mode) in [
        ("/etc/segd", "segd:segd", "750"),
        ("/etc/segd/zones.d", "segd:segd", "750"),
        ("/var/lib/segd", "segd:segd", "700"),
        ("/usr/sbin/segd", "root:root", "755"),
        ("/usr/lib/systemd/system/segd.service", "root:root", "644"),
    ] {
        let found = machine.command(&["stat", "--format=%U:%G %a", name])?;
        ensure!(found.trim() == format!("{owner} {mode}"), "{name}: {found}");
    }
    ensure!(machine.command(&["getent", "group", "segd-admin"])?.starts_with("segd-admin:"));
    for unit in ["segd.service", "segd-early.service"] {
        let enabled = machine.chroot(&["systemctl", "is-enabled", unit])?;
        ensure!(enabled.stdout.trim_ascii() == b"disabled", "{unit}: {enabled:?}");
    }
    let left = fs::read_dir(machine.path("/sys"))?.count();
    ensure!(left == 0, "something was made below /sys, where no bpffs is mounted");
    Ok(())
}

fn leaves_nothing(told: &Told) -> Result<()> {
    let machine = Machine::new(&told.base)?;
    let before = files(&machine.path("/"))?;
    let machine = {
        drop(machine);
        with_package(told)?
    };
    machine.write("/etc/segd/zones.yaml", "version: 1\n")?;
    machine.write("/var/lib/segd/image.bin", "")?;
    machine.command(&["dpkg", "--remove", "segd"])?;
    ensure!(machine.path("/etc/segd/zones.yaml").exists(), "a removal keeps the policy");
    machine.command(&["dpkg", "--purge", "segd"])?;
    let after = files(&machine.path("/"))?;
    // The user stays, as Debian's users do: what it owned elsewhere must never become somebody else's.
    let expected = |path: &str| {
        ["/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/.pwd.lock", "/tmp/segd.deb"]
            .iter()
            .any(|known| path.trim_end_matches('-') == *known)
            || path.starts_with("/var/lib/dpkg/")
            || path.starts_with("/var/log/")
    };
    let odd: Vec<_> = after
        .iter()
        .filter(|(path, size)| before.get(*path) != Some(size))
        .map(|(path, _)| path)
        .chain(before.keys().filter(|path| !after.contains_key(*path)))
        .filter(|path| !expected(path))
        .collect();
    ensure!(odd.is_empty(), "left, changed or gone: {odd:?}");
    ensure!(!machine.path("/var/lib/dpkg/info/segd.list").exists());
    Ok(())
}

/// Files and folders below a root, files with their sizes.
fn files(root: &Path) -> Result<BTreeMap<String, u64>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let there = entry.path().symlink_metadata()?;
            let name = entry.path().strip_prefix(root)?.to_str().context("a name in UTF-8")?.to_owned();
            if there.is_dir() {
                folders.push(entry.path());
            }
            found.insert(format!("/{name}"), if there.is_dir() { 0 } else { there.size() });
        }
    }
    Ok(found)
}

fn pages(told: &Told) -> Result<()> {
    let machine = with_package(told)?;
    for page in ["man8/segd.8.gz", "man8/segd-arm.8.gz", "man1/segctl.1.gz", "man1/segctl-allow.1.gz"] {
        let text = machine.command(&["zcat", &format!("/usr/share/man/{page}")])?;
        ensure!(text.contains("\n.SH NAME\n"), "{page}: {text}");
    }
    let words = "source /usr/share/bash-completion/completions/segd; COMP_WORDS=(segd a); COMP_CWORD=1; _segd segd a segd; \
                 echo ${COMPREPLY[@]}";
    let offered = machine.command(&["bash", "-c", words])?;
    ensure!(offered.trim() == "arm", "{offered}");
    let schema = fs::read_to_string(machine.path("/usr/share/segd/zones.schema.json"))?;
    ensure!(serde_json::from_str::<serde_json::Value>(&schema)?["$schema"].is_string());
    ensure!(machine.path("/usr/share/segd/dashboards/README.md").is_file());
    Ok(())
}
