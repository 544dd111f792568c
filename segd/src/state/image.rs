//! The compiled policy as it was last put in force for good, so that the next boot enforces it before the network comes
//! up, without reading a zone file. One file: a digest over the rest, a line of JSON, the image.

use std::convert::Infallible;
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::file::{FileError, Prepared};
use super::{StateDir, StateError};
use crate::compile::{Clock, Laid};
use crate::datapath::Sizes;
use crate::policy::{Forward, HookChoice, InterfaceSelector};

/// What has to be known beside the image to put it in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Which kernel programs read it.
    pub build: String,
    /// The clock that its deadlines were made by.
    pub clock: Clock,
    /// The room that it takes in the kernel.
    pub sizes: Sizes,
    /// Names of interfaces, with the numbers that the image knows them by.
    pub interfaces: Vec<(String, u16)>,
    /// Which interfaces are guarded.
    pub selectors: Vec<Selector>,
    /// Sources of some zone are bound to interfaces.
    pub by_interface: bool,
}

/// An entry of the policy's `interfaces`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selector {
    name: String,
    hook: HookChoice,
    forward: Forward,
}

impl From<&InterfaceSelector> for Selector {
    fn from(InterfaceSelector { name, hook, forward }: &InterfaceSelector) -> Self {
        Self { name: name.as_str().to_owned(), hook: *hook, forward: *forward }
    }
}

impl TryFrom<&Selector> for InterfaceSelector {
    type Error = glob::PatternError;

    fn try_from(Selector { name, hook, forward }: &Selector) -> Result<Self, Self::Error> {
        Ok(Self { name: glob::Pattern::new(name)?, hook: *hook, forward: *forward })
    }
}

impl StateDir {
    /// Keeps a compiled policy, in the place of the one before.
    pub fn save_image(&self, header: &Header, image: &Laid) -> Result<(), FileError> {
        let head = serde_json::json!(header).to_string() + "\n";
        let mut digest = Sha256::new();
        digest.update(&head);
        // Once for the digest, which comes first, and once for the file: a copy of a large policy would weigh more than all else.
        let Ok(()) = image.bytes(|part| {
            digest.update(part);
            Ok::<_, Infallible>(())
        });
        let fill = |file: &mut BufWriter<&mut fs::File>| {
            writeln!(file, "{}", hex(&digest.finalize()))?;
            file.write_all(head.as_bytes())?;
            image.bytes(|part| file.write_all(part))
        };
        Prepared::filled(&self.image(), 0o600, fill)?.commit()
    }

    /// The compiled policy that was kept; none if none was.
    ///
    /// # Errors
    /// It can't be read, or is not what was written.
    pub fn load_image(&self) -> Result<Option<(Header, Laid)>, StateError> {
        let path = self.image();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Read { path, source }),
        };
        match parse(&text) {
            Ok(kept) => Ok(Some(kept)),
            Err(fault) => Err(StateError::Image { path, fault }),
        }
    }

    pub(super) fn image(&self) -> PathBuf {
        self.path().join("image.bin")
    }
}

fn parse(text: &[u8]) -> Result<(Header, Laid), String> {
    let (told, rest) = line(text).ok_or("it is cut short")?;
    if told != hex(&Sha256::digest(rest)).as_bytes() {
        return Err("its digest is another".to_owned());
    }
    let (header, image) = line(rest).ok_or("it is cut short")?;
    let header = serde_json::from_slice(header).map_err(|error| error.to_string())?;
    Ok((header, Laid::from_bytes(image).map_err(|error| error.to_string())?))
}

