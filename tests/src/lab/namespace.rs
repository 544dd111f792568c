//! A network namespace of our own, held by a file descriptor: it vanishes with the last process in it, even if
//! the test was killed. It must never be entered through `ip netns exec`, which mounts another /sys over bpffs.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use anyhow::{Context, Result, bail};

/// A network namespace with its loopback up.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    /// Makes an empty one; `name` is for messages only.
    pub fn new(name: &str) -> Result<Self> {
        let handle = thread::scope(|scope| scope.spawn(fresh).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .with_context(|| format!("could not make the network namespace {name}; root is needed"))?;
        let namespace = Self { name: name.to_owned(), handle };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file, for programs that want a path. Good as long as this process lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd()).into()
    }

    /// Runs `work` inside, in a thread of its own. Sockets and processes that it makes stay inside.
    ///
    /// # Panics
    /// If `work` does, or if the kernel refuses the way in.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            // SAFETY: the descriptor is open as long as `self`; only this thread changes its namespace.
            let entered = unsafe { libc::setns(self.handle.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(entered, 0, "could not enter {}: {}", self.name, io::Error::last_os_error());
            work()
        };
        match thread::scope(|scope| scope.spawn(inside).join()) {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Runs a program inside and gives what it printed, whatever its exit status.
    pub fn output(&self, program: &str, args: &[&str]) -> Result<Output> {
        self.run(|| Command::new(program).args(args).output())
            .with_context(|| format!("could not run {program} in {}", self.name))
    }

    /// Runs a program inside that has to succeed, and gives its standard output.
    pub fn command(&self, program: &str, args: &[&str]) -> Result<String> {
        let out = self.output(program, args)?;
        if !out.status.success() {
            bail!(
                "{program} {} in {}: {}: {}",
                args.join(" "),
                self.name,
                out.status,
                String::from_utf8_lossy(&out.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// `ip` with these words.
    pub fn ip(&self, words: &str) -> Result<String> {
        self.command("ip", &words.split_whitespace().collect::<Vec<_>>())
    }

    /// Sets a sysctl of this namespace; `key` with slashes, as below /proc/sys.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let file = Path::new("/proc/sys").join(key);
        self.run(|| std::fs::write(&file, value)).with_context(|| format!("could not set {key} to {value}"))
    }

    /// Switches what an interface's driver does for the kernel, in the words of `ethtool -K`: "gro on", "tx off".
    pub fn offload(&self, interface: &str, words: &str) -> Result<()> {
        let args: Vec<_> = ["-K", interface].into_iter().chain(words.split_whitespace()).collect();
        self.command("ethtool", &args).map(drop)
    }

    /// Packets of both families that this namespace's kernel has forwarded so far.
    pub fn forwarded(&self) -> Result<u64> {
        let page = self.command("nstat", &["-a", "-s", "-z", "-j", "IpForwDatagrams", "Ip6OutForwDatagrams"])?;
        let counters: serde_json::Value = serde_json::from_str(&page)?;
        let count = |name| counters["kernel"][name].as_u64().with_context(|| format!("nstat knows no {name}"));
        Ok(count("IpForwDatagrams")? + count("Ip6OutForwDatagrams")?)
    }

    /// Loads nftables rules, in the words of `nft -f`.
    pub fn nft(&self, ruleset: &str) -> Result<()> {
        self.command("nft", &[ruleset]).map(drop)
    }
}

/// Moves the calling thread into a new namespace and opens it.
fn fresh() -> io::Result<File> {
    // SAFETY: no memory is involved; only the calling thread moves.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    File::open("/proc/thread-self/ns/net")
}
