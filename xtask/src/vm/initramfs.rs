//! An initramfs: a cpio archive ("newc") in memory. It holds what it was given and nothing of the machine else.

use std::collections::BTreeMap;
use std::path::Path;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// What stands at a path.
#[derive(Debug, Clone)]
enum Entry {
    Directory,
    File(Vec<u8>),
    Device { major: u32, minor: u32 },
}

/// An archive being filled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Initramfs(BTreeMap<String, Entry>);

impl Initramfs {
    /// Puts a file at an absolute path, and makes the folders above it.
    pub(crate) fn file(&mut self, path: &str, bytes: Vec<u8>) {
        self.put(path, Entry::File(bytes));
    }

    /// A character device.
    pub(crate) fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.put(path, Entry::Device { major, minor });
    }

    /// An empty folder.
    pub(crate) fn folder(&mut self, path: &str) {
        self.put(path, Entry::Directory);
    }

    fn put(&mut self, path: &str, entry: Entry) {
        let path = path.trim_start_matches('/');
        for above in Path::new(path).ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            self.0.entry(above.display().to_string()).or_insert(Entry::Directory);
        }
        self.0.insert(path.to_owned(), entry);
    }

    /// The archive. Paths are in order, so each folder comes before what is in it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut archive = Vec::new();
        for (inode, (path, entry)) in (1..).zip(&self.0) {
            let (mode, device, data) = match entry {
                Entry::Directory => (DIRECTORY, (0, 0), &[][..]),
                Entry::File(bytes) => (PROGRAM, (0, 0), &bytes[..]),
                Entry::Device { major, minor } => (CHARACTER_DEVICE, (*major, *minor), &[][..]),
            };
            append(&mut archive, inode, path, mode, device, data);
        }
        append(&mut archive, 0, "TRAILER!!!", 0, (0, 0), &[]);
        archive
    }
}

fn append(archive: &mut Vec<u8>, inode: u32, path: &str, mode: u32, (major, minor): (u32, u32), data: &[u8]) {
    let links = 1;
    let name_len = path.len() as u32 + 1;
    let fields =
        [inode, mode, 0, 0, links, 0, data.len() as u32, 0, 0, major, minor, name_len, 0].map(|f| format!("{f:08X}"));
    archive.extend(b"070701");
    archive.extend(fields.concat().bytes());
    archive.extend(path.bytes());
    archive.push(0);
    pad(archive);
    archive.extend(data);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_folders_before_their_files_and_ends_with_the_trailer() {
        let mut image = Initramfs::default();
        image.file("/t/life", b"abcde".to_vec());
        image.device("/dev/console", 5, 1);
        let bytes = image.bytes();
        assert!(bytes.len().is_multiple_of(4));
        let text = String::from_utf8_lossy(&bytes);
        let places: Vec<_> =
            ["dev\0", "dev/console\0", "t\0", "t/life\0", "abcde", "TRAILER!!!\0"].map(|name| text.find(name)).into();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
        let first = &text[..110];
        assert_eq!(&first[..6], "070701");
        assert_eq!(&first[14..22], "000041ED", "a folder's mode");
        assert_eq!(&first[94..102], "00000004", "the length of its name, with the end");
    }
}
