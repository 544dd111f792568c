//! The text of one file, or the fault that it can't be read. Must never wait for somebody to write, nor read without end.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::fault::Fault;
use super::findings::{Source, Spot, is_break, picture};

/// A block list of a million prefixes, a line each, fits in.
const LARGEST: u64 = 32 << 20;

/// Where what a shell hands over is found by name: a pipe or a terminal is no mistake there.
const HANDED_OVER: [&str; 3] = ["/dev/stdin", "/dev/fd/", "/proc/self/fd/"];

/// The text of the file at `path`, which is shown as `name`.
///
/// # Errors
/// It can't be read, is no file, is larger than any policy, or is not UTF-8.
pub fn text_of(path: &Path, name: &str) -> Result<String, Fault> {
    let bytes = read_bytes(path).map_err(|error| unreadable(name, &error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Fault::of_file(
            name,
            format!("the file is larger than {} MiB", LARGEST >> 20),
            "split it over several files in zones.d/",
        ));
    }
    String::from_utf8(bytes).map_err(|error| no_text(name, error.as_bytes(), error.utf8_error().valid_up_to()))
}

/// What stands in the way of reading a file.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("this is {0}, not a file")]
    NoFile(&'static str),
}

fn unreadable(name: &str, error: &Unreadable) -> Fault {
    let (message, mend) = match error {
        Unreadable::NoFile(_) => (error.to_string(), "name a zone file, or /dev/stdin to read from a pipe"),
        Unreadable::Io(io) => match io.kind() {
            ErrorKind::NotFound => {
                ("there is no such file".into(), "write it (zones.example.yaml is a start), or name another")
            }
            ErrorKind::PermissionDenied => (
                "the file can't be read: permission denied".into(),
                "let the user who runs this read it, or run this as another user",
            ),
            _ => (format!("the file can't be read: {io}"), "look at the file and the disk it is on"),
        },
    };
    Fault::of_file(name, message, mend)
}

/// A fault at the first byte that is no text.
fn no_text(name: &str, bytes: &[u8], good: usize) -> Fault {
    let shown = String::from_utf8_lossy(bytes);
    let before = &shown[..good];
    let line = before.rsplit(is_break).next().unwrap_or_default();
    let spot = Spot {
        file: 0,
        line: 1 + before.replace("\r\n", "\n").matches(is_break).count() as u32,
        column: 1 + line.chars().count() as u32,
        start: good,
        end: good + 1,
    };
    let source = Source { name: name.to_owned(), text: shown.into_owned() };
    picture(&source, spot, "the file is not UTF-8 text", "save it as UTF-8")
}

/// At most one byte more than is taken.
fn read_bytes(path: &Path) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = Vec::new();
    open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A pipe that nobody writes to would be waited for, without end, while it is opened.
fn open(path: &Path) -> Result<File, Unreadable> {
    if HANDED_OVER.iter().any(|place| path.as_os_str().as_encoded_bytes().starts_with(place.as_bytes())) {
        return Ok(File::open(path)?);
    }
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = match opened {
        // No way leads to a socket by its name.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
            return Err(Unreadable::NoFile("a socket or a device"));
        }
        other => other?,
    };
    let kind = file.metadata()?.file_type();
    match kind {
        _ if kind.is_file() => Ok(file),
        _ if kind.is_dir() => Err(Unreadable::NoFile("a folder")),
        _ if kind.is_fifo() => Err(Unreadable::NoFile("a named pipe")),
        _ => Err(Unreadable::NoFile("a device")),
    }
}
