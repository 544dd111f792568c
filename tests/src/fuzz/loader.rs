//! Any bytes as zone files: the loader takes all of them or refuses them with their places.

use super::Bytes;
use crate::loader::{File, Judge, Judged};

/// Stands between two files.
pub(super) const BETWEEN: u8 = 0x1e;
/// Which files there may be.
const NAMES: [&str; 3] = ["zones.yaml", "zones.d/50-segctl.yaml", "zones.d/60-more.yaml"];

pub(super) fn run(bytes: &[u8]) {
    thread_local!(static JUDGE: Judge = Judge::new().expect("a folder for zone files"));
    let Bytes(bytes) = Bytes(bytes);
    let parts = bytes.splitn(NAMES.len(), |byte| *byte == BETWEEN);
    let files: Vec<File> =
        NAMES.iter().zip(parts).map(|(name, part)| File { name: (*name).to_owned(), bytes: part.to_vec() }).collect();
    let (judged, _) = JUDGE.with(|judge| judge.judge(&files)).expect("the files can be written");
    if let Judged::Wrong(wrong) = judged {
        panic!("{wrong}");
    }
}
