//! What Linux delivers, against what the programs let through. Every frame of a capture, every truncation of it and mutants of
//! it go to two receivers: one is guarded, the other is not. What the guarded one's sockets get although the policy forbids its
//! true addresses and ports is a bypass, however the frame was dressed.
//!
//! Who is asked is the kernel of the receiver: raw sockets of every protocol get what is left when fragments are put together
//! and headers are taken off, so that nobody here has to parse what the programs have to parse.

mod captures;
mod ground;
mod ip;
mod mutants;
mod sockets;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use indicatif::ProgressBar;

pub use captures::{Capture, read_folder, write_capture};
pub use ground::{Ground, Hook};
pub use sockets::Delivered;

use crate::oracle::Random;

/// How much is made of each frame.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Mutants of each frame.
    pub mutants: u32,
    /// Draws the same mutants again.
    pub seed: u64,
}

/// What was played and what became of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Frames of the captures.
    pub frames: u64,
    /// Frames that were sent: those, cut short anywhere, and mutants; each from two senders.
    pub sent: u64,
    /// Packets that the sockets of the receiver without a guard got.
    pub unfiltered: u64,
    /// Packets that those of the guarded one got.
    pub filtered: u64,
    /// Those of them that the policy forbids.
    pub bypasses: Vec<Bypass>,
    /// UDP packets that the policy allows, that one receiver got, and not the guarded one.
    pub lost: u64,
}

/// A packet that was delivered although the policy forbids it.
#[derive(Clone, Debug)]
pub struct Bypass {
    /// Where its capture is, and which frame it was made of.
    pub from: String,
    /// What the socket got.
    pub delivered: Delivered,
    /// The last frames that were sent before it was, the very last one last.
    pub frames: Vec<Vec<u8>>,
}

/// Frames before a delivery that are kept: the parts of a datagram.
const KEPT: usize = 8;
/// Bypasses after which nothing new is learnt.
const ENOUGH: usize = 20;

/// Plays a capture. `progress` is told of every frame of it.
///
/// # Errors
/// A frame can't be sent, or a socket can't be read.
pub fn play(
    ground: &mut Ground,
    capture: &Capture,
    effort: Effort,
    report: &mut Report,
    progress: &ProgressBar,
) -> Result<()> {
    let name = |number: usize| format!("{}, frame {}", capture.name, number + 1);
    // First as they came: the parts of a datagram belong together.
    for sender in ground::SENDERS {
        let mut recent = Recent::default();
        for (number, frame) in capture.frames.iter().enumerate() {
            let Some(frame) = ip::between(frame, &sender) else { continue };
            try_out(ground, vec![frame], &mut recent, report, &|| name(number))?;
        }
    }
    for (number, frame) in capture.frames.iter().enumerate() {
        report.frames += 1;
        progress.inc(1);
        let mut random = Random::new(effort.seed, number as u64);
        for sender in ground::SENDERS {
            let Some(plain) = ip::between(frame, &sender) else { continue };
            let mut recent = Recent::default();
            let cut = (ground::SHORTEST..plain.len()).map(|length| vec![plain[..length].to_vec()]);
            let mutants = (0..effort.mutants).map(|_| mutants::mutant(&mut random, &plain));
            for frames in cut.chain(mutants) {
                try_out(ground, frames, &mut recent, report, &|| name(number))?;
                if report.bypasses.len() >= ENOUGH {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// The latest frames: of several, the last one completes a datagram.
#[derive(Default)]
struct Recent(VecDeque<Vec<u8>>);

/// Sends frames that belong together, and takes what both receivers got of them.
fn try_out(
    ground: &mut Ground,
    frames: Vec<Vec<u8>>,
    recent: &mut Recent,
    report: &mut Report,
    name: &impl Fn() -> String,
) -> Result<()> {
    for frame in frames {
        send(ground, &frame, report).with_context(name)?;
        if recent.0.len() == KEPT {
            recent.0.pop_front();
        }
        recent.0.push_back(frame);
    }
    settle(ground, report, recent, name)
}

/// Some frames are more than a driver takes; those reach nobody.
fn send(ground: &mut Ground, frame: &[u8], report: &mut Report) -> Result<()> {
    match ground.send(frame) {
        Ok(()) => report.sent += 1,
        Err(error) if matches!(error.raw_os_error(), Some(libc::EMSGSIZE | libc::EINVAL)) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Takes what both receivers got meanwhile.
fn settle(ground: &mut Ground, report: &mut Report, recent: &Recent, name: &impl Fn() -> String) -> Result<()> {
    let (unfiltered, filtered) = ground.delivered()?;
    report.unfiltered += unfiltered.len() as u64;
    report.filtered += filtered.len() as u64;
    let allowed = |got: &[Delivered]| got.iter().filter(|one| one.is_udp() && ground::is_allowed(one)).count() as u64;
    report.lost += allowed(&unfiltered).saturating_sub(allowed(&filtered));
    for delivered in filtered.into_iter().filter(|one| !ground::is_allowed(one)) {
        report.bypasses.push(Bypass { from: name(), delivered, frames: recent.0.iter().cloned().collect() });
    }
    Ok(())
}

impl Bypass {
    /// For a person: what was delivered, and the frames in hex.
    #[must_use]
    pub fn told(&self) -> String {
        let mut text = format!("{}: delivered although forbidden: {}\n", self.from, self.delivered);
        for frame in &self.frames {
            let hex = frame.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
            let _ = writeln!(text, "  {hex}");
        }
        text
    }
}

/// Keeps the frames of all bypasses as a capture, to be played again.
///
/// # Errors
/// The file can't be written.
pub fn keep(bypasses: &[Bypass], path: &Path) -> Result<()> {
    let frames: Vec<&[u8]> = bypasses.iter().flat_map(|one| &one.frames).map(Vec::as_slice).collect();
    write_capture(path, &frames)
}
