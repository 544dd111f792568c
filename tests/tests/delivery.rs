//! Captures at a guarded machine and at one without a guard: what Linux delivers is judged by its true ends, or not delivered.

use std::fs;
use std::path::Path;

use anyhow::Result;
use indicatif::ProgressBar;
use segd_tests::delivery::{Bypass, Effort, Ground, Hook, Report, play, read_folder, write_capture};
use segd_tests::needs_root;

/// Captures of our own; `make.py` there makes them.
fn captures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/captures"))
}

fn played(hook: Hook, watching: bool) -> Result<Report> {
    let effort = Effort { mutants: 20, seed: 7 };
    let (mut ground, mut report) = (Ground::new(hook, watching)?, Report::default());
    for capture in read_folder(captures())? {
        assert_eq!((&capture.fault, capture.skipped), (&None, 0), "{}", capture.name);
        play(&mut ground, &capture, effort, &mut report, &ProgressBar::hidden())?;
    }
    Ok(report)
}

#[test]
fn nothing_forbidden_is_delivered_however_a_capture_is_cut_and_changed() -> Result<()> {
    needs_root!();
    for hook in Hook::ALL {
        let report = played(hook, false)?;
        let told: String = report.bypasses.iter().map(Bypass::told).collect();
        assert!(report.bypasses.is_empty(), "{hook:?}:\n{told}");
        assert!(report.sent > 100_000, "{hook:?}: {} frames were sent", report.sent);
        assert!(report.unfiltered > 5_000, "{hook:?}: {} packets came without a guard", report.unfiltered);
        assert!(report.filtered > 300, "{hook:?}: {} packets that are allowed came", report.filtered);
    }
    Ok(())
}

#[test]
fn a_guard_that_drops_nothing_is_found_out() -> Result<()> {
    needs_root!();
    let report = played(Hook::Tc, true)?;
    let told: String = report.bypasses.iter().map(Bypass::told).collect();
    assert!(report.bypasses.len() >= 20, "{told}");
    assert!(told.contains("10.40.0.7 to 10.20.0.10") || told.contains("10.30.0.5 to 10.20.0.10"), "{told}");
    assert!(told.contains("plain.pcap, frame ") || told.contains("fragments.pcap, frame "), "{told}");
    Ok(())
}

#[test]
fn captures_that_are_broken_are_read_as_far_as_they_go() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    write_capture(&at("whole.pcap"), &[&[7; 60], &[8; 70]])?;
    let whole = fs::read(at("whole.pcap"))?;
    fs::write(at("cut.pcap"), &whole[..whole.len() - 1])?;
    fs::write(at("head.cap"), &whole[..10])?;
    fs::write(at("noise.pcapng"), [0x5a; 1000])?;
    fs::write(at("empty.pcap"), [])?;
    fs::write(at("notes.txt"), "no capture")?;
    fs::create_dir(at("deeper"))?;
    fs::write(at("deeper/again.PCAP"), &whole)?;
    let read: Vec<(String, usize, bool)> = read_folder(folder.path())?
        .into_iter()
        .map(|one| {
            let name = Path::new(&one.name).file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, one.frames.len(), one.fault.is_some())
        })
        .collect();
    let expected = [
        ("cut.pcap", 1, true),
        ("again.PCAP", 2, false),
        ("empty.pcap", 0, true),
        ("head.cap", 0, true),
        ("noise.pcapng", 0, true),
        ("whole.pcap", 2, false),
    ];
    assert_eq!(read, expected.map(|(name, frames, fault)| (name.to_owned(), frames, fault)));
    Ok(())
}
