//! One daemon per folder of pins and per state folder: advisory locks on the folders themselves, which the kernel
//! lets go when the process ends, however it ends.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Holds a folder for this process, as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _folder: File,
}

/// The folder could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error("{folder} belongs to another segd{}; stop that one, or give this one folders of its own (--bpffs, --state-dir)", owner(*pid))]
    Taken {
        /// The folder.
        folder: PathBuf,
        /// Who has it, if the kernel tells.
        pid: Option<u32>,
    },
    /// It could not be opened or locked.
    #[error("cannot lock {folder}: {source}; look at its owner and mode")]
    Failed {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl Lock {
    /// Takes `folder`, which has to be there.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Failed { folder: folder.to_owned(), source };
        let file = File::open(folder).map_err(failed)?;
        // SAFETY: the descriptor is open for the whole call; `flock` reads and writes no memory of ours.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(Self { _folder: file });
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::WouldBlock {
            return Err(LockError::Taken { folder: folder.to_owned(), pid: holder(&file) });
        }
        Err(failed(error))
    }
}

/// Who holds the lock on `file`, by `/proc/locks`.
fn holder(file: &File) -> Option<u32> {
    let inode = file.metadata().ok()?.ino();
    holder_in(&fs::read_to_string("/proc/locks").ok()?, inode)
}

/// Lines read `1: FLOCK  ADVISORY  WRITE 1234 00:2f:4711 0 EOF`.
fn holder_in(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, device, ..] = words[..] else { return None };
        let same = device.rsplit(':').next().is_some_and(|number| number.parse() == Ok(inode));
        same.then(|| pid.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_to_come_is_refused_and_told_who_was_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        let LockError::Taken { folder, pid } = Lock::take(dir.path()).unwrap_err() else { panic!("not taken") };
        assert_eq!((folder.as_path(), pid), (dir.path(), Some(std::process::id())));
        drop(first);
        Lock::take(dir.path()).unwrap();
    }

    #[test]
    fn the_holder_is_found_by_the_inode_alone() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 00:19:30 0 EOF\n2: FLOCK  ADVISORY  WRITE 42 00:2f:4711 0 EOF\n";
        assert_eq!(holder_in(locks, 4711), Some(42));
        assert_eq!(holder_in(locks, 30), None);
    }
}
