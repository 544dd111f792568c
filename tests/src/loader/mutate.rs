//! Spoils zone files: bytes, lines, blocks, words, numbers, indentation, and what YAML has that zone files must not have.

use std::fmt::Write as _;

use super::texts::{File, Files};
use crate::oracle::Random;

/// Words that mean something to YAML, to a zone file, or to a terminal.
const WORDS: [&str; 78] = [
    "&a ",
    "*a",
    "<<: *a",
    "!!binary ",
    "!x ",
    "---",
    "...",
    "%YAML 1.2\n---\n",
    "? ",
    "| ",
    "> ",
    "|9\n",
    ">-\n",
    "{",
    "}",
    "[",
    "]",
    ",",
    ": ",
    ":",
    "- ",
    "#",
    " #",
    "'",
    "\"",
    "\\",
    "\t",
    "~",
    "null",
    "true",
    "no",
    "0x10",
    "1e9",
    ".inf",
    "any",
    "host",
    "unzoned",
    "enforce",
    "audit",
    "tcp/0",
    "tcp/65535",
    "tcp/65536",
    "tcp/9-1",
    "icmp/256",
    "proto/256",
    "icmp",
    "udp/-1",
    "0.0.0.0/0",
    "::/0",
    "10.0.0.1/8",
    "10.0.0.0/33",
    "::ffff:1.2.3.4/128",
    "fe80::1%eth0",
    "1.2.3",
    "version: 1",
    "version: 2",
    "zones: {}",
    "rules: []",
    "zones:",
    "rules:",
    "services:",
    "pairs:",
    "tests:",
    "failsafe:",
    "2099-06-30T00:00:00Z",
    "2099-13-01T00:00:00Z",
    "9999-12-31T23:59:60Z",
    "-9999-01-01T00:00:00Z",
    "\u{feff}",
    "\u{202e}",
    "\u{2028}",
    "\u{85}",
    "\u{0}",
    "\u{1b}[31m",
    "\u{1f980}",
    "e\u{301}",
    "\r",
    "\r\n",
];

/// Bytes that are no UTF-8: a lone continuation, a surrogate, an overlong zero, a cut character.
const NO_TEXT: [&[u8]; 5] = [&[0x80], &[0xed, 0xa0, 0x80], &[0xc0, 0x80], &[0xe2, 0x82], &[0xff, 0xfe]];

const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "1",
    "255",
    "256",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "18446744073709551616",
    "00000000000000000000000000000000001",
    "99999999999999999999999999999999999999999999999999",
];

/// Spoils the files in a few ways; now and then in none.
pub(super) fn mutate(random: &mut Random, files: &mut Files) {
    let times = match random.below(20) {
        0 => 0,
        1..=11 => 1,
        12..=16 => random.between(2, 4),
        _ => random.between(5, 12),
    };
    for _ in 0..times {
        if random.percent(4) {
            move_files(random, files);
        } else {
            let place = random.below(files.len());
            spoil(random, &mut files[place]);
        }
    }
}

fn spoil(random: &mut Random, file: &mut File) {
    match random.below(20) {
        0..=2 => bytes(random, &mut file.bytes),
        3..=5 => lines(random, &mut file.bytes),
        6..=8 => blocks(random, &mut file.bytes),
        9..=11 => words(random, &mut file.bytes),
        12 | 13 => numbers(random, &mut file.bytes),
        14 | 15 => indentation(random, &mut file.bytes),
        16 => nests(random, &mut file.bytes),
        17 => aliases(random, &mut file.bytes),
        18 => grows(random, &mut file.bytes),
        _ => endings(random, &mut file.bytes),
    }
}

fn bytes(random: &mut Random, bytes: &mut Vec<u8>) {
    let at = random.below(bytes.len() + 1);
    match random.below(5) {
        0 => bytes.truncate(at),
        1 => drop(bytes.splice(at..at, [random.number() as u8])),
        2 => drop(bytes.splice(at..at, random.pick(&NO_TEXT).iter().copied())),
        3 if at < bytes.len() => drop(bytes.remove(at)),
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = if random.percent(50) { random.number() as u8 } else { random.between(0x20, 0x7e) as u8 };
            }
        }
    }
}

fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn lines(random: &mut Random, bytes: &mut Vec<u8>) {
    let mut all = split(bytes);
    let (one, other) = (random.below(all.len()), random.below(all.len()));
    if !all.is_empty() {
        rearrange(random, &mut all, one..one + 1, other);
    }
    *bytes = all.concat();
}

/// Removes, doubles or moves a stretch.
fn rearrange(random: &mut Random, all: &mut Vec<Vec<u8>>, stretch: std::ops::Range<usize>, to: usize) {
    let taken: Vec<Vec<u8>> = all[stretch.clone()].to_vec();
    let kind = random.below(3);
    if kind != 1 {
        all.drain(stretch);
    }
    if kind != 0 {
        let to = to.min(all.len());
        all.splice(to..to, taken);
    }
}

fn depth(line: &[u8]) -> usize {
    line.iter().take_while(|byte| **byte == b' ').count()
}

/// A line with everything that is indented below it.
fn blocks(random: &mut Random, bytes: &mut Vec<u8>) {
    let mut all = split(bytes);
    if all.is_empty() {
        return;
    }
    let start = random.below(all.len());
    let inside = |line: &&Vec<u8>| depth(line) > depth(&all[start]) || line.trim_ascii().is_empty();
    let end = start + 1 + all[start + 1..].iter().take_while(inside).count();
    let to = random.below(all.len());
    if random.percent(25) {
        let by = random.between(1, 4);
        for line in &mut all[start..end] {
            if random.percent(50) {
                line.splice(0..0, vec![b' '; by]).for_each(drop);
            } else {
                line.drain(..depth(line).min(by)).for_each(drop);
            }
        }
    } else {
        rearrange(random, &mut all, start..end, to);
    }
    *bytes = all.concat();
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_./:@\"*".contains(&byte)
}

/// Where a word stands around or behind a place of chance.
fn a_word(random: &mut Random, bytes: &[u8], belongs: impl Fn(u8) -> bool) -> std::ops::Range<usize> {
    let near = random.below(bytes.len() + 1);
    let start = bytes[near..].iter().position(|byte| belongs(*byte)).map_or(bytes.len(), |by| near + by);
    let end = bytes[start..].iter().position(|byte| !belongs(*byte)).map_or(bytes.len(), |by| start + by);
    start..end
}

fn words(random: &mut Random, bytes: &mut Vec<u8>) {
    let at = a_word(random, bytes, is_word);
    let put = if random.percent(50) {
        let other = a_word(random, bytes, is_word);
        bytes[other].to_vec()
    } else {
        random.pick(&WORDS).as_bytes().to_vec()
    };
    match random.below(4) {
        0 => bytes.splice(at.start..at.start, put).for_each(drop),
        1 => bytes.splice(at.end..at.end, put).for_each(drop),
        _ => bytes.splice(at, put).for_each(drop),
    }
}

fn numbers(random: &mut Random, bytes: &mut Vec<u8>) {
    let at = a_word(random, bytes, |byte| byte.is_ascii_digit());
    let put = match random.below(3) {
        0 => random.number().to_string(),
        _ => (*random.pick(&NUMBERS)).to_owned(),
    };
    bytes.splice(at, put.into_bytes()).for_each(drop);
}

fn indentation(random: &mut Random, bytes: &mut Vec<u8>) {
    let mut all = split(bytes);
    for _ in 0..random.between(1, 3) {
        let place = random.below(all.len());
        let Some(line) = all.get_mut(place) else { continue };
        let put: &[u8] = random.pick::<&[u8]>(&[b"\t", b" ", b"  ", b"     ", b"- ", b"? ", b"\xc2\xa0", b""]);
        let gone = random.below(depth(line) + 1);
        line.splice(0..gone, put.iter().copied()).for_each(drop);
    }
    *bytes = all.concat();
}

