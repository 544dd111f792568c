//! A directory per lab with a bpffs of its own. It must leave nothing behind: it is taken down on drop, and what a
//! killed test left is taken down by the next one.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

const PREFIX: &str = "segd-lab-";
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A temporary directory with a bpffs mounted at `bpf`.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    kept: bool,
}

impl Scratch {
    /// Makes one, after it swept what dead labs left.
    pub fn new() -> Result<Self> {
        sweep();
        let name = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("bpf")).with_context(|| format!("could not make {}", path.display()))?;
        let scratch = Self { path, kept: false };
        mount_bpffs(&scratch.bpffs()).with_context(|| {
            format!("could not mount a bpffs on {}; root and a kernel with BPF are needed", scratch.bpffs().display())
        })?;
        Ok(scratch)
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where its bpffs is mounted.
    #[must_use]
    pub fn bpffs(&self) -> PathBuf {
        self.path("bpf")
    }

    /// Leaves it standing when it drops.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.kept {
            take_down(&self.path);
        }
    }
}

/// Takes down the directories of processes that are gone. Kept ones carry another name.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) && !entry.path().join("kept").exists() {
            take_down(&entry.path());
        }
    }
}

/// Ends the daemon that still runs there, unmounts, removes.
fn take_down(path: &Path) {
    if let Ok(pid) = fs::read_to_string(path.join("segd.pid")) {
        end_daemon(pid.trim(), path);
    }
    if let Ok(target) = CString::new(path.join("bpf").as_os_str().as_bytes()) {
        // SAFETY: a valid, terminated path; unmounting what is not mounted only fails.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
    // A directory that stays is seen by the next sweep.
    let _ = fs::remove_dir_all(path);
}

/// Kills the process, if it is (still) one that was started with a path of this directory.
fn end_daemon(pid: &str, path: &Path) {
    let Ok(number) = pid.parse::<i32>() else { return };
    let command = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
    if String::from_utf8_lossy(&command).contains(&*path.to_string_lossy()) {
        // SAFETY: a plain system call.
        unsafe { libc::kill(number, libc::SIGKILL) };
    }
}

fn mount_bpffs(at: &Path) -> Result<()> {
    let target = CString::new(at.as_os_str().as_bytes())?;
    // SAFETY: all strings are valid and terminated; bpffs takes no data.
    let mounted = unsafe { libc::mount(c"bpf".as_ptr(), target.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) };
    if mounted == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
}
