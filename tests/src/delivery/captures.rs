//! Captures out of a folder: pcap of either byte order and pcapng, of every link type that has an IP packet where it says. A
//! file that ends early or is broken gives the frames before the fault.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

use super::ground::{RECEIVER_MAC, SENDER_MAC};
use crate::packet::ethernet;

/// A capture, as Ethernet frames.
#[derive(Clone, Debug)]
pub struct Capture {
    /// Its file.
    pub name: String,
    /// What can be sent.
    pub frames: Vec<Vec<u8>>,
    /// Frames of link types that nobody here knows.
    pub skipped: u64,
    /// What ended the reading before the file's end.
    pub fault: Option<String>,
}

/// Larger than any frame.
const ROOM: usize = 1 << 20;

/// All captures below a folder, in the order of their names.
///
/// # Errors
/// The folder or a file can't be read.
pub fn read_folder(folder: &Path) -> Result<Vec<Capture>> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    files.iter().map(|file| read(file)).collect()
}

fn list(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let named = |kind: &str| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(kind));
        if path.is_dir() {
            list(&path, into)?;
        } else if ["pcap", "pcapng", "cap"].iter().any(|kind| named(kind)) {
            into.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Capture> {
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
    let mut capture = Capture { name, frames: Vec::new(), skipped: 0, fault: None };
    let mut reader = match create_reader(ROOM, file) {
        Ok(reader) => reader,
        Err(error) => {
            capture.fault = Some(format!("no capture: {error:?}"));
            return Ok(capture);
        }
    };
    // A section of pcapng has any number of interfaces, a pcap file one.
    let mut links: Vec<Linktype> = Vec::new();
    loop {
        let mut more = false;
        match reader.next() {
            Ok((used, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(header) => links = vec![header.network],
                    PcapBlockOwned::Legacy(packet) => capture.take(links.first(), packet.data),
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => links.clear(),
                    PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => links.push(interface.linktype),
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        let caught = packet.data.get(..packet.caplen as usize).unwrap_or(packet.data);
                        capture.take(links.get(packet.if_id as usize), caught);
                    }
                    PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                        let caught = packet.data.get(..packet.origlen as usize).unwrap_or(packet.data);
                        capture.take(links.first(), caught);
                    }
                    PcapBlockOwned::NG(_) => {}
                }
                reader.consume(used);
            }
            Err(PcapError::Eof) => return Ok(capture),
            Err(PcapError::Incomplete(_)) => more = true,
            Err(error) => capture.fault = Some(format!("after {} frames: {error:?}", capture.frames.len())),
        }
        if more {
            let before = reader.data().len();
            let filled = reader.refill().map_err(|error| format!("{error:?}"));
            if reader.data().is_empty() && filled.is_ok() {
                return Ok(capture);
            }
            if reader.data().len() == before {
                let why = filled.err().unwrap_or_else(|| "the file ends in a frame".to_owned());
                capture.fault = Some(format!("after {} frames: {why}", capture.frames.len()));
            }
        }
        if capture.fault.is_some() {
            return Ok(capture);
        }
    }
}

impl Capture {
    fn take(&mut self, link: Option<&Linktype>, bytes: &[u8]) {
        match link.and_then(|link| as_ethernet(*link, bytes)) {
            Some(frame) => self.frames.push(frame),
            None => self.skipped += 1,
        }
    }
}

/// Puts an Ethernet header before what has another one, or none.
fn as_ethernet(link: Linktype, bytes: &[u8]) -> Option<Vec<u8>> {
    const IPV4: u16 = 0x0800;
    const IPV6: u16 = 0x86dd;
    let framed = |ethertype, packet: &[u8]| ethernet(SENDER_MAC, RECEIVER_MAC, &[], ethertype, packet);
    let word = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    match link {
        Linktype::ETHERNET => (bytes.len() >= 14).then(|| bytes.to_vec()),
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 => match bytes.first()? >> 4 {
            4 => Some(framed(IPV4, bytes)),
            6 => Some(framed(IPV6, bytes)),
            _ => None,
        },
        Linktype::LINUX_SLL => Some(framed(word(14)?, bytes.get(16..)?)),
        // LINKTYPE_LINUX_SLL2.
        Linktype(276) => Some(framed(word(0)?, bytes.get(20..)?)),
        // The family in the byte order of whoever caught it: 2, and 24, 28 or 30 for IPv6.
        Linktype::NULL | Linktype::LOOP => match bytes.get(..4)? {
            [2, 0, 0, 0] | [0, 0, 0, 2] => Some(framed(IPV4, bytes.get(4..)?)),
            [24 | 28 | 30, 0, 0, 0] | [0, 0, 0, 24 | 28 | 30] => Some(framed(IPV6, bytes.get(4..)?)),
            _ => None,
        },
        _ => None,
    }
}

/// Writes frames as a pcap file.
///
/// # Errors
/// The file can't be written.
pub fn write_capture(path: &Path, frames: &[&[u8]]) -> Result<()> {
    let mut bytes = Vec::new();
    // Magic, version 2.4, time zone and accuracy, longest frame, Ethernet.
    for word in [0xa1b2_c3d4_u32, 4 << 16 | 2, 0, 0, 0xffff, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for (second, frame) in (0_u32..).zip(frames) {
        let length = u32::try_from(frame.len()).context("a frame has a length")?;
        for word in [second, 0, length, length] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(*frame);
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
