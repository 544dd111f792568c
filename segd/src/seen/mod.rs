//! What was seen: connections and blocked attempts by the minute, in a store on the disk.
//!
//! Events are the detail, counters are the truth. Events are tallied in memory (`tally`, bounded, off the packets' way);
//! now and then the tally goes to the disk (`store`), together with what the counters say beyond it (`balance`), so that
//! a flood that no event ring could tell still leaves its true number. Nothing here judges a packet.

mod balance;
mod class;
mod rows;
mod store;
mod tally;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::datapath::{Counters, Event};
pub use balance::Told;
pub use class::Class;
pub use rows::{Asked, PairSum, Row};
use store::Store;
pub use store::StoreError;
use tally::Tally;

/// File of the store, below the state folder.
const FILE: &str = "seen.db";

/// The tally and the store behind it. Every call but [`Seen::take`] touches the disk.
#[derive(Debug)]
pub struct Seen {
    path: PathBuf,
    tally: Mutex<Tally>,
    kept: Mutex<Kept>,
}

/// What belongs to the disk.
#[derive(Debug)]
struct Kept {
    /// None while the disk does not let us.
    store: Option<Store>,
    /// The counters as they were read some time ago: by now all their events have come.
    settled: Option<(Timestamp, Told)>,
    /// What is not as it should be, for status.
    amiss: Option<String>,
}

impl Seen {
    /// Opens the store below `folder`. `counters`: what the kernel had counted before anything of now; a new store begins
    /// there. A damaged store is set aside, and a disk that refuses is no reason not to enforce: both are told.
    #[must_use]
    pub fn open(folder: &Path, counters: &Told) -> Self {
        let path = folder.join(FILE);
        let (store, amiss) = match Store::open(&path, counters) {
            Ok((store, aside)) => (Some(store), aside),
            Err(error) => (None, Some(error.to_string())),
        };
        if let Some(amiss) = &amiss {
            tracing::warn!("{amiss}");
        }
        Self { path, tally: Mutex::default(), kept: Mutex::new(Kept { store, settled: None, amiss }) }
    }

    /// Takes events in. Quick: memory only.
    pub fn take(&self, events: &[Event]) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            tally.take(event);
        }
    }

    /// Writes down what came since the last call. `name_zone` and `name_rule` give the numbers their names.
    pub fn keep(&self, now: Timestamp, counters: &Counters, names: &dyn Named) {
        let told = Told::of(counters, names);
        let drained = self.tally.lock().unwrap_or_else(PoisonError::into_inner).drain(now);
        let rows: Vec<Row> = drained.into_iter().map(|(class, count)| Row::named(&class, count, names)).collect();
        let mut kept = self.kept();
        let settled = kept.settled.clone();
        let due = settled.as_ref().filter(|(at, _)| now.duration_since(*at) >= balance::SETTLING);
        let outcome = self.store(&mut kept, &told).and_then(|store| store.keep(now, &rows, &told, due));
        match outcome {
            Ok(()) => {
                if settled.is_none() || due.is_some() {
                    kept.settled = Some((now, told));
                }
                if kept.amiss.as_deref().is_some_and(|amiss| amiss.starts_with(store::REFUSED)) {
                    kept.amiss = None;
                }
            }
            Err(error) => {
                // What was drained is not lost from the sums: the counters still have it, and the next write tells it.
                if kept.amiss.as_deref() != Some(&error.to_string()) {
                    tracing::error!("{error}");
                }
                if error.is_damage() {
                    kept.store = None;
                }
                kept.amiss = Some(error.to_string());
            }
        }
    }

    /// What was seen since `asked.since`, one row for each class, the one seen last at the end.
    pub fn rows(&self, asked: &Asked) -> Result<Vec<Row>, StoreError> {
        self.asked(|store| store.rows(asked))
    }

    /// Packets and bytes by pair of zones and reason, and connections by pair, since then.
    pub fn pairs(&self, since: Timestamp) -> Result<Vec<PairSum>, StoreError> {
        self.asked(|store| store.pairs(since))
    }

    /// When the oldest minute of the store was; none if it is empty.
    pub fn oldest(&self) -> Result<Option<Timestamp>, StoreError> {
        self.asked(Store::oldest)
    }

    /// What is not as it should be.
    #[must_use]
    pub fn amiss(&self) -> Option<String> {
        self.kept().amiss.clone()
    }

    fn asked<T>(&self, ask: impl FnOnce(&Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let kept = self.kept();
        match &kept.store {
            Some(store) => ask(store),
            None => Err(StoreError::closed(&self.path, kept.amiss.as_deref())),
        }
    }

    /// The store; opened again if it was given up.
    fn store<'k>(&self, kept: &'k mut Kept, counters: &Told) -> Result<&'k mut Store, StoreError> {
        if kept.store.is_none() {
            let (store, aside) = Store::open(&self.path, counters)?;
            if let Some(aside) = &aside {
                tracing::warn!("{aside}");
            }
            kept.amiss = aside;
            kept.settled = None;
            kept.store = Some(store);
        }
        kept.store.as_mut().ok_or_else(|| StoreError::closed(&self.path, None))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A transaction that was not committed leaves nothing behind.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives numbers their names.
pub trait Named {
    /// The zone's.
    fn zone(&self, number: u16) -> String;
    /// The rule's.
    fn rule(&self, number: u32) -> String;
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Unnamed;

    impl Named for Unnamed {
        fn zone(&self, number: u16) -> String {
            number.to_string()
        }

        fn rule(&self, number: u32) -> String {
            number.to_string()
        }
    }

    fn kept(seen: &Seen) -> Option<String> {
        seen.keep(Timestamp::now(), &Counters::default(), &Unnamed);
        seen.amiss()
    }

    #[test]
    fn a_damaged_file_is_told_for_as_long_as_the_daemon_runs_and_the_history_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), vec![7; 65_536]).unwrap();
        let seen = Seen::open(dir.path(), &Told::default());
        let told = kept(&seen).expect("it is told");
        assert!(told.contains("was damaged") && told.contains("seen.db.damaged"), "{told}");
        assert_eq!(seen.rows(&Asked::since(Timestamp::UNIX_EPOCH)).unwrap(), []);
    }

    #[test]
    fn a_disk_that_refuses_is_told_until_it_lets_us_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("state");
        let seen = Seen::open(&folder, &Told::default());
        assert!(kept(&seen).is_some_and(|told| told.contains("look at the space on the disk")));
        let refused = seen.rows(&Asked::since(Timestamp::UNIX_EPOCH)).unwrap_err().to_string();
        assert!(refused.starts_with("there is no history of what was seen: "), "{refused}");
        fs::create_dir(&folder).unwrap();
        assert_eq!(kept(&seen), None);
        assert_eq!(seen.oldest().unwrap(), None);
    }
}
