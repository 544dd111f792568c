//! A history, and everything that somebody could do to it.

use std::fs;

use proptest::prelude::*;
use serde_json::json;

use super::{Draft, History, Who, verify};

fn who() -> Who {
    Who { uid: 0, loginuid: Some(1000), user: "alice".into() }
}

fn draft(number: u32) -> Draft {
    Draft {
        verb: ["allow", "revoke", "apply", "quarantine"][number as usize % 4],
        object: Some(format!("rule-{number}")),
        reason: Some("because \"so\"\nsaid the boss".into()),
        before: None,
        after: Some(json!({ "id": format!("rule-{number}"), "services": ["tcp/22"], "b": 1, "a": null })),
        generation: number + 1,
    }
}

fn written(entries: u32) -> (tempfile::TempDir, Vec<u8>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let mut history = History::new(dir.path());
    let hashes = (0..entries).map(|number| history.append(&who(), draft(number)).unwrap().hash).collect();
    let text = fs::read(dir.path().join("history.jsonl")).unwrap();
    (dir, text, hashes)
}

#[test]
fn what_was_appended_reads_back_and_is_intact_over_restarts() {
    let (dir, ..) = written(3);
    let mut history = History::new(dir.path());
    history.append(&who(), draft(3)).unwrap();
    let entries = history.entries().unwrap();
    assert_eq!(entries.iter().map(|entry| entry.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!((entries[3].user.as_str(), entries[3].loginuid, entries[3].generation), ("alice", Some(1000), 4));
    let report = history.verify(None).unwrap();
    assert_eq!((report.intact, report.entries, report.fault), (true, 4, None));
    assert_eq!(report.head, entries[3].hash);
    assert!(history.verify(Some(&entries[0].hash)).unwrap().intact, "an older head is in it as well");
}

#[test]
fn no_history_yet_is_an_intact_one() {
    let dir = tempfile::tempdir().unwrap();
    let report = History::new(dir.path()).verify(None).unwrap();
    assert_eq!((report.intact, report.entries), (true, 0));
}

#[test]
fn a_torn_last_line_is_cut_off_told_and_the_chain_goes_on() {
    let (dir, text, hashes) = written(4);
    let last = text[..text.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for torn in [last + 1, last + 40, text.len() - 1] {
        fs::write(dir.path().join("history.jsonl"), &text[..torn]).unwrap();
        let mut history = History::new(dir.path());
        assert!(!history.verify(None).unwrap().intact, "it is told before it is mended");
        history.append(&who(), draft(9)).unwrap();
        let report = history.verify(Some(&hashes[2])).unwrap();
        assert_eq!((report.intact, report.entries, report.fault), (true, 5, None), "{torn}");
        let entries = history.entries().unwrap();
        assert_eq!((entries[3].verb.as_str(), entries[4].verb.as_str()), ("repair", "revoke"));
        assert!(entries[3].reason.as_ref().unwrap().contains(&format!("{} bytes", torn - last)));
    }
}

#[test]
fn a_cut_end_is_seen_with_a_head_that_was_kept_elsewhere_and_only_with_it() {
    let (_dir, text, hashes) = written(5);
    let keep = text.split_inclusive(|byte| *byte == b'\n').take(3).map(<[u8]>::len).sum::<usize>();
    assert!(verify(&text[..keep], None).intact);
    let report = verify(&text[..keep], Some(&hashes[4]));
    assert!(!report.intact && report.fault.unwrap().contains(&hashes[4]));
    assert!(verify(&text[..keep], Some(&hashes[2])).intact);
}

/// One way to tamper with a file.
#[derive(Clone, Debug)]
enum Tampering {
    Flip { at: prop::sample::Index, bit: u8 },
    Insert { at: prop::sample::Index, byte: u8 },
    Remove { at: prop::sample::Index },
    DropLine { line: prop::sample::Index },
    SwapLines { one: prop::sample::Index, other: prop::sample::Index },
    RepeatLine { line: prop::sample::Index },
    CutLines { kept: prop::sample::Index },
    CutBytes { at: prop::sample::Index },
    Empty,
    Rewrite { line: prop::sample::Index },
}

fn tampering() -> impl Strategy<Value = Tampering> {
    use prop::sample::Index;
    prop_oneof![
        (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Tampering::Flip { at, bit }),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Tampering::Insert { at, byte }),
        any::<Index>().prop_map(|at| Tampering::Remove { at }),
        any::<Index>().prop_map(|line| Tampering::DropLine { line }),
        (any::<Index>(), any::<Index>()).prop_map(|(one, other)| Tampering::SwapLines { one, other }),
        any::<Index>().prop_map(|line| Tampering::RepeatLine { line }),
        any::<Index>().prop_map(|kept| Tampering::CutLines { kept }),
        any::<Index>().prop_map(|at| Tampering::CutBytes { at }),
        Just(Tampering::Empty),
        any::<Index>().prop_map(|line| Tampering::Rewrite { line }),
    ]
}

fn tampered(text: &[u8], how: &Tampering) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let mut bytes = text.to_vec();
    let count = lines.len();
    match how {
        Tampering::Flip { at, bit } => {
            bytes[at.index(text.len())] ^= 1 << bit;
            return bytes;
        }
        Tampering::Insert { at, byte } => {
            bytes.insert(at.index(text.len() + 1), *byte);
            return bytes;
        }
        Tampering::Remove { at } => {
            bytes.remove(at.index(text.len()));
            return bytes;
        }
        Tampering::DropLine { line } => drop(lines.remove(line.index(count))),
        Tampering::CutLines { kept } => lines.truncate(kept.index(count)),
        Tampering::CutBytes { at } => {
            bytes.truncate(at.index(text.len()));
            return bytes;
        }
        Tampering::Empty => lines.clear(),
        Tampering::SwapLines { one, other } => lines.swap(one.index(count), other.index(count)),
        Tampering::RepeatLine { line } => {
            let again = lines[line.index(count)].clone();
            lines.insert(line.index(count), again);
        }
        // Somebody who knows the format gives a changed entry a hash that fits.
        Tampering::Rewrite { line } => {
            let line = line.index(count);
            let mut entry: crate::api::types::HistoryEntry = serde_json::from_slice(&lines[line]).unwrap();
            entry.user = "mallory".into();
            lines[line] = (super::chain::line(&super::chain::sealed(entry)) + "\n").into_bytes();
        }
    }
    lines.concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_edit_deletion_truncation_and_change_of_order_is_detected(how in tampering()) {
        thread_local!(static WRITTEN: (tempfile::TempDir, Vec<u8>, Vec<String>) = written(8));
        WRITTEN.with(|(_dir, text, hashes)| {
            let after = tampered(text, &how);
            // The head was noted elsewhere.
            prop_assert_eq!(verify(&after, hashes.last().map(String::as_str)).intact, after == *text, "{:?}", how);
            // Without it, only what is a whole chain of its own can pass for one.
            prop_assert!(!verify(&after, None).intact || text.starts_with(&after) || matches!(how, Tampering::Rewrite { .. }), "{:?}", how);
            Ok(())
        })?;
    }
}
