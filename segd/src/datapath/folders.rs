//! Where the pins of a set of maps stand, and how one set takes the place of another so that a daemon which dies at any step
//! leaves exactly one of them to be taken over. Knows paths only, and nothing of what is pinned there. A bpffs takes no names
//! with a dot.
//!
//! | step | in force | `_next` | `_old` | a start then |
//! |---|---|---|---|---|
//! | a larger set is made, shared maps are linked into it | old set | partly | – | removes `_next`, takes over the old set |
//! | the policy is published there | old set | whole | – | the same |
//! | first rename | – | whole | old set | goes on with the second rename |
//! | second rename | new set | – | old set | puts its programs into the links, takes what the old set counted since |
//! | links changed over, last counts taken | new set | – | old set | the same; it comes to the same numbers |
//! | the old pins are removed | new set | – | – | takes over the new set |
//!
//! Of a build with another layout only the counters are taken: `_before` has a second name for them from before the first set is
//! made until the last of them are taken, and that is repeated by whoever finds it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use segd_common::ABI;

use super::DatapathError;

/// What the folders begin with in which each load pins what its programs call.
const CALLED: &str = "called_";
/// What the folders of sets begin with.
const MAPS: &str = "maps_";
/// How the folder of a set ends that is being made.
const NEXT: &str = "_next";
const OLD: &str = "_old";
/// How the folder ends that holds what another build counted.
const BEFORE: &str = "_before";

/// The folders of one instance's sets.
#[derive(Clone, Debug)]
pub(super) struct Folders {
    dir: PathBuf,
}

impl Folders {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    fn named(&self, suffix: &str) -> PathBuf {
        self.dir.join(format!("{MAPS}{ABI}{suffix}"))
    }

    /// Of the set that is in force.
    pub(super) fn current(&self) -> PathBuf {
        self.named("")
    }

    /// Of the set that is being made.
    pub(super) fn next(&self) -> PathBuf {
        self.named(NEXT)
    }

    /// Of the set that is being left.
    pub(super) fn old(&self) -> PathBuf {
        self.named(OLD)
    }

    /// Of what a build with another layout counted.
    pub(super) fn before(&self) -> PathBuf {
        self.named(BEFORE)
    }

    /// Finishes or undoes what a daemon that died left half done.
    pub(super) fn settle(&self) -> Result<(), DatapathError> {
        let (current, next, old) = (self.current(), self.next(), self.old());
        if !current.exists() && old.exists() {
            // The first rename comes after the publish: what is in `_next` then is whole.
            rename(if next.exists() { &next } else { &old }, &current)?;
        }
        remove(&next)
    }

    /// Makes way for the counters of a build with another layout. Gives the folder of its set, if it left one; of several the
    /// one that was last changed.
    pub(super) fn begin_before(&self) -> Result<Option<PathBuf>, DatapathError> {
        remove(&self.before())?;
        let sets = self.others().into_iter().filter(|path| !ends_with(path, NEXT) && !ends_with(path, BEFORE));
        let changed = |path: &PathBuf| fs::metadata(path).and_then(|there| there.modified()).ok();
        Ok(sets.max_by_key(|path| (!ends_with(path, OLD), changed(path))))
    }

    /// The folders of builds with other layouts.
    fn others(&self) -> Vec<PathBuf> {
        let own = [self.current(), self.next(), self.old(), self.before()];
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let sets = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(MAPS));
        sets.map(|entry| entry.path()).filter(|path| !own.contains(path)).collect()
    }

    /// An empty folder for the set that is to be made.
    pub(super) fn begin(&self) -> Result<PathBuf, DatapathError> {
        let next = self.next();
        remove(&next)?;
        fs::create_dir_all(&next).map_err(|why| failed("make the folder of", &next, &why))?;
        Ok(next)
    }

    /// Puts the set that was made in the place of the one in force.
    pub(super) fn commit(&self) -> Result<(), DatapathError> {
        let (current, next, old) = (self.current(), self.next(), self.old());
        if !current.exists() {
            return rename(&next, &current);
        }
        remove(&old)?;
        rename(&current, &old)?;
        rename(&next, &current).inspect_err(|_| {
            // The same error would come at the way back; then the next start settles it.
            let _ = rename(&old, &current);
        })
    }

    /// Gives up the set that was being made.
    pub(super) fn abandon(&self) -> Result<(), DatapathError> {
        remove(&self.next())
    }

    /// Removes the pins of the set that was left.
    pub(super) fn leave(&self) -> Result<(), DatapathError> {
        remove(&self.old())?;
        remove(&self.before())
    }

    /// An empty folder for what the programs of one load call. Each load has its own, for as long as they are attached.
    pub(super) fn call(&self, load: u64) -> Result<PathBuf, DatapathError> {
        let called = self.dir.join(format!("{CALLED}{load:016x}"));
        fs::create_dir_all(&called).map_err(|why| failed("make the folder of", &called, &why))?;
        Ok(called)
    }

    /// Gives up what the programs of one load would have called.
    pub(super) fn uncall(called: &Path) -> Result<(), DatapathError> {
        remove(called)
    }

    /// Lets go what the programs of other loads called, once none of them is attached any more.
    pub(super) fn only_call(&self, called: &Path) -> Result<(), DatapathError> {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(CALLED) && entry.path() != called {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes what builds with other layouts left, once nothing attached uses it any more. If such a build comes back it must
    /// not find a policy of long ago, and put that in force until it has read the zone file.
    pub(super) fn only_this_layout(&self) -> Result<(), DatapathError> {
        self.others().iter().try_for_each(|path| remove(path))
    }

    /// Whether the folder of this name is that of a set which is or may come to be in force.
    pub(super) fn is_in_force(name: &OsStr) -> bool {
        let name = name.to_string_lossy();
        name.starts_with(MAPS) && !name.ends_with(NEXT) && !name.ends_with(BEFORE)
    }

    /// Removes every set. Returns what they were.
    pub(super) fn remove_all(dir: &Path) -> Result<Vec<String>, DatapathError> {
        let mut gone = Vec::new();
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(MAPS) {
                remove(&entry.path())?;
                gone.push(name);
            } else if name.starts_with(CALLED) {
                remove(&entry.path())?;
            }
        }
        Ok(gone)
    }
}

