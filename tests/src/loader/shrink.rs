//! Makes files that show a finding small: fewer files, fewer lines, fewer bytes (delta debugging, Zeller 1999).

use super::texts::Files;

/// The smallest files found that still show it. `shows` is asked some thousand times at most.
pub(super) fn shrink(files: &Files, mut shows: impl FnMut(&Files) -> bool) -> Files {
    let mut asked = 0;
    let mut shows = |files: &Files| {
        asked += 1;
        asked < 3000 && shows(files)
    };
    let mut small = files.clone();
    for place in (1..small.len()).rev() {
        let mut fewer = small.clone();
        fewer.remove(place);
        if shows(&fewer) {
            small = fewer;
        }
    }
    for place in 0..small.len() {
        for by_line in [true, false] {
            shorten(&mut small, place, by_line, &mut shows);
        }
    }
    small
}

fn pieces(bytes: &[u8], by_line: bool) -> Vec<Vec<u8>> {
    if by_line {
        return bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    }
    bytes.chunks(1).map(<[u8]>::to_vec).collect()
}

fn shorten(small: &mut Files, place: usize, by_line: bool, shows: &mut impl FnMut(&Files) -> bool) {
    let mut kept = pieces(&small[place].bytes, by_line);
    let mut part = kept.len().div_ceil(2);
    while part > 0 {
        let mut start = 0;
        while start < kept.len() {
            let mut fewer = kept.clone();
            fewer.drain(start..(start + part).min(fewer.len()));
            let mut files = small.clone();
            files[place].bytes = fewer.concat();
            if shows(&files) {
                kept = fewer;
                *small = files;
            } else {
                start += part;
            }
        }
        part /= 2;
    }
}
