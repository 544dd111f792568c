//! Any bytes as a file of the state folder: it is read as something that can be used and that reads back as the same when it
//! is kept again, or it is refused. The first byte says which file; a compiled policy gets a digest that is right, for
//! nothing else would ever get behind it.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use segd::compile::{Clock, Facts, Question, Registry, answer, compile};
use segd::config::{Source, load_sources};
use segd::datapath::Sizes;
use segd::history::{Draft, History, Who};
use segd::policy::Policy;
use segd::state::StateDir;
use segd::state::image::Header;
use segd_common::image::Page;
use sha2::{Digest, Sha256};

use super::Bytes;

/// Which file the first byte means.
const FILES: [&str; 6] =
    ["image.bin", "registry.json", "policy.json", "pending.json", "quarantine.json", "history.jsonl"];

const ZONES: &str = "\
version: 1
zones:
  dev: { networks: [10.30.0.0/24] }
  admin: { networks: [10.30.0.0/29] }
  ledger: { networks: [10.20.0.0/24, \"fd00:20::/64\"] }
rules:
  - { id: reads, from: dev, to: ledger, services: [tcp/5432], reason: Nightly, approved_by: finance@example.com }
  - { id: pings, from: admin, to: any, services: [icmp], reason: Care, approved_by: ops@example.com }
";

pub(super) fn run(bytes: &[u8]) {
    thread_local!(static ROOM: RefCell<Room> = RefCell::new(Room::new()));
    let mut bytes = Bytes(bytes);
    let file = FILES[bytes.index(FILES.len())];
    let Bytes(text) = bytes;
    ROOM.with_borrow(|room| room.play(file, text));
}

/// A state folder, and a policy to use what is read from it with.
struct Room {
    folder: tempfile::TempDir,
    policy: Policy,
}

impl Room {
    fn new() -> Self {
        let source = Source { name: "zones.yaml".to_owned(), text: ZONES.to_owned() };
        let loaded = load_sources(vec![source]).unwrap_or_else(|faults| panic!("{}", faults.render(false)));
        Self { folder: tempfile::tempdir().expect("a folder for state"), policy: loaded.policy }
    }

    fn play(&self, file: &str, text: &[u8]) {
        let path = self.folder.path().join(file);
        let text = if file == "image.bin" { with_digest(text) } else { text.to_vec() };
        fs::write(&path, &text).expect("the file can be written");
        let state = StateDir::open(self.folder.path()).expect("the folder is there");
        match file {
            "image.bin" => image(&state),
            "registry.json" => self.registry(&state),
            "policy.json" => last_good(&state),
            "pending.json" => pending(&state),
            "quarantine.json" => self.quarantine(&state),
            _ => history(self.folder.path(), &text),
        }
        fs::remove_file(&path).expect("the file is still there");
    }

    /// No two names share a number, and new ones get theirs.
    fn registry(&self, state: &StateDir) {
        let Ok(mut registry) = state.load_registry(true) else { return };
        state.save_registry(&registry).expect("it can be kept");
        assert_eq!(state.load_registry(true).expect("what was kept is read"), registry);
        // No room for a name is an answer.
        if compile(&self.policy, &facts(), &mut registry).is_err() {
            return;
        }
        let zones = ["dev", "admin", "ledger", "host", "unzoned"];
        let mut numbers: Vec<u16> = zones.iter().filter_map(|zone| registry.zone_id(zone)).collect();
        assert_eq!(numbers.len(), zones.len(), "a zone without a number");
        for (zone, number) in zones.iter().zip(&numbers) {
            assert_eq!(registry.zone_name(*number), Some(*zone), "a number that is another zone's");
        }
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), zones.len(), "two zones with one number");
        registry.note(&self.policy, Timestamp::UNIX_EPOCH);
        registry.retire(Timestamp::MAX, &std::collections::BTreeSet::new());
        assert!(registry.rule_number("reads").is_some(), "a rule in force lost its number");
    }

    fn quarantine(&self, state: &StateDir) {
        let Ok(quarantine) = state.load_quarantine() else { return };
        state.save_quarantine(&quarantine).expect("it can be kept");
        assert_eq!(state.load_quarantine().expect("what was kept is read"), quarantine);
        let (over, rest) = quarantine.split(Timestamp::UNIX_EPOCH);
        assert_eq!(over.len() + rest.0.len(), quarantine.0.len(), "somebody got lost");
        // Too many different ends is an answer.
        let facts = Facts { cuts: quarantine.cuts(), ..facts() };
        let _ = compile(&self.policy, &facts, &mut Registry::default());
    }
}

