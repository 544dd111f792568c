//! A copy of the tree that is changed: the user's own is never touched. What was built stays, so that the next run need not
//! begin anew.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{cargo, root, target_dir};

/// The copy; gone when this drops.
pub(crate) struct Copy {
    folder: PathBuf,
    _lock: File,
}

impl Copy {
    /// Copies what git tracks, and what it would: edits that nobody has committed are a part of it. Every file is new, so
    /// that nothing of what an earlier change left among the built things is taken for up to date. `verb`: of the xtask that
    /// it is for; each has its own copy.
    pub(crate) fn new(verb: &str) -> Result<Self> {
        let home = target_dir().join(verb);
        let made = || format!("could not make {}", home.display());
        fs::create_dir_all(&home).with_context(made)?;
        let lock = lock(&home, verb)?;
        let folder = home.join("tree");
        clear(&folder)?;
        let copy = Self { folder, _lock: lock };
        for name in files()? {
            let (from, to) = (root().join(&name), copy.folder.join(&name));
            // A file that is deleted and not yet committed is still listed.
            if from.exists() {
                let parent = to.parent().unwrap_or(&copy.folder);
                let copied = fs::create_dir_all(parent).and_then(|()| fs::copy(&from, &to));
                copied.with_context(|| format!("could not copy {} to {}", from.display(), to.display()))?;
            }
        }
        Ok(copy)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Cargo in the copy, with a place of its own to build to.
    pub(crate) fn cargo(&self, words: &[&str]) -> Command {
        let mut command = cargo(words);
        command.current_dir(&self.folder).env("CARGO_TARGET_DIR", self.folder.with_file_name("target"));
        command
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.folder) {
            eprintln!("{error:#}");
        }
    }
}

/// Two runs at once would change each other's tree.
fn lock(home: &Path, verb: &str) -> Result<File> {
    let file = File::open(home).with_context(|| format!("could not open {}", home.display()))?;
    // SAFETY: the descriptor is open for the whole call; `flock` reads and writes no memory of ours.
    let taken = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0;
    ensure!(taken, "another `cargo xtask {verb}` works in {}; wait for it, or end it", home.display());
    Ok(file)
}

fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done.with_context(|| format!("could not remove {}", folder.display())),
    }
}

fn files() -> Result<Vec<String>> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("could not run git")?;
    ensure!(
        listed.status.success(),
        "git does not list the files of {}: {}",
        root().display(),
        String::from_utf8_lossy(&listed.stderr).trim()
    );
    let names = String::from_utf8(listed.stdout).context("a file's name is no UTF-8")?;
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}