/// Brackets, lists and mappings one in another, shallow to very deep.
fn nests(random: &mut Random, bytes: &mut Vec<u8>) {
    let deep = *random.pick(&[3, 20, 25, 30, 300, 20_000]);
    let put = match random.below(6) {
        0 => "[".repeat(deep) + &"]".repeat(deep),
        1 => "[".repeat(deep),
        2 => "{a: ".repeat(deep) + &"}".repeat(deep),
        3 => "- ".repeat(deep),
        4 => "? ".repeat(deep),
        _ => (0..deep.min(600)).fold(String::new(), |text, depth| text + &" ".repeat(depth) + "a:\n"),
    };
    let at = a_word(random, bytes, is_word);
    if random.percent(50) { bytes.splice(at, put.into_bytes()).for_each(drop) } else { bytes.extend(put.into_bytes()) }
}

/// What multiplies in other readers of YAML.
fn aliases(random: &mut Random, bytes: &mut Vec<u8>) {
    let put = match random.below(4) {
        0 => {
            let mut bomb = "\na0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
            for level in 1..random.between(2, 12) {
                let items = vec![format!("*a{}", level - 1); 9].join(", ");
                let _ = writeln!(bomb, "a{level}: &a{level} [{items}]");
            }
            bomb
        }
        1 => "\n&a a: *a\n".to_owned(),
        2 => "\nbase: &base { from: dev }\nother:\n  <<: *base\n".to_owned(),
        _ => "\n---\nversion: 1\nzones: {}\n".to_owned(),
    };
    let all = split(bytes);
    let at = all.iter().take(random.below(all.len() + 1)).map(Vec::len).sum::<usize>();
    bytes.splice(at..at, put.into_bytes()).for_each(drop);
}

/// Somewhat more than the loader takes of a file: what grows again and again would soon be more than a machine has.
const LARGEST: usize = 36 << 20;

/// Very many lines of one kind, or one that is very long.
fn grows(random: &mut Random, bytes: &mut Vec<u8>) {
    let times = *random.pick(&[10, 100, 1000, 3000]);
    let all = split(bytes);
    let place = random.below(all.len());
    let Some(line) = all.get(place) else { return };
    let before: usize = all[..place].iter().map(Vec::len).sum();
    let (piece, times) =
        if random.percent(50) { (line.as_slice(), times) } else { (random.pick(&WORDS).as_bytes(), times * 4) };
    let room = LARGEST.saturating_sub(bytes.len());
    let put = piece.repeat(times.min(room / piece.len().max(1)));
    let at = if random.percent(50) { before } else { random.below(bytes.len() + 1) };
    bytes.splice(at..at, put).for_each(drop);
}

fn endings(random: &mut Random, bytes: &mut Vec<u8>) {
    let put: &[u8] = random.pick::<&[u8]>(&[b"\r\n", b"\r", b"\n\n", b" \n", b"\xe2\x80\xa8"]);
    let all = split(bytes);
    *bytes = all.iter().flat_map(|line| [line.trim_ascii_end(), put].concat()).collect();
}

/// Moves, doubles and empties whole files, and gives them odd names.
fn move_files(random: &mut Random, files: &mut Files) {
    let place = random.below(files.len());
    match random.below(5) {
        0 => files[place].bytes.clear(),
        1 => {
            let name = format!("zones.d/{}.yaml", random.pick(&["00", "zz", "a b", "ü", "x.yaml", "\u{202e}lmay"]));
            let bytes = files[place].bytes.clone();
            files.push(File { name, bytes });
        }
        2 => {
            let other = random.below(files.len());
            let (one, two) = (files[place].bytes.clone(), files[other].bytes.clone());
            (files[place].bytes, files[other].bytes) = (two, one);
        }
        3 if place > 0 => drop(files.remove(place)),
        _ => {
            let at = random.below(files[place].bytes.len() + 1);
            let rest = files[place].bytes.split_off(at);
            files.push(File { name: "zones.d/70-rest.yaml".to_owned(), bytes: rest });
        }
    }
    // Two files of one name are one.
    let mut seen = std::collections::HashSet::new();
    files.retain(|file| seen.insert(file.name.clone()));
}
