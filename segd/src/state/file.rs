//! Files that are there whole or not at all: written beside, synced, renamed, and the folder synced. A symbolic link stays
//! one: what it leads to is replaced. Knows nothing of what is in them.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

/// How the files are called that are not yet in their place.
const PREFIX: &str = ".segd-";
const SUFFIX: &str = ".new";
/// Nobody takes that long to write one.
const FORGOTTEN: Duration = Duration::from_mins(1);

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
        let target = fs::canonicalize(path);
        let path = target.as_deref().unwrap_or(path);
        let failed = |source| FileError { path: path.to_owned(), source };
        let write = || {
            fs::create_dir_all(folder(path))?;
            let mut temporary = tempfile::Builder::new().prefix(PREFIX).suffix(SUFFIX).tempfile_in(folder(path))?;
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

/// Removes what a daemon that was killed while it wrote has left in `folder`.
pub fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        let age = entry.metadata().and_then(|file| file.modified()).map(|then| SystemTime::now().duration_since(then));
        let forgotten = matches!(age, Ok(Ok(age)) if age > FORGOTTEN);
        if ours
            && forgotten
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::warn!(
                "{} is left of a daemon that was killed, and can't be removed: {error}",
                entry.path().display()
            );
        }
    }
}

/// The folder of a file; that of a bare name is the current one.
#[must_use]
pub fn folder(path: &Path) -> &Path {
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
    fn a_link_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("far.yaml"), dir.path().join("zones.yaml"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, b"new", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn what_a_killed_daemon_was_writing_is_swept_once_it_is_old_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (old, young, other) = (".segd-aaaaaa.new", ".segd-bbbbbb.new", "segd-c.new");
        for name in [old, young, other] {
            fs::write(dir.path().join(name), "half").unwrap();
        }
        for name in [old, other] {
            let file = File::options().write(true).open(dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - FORGOTTEN - Duration::from_secs(1)).unwrap();
        }
        sweep(dir.path());
        let there = |name: &str| dir.path().join(name).exists();
        assert!(!there(old) && there(young) && there(other));
        sweep(&dir.path().join("no-such-folder"));
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
