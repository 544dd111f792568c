//! What the daemon keeps over restarts: the stable numbers of zones and rules, and the last policy that was good.
//! Written whole or not at all. Never holds anything that the kernel's maps hold.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::api::types::PolicyText;
use crate::compile::Registry;

pub mod boot;
pub mod file;
pub mod image;
pub mod lock;
pub mod pending;
pub mod quarantine;

pub use file::FileError;

/// The state folder.
#[derive(Clone, Debug)]
pub struct StateDir {
    dir: PathBuf,
}

/// The last policy that was put in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastGood {
    /// SHA-256 over names and texts, in hex.
    pub digest: String,
    /// The generation that it got.
    pub generation: u32,
    /// When it was put in force.
    pub applied: Timestamp,
    /// The files, `zones.yaml` first.
    pub files: Vec<PolicyText>,
}

/// The state could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is no folder, and none could be made.
    #[error("cannot make the state folder {path}: {source}; make it by hand, or name another with --state-dir")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is there and can't be read.
    #[error("cannot read {path}: {source}; look at its owner and mode")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The marker of a policy on trial can't be read.
    #[error(
        "{path} is damaged ({fault}): a policy was on trial, and which zone file is the right one can't be told; \
         compare zones.yaml with zones.yaml.previous, put the right one in place, and remove {path}"
    )]
    Pending {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// Who is cut off can't be read.
    #[error(
        "{path} is damaged ({fault}): it says who is cut off, and segd does not start as if nobody were; \
         bring it back from a backup, or remove it and cut off anew whom segctl history names"
    )]
    Quarantine {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// The text of the last policy can't be read.
    #[error("{path} is damaged ({fault}): it is the policy that was last in force; `segd run` writes it anew")]
    LastGood {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// The compiled policy can't be read.
    #[error("{path} is damaged ({fault})")]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// A file is there and can't be removed.
    #[error("cannot remove what is kept in {path}: {source}; enforcement is off, remove its files by hand")]
    Forget {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The numbers are lost while the kernel still counts by them.
    #[error(
        "{path} {fault}, and the counters in the kernel are kept by its numbers; \
         bring the file back from a backup, or give the counters and the connections up with `segd unload`"
    )]
    Numbers {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
}

impl StateDir {
    /// Opens the folder; makes it if it is not there.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        fs::create_dir_all(dir).map_err(|source| StateError::Folder { path: dir.to_owned(), source })?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The stable numbers. `pinned`: the kernel has maps of this instance, so numbers that are lost can't be made anew.
    pub fn load_registry(&self, pinned: bool) -> Result<Registry, StateError> {
        let path = self.registry();
        let fault = match fs::read(&path) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(registry) => return Ok(registry),
                Err(error) => format!("is damaged ({error})"),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => "is gone".to_owned(),
            Err(source) => return Err(StateError::Read { path, source }),
        };
        if pinned {
            return Err(StateError::Numbers { path, fault });
        }
        if path.exists() {
            tracing::warn!("{} {fault}; nothing is pinned, so the numbers are made anew", path.display());
        }
        Ok(Registry::default())
    }

    /// Keeps the numbers. Has to come before the publish that uses them. A full disk that holds the same already is no
    /// reason to refuse.
    pub fn save_registry(&self, registry: &Registry) -> Result<(), FileError> {
        let text = json(registry);
        if fs::read(self.registry()).is_ok_and(|there| there == text) {
            return Ok(());
        }
        file::replace(&self.registry(), &text, 0o600)
    }

    /// Keeps the policy that was put in force.
    pub fn save_last_good(&self, last: &LastGood) -> Result<(), FileError> {
        file::replace(&self.last_good(), &json(last), 0o600)
    }

    /// The policy that was last put in force, if one was.
    pub fn load_last_good(&self) -> Result<Option<LastGood>, StateError> {
        kept(self.last_good(), |path, fault| StateError::LastGood { path, fault })
    }

    /// Removes what is kept. Only for when the kernel has nothing of this instance any more.
    pub fn forget(&self) -> io::Result<()> {
        for path in [self.registry(), self.last_good(), self.image()] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn registry(&self) -> PathBuf {
        self.dir.join("registry.json")
    }

    fn last_good(&self) -> PathBuf {
        self.dir.join("policy.json")
    }
}

/// What a file holds, if there is one; `damaged` says what it means that it can't be understood.
fn kept<T: DeserializeOwned>(
    path: PathBuf,
    damaged: impl FnOnce(PathBuf, String) -> StateError,
) -> Result<Option<T>, StateError> {
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| damaged(path, error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Read { path, source }),
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("names and numbers always have a JSON form");
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_as_they_were_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("deep/state")).unwrap();
        assert_eq!(state.load_registry(false).unwrap(), Registry::default());
        state.save_registry(&Registry::default()).unwrap();
        assert_eq!(state.load_registry(true).unwrap(), Registry::default());
    }

    #[test]
    fn damaged_numbers_are_made_anew_only_when_nothing_is_pinned() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        fs::write(dir.path().join("registry.json"), "{\"zones\":").unwrap();
        let refused = state.load_registry(true).unwrap_err().to_string();
        assert!(refused.contains("registry.json is damaged") && refused.contains("segd unload"), "{refused}");
        assert_eq!(state.load_registry(false).unwrap(), Registry::default());
    }

    #[test]
    fn numbers_that_are_gone_while_maps_are_pinned_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = StateDir::open(dir.path()).unwrap().load_registry(true).unwrap_err().to_string();
        assert!(refused.contains("registry.json is gone"), "{refused}");
    }

    #[test]
    fn the_last_good_policy_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        assert_eq!(state.load_last_good().unwrap(), None);
        let files = vec![PolicyText { name: "/etc/segd/zones.yaml".into(), text: "version: 1\n".into() }];
        let last = LastGood { digest: "00".into(), generation: 3, applied: Timestamp::UNIX_EPOCH, files };
        state.save_last_good(&last).unwrap();
        assert_eq!(state.load_last_good().unwrap(), Some(last));
        fs::write(dir.path().join("policy.json"), "{").unwrap();
        assert!(matches!(state.load_last_good(), Err(StateError::LastGood { .. })), "damaged is not none");
    }
}
