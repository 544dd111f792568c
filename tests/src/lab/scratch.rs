//! A directory per lab with a bpffs of its own. It must leave nothing behind: it is taken down on drop, and what a
//! killed test left is taken down by the next one.

use std::ffi::{CStr, CString};
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
        mount_bpffs(&scratch.bpffs(), c"").with_context(|| {
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

    /// Takes the bpffs away: what was pinned there is let go, and nothing can be pinned.
    pub fn no_bpffs(&self) {
        unmount(&self.bpffs());
    }

    /// Puts an empty bpffs, as systemd mounts it, in the place of the one that was: what was pinned there is let go.
    pub fn fresh_bpffs(&self) -> Result<()> {
        self.no_bpffs();
        mount_bpffs(&self.bpffs(), c"mode=700")
    }

    /// Mounts at `root` what is in `base`, and what is written there goes elsewhere.
    pub fn mount_root(&self, base: &Path) -> Result<()> {
        for folder in ["upper", "work", "root"] {
            fs::create_dir(self.path(folder))?;
        }
        let (upper, work) = (self.path("upper"), self.path("work"));
        let data = format!("lowerdir={},upperdir={},workdir={}", base.display(), upper.display(), work.display());
        let (root, data) = (CString::new(self.path("root").as_os_str().as_bytes())?, CString::new(data)?);
        let kind = c"overlay".as_ptr();
        // SAFETY: all strings are valid and terminated, and outlive the call.
        let mounted = unsafe { libc::mount(kind, root.as_ptr(), kind, 0, data.as_ptr().cast()) };
        let failed = || format!("could not mount an overlay over {}", base.display());
        if mounted == 0 { Ok(()) } else { Err(io::Error::last_os_error()).with_context(failed) }
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
    for mounted in ["bpf", "root"] {
        unmount(&path.join(mounted));
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

fn unmount(at: &Path) {
    if let Ok(target) = CString::new(at.as_os_str().as_bytes()) {
        // SAFETY: a valid, terminated path; unmounting what is not mounted only fails.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
}

fn mount_bpffs(at: &Path, mode: &CStr) -> Result<()> {
    let target = CString::new(at.as_os_str().as_bytes())?;
    let (kind, data) = (c"bpf".as_ptr(), mode.as_ptr().cast());
    // SAFETY: all strings are valid and terminated.
    let mounted = unsafe { libc::mount(kind, target.as_ptr(), kind, 0, data) };
    if mounted == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
}
