//! Has the real loader read files from the disk, and looks at what came out: all of it or nothing, and with a place.

use std::any::Any;
use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use segd::config::{Fault, Loaded, load, read_sources};
use segd::engine;
use segd::policy::Policy;
use serde_json::Value;

use super::memory::Counting;
use super::texts::{File, Files};

/// What a load may hold beyond so many times its text.
const BASE_BYTES: usize = 64 << 20;
const TIMES_TEXT: usize = 2000;

/// What became of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// All of them are a policy.
    Taken,
    /// They are refused, and every fault has its place.
    Refused,
    /// The loader did what it must never do.
    Wrong(String),
}

/// What it took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// Bytes of all files.
    pub text_bytes: usize,
    /// The most that was held at a time. 0 where the allocator is not [`Counting`].
    pub held_bytes: usize,
    /// From the first file to the verdict.
    pub time: Duration,
}

/// A folder for files, and the loader that reads them there.
#[derive(Debug)]
pub struct Judge {
    folder: tempfile::TempDir,
}

impl Judge {
    /// With an empty folder of its own.
    ///
    /// # Errors
    /// No folder could be made.
    pub fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir().context("could not make a folder for zone files")? })
    }

    /// Where the files of the last call lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the files, loads them, and looks.
    ///
    /// # Errors
    /// The files could not be written.
    pub fn judge(&self, files: &Files) -> Result<(Judged, Measured)> {
        self.write(files)?;
        let began = Instant::now();
        let main = self.folder().join("zones.yaml");
        let (outcome, held_bytes) = Counting::most(|| catch_unwind(AssertUnwindSafe(|| self.looked_at(&main, files))));
        let text_bytes = files.iter().map(|file| file.bytes.len()).sum();
        let measured = Measured { text_bytes, held_bytes, time: began.elapsed() };
        let wrong = match outcome {
            Err(panic) => Some(format!("it panics: {}", words_of(&*panic))),
            Ok(Err(wrong)) => Some(wrong),
            Ok(Ok(_)) if held_bytes > BASE_BYTES + TIMES_TEXT * text_bytes => {
                Some(format!("it holds {held_bytes} bytes for {text_bytes} of text"))
            }
            Ok(Ok(judged)) => {
                return self.unchanged(files).map(|wrong| (wrong.map_or(judged, Judged::Wrong), measured));
            }
        };
        Ok((wrong.map_or(Judged::Taken, Judged::Wrong), measured))
    }

    fn path(&self, file: &File) -> PathBuf {
        self.folder().join(&file.name)
    }

    fn write(&self, files: &Files) -> Result<()> {
        let dropins = self.folder().join("zones.d");
        if dropins.exists() {
            fs::remove_dir_all(&dropins)?;
        }
        fs::create_dir(&dropins)?;
        for file in files {
            fs::write(self.path(file), &file.bytes).with_context(|| format!("could not write {:?}", file.name))?;
        }
        Ok(())
    }

    /// A loader only reads.
    fn unchanged(&self, files: &Files) -> Result<Option<String>> {
        for file in files {
            if fs::read(self.path(file))? != file.bytes {
                return Ok(Some(format!("it wrote to {}", file.name)));
            }
        }
        let there = fs::read_dir(self.folder().join("zones.d"))?.count();
        Ok((there + 1 != files.len()).then(|| format!("there were {} files, and are {}", files.len(), there + 1)))
    }

    /// As `segd check` does it: load, then compile and ask the policy's own tests.
    fn looked_at(&self, main: &Path, files: &Files) -> Result<Judged, String> {
        let loaded = match load(main) {
            Ok(loaded) => loaded,
            Err(faults) if faults.faults.is_empty() => return Err("it is refused without a fault".to_owned()),
            Err(faults) => {
                has_places(&faults.faults, self.folder(), files)?;
                return Ok(Judged::Refused);
            }
        };
        has_places(&loaded.warnings, self.folder(), files)?;
        is_whole(&loaded, self.folder(), files)?;
        let sources = read_sources(main).map_err(|faults| format!("it loads, and can't be read: {faults}"))?;
        let report = engine::check(sources);
        if let Some(fault) = report.faults.first() {
            return Err(format!("it loads, and is refused without a place: {}", fault.picture));
        }
        Ok(if report.good() { Judged::Taken } else { Judged::Refused })
    }
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
    words.unwrap_or("without words").to_owned()
}

