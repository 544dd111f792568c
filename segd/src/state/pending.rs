//! The marker of a policy that nobody has confirmed yet. While it is there, the zone file on the disk is not to be
//! trusted: whoever starts puts the old one back first.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::file::{self, FileError};
use super::{StateDir, StateError, json, kept};

/// What has to be put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    /// The zone file.
    pub config: PathBuf,
    /// What stood in it.
    pub text: String,
    /// When the old policy holds again.
    pub confirm_by: Timestamp,
}

/// Mode of a zone file that is new.
const FILE_MODE: u32 = 0o644;

impl Marker {
    /// Puts the old zone file back. What was refused is kept beside it as `….unconfirmed`, to be mended.
    pub fn restore(&self) -> Result<(), FileError> {
        let refused = fs::read(&self.config).unwrap_or_default();
        if refused == self.text.as_bytes() {
            return Ok(());
        }
        file::replace(&beside(&self.config, "unconfirmed"), &refused, FILE_MODE)?;
        file::replace(&self.config, self.text.as_bytes(), FILE_MODE)
    }
}

/// `zones.yaml.WORD`.
#[must_use]
pub fn beside(config: &Path, word: &str) -> PathBuf {
    let mut name = config.as_os_str().to_owned();
    name.push(".");
    name.push(word);
    name.into()
}

impl StateDir {
    /// Notes that a policy waits for its confirmation. Has to come before anything else changes.
    pub fn save_pending(&self, marker: &Marker) -> Result<(), FileError> {
        file::replace(&self.pending(), &json(marker), 0o600)
    }

    /// The policy that waits for its confirmation.
    pub fn load_pending(&self) -> Result<Option<Marker>, StateError> {
        kept(self.pending(), |path, fault| StateError::Pending { path, fault })
    }

    /// Nothing waits any more.
    pub fn clear_pending(&self) -> Result<(), FileError> {
        file::remove(&self.pending())
    }

    fn pending(&self) -> PathBuf {
        self.path().join("pending.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_file_is_put_back_and_the_refused_one_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (state, config) = (StateDir::open(dir.path()).unwrap(), dir.path().join("zones.yaml"));
        assert_eq!(state.load_pending().unwrap(), None);
        let marker = Marker { config: config.clone(), text: "old".into(), confirm_by: Timestamp::UNIX_EPOCH };
        state.save_pending(&marker).unwrap();
        fs::write(&config, "new").unwrap();
        let found = state.load_pending().unwrap().unwrap();
        assert_eq!(found, marker);
        // A crash between the two steps: the second time changes nothing.
        for _ in 0..2 {
            found.restore().unwrap();
            assert_eq!(fs::read_to_string(&config).unwrap(), "old");
            assert_eq!(fs::read_to_string(beside(&config, "unconfirmed")).unwrap(), "new");
        }
        state.clear_pending().unwrap();
        state.clear_pending().unwrap();
        assert_eq!(state.load_pending().unwrap(), None);
    }

    #[test]
    fn a_damaged_marker_is_no_leave_to_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        fs::write(dir.path().join("pending.json"), "{").unwrap();
        let refused = state.load_pending().unwrap_err().to_string();
        assert!(refused.contains("pending.json") && refused.contains("remove"), "{refused}");
    }
}
