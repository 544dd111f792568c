//! Which files make up a policy, and the way from their text to it. The file system is touched here and nowhere else
//! on the way in; `load_sources` is the same without it.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::policy::Policy;

use super::check::{Unread, check};
use super::fault::{Fault, Faults};
use super::findings::{Findings, Source};
use super::read::read;
use super::text::text_of;
use super::tree::parse;
use super::written::Written;

/// A policy that holds what its types promise, and what a person should know about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// All files together.
    pub policy: Policy,
    /// What refuses nothing: expired rules, no failsafe.
    pub warnings: Vec<Fault>,
    /// The files, in the order in which they were merged. For `load_sources`, their names.
    pub files: Vec<PathBuf>,
    /// Their texts as they were checked: nobody needs to read a file twice, and find another text in it.
    pub sources: Vec<Source>,
    /// SHA-256 over names and texts of all files, in hex: equal if, and only if, nothing was written meanwhile.
    pub digest: String,
}

/// A file as it came from the disk. With a fault, there is no text.
struct Found {
    path: PathBuf,
    source: Source,
    fault: Option<Fault>,
}

/// Reads `path`, then `zones.d/*.yaml` beside it in lexical order, and checks them together.
///
/// # Errors
/// Every fault of every file, including those that can't be read.
pub fn load(path: &Path) -> Result<Loaded, Faults> {
    let (found, notes) = find(path);
    let files: Vec<PathBuf> = found.iter().map(|found| found.path.clone()).collect();
    let mut loaded = assemble(found, Timestamp::now())?;
    loaded.files = files;
    loaded.warnings.extend(notes);
    Ok(loaded)
}

/// The texts that `load` would check, for a caller that wants to put another text in the place of one of them.
///
/// # Errors
/// One fault for each file that can't be read.
pub fn read_sources(path: &Path) -> Result<Vec<Source>, Faults> {
    let mut sources = Vec::new();
    let mut faults = Vec::new();
    for found in find(path).0 {
        sources.push(found.source);
        faults.extend(found.fault);
    }
    if faults.is_empty() { Ok(sources) } else { Err(Faults { faults, left_out: 0 }) }
}

/// Checks texts as `load` does, the main file first. Touches no file.
///
/// # Errors
/// Every fault of every text.
pub fn load_sources(sources: Vec<Source>) -> Result<Loaded, Faults> {
    load_sources_at(sources, Timestamp::now())
}

/// `load_sources` with the time by which rules have expired.
///
/// # Errors
/// Every fault of every text.
pub fn load_sources_at(sources: Vec<Source>, now: Timestamp) -> Result<Loaded, Faults> {
    let found = |source: Source| Found { path: PathBuf::from(&source.name), source, fault: None };
    assemble(sources.into_iter().map(found).collect(), now)
}

fn assemble(found: Vec<Found>, now: Timestamp) -> Result<Loaded, Faults> {
    let (sources, unreadable): (Vec<Source>, Vec<Option<Fault>>) =
        found.into_iter().map(|found| (found.source, found.fault)).unzip();
    let mut findings = Findings::new(&sources);
    if sources.is_empty() {
        findings.fault_of_file(
            0,
            Fault::of_file("zones.yaml", "there is no zone file", "write one; zones.example.yaml is a start"),
        );
    }
    let mut written = Written::default();
    let mut unread = Unread { everything: unreadable.iter().any(Option::is_some), words: HashSet::new() };
    for (file, (source, fault)) in sources.iter().zip(unreadable).enumerate() {
        match fault {
            Some(fault) => findings.fault_of_file(file, fault),
            None => read_one(file, source, &mut written, &mut unread, &mut findings),
        }
    }
    let policy = check(&written, &unread, now, &mut findings);
    let warnings = findings.finish()?;
    let files = sources.iter().map(|source| PathBuf::from(&source.name)).collect();
    Ok(Loaded { policy, warnings, files, digest: digest(&sources), sources })
}

fn read_one(file: usize, source: &Source, written: &mut Written, unread: &mut Unread, findings: &mut Findings<'_>) {
    let parsed = parse(file, &source.text, findings);
    if !parsed.whole {
        unread.words.extend(words(&source.text).map(str::to_owned));
        return;
    }
    match parsed.root {
        Some(root) if !root.is_null() => read(&root, file == 0, written, findings),
        _ if file == 0 => {
            let fault = Fault::of_file(
                &source.name,
                "the zone file is empty",
                "write version: 1, zones and rules; zones.example.yaml is a start",
            );
            findings.fault_of_file(file, fault);
        }
        _ => {}
    }
}

/// Whatever in a text could be the name of a zone or a service.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).filter(|word| !word.is_empty())
}

fn digest(sources: &[Source]) -> String {
    let mut hash = Sha256::new();
    for source in sources {
        for part in [&source.name, &source.text] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
    }
    hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The files of a policy with what was found in them, and what a person should know about files that are not read.
fn find(path: &Path) -> (Vec<Found>, Vec<Fault>) {
    let mut found = vec![open(path)];
    let mut notes = Vec::new();
    let folder = path.parent().unwrap_or_else(|| Path::new("")).join("zones.d");
    match dropins(&folder) {
        Ok(files) => {
            for file in files {
                if file.extension().is_some_and(|extension| extension == "yaml") {
                    found.push(open(&file));
                } else if file.extension().is_some_and(|extension| extension == "yml") {
                    notes.push(Fault::of_file(
                        shown(&file),
                        "this file is not read",
                        "rename it: only zones.d/*.yaml is read",
                    ));
                }
            }
        }
        Err(error) => {
            let fault = Fault::of_file(
                shown(&folder),
                format!("the folder can't be read: {error}"),
                "let segd read it, or remove it",
            );
            let source = Source { name: shown(&folder), text: String::new() };
            found.push(Found { path: folder, source, fault: Some(fault) });
        }
    }
    (found, notes)
}

/// Files of `zones.d` that don't hide, in lexical order. No folder, no files.
fn dropins(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let listing = match std::fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in listing {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") && !entry.path().is_dir() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn open(path: &Path) -> Found {
    let name = shown(path);
    let (text, fault) = match text_of(path, &name) {
        Ok(text) => (text, None),
        Err(fault) => (String::new(), Some(fault)),
    };
    Found { path: path.to_owned(), source: Source { name, text }, fault }
}
