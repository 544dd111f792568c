//! Replaces a file so that a reader, or a machine that loses power, finds the old text or the new one and nothing else.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file that did not exist is readable for everybody: a zone file holds no secrets, and `segd check` needs no rights.
const MODE: u32 = 0o644;

/// What could not be done to which file.
#[derive(Debug, thiserror::Error)]
#[error("could not write {}: {step}: {source}; look at the rights of the folder and at the space on the disk", path.display())]
pub struct WriteError {
    /// The file that was to be written.
    pub path: PathBuf,
    /// How far it came. Up to "renaming", the old file is untouched.
    pub step: &'static str,
    /// What the system said.
    pub source: io::Error,
}

/// Writes `text` to a new file beside `path`, and puts it in its place. Mode and owner of a file that exists are kept
/// (the owner only by root), and a symbolic link stays one. Missing folders are made.
///
/// # Errors
/// Says at which step it ended; before the renaming the old file is untouched.
pub fn write_atomically(path: &Path, text: &str) -> Result<(), WriteError> {
    let failed = |step: &'static str| move |source| WriteError { path: path.to_owned(), step, source };
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed("making its folder"))?;
    let mut file =
        tempfile::Builder::new().prefix(".segd-").tempfile_in(folder).map_err(failed("making a file beside it"))?;
    file.write_all(text.as_bytes()).map_err(failed("writing"))?;
    dress(&file, fs::metadata(&target).ok().as_ref()).map_err(failed("setting mode and owner"))?;
    file.as_file().sync_all().map_err(failed("fsync"))?;
    file.persist(&target).map_err(|error| failed("renaming")(error.error))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("fsync of the folder, after the new file was in place"))
}

/// Gives the new file what the old one had. The owner comes first: changing it may take mode bits away.
fn dress(file: &NamedTempFile, old: Option<&Metadata>) -> io::Result<()> {
    let new = file.as_file().metadata()?;
    if let Some(old) = old
        && (old.uid(), old.gid()) != (new.uid(), new.gid())
    {
        match fchown(file, Some(old.uid()), Some(old.gid())) {
            // A daemon that is not root can't give files away: in a folder that is its own, what it writes is its own as well.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            done => done?,
        }
    }
    let mode = old.map_or(MODE, |old| old.permissions().mode() & 0o7777);
    file.as_file().set_permissions(Permissions::from_mode(mode))
}
