//! What the boot put in force, noted for whoever asks before a daemon has run. A daemon that starts takes the note away: from
//! then on it tells itself.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::file::{self, FileError};

/// Its name, beside the control socket.
const NAME: &str = "boot.json";

/// What a boot began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Begun {
    /// The policy that was last in force.
    Policy,
    /// No policy was ever in force: all is closed but the failsafe.
    Failsafe,
    /// No policy was ever in force: nothing is enforced.
    Open,
}

/// The note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootNote {
    /// With what.
    pub begun: Begun,
    /// When.
    pub at: Timestamp,
}

impl BootNote {
    /// Where it stands for a daemon that listens at `socket`.
    #[must_use]
    pub fn path(socket: &Path) -> PathBuf {
        socket.with_file_name(NAME)
    }

    /// Writes it; everybody may read it.
    pub fn write(self, path: &Path) -> Result<(), FileError> {
        let text = serde_json::json!(self).to_string() + "\n";
        file::replace(path, text.as_bytes(), 0o644)
    }

    /// The note beside a socket, if there is one that can be read.
    #[must_use]
    pub fn beside(socket: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(Self::path(socket)).ok()?).ok()
    }

    /// Takes it away.
    ///
    /// # Errors
    /// It is there, and stays.
    pub fn remove(socket: &Path) -> io::Result<()> {
        match fs::remove_file(Self::path(socket)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

impl fmt::Display for BootNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.begun {
            Begun::Policy => "the boot put the last policy in force, and the kernel enforces it",
            Begun::Failsafe => "no policy was ever in force here: the boot has closed everything but the failsafe",
            Begun::Open => "no policy was ever in force here: NOTHING is enforced",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_where_it_was_written_until_it_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("segd.sock");
        assert_eq!(BootNote::beside(&socket), None);
        let note = BootNote { begun: Begun::Failsafe, at: "2026-11-27T08:00:00Z".parse().unwrap() };
        note.write(&BootNote::path(&socket)).unwrap();
        assert_eq!(BootNote::beside(&socket), Some(note));
        BootNote::remove(&socket).unwrap();
        BootNote::remove(&socket).unwrap();
        assert_eq!(BootNote::beside(&socket), None);
    }
}
