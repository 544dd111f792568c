//! A Debian of its own on the office's gateway, in a container: systemd is its first process, its units and packages are
//! real, and its network is the gateway's. It must never touch the machine that it runs on, and is taken down when it
//! drops.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::daemon::until;
use super::namespace::Namespace;
use super::scratch::Scratch;

/// How long a boot, or its end, may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// Where a program is looked for in it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The root of a Debian, and the container while it is up.
#[derive(Debug)]
pub struct Machine {
    scratch: Scratch,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    nspawn: Child,
    /// Its first process, by the number that it has outside.
    first: i32,
}

impl Machine {
    /// The Debian in `base`, with a layer of its own over it that takes what is written; it is off.
    pub fn new(base: &Path) -> Result<Self> {
        let scratch = Scratch::new()?;
        scratch.mount_root(base)?;
        scratch.fresh_bpffs()?;
        Ok(Self { scratch, running: None })
    }

    /// A path in it, seen from outside.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        self.scratch.path("root").join(inside.trim_start_matches('/'))
    }

    /// Writes a file in it.
    pub fn write(&self, inside: &str, text: &str) -> Result<()> {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().context("a file in a folder")?)?;
        fs::write(&path, text).with_context(|| format!("writing {inside}"))
    }

    /// Copies a file of this machine into it.
    pub fn copy(&self, from: &Path, inside: &str) -> Result<()> {
        let copied = Command::new("cp").arg("--").arg(from).arg(self.path(inside)).status()?;
        ensure!(copied.success(), "cp {} {inside}: {copied}", from.display());
        Ok(())
    }

    /// Runs a program in its root while it is off: no systemd, no network, nothing mounted.
    pub fn chroot(&self, words: &[&str]) -> Result<Output> {
        ensure!(self.running.is_none(), "it is up");
        // A process group of its own, so that nothing that a maintainer script starts stays behind unseen.
        let mut command = Command::new("chroot");
        command.arg(self.scratch.path("root")).args(words).process_group(0);
        output(clean(&mut command))
    }

    /// Boots it in this network, and waits until systemd has come to its end of the boot.
    pub fn boot(&mut self, net: &Namespace) -> Result<()> {
        ensure!(self.running.is_none(), "it is up already");
        let console = File::create(self.scratch.path("console.log"))?;
        let mut command = Command::new("systemd-nspawn");
        command
            .args(["--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe", "--resolv-conf=off"])
            // A gateway may load kernel programs; nspawn's default is a machine that may not.
            .args(["--capability=all", "--system-call-filter=bpf"])
            .arg(format!("--network-namespace-path={}", net.path().display()))
            .arg(format!("--bind={}:/sys/fs/bpf", self.scratch.bpffs().display()))
            .arg("--directory")
            .arg(self.scratch.path("root"))
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console);
        let nspawn = command.spawn().context("could not run systemd-nspawn")?;
        fs::write(self.scratch.path("segd.pid"), nspawn.id().to_string())?;
        let mut running = Running { nspawn, first: 0 };
        let found = until(PATIENCE, || {
            running.first = first_process(running.nspawn.id()).unwrap_or(0);
            running.first != 0 || !matches!(running.nspawn.try_wait(), Ok(None))
        });
        self.running = Some(running);
        ensure!(found && self.first()? != 0, "the container did not start: {}", self.console());
        let is_up = || {
            self.run(&["systemctl", "is-system-running"])
                .is_ok_and(|out| matches!(out.stdout.trim_ascii(), b"running" | b"degraded"))
        };
        ensure!(until(PATIENCE, is_up), "it did not come up: {}", self.console());
        Ok(())
    }

    /// Takes its power away: what lies on its disk stays, what its kernel held is gone.
    pub fn power_off(&mut self) -> Result<()> {
        let mut running = self.running.take().context("it is off")?;
        // SAFETY: a plain system call; the container's first process is a descendant of our own child, which is not yet
        // waited for.
        unsafe { libc::kill(running.first, libc::SIGKILL) };
        ensure!(until(PATIENCE, || matches!(running.nspawn.try_wait(), Ok(Some(_)))), "nspawn does not end");
        self.scratch.fresh_bpffs()
    }

    /// Runs a program in it, as root.
    pub fn run(&self, words: &[&str]) -> Result<Output> {
        output(self.inside()?.args(words))
    }

    /// A command that runs in it, as root, what is added to its words.
    pub fn inside(&self) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first()?.to_string(), "--mount", "--uts", "--ipc", "--net", "--pid"]);
        command.args(["--root", "--wd", "--"]).process_group(0);
        clean(&mut command);
        Ok(command)
    }

    /// Runs a program that has to succeed, and gives what it printed.
    pub fn command(&self, words: &[&str]) -> Result<String> {
        let out = if self.running.is_some() { self.run(words)? } else { self.chroot(words)? };
        let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        if !out.status.success() {
            bail!("{}: {}: {said}", words.join(" "), out.status);
        }
        Ok(said)
    }

    /// A property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> Result<String> {
        let out = self.run(&["systemctl", "show", "--value", "-p", name, unit])?;
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    }

    /// What its journal has of a unit.
    pub fn journal(&self, unit: &str) -> Result<String> {
        self.command(&["journalctl", "--no-pager", "-b", "-u", unit])
    }

    /// What it said while it booted.
    #[must_use]
    pub fn console(&self) -> String {
        fs::read_to_string(self.scratch.path("console.log")).unwrap_or_default()
    }

    fn first(&self) -> Result<i32> {
        Ok(self.running.as_ref().context("it is off")?.first)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.running.is_some() {
            // What is left is taken down with the scratch folder.
            let _ = self.power_off();
        }
    }
}

/// Nothing of the caller's environment goes in.
fn clean(command: &mut Command) -> &mut Command {
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive")
}

fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("could not run {command:?}"))
}

/// The child of nspawn that is the first process of a namespace of its own.
fn first_process(nspawn: u32) -> Option<i32> {
    let children = |pid: &str| -> Vec<String> {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    };
    let near = children(&nspawn.to_string());
    let far = near.iter().flat_map(|pid| children(pid)).collect::<Vec<_>>();
    near.into_iter().chain(far).find(|pid| is_systemd(pid))?.parse().ok()
}

fn is_systemd(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    numbers.split_whitespace().count() > 1 && numbers.split_whitespace().last() == Some("1") && comm.trim() == "systemd"
}
