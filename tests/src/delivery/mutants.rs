//! Mutants of a frame: what is changed in the places where a parser and a kernel may come to think differently.

use super::ip;
use crate::oracle::Random;

/// Bytes of headers that are worth changing.
const HEADERS: usize = 96;

/// One mutant: mostly one frame, and several where it is cut into pieces.
pub(super) fn mutant(random: &mut Random, plain: &[u8]) -> Vec<Vec<u8>> {
    let mut frame = plain.to_vec();
    for _ in 0..*random.pick(&[1, 1, 1, 2, 2, 3]) {
        change(random, &mut frame);
    }
    if random.percent(70)
        && let Some(start) = ip::ipv4(&frame)
    {
        ip::sum_header(&mut frame, start);
    }
    if random.percent(15) { pieces(random, &frame) } else { vec![frame] }
}

fn change(random: &mut Random, frame: &mut Vec<u8>) {
    let start = ip::start(frame).unwrap_or(14);
    match random.below(12) {
        0 | 1 => flip(random, frame),
        2 => set(random, frame, start + 4, &[0, 4, 5, 6, 7, 8, 14, 15]),
        // Version and header length; total or payload length; fragment word; protocol or next header.
        3 => set(random, frame, start, &[0x40, 0x44, 0x45, 0x46, 0x4f, 0x60, 0x65, 0x54]),
        4 => word(random, frame, start + 2),
        5 => word(random, frame, start + 6),
        6 => {
            let at = start + if is6(frame, start) { 6 } else { 9 };
            set(random, frame, at, &PROTOCOLS);
        }
        7 => word(random, frame, start + 4),
        8 => tags(random, frame),
        9 if is6(frame, start) => extension(random, frame, start),
        9 => options(random, frame, start),
        10 => {
            let more = random.between(1, 40);
            let byte = random.below(256) as u8;
            frame.extend(std::iter::repeat_n(byte, more));
        }
        _ => {
            let length = random.between(super::ground::SHORTEST, frame.len().max(super::ground::SHORTEST));
            frame.truncate(length);
        }
    }
}

const PROTOCOLS: [u8; 18] = [0, 1, 2, 4, 6, 17, 33, 41, 43, 44, 47, 50, 51, 58, 59, 60, 132, 135];

fn is6(frame: &[u8], start: usize) -> bool {
    frame.get(start).is_some_and(|first| first >> 4 == 6)
}

