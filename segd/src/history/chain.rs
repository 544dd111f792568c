//! The chain itself: which text an entry has, what it is hashed to, and whether a file is what was written. Pure.

use sha2::{Digest as _, Sha256};

use crate::api::types::{HistoryEntry, HistoryReport};

/// What stands before the first entry.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The entry with its hash.
pub(super) fn sealed(entry: HistoryEntry) -> HistoryEntry {
    HistoryEntry { hash: hash(&entry), ..entry }
}

/// The one text that an entry has.
pub(super) fn line(entry: &HistoryEntry) -> String {
    serde_json::to_string(entry).expect("an entry is plain data, which always has a JSON form")
}

fn hash(entry: &HistoryEntry) -> String {
    let open = HistoryEntry { hash: String::new(), ..entry.clone() };
    Sha256::digest(line(&open)).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Number and hash of the last entry that can be read. What follows goes on from there even in a file that was tampered
/// with: it is for [`verify`] to say so.
pub(super) fn end(text: &[u8]) -> (u64, String) {
    let read = |line: &[u8]| serde_json::from_slice::<HistoryEntry>(line).ok();
    let last = text.split(|byte| *byte == b'\n').rev().find_map(read);
    last.map_or((0, GENESIS.to_owned()), |entry| (entry.number, entry.hash))
}

/// Whether `text` is a chain without a gap; with `head`, whether that entry is in it. A history that was cut off at its
/// end is a whole chain by itself: only a head that is kept elsewhere tells.
#[must_use]
pub fn verify(text: &[u8], head: Option<&str>) -> HistoryReport {
    let (mut entries, mut last) = (0, GENESIS.to_owned());
    let mut found = head.is_none_or(|head| head == GENESIS);
    let mut fault = None;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        match judge(line, entries + 1, &last) {
            Ok(hash) => {
                found |= head == Some(hash.as_str());
                (entries, last) = (entries + 1, hash);
            }
            Err(what) => {
                fault = Some(format!("line {}: {what}", entries + 1));
                break;
            }
        }
    }
    if let (None, false, Some(head)) = (&fault, found, head) {
        fault = Some(format!("no entry has the hash {head}: the end was cut off, or the whole was written anew"));
    }
    HistoryReport { intact: fault.is_none(), entries, head: last, fault, file: String::new() }
}

/// The hash of a line that is what it ought to be.
fn judge(whole: &[u8], number: u64, previous: &str) -> Result<String, String> {
    let text = whole.strip_suffix(b"\n").ok_or("it has no end; a crash may have torn it")?;
    let entry: HistoryEntry = serde_json::from_slice(text).map_err(|error| format!("it is no entry: {error}"))?;
    if entry.number != number {
        return Err(format!("it has number {}: entries are missing, or in another order", entry.number));
    }
    if entry.previous != previous {
        return Err("it does not follow the entry before it".to_owned());
    }
    if hash(&entry) != entry.hash || line(&entry).as_bytes() != text {
        return Err("it is not what was written".to_owned());
    }
    Ok(entry.hash)
}