fn facts() -> Facts {
    let at = Timestamp::UNIX_EPOCH;
    let host = vec!["10.20.0.1".parse().expect("an address")];
    Facts { host, interfaces: Vec::new(), cuts: Vec::new(), now: at, clock: Clock::detached(at) }
}

/// A compiled policy as it is kept, for [`run`].
pub(super) fn kept_image() -> Vec<u8> {
    let Room { folder, policy } = Room::new();
    let mut registry = Registry::default();
    let image = compile(&policy, &facts(), &mut registry).expect("a small policy");
    let header = Header {
        build: "00".to_owned(),
        clock: facts().clock,
        sizes: Sizes::for_policy(&policy, &image, &registry),
        interfaces: vec![("lan0".to_owned(), 1)],
        selectors: policy.interfaces.iter().map(Into::into).collect(),
        by_interface: false,
    };
    let state = StateDir::open(folder.path()).expect("the folder is there");
    state.save_image(&header, image.laid()).expect("it can be kept");
    let text = fs::read(folder.path().join(FILES[0])).expect("it was kept");
    // The digest is made anew each time.
    [&[0][..], &text[DIGEST_LINE..]].concat()
}

/// Bytes of a digest in hex, and of the line's end.
const DIGEST_LINE: usize = 65;

fn with_digest(text: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(text).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    [digest.as_bytes(), b"\n", text].concat()
}

/// It can be placed, asked anything, and moved to another clock.
fn image(state: &StateDir) {
    let Ok(kept) = state.load_image() else { return };
    let (header, image) = kept.expect("the file is there");
    state.save_image(&header, &image).expect("it can be kept");
    assert_eq!(state.load_image().expect("what was kept is read"), Some((header.clone(), image.clone())));
    let booted = Clock { hz: 250, jiffies: 5_000, at: Timestamp::UNIX_EPOCH };
    for image in [image.clone(), image.by_clock(&header.clock, &booted)] {
        let mut next = 0;
        let room = |_: &Page| {
            next += 1;
            Some(next)
        };
        image.place(room).expect("there is room");
        for (src, dst) in [("10.30.0.9", "10.20.0.1"), ("fd00:20::1", "fe80::1"), ("0.0.0.0", "255.255.255.255")] {
            let [src, dst] = [src, dst].map(|address| address.parse().expect("an address"));
            for service in ["tcp/5432", "icmp/8", "icmpv6/128", "proto/47"] {
                let service = service.parse().expect("a service");
                answer(image.pages(), image.root(), &Question { src, dst, service }, 6_000);
            }
        }
    }
}

fn last_good(state: &StateDir) {
    let Ok(Some(last)) = state.load_last_good() else { return };
    state.save_last_good(&last).expect("it can be kept");
    assert_eq!(state.load_last_good().expect("what was kept is read"), Some(last));
}

fn pending(state: &StateDir) {
    let Ok(marker) = state.load_pending() else { return };
    let marker = marker.expect("the file is there");
    state.save_pending(&marker).expect("it can be kept");
    assert_eq!(state.load_pending().expect("what was kept is read"), Some(marker));
}

/// An entry more is an entry more: a whole chain stays whole, a broken one is not healed, and only a torn end is cut off.
fn history(folder: &Path, text: &[u8]) {
    let file = folder.join("history.jsonl");
    let mut history = History::new(folder);
    let before = history.verify(None).expect("it can be read");
    history.entries().expect("it can be read");
    let draft = Draft { verb: "allow", reason: Some("fuzz".to_owned()), ..Draft::default() };
    history.append(&Who::daemon(), draft).expect("it can be written");
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    assert!(fs::read(&file).expect("it is there").starts_with(&text[..whole]), "what was written was changed");
    let after = history.verify(None).expect("it can be read");
    if before.intact {
        assert!(after.intact && after.entries == before.entries + 1, "{before:?}, then {after:?}");
    } else if whole == text.len() {
        assert!(!after.intact, "an edit that nobody sees any more");
    }
}