fn flip(random: &mut Random, frame: &mut [u8]) {
    let at = 12 + random.below(frame.len().min(HEADERS).saturating_sub(12).max(1));
    if let Some(byte) = frame.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

fn set(random: &mut Random, frame: &mut [u8], at: usize, values: &[u8]) {
    if let Some(byte) = frame.get_mut(at) {
        *byte = *random.pick(values);
    }
}

/// A 16-bit field gets a value that somebody may get wrong.
fn word(random: &mut Random, frame: &mut [u8], at: usize) {
    let Some(there) = frame.get_mut(at..at + 2) else { return };
    let old = u16::from_be_bytes([there[0], there[1]]);
    let new = match random.below(6) {
        0 => old.wrapping_add(random.between(1, 16) as u16),
        1 => old.wrapping_sub(random.between(1, 16) as u16),
        2 => *random.pick(&[0, 1, 7, 8, 20, 28, 40, 0x1fff, 0x2000, 0x2001, 0x4000, 0x8000, 0xfff8, 0xffff]),
        3 => old.swap_bytes(),
        4 => old ^ 1 << random.below(16),
        _ => random.number() as u16,
    };
    there.copy_from_slice(&new.to_be_bytes());
}

/// Tags between the addresses and the rest, or LLC and SNAP.
fn tags(random: &mut Random, frame: &mut Vec<u8>) {
    if random.percent(15) {
        let length = (frame.len() - 12) as u16;
        let head = [&length.to_be_bytes()[..], &[0xaa, 0xaa, 3, 0, 0, 0]].concat();
        frame.splice(12..12, head).for_each(drop);
        return;
    }
    for _ in 0..random.between(1, 5) {
        let tag = *random.pick(&[[0x81, 0], [0x88, 0xa8], [0x91, 0], [0x92, 0]]);
        let id = if random.percent(70) { [0, 0] } else { [0, random.below(256) as u8] };
        frame.splice(12..12, [tag, id].concat()).for_each(drop);
    }
}

/// One more extension header behind the IPv6 header, with the lengths put right.
fn extension(random: &mut Random, frame: &mut Vec<u8>, start: usize) {
    let Some(next) = frame.get(start + 6).copied() else { return };
    if frame.len() < start + 40 {
        return;
    }
    for _ in 0..random.between(1, 4) {
        let kind = *random.pick(&[0, 43, 44, 51, 60, 135, 139]);
        let mut header = vec![next, 0, 0, 0, 0, 0, 0, 0];
        match kind {
            44 => header[2..].copy_from_slice(&[0, random.below(2) as u8, 0, 0, 0, random.below(4) as u8]),
            51 => header = [&[next, 4][..], &[0; 22]].concat(),
            43 => header[2..4].copy_from_slice(&[*random.pick(&[0, 2, 3, 4]), random.below(2) as u8]),
            _ => header[2..4].copy_from_slice(&[1, 4]),
        }
        frame[start + 6] = kind;
        let length = u16::from_be_bytes([frame[start + 4], frame[start + 5]]).wrapping_add(header.len() as u16);
        frame[start + 4..start + 6].copy_from_slice(&length.to_be_bytes());
        frame.splice(start + 40..start + 40, header).for_each(drop);
        if random.percent(60) {
            return;
        }
        frame[start + 40] = next;
    }
}

/// Options behind the IPv4 header, with the lengths put right.
fn options(random: &mut Random, frame: &mut Vec<u8>, start: usize) {
    let Some(first) = frame.get(start).copied().filter(|first| (5..15).contains(&(first & 15))) else { return };
    let end = start + usize::from(first & 15) * 4;
    if frame.len() < end {
        return;
    }
    let option: [u8; 4] =
        *random.pick(&[[1, 1, 1, 1], [0, 0, 0, 0], [148, 4, 0, 0], [7, 3, 4, 0], [131, 3, 4, 0], [68, 4, 5, 0]]);
    frame[start] = first + 1;
    let length = u16::from_be_bytes([frame[start + 2], frame[start + 3]]).wrapping_add(4);
    frame[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
    frame.splice(end..end, option).for_each(drop);
}

/// The packet in fragments: in order or not, with one twice, or with one that lies over another.
fn pieces(random: &mut Random, frame: &[u8]) -> Vec<Vec<u8>> {
    let Some(start) = ip::start(frame) else { return vec![frame.to_vec()] };
    let cut = 8 * random.between(1, 4);
    let mut made = match frame.get(start).map(|first| first >> 4) {
        Some(4) => pieces4(frame, start, cut, random.number() as u16),
        Some(6) => pieces6(frame, start, cut, random.number() as u32),
        _ => None,
    }
    .unwrap_or_else(|| vec![frame.to_vec()]);
    match random.below(6) {
        0 => made.reverse(),
        1 => random.shuffle(&mut made),
        2 => {
            let again = random.pick(&made).clone();
            made.push(again);
        }
        3 => {
            let mut over = random.pick(&made).clone();
            flip(random, &mut over);
            if let Some(start) = ip::ipv4(&over) {
                ip::sum_header(&mut over, start);
            }
            made.insert(random.below(made.len() + 1), over);
        }
        _ => {}
    }
    made
}

fn pieces4(frame: &[u8], start: usize, cut: usize, id: u16) -> Option<Vec<Vec<u8>>> {
    let header = usize::from(frame.get(start)? & 15) * 4;
    let payload = frame.get(start + header..)?;
    let parts: Vec<&[u8]> = payload.chunks(cut).collect();
    let part = |(number, bytes): (usize, &&[u8])| {
        let mut piece = [&frame[..start + header], bytes].concat();
        piece[start + 2..start + 4].copy_from_slice(&((header + bytes.len()) as u16).to_be_bytes());
        piece[start + 4..start + 6].copy_from_slice(&id.to_be_bytes());
        let more = if number + 1 < parts.len() { 0x2000 } else { 0 };
        let word = more | (number * cut / 8) as u16;
        piece[start + 6..start + 8].copy_from_slice(&word.to_be_bytes());
        ip::sum_header(&mut piece, start);
        piece
    };
    (header >= 20 && (1..200).contains(&parts.len())).then(|| parts.iter().enumerate().map(part).collect())
}

fn pieces6(frame: &[u8], start: usize, cut: usize, id: u32) -> Option<Vec<Vec<u8>>> {
    let payload = frame.get(start + 40..)?;
    let parts: Vec<&[u8]> = payload.chunks(cut).collect();
    let next = frame[start + 6];
    let part = |(number, bytes): (usize, &&[u8])| {
        let word = (number * cut) as u16 | u16::from(number + 1 < parts.len());
        let mut fragment = vec![next, 0];
        fragment.extend(word.to_be_bytes());
        fragment.extend(id.to_be_bytes());
        let mut piece = [&frame[..start + 40], &fragment, bytes].concat();
        piece[start + 4..start + 6].copy_from_slice(&((8 + bytes.len()) as u16).to_be_bytes());
        piece[start + 6] = 44;
        piece
    };
    (1..200).contains(&parts.len()).then(|| parts.iter().enumerate().map(part).collect())
}