/// Whether each fault names a file that is there and a line that it has, shows that line, and says the mend.
fn has_places(faults: &[Fault], folder: &Path, files: &Files) -> Result<(), String> {
    faults.iter().try_for_each(|fault| has_place(fault, folder, files).map_err(|what| format!("{what}: {fault:?}")))
}

fn has_place(fault: &Fault, folder: &Path, files: &Files) -> Result<(), &'static str> {
    let named = |file: &&File| folder.join(&file.name).display().to_string() == fault.file;
    let file = files.iter().find(named).ok_or("a fault of no file")?;
    // YAML ends a line at a lone carriage return too.
    let text = String::from_utf8_lossy(&file.bytes).replace("\r\n", "\n");
    let lines = 1 + text.matches(['\n', '\r']).count();
    if fault.line == 0 && !is_of_the_whole(fault) {
        return Err("a fault without a line");
    }
    if fault.line as usize > lines || (fault.line > 0 && fault.column == 0) {
        return Err("a fault outside of its file");
    }
    if fault.message.is_empty() || fault.mend.is_empty() {
        return Err("a fault without words or mend");
    }
    if fault.render(false).chars().any(|c| c != '\n' && c.is_control()) {
        return Err("a fault that plays with the terminal");
    }
    Ok(())
}

/// What no line is to blame for.
fn is_of_the_whole(fault: &Fault) -> bool {
    ["is empty", "is larger than", "no failsafe"].iter().any(|words| fault.message.contains(words))
}

/// What a policy is made of, by name; what has no name is counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parts {
    zones: BTreeSet<String>,
    services: BTreeSet<String>,
    /// Another reader takes an id such as `0` for a number.
    rules: usize,
    /// A pair that is named twice is one.
    pairs: BTreeSet<(String, String)>,
    tests: usize,
}

impl Parts {
    fn of(policy: &Policy) -> Self {
        Self {
            zones: policy.zones.iter().map(|zone| zone.name.to_string()).collect(),
            services: policy.services.iter().map(|(name, _)| name.clone()).collect(),
            rules: policy.rules.len(),
            pairs: policy.pairs.iter().map(|pair| (pair.from.to_string(), pair.to.to_string())).collect(),
            tests: policy.tests.len(),
        }
    }

    /// Adds what another reader of YAML finds in a text.
    fn add(&mut self, text: &Value) {
        let names = |key: &str| text[key].as_object().into_iter().flatten().map(|(name, _)| name.clone());
        let items = |key: &str| text[key].as_array().map_or(&[][..], Vec::as_slice);
        self.zones.extend(names("zones"));
        self.services.extend(names("services"));
        self.rules += items("rules").len();
        let end = |pair: &Value, key: &str| pair[key].as_str().unwrap_or_default().to_owned();
        self.pairs.extend(items("pairs").iter().map(|pair| (end(pair, "from"), end(pair, "to"))));
        self.tests += items("tests").len();
    }
}

/// Whether everything that stands in the files is in the policy, by another reader's word. What only that reader refuses
/// (it has budgets of its own) is not compared.
fn is_whole(loaded: &Loaded, folder: &Path, files: &Files) -> Result<(), String> {
    let is_read = |file: &&File| Path::new(&file.name).extension().is_some_and(|extension| extension == "yaml");
    let read: Vec<&File> = files.iter().filter(is_read).collect();
    if loaded.files.len() != read.len() {
        return Err(format!("{} files were written, and {:?} read", read.len(), loaded.files));
    }
    if let Some(other) = loaded.files.iter().find(|path| !path.starts_with(folder)) {
        return Err(format!("{} was read", other.display()));
    }
    let mut parts = Parts::default();
    for file in read {
        let Ok(text) = std::str::from_utf8(&file.bytes) else { return Err(format!("{} is no text", file.name)) };
        if text.trim().is_empty() {
            continue;
        }
        let Ok(value) = serde_yaml::from_str::<Value>(text) else { return Ok(()) };
        parts.add(&value);
    }
    let policy = Parts::of(&loaded.policy);
    if policy == parts { Ok(()) } else { Err(format!("only a part was loaded: {policy:?} of {parts:?}")) }
}
