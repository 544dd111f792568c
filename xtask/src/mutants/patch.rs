//! One seeded bug: a patch, and what its head says of it.
//!
//! The head is everything above the diff: a sentence or two of story, then lines `Room:`, `Caught by:` (words for
//! `cargo test`, the likeliest first) and, for a bug that changes nothing anybody can see, `Equivalent:` with the reason.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::command::root;

/// Where the patches are.
const FOLDER: &str = "tests/mutants";

/// A seeded bug.
#[derive(Debug, Clone)]
pub(super) struct Mutant {
    /// The file's name without `.patch`.
    pub(super) name: String,
    /// The part of the product that it is in.
    pub(super) room: String,
    /// What the bug is.
    pub(super) story: String,
    /// Words for `cargo test`; the likeliest catch first.
    pub(super) hunts: Vec<String>,
    /// Why no test can see it.
    pub(super) equivalent: Option<String>,
    path: PathBuf,
}

impl Mutant {
    /// All of them, by name.
    pub(super) fn all() -> Result<Vec<Self>> {
        let folder = root().join(FOLDER);
        let read = || format!("could not read {}", folder.display());
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&folder).with_context(read)? {
            let path = entry.with_context(read)?.path();
            paths.extend(path.extension().is_some_and(|ending| ending == "patch").then_some(path));
        }
        let mut mutants = paths.into_iter().map(Self::read).collect::<Result<Vec<_>>>()?;
        mutants.sort_by_key(|mutant| (mutant.number(), mutant.name.clone()));
        Ok(mutants)
    }

    /// What its name begins with.
    fn number(&self) -> Option<u32> {
        self.name.split('-').next()?.parse().ok()
    }

    fn read(path: PathBuf) -> Result<Self> {
        let text = std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Self::of(name, path, &text)
    }

    fn of(name: String, path: PathBuf, text: &str) -> Result<Self> {
        let head = text.split_once("diff --git ").map_or("", |(head, _)| head);
        let said = |word: &'static str| head.lines().filter_map(move |line| line.strip_prefix(word)).map(str::trim);
        let keys = ["Room:", "Caught by:", "Equivalent:"];
        let story = head.lines().filter(|line| !keys.iter().any(|key| line.starts_with(key)));
        let story = story.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        let room = said("Room:").next().unwrap_or_default().to_owned();
        let hunts: Vec<String> = said("Caught by:").map(str::to_owned).collect();
        let equivalent = said("Equivalent:").next().map(str::to_owned);
        ensure!(
            !story.is_empty() && !room.is_empty() && !hunts.is_empty(),
            "{} lacks its head: a sentence of story, a line 'Room: …' and a line 'Caught by: -p CRATE …' above the diff",
            path.display()
        );
        Ok(Self { name, room, story, hunts, equivalent, path })
    }

    /// Whether `--only` means this one: its number, or a part of its name.
    pub(super) fn is_meant(&self, word: &str) -> bool {
        match word.parse() {
            Ok(number) => self.number() == Some(number),
            Err(_) => self.name.contains(word),
        }
    }

    /// Puts the bug into the tree in `folder`; `Err` holds git's words.
    pub(super) fn apply(&self, folder: &Path) -> Result<Result<(), String>> {
        self.git_apply(folder, &[])
    }

    /// Takes it out again. The file's time is new, so cargo builds it anew.
    pub(super) fn take_out(&self, folder: &Path) -> Result<()> {
        let out = self.git_apply(folder, &["--reverse"])?;
        out.map_err(|why| anyhow::anyhow!("could not take {} out of {}: {why}", self.name, folder.display()))
    }

    /// Whether it would apply there.
    #[cfg(test)]
    pub(super) fn check(&self, folder: &Path) -> Result<Result<(), String>> {
        self.git_apply(folder, &["--check"])
    }

    fn git_apply(&self, folder: &Path, words: &[&str]) -> Result<Result<(), String>> {
        let out = Command::new("git")
            .arg("apply")
            .args(words)
            .arg(&self.path)
            .current_dir(folder)
            // The copy stands below a repository: git must not take the patch's paths for that one's.
            .env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap_or(folder))
            .env_remove("GIT_DIR")
            .stdin(Stdio::null())
            .output()
            .context("could not run git")?;
        Ok(if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).trim().to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// `-p CRATE`, perhaps `--test FILE`, perhaps a test's name: whether there is what they name.
    fn is_there(words: &str) -> bool {
        let words: Vec<&str> = words.split_whitespace().collect();
        let (folder, rest) = match words[..] {
            ["-p", "segd-tests", ref rest @ ..] => (root().join("tests"), rest),
            ["-p", name, ref rest @ ..] => (root().join(name), rest),
            _ => return false,
        };
        let (sources, filter) = match rest {
            ["--test", file, filter @ ..] => {
                let (alone, folder) =
                    (folder.join("tests").join(format!("{file}.rs")), folder.join("tests").join(file));
                (if alone.exists() { alone } else { folder }, filter)
            }
            ["--lib", filter @ ..] => (folder.join("src"), filter),
            filter => (folder, filter),
        };
        let Some(name) = filter.first().and_then(|path| path.rsplit("::").next()) else { return sources.exists() };
        let file = |path: &Path| std::fs::read_to_string(path).is_ok_and(|text| text.contains(name));
        let module = |path: &Path| path.file_stem().is_some_and(|stem| stem == name) || path.ends_with(name);
        walk(&sources).iter().any(|path| module(path) || file(path))
    }

    fn walk(path: &Path) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(path) else { return vec![path.to_owned()] };
        let below =
            entries.flatten().filter(|entry| entry.file_name() != "target").flat_map(|entry| walk(&entry.path()));
        below.chain([path.to_owned()]).collect()
    }

    #[test]
    fn every_seeded_bug_still_applies_and_names_tests_that_there_are() {
        let mutants = Mutant::all().unwrap();
        let mut wrong = Vec::new();
        for mutant in &mutants {
            if let Err(why) = mutant.check(root()).unwrap() {
                wrong.push(format!("{} does not apply: {why}", mutant.name));
            }
            let absent = mutant.hunts.iter().filter(|words| !is_there(words));
            wrong.extend(absent.map(|words| format!("{}: there is no test '{words}'", mutant.name)));
        }
        assert!(wrong.is_empty(), "make these patches anew (tests/mutants/README.md):\n{}", wrong.join("\n"));
        let numbers: BTreeSet<_> = mutants.iter().filter_map(Mutant::number).collect();
        assert_eq!(numbers.len(), mutants.len(), "each has a number of its own");
    }

    #[test]
    fn a_head_says_what_the_bug_is_and_where_it_is_caught() {
        let text =
            "One byte\nshort.\n\nRoom: parser\nCaught by: -p segd-common\nCaught by: -p segd\ndiff --git a/x b/x\n";
        let mutant = Mutant::of("07-short".into(), PathBuf::from("07-short.patch"), text).unwrap();
        assert_eq!((mutant.story.as_str(), mutant.room.as_str()), ("One byte short.", "parser"));
        assert_eq!(mutant.hunts, ["-p segd-common", "-p segd"]);
        assert!(["07", "7", "short", "07-short"].iter().all(|word| mutant.is_meant(word)));
        assert!(!mutant.is_meant("0") && !mutant.is_meant("long"));
        assert!(Mutant::of("08".into(), PathBuf::new(), "diff --git a/x b/x\n").is_err());
    }
}
