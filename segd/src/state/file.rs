//! Files that are there whole or not at all: written beside, synced, renamed, and the folder synced. Knows nothing of
//! what is in them.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file could not be written; what stood there before still does.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}; look at the folder's owner, its mode and the space on its disk")]
pub struct FileError {
    path: PathBuf,
    source: io::Error,
}

/// A new text that is safely on the disk, and not yet in its place.
#[derive(Debug)]
pub struct Prepared {
    path: PathBuf,
    temporary: NamedTempFile,
}

impl Prepared {
    /// Writes `text` beside `path`, with the owner and the mode of the file that is there, or `mode` if none is.
    pub fn new(path: &Path, text: &[u8], mode: u32) -> Result<Self, FileError> {
        Self::filled(path, mode, |file| file.write_all(text))
    }

    /// The same with what `fill` writes.
    pub fn filled(
        path: &Path,
        mode: u32,
        fill: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
    ) -> Result<Self, FileError> {
        let failed = |source| FileError { path: path.to_owned(), source };
        let write = || {
            fs::create_dir_all(folder(path))?;
            let mut temporary = tempfile::Builder::new().prefix(".segd-").suffix(".new").tempfile_in(folder(path))?;
            let mut buffered = BufWriter::new(temporary.as_file_mut());
            fill(&mut buffered)?;
            buffered.flush()?;
            drop(buffered);
            let permissions = match fs::metadata(path) {
                Ok(there) => {
                    keep_owner(temporary.path(), &there)?;
                    there.permissions()
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Permissions::from_mode(mode),
                Err(error) => return Err(error),
            };
            temporary.as_file().set_permissions(permissions)?;
            temporary.as_file().sync_all()?;
            Ok(temporary)
        };
        Ok(Self { path: path.to_owned(), temporary: write().map_err(failed)? })
    }

    /// Puts it in its place. Once this returns, a power cut leaves the new text; if it fails, the old one stays.
    pub fn commit(self) -> Result<(), FileError> {
        let Self { path, temporary } = self;
        let persisted = temporary.persist(&path).map_err(|error| error.error);
        let synced = persisted.and_then(|_| File::open(folder(&path))?.sync_all());
        synced.map_err(|source| FileError { path, source })
    }
}

/// A daemon that is not root can't give files away: what it writes into a folder that is its own is its own as well.
fn keep_owner(fresh: &Path, there: &Metadata) -> io::Result<()> {
    match chown(fresh, Some(there.uid()), Some(there.gid())) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

/// Replaces the text of `path`, as [`Prepared`] does, in one step.
pub fn replace(path: &Path, text: &[u8], mode: u32) -> Result<(), FileError> {
    Prepared::new(path, text, mode)?.commit()
}

/// Removes a file for good; fine if there is none.
pub fn remove(path: &Path) -> Result<(), FileError> {
    let removed = match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.and_then(|()| File::open(folder(path))?.sync_all()),
    };
    removed.map_err(|source| FileError { path: path.to_owned(), source })
}

/// The folder of a file; that of a bare name is the current one.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_text_stands_until_the_new_one_is_committed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("zones.yaml");
        replace(&path, b"old", 0o640).unwrap();
        let prepared = Prepared::new(&path, b"new", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        prepared.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640, "the mode stays");
    }

    #[test]
    fn what_is_not_committed_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        drop(Prepared::new(&dir.path().join("zones.yaml"), b"new", 0o644).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_failure_names_the_file_and_the_mend() {
        let dir = tempfile::tempdir().unwrap();
        let blocked = dir.path().join("file");
        fs::write(&blocked, "").unwrap();
        let error = replace(&blocked.join("zones.yaml"), b"new", 0o644).unwrap_err().to_string();
        assert!(error.contains("file/zones.yaml") && error.contains("look at"), "{error}");
    }
}
