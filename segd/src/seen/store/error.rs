//! What can go wrong with the store. None of it touches enforcement.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// How the text of a disk that refuses begins.
pub(in crate::seen) const REFUSED: &str = "what is seen can't be written down";

/// The store does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `SQLite` said no.
    #[error("{REFUSED}: {0}; look at the space on the disk and at the owner of the state folder")]
    Sql(#[from] rusqlite::Error),
    /// A file could not be made or moved.
    #[error("{REFUSED}: {path}: {source}; look at the space on the disk and at the owner of the state folder")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not open.
    #[error("there is no history of what was seen: {0}")]
    Closed(String),
}

impl StoreError {
    pub(in crate::seen) fn closed(path: &Path, why: Option<&str>) -> Self {
        Self::Closed(why.map_or_else(|| format!("{} is not open", path.display()), str::to_owned))
    }

    /// Whether the file itself is broken, so that opening it anew sets it aside.
    pub(in crate::seen) fn is_damage(&self) -> bool {
        match self {
            Self::Sql(error) => is_damage(error),
            Self::File { .. } | Self::Closed(_) => false,
        }
    }
}

pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}