/// The first line, and what is behind it.
fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    Some((&text[..end], &text[end + 1..]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::compile::{Facts, Registry, compile};

    fn kept() -> (Header, Laid) {
        let text = "version: 1\nzones:\n  a: { networks: [10.0.0.0/24], interfaces: [lan0] }\n  b: { networks: [\"fd00::/64\"] }\n\
            rules:\n  - { id: r, from: a, to: b, services: [tcp/1-9], reason: r, approved_by: a, expires: 2999-01-01T00:00:00Z }\n";
        let source = crate::config::Source { name: "zones.yaml".into(), text: text.into() };
        let policy = crate::config::load_sources(vec![source]).unwrap().policy;
        let clock = Clock::detached(Timestamp::now());
        let facts = Facts { host: Vec::new(), interfaces: Vec::new(), cuts: Vec::new(), now: Timestamp::now(), clock };
        let mut registry = Registry::default();
        let image = compile(&policy, &facts, &mut registry).unwrap();
        let header = Header {
            build: "00".into(),
            clock,
            sizes: Sizes::for_policy(&policy, &image, &registry),
            interfaces: vec![("lan0".into(), 1)],
            selectors: policy.interfaces.iter().map(Into::into).collect(),
            by_interface: true,
        };
        (header, image.laid().clone())
    }

    fn bytes_of(image: &Laid) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Ok(()) = image.bytes(|part| {
            bytes.extend_from_slice(part);
            Ok::<_, Infallible>(())
        });
        bytes
    }

    #[test]
    fn an_image_reads_back_as_it_was_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        assert_eq!(state.load_image().unwrap(), None);
        let (header, image) = kept();
        state.save_image(&header, &image).unwrap();
        assert_eq!(state.load_image().unwrap(), Some((header, image)));
    }

    #[test]
    fn the_first_line_is_the_whole_digest_of_all_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let (header, image) = kept();
        state.save_image(&header, &image).unwrap();
        let text = fs::read(state.image()).unwrap();
        let rest = [serde_json::json!(header).to_string().as_bytes(), b"\n", &bytes_of(&image)].concat();
        assert_eq!(&text[65..], rest);
        let digit = |place: &u8| (*place as char).to_digit(16).unwrap() as u8;
        let told: Vec<u8> = text[..64].chunks(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect();
        assert_eq!(told, Sha256::digest(&rest).as_slice());
    }

    #[test]
    fn a_file_that_is_cut_short_or_changed_anywhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let (header, image) = kept();
        state.save_image(&header, &image).unwrap();
        let whole = fs::read(state.image()).unwrap();
        for place in (0..whole.len()).step_by(97) {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            for text in [&changed[..], &whole[..place]] {
                fs::write(state.image(), text).unwrap();
                assert!(matches!(state.load_image(), Err(StateError::Image { .. })), "byte {place}");
            }
        }
    }

    #[test]
    fn references_that_lead_out_of_the_image_are_refused_whatever_the_digest_says() {
        let bytes = bytes_of(&kept().1);
        let mut refused = 0;
        for word in (32..bytes.len()).step_by(61) {
            let mut changed = bytes.clone();
            changed[word..].iter_mut().take(8).for_each(|byte| *byte = 0xff);
            if let Ok(image) = Laid::from_bytes(&changed) {
                let mut next = 0;
                let moved = |_: &_| {
                    next += 1;
                    Some(next)
                };
                image.place(moved).unwrap();
            } else {
                refused += 1;
            }
        }
        assert!(refused > 0);
    }

    #[test]
    fn a_rule_ends_at_the_same_time_by_the_clock_of_another_boot() {
        let (Header { clock, .. }, image) = kept();
        let booted = Clock { hz: 250, jiffies: 5_000, at: clock.at };
        let deadlines = |image: &Laid| -> Vec<Timestamp> {
            let bytes = bytes_of(image);
            let pages = bytes[32..].chunks_exact(1025).filter(|page| page[0] == 4);
            let word = |record: &[u8], at: usize| u64::from(u32::from_le_bytes(record[at..at + 4].try_into().unwrap()));
            let of = |record: &[u8]| word(record, 8) | word(record, 12) << 32;
            let ends = pages.flat_map(|page| page[1..].chunks_exact(32).map(of).collect::<Vec<_>>());
            ends.filter(|end| *end > 1).map(|end| booted.time(end)).collect()
        };
        let moved = deadlines(&image.by_clock(&clock, &booted));
        let wanted: Timestamp = "2999-01-01T00:00:00Z".parse().unwrap();
        assert!(!moved.is_empty());
        for end in moved {
            assert!(wanted.duration_since(end).as_secs().abs() <= 1, "{end}");
        }
        let over = Clock { at: "3000-01-01T00:00:00Z".parse().unwrap(), ..booted };
        assert!(deadlines(&image.by_clock(&clock, &over)).is_empty(), "what ended meanwhile has ended");
    }
}
