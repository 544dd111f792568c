//! Who changed what, when and why, as lines of JSON that are only ever appended, each with the hash of the one before.
//! It never stops a change: what can't be written down is told by status, and the change stays.

mod chain;
#[cfg(test)]
mod tests;
mod who;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;

use crate::api::types::{HistoryEntry, HistoryReport};
pub use chain::{GENESIS, verify};
pub use who::Who;

/// Name of the file in the state folder.
const FILE: &str = "history.jsonl";
/// It names people and reasons.
const MODE: u32 = 0o640;

/// What is said of a change, before it has a place in the chain.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// What was done.
    pub verb: &'static str,
    /// To what.
    pub object: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// What it was.
    pub before: Option<Value>,
    /// What it is.
    pub after: Option<Value>,
    /// The generation in force afterwards.
    pub generation: u32,
}

/// The history could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}: {source}; look at the folder's owner, its mode and the space on its disk")]
pub struct HistoryError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The file and the end of its chain.
#[derive(Debug)]
pub struct History {
    file: PathBuf,
    /// Number and hash of the last entry; `None` until the file has been read.
    end: Option<(u64, String)>,
}

impl History {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { file: folder.join(FILE), end: None }
    }

    /// Appends an entry; it is on the disk when this returns.
    ///
    /// # Errors
    /// The file can't be read or written. Nothing of the entry counts then: half a line is cut off by the next call.
    pub fn append(&mut self, who: &Who, draft: Draft) -> Result<HistoryEntry, HistoryError> {
        let (number, previous) = match self.end.take() {
            Some(end) => end,
            None => self.find_end()?,
        };
        let entry = chain::sealed(HistoryEntry {
            // No number is behind the highest; a chain that says it was there is broken, and stays so.
            number: number.saturating_add(1),
            time: Timestamp::now(),
            uid: who.uid,
            loginuid: who.loginuid,
            user: who.user.clone(),
            verb: draft.verb.to_owned(),
            object: draft.object,
            reason: draft.reason,
            before: draft.before,
            after: draft.after,
            generation: draft.generation,
            previous,
            hash: String::new(),
        });
        self.write(&entry)?;
        self.end = Some((entry.number, entry.hash.clone()));
        Ok(entry)
    }

    /// All entries that can be read, the oldest first.
    ///
    /// # Errors
    /// The file can't be read; none at all is an empty history.
    pub fn entries(&self) -> Result<Vec<HistoryEntry>, HistoryError> {
        Ok(self.text()?.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    /// Looks for edits, deletions and changes of the order; with the hash of an entry that was noted elsewhere also for a
    /// cut end.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn verify(&self, head: Option<&str>) -> Result<HistoryReport, HistoryError> {
        Ok(HistoryReport { file: self.file.display().to_string(), ..verify(&self.text()?, head) })
    }

    /// The end of what is there. A line that a crash tore is cut off, and an entry says so.
    fn find_end(&mut self) -> Result<(u64, String), HistoryError> {
        let text = self.text()?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let end = chain::end(&text[..whole]);
        if whole == text.len() {
            return Ok(end);
        }
        let failed = |source| HistoryError { what: "mend", path: self.file.clone(), source };
        let file = OpenOptions::new().write(true).open(&self.file).map_err(failed)?;
        file.set_len(whole as u64).and_then(|()| file.sync_all()).map_err(failed)?;
        let torn = text.len() - whole;
        tracing::warn!("{}: a crash tore its last line; {torn} bytes were cut off", self.file.display());
        self.end = Some(end);
        let reason = format!("a crash tore the last line; {torn} bytes without an end were cut off");
        let draft = Draft { verb: "repair", reason: Some(reason), ..Draft::default() };
        let entry = self.append(&Who::daemon(), draft)?;
        Ok((entry.number, entry.hash))
    }

    fn write(&self, entry: &HistoryEntry) -> Result<(), HistoryError> {
        let failed = |source| HistoryError { what: "append to", path: self.file.clone(), source };
        let mut line = chain::line(entry);
        line.push('\n');
        let fresh = !self.file.exists();
        let mut file = OpenOptions::new().append(true).create(true).mode(MODE).open(&self.file).map_err(failed)?;
        file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        if fresh && let Some(folder) = self.file.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(())
    }

    fn text(&self) -> Result<Vec<u8>, HistoryError> {
        match fs::read(&self.file) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(HistoryError { what: "read", path: self.file.clone(), source }),
        }
    }
}