fn ends_with(path: &Path, suffix: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(suffix))
}

fn rename(from: &Path, to: &Path) -> Result<(), DatapathError> {
    fs::rename(from, to).map_err(|why| failed("rename", from, &why))
}

fn remove(path: &Path) -> Result<(), DatapathError> {
    match fs::remove_dir_all(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, &why)),
        _ => Ok(()),
    }
}

fn failed(what: &'static str, path: &Path, why: &io::Error) -> DatapathError {
    DatapathError::Pin { what, path: path.into(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pins {
        _dir: tempfile::TempDir,
        folders: Folders,
    }

    impl Pins {
        /// Folders with these sets in them, each told by a file's text.
        fn with(sets: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let folders = Folders::new(dir.path());
            for (suffix, text) in sets {
                let folder = folders.named(suffix);
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join("CONTROL"), text).unwrap();
            }
            Self { _dir: dir, folders }
        }

        /// What stands in the three folders.
        fn found(&self) -> [String; 3] {
            ["", "_next", "_old"].map(|suffix| {
                fs::read_to_string(self.folders.named(suffix).join("CONTROL")).unwrap_or_else(|_| "-".to_owned())
            })
        }
    }

    /// Folders that a daemon left, and what the next start makes of them.
    type Step = (&'static [(&'static str, &'static str)], [&'static str; 3]);

    #[test]
    fn whatever_step_a_daemon_dies_at_exactly_one_set_is_in_force() {
        let steps: [Step; 6] = [
            (&[], ["-", "-", "-"]),
            (&[("", "old"), ("_next", "half")], ["old", "-", "-"]),
            (&[("_next", "whole"), ("_old", "old")], ["whole", "-", "old"]),
            (&[("", "new"), ("_old", "old")], ["new", "-", "old"]),
            (&[("_old", "old")], ["old", "-", "-"]),
            // Nothing was ever in force: the first set was not published.
            (&[("_next", "half")], ["-", "-", "-"]),
        ];
        for (left, expected) in steps {
            let pins = Pins::with(left);
            pins.folders.settle().unwrap();
            assert_eq!(pins.found(), expected, "after {left:?}");
            pins.folders.settle().unwrap();
            assert_eq!(pins.found(), expected, "after {left:?}, again");
        }
    }

    #[test]
    fn a_commit_keeps_the_old_set_until_it_is_left_and_an_abandoned_one_leaves_no_trace() {
        let pins = Pins::with(&[("", "old"), ("_next", "new")]);
        pins.folders.commit().unwrap();
        assert_eq!(pins.found(), ["new", "-", "old"]);
        pins.folders.leave().unwrap();
        assert_eq!(pins.found(), ["new", "-", "-"]);
        fs::write(pins.folders.begin().unwrap().join("CONTROL"), "newer").unwrap();
        pins.folders.abandon().unwrap();
        assert_eq!(pins.found(), ["new", "-", "-"]);
    }

    #[test]
    fn a_set_with_another_layout_goes_and_those_of_this_one_stay() {
        let pins = Pins::with(&[("", "new"), ("_old", "old"), ("7", "of long ago"), ("7_next", "half")]);
        pins.folders.only_this_layout().unwrap();
        assert_eq!(pins.found(), ["new", "-", "old"]);
        assert!(!pins.folders.named("7").exists() && !pins.folders.named("7_next").exists());
    }

    #[test]
    fn the_first_set_of_all_has_nothing_to_leave() {
        let pins = Pins::with(&[("_next", "first")]);
        pins.folders.commit().unwrap();
        assert_eq!(pins.found(), ["first", "-", "-"]);
    }
}
