//! Opening the store: a new file, the one that is there, or, if that is damaged, a new one beside it.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::bounds::Bounds;
use super::error::is_damage;
use super::{Store, StoreError, known};
use crate::seen::balance::{Cell, Told};

/// Layout of the tables; another one is set aside.
const LAYOUT: i64 = 1;

const TABLES: &str = "\
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA journal_size_limit = 4194304;
CREATE TABLE IF NOT EXISTS seen (
    minute INTEGER NOT NULL, from_zone TEXT NOT NULL, to_zone TEXT NOT NULL, src TEXT NOT NULL, dst TEXT NOT NULL,
    proto INTEGER NOT NULL, port INTEGER NOT NULL, src_port INTEGER NOT NULL, reason TEXT NOT NULL,
    would_be TEXT NOT NULL, rule TEXT NOT NULL, flows INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (minute, from_zone, to_zone, src, dst, proto, port, src_port, reason, would_be, rule)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS traffic (
    minute INTEGER NOT NULL, from_zone TEXT NOT NULL, to_zone TEXT NOT NULL, reason TEXT NOT NULL,
    packets INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (minute, from_zone, to_zone, reason)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (
    kind TEXT NOT NULL, from_zone TEXT NOT NULL, to_zone TEXT NOT NULL, what TEXT NOT NULL,
    packets INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (kind, from_zone, to_zone, what)
) WITHOUT ROWID;
PRAGMA user_version = 1;";

impl Store {
    /// Opens the store at `path`, with what an admin should know about it. A new one begins at what the counters say.
    pub(in crate::seen) fn open(path: &Path, counters: &Told) -> Result<(Self, Option<String>), StoreError> {
        Self::open_bounded(path, counters, Bounds::default())
    }

    pub(super) fn open_bounded(
        path: &Path,
        counters: &Told,
        bounds: Bounds,
    ) -> Result<(Self, Option<String>), StoreError> {
        let fresh = !path.exists();
        match sound(path, &bounds) {
            Ok(db) => Ok((Self::over(db, counters, bounds, fresh)?, None)),
            Err(Fault::Damaged(why)) => {
                let aside = set_aside(path)?;
                let db = sound(path, &bounds).map_err(|fault| fault.into_error(path))?;
                let told = format!(
                    "the history of what was seen was damaged ({why}) and begins anew; the old file is {}",
                    aside.display()
                );
                Ok((Self::over(db, counters, bounds, true)?, Some(told)))
            }
            Err(Fault::Refused(error)) => Err(error),
        }
    }

    fn over(db: Connection, counters: &Told, bounds: Bounds, fresh: bool) -> Result<Self, StoreError> {
        let (mut traffic, mut flows) = if fresh {
            (counters.traffic.clone(), counters.flows.clone())
        } else {
            (marks(&db, "traffic", |packets, bytes| [packets, bytes])?, marks(&db, "flows", |flows, _| flows)?)
        };
        let smaller =
            |(cell, [packets, _]): (&Cell, &[u64; 2])| counters.traffic.get(cell).is_none_or(|[now, _]| now < packets);
        if traffic.iter().any(smaller) {
            // The counters began anew: the machine was started, or enforcement was taken off in between.
            (traffic, flows) = (BTreeMap::new(), BTreeMap::new());
            db.execute("DELETE FROM marks", [])?;
        }
        Ok(Self { db, bounds, traffic, flows, tidied: 0 })
    }
}

enum Fault {
    Damaged(String),
    Refused(StoreError),
}

impl Fault {
    fn into_error(self, path: &Path) -> StoreError {
        match self {
            Self::Damaged(why) => StoreError::File { path: path.to_owned(), source: io::Error::other(why) },
            Self::Refused(error) => error,
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        if is_damage(&error) { Self::Damaged(error.to_string()) } else { Self::Refused(error.into()) }
    }
}

/// Opens the file and looks through it.
fn sound(path: &Path, bounds: &Bounds) -> Result<Connection, Fault> {
    // Addresses are nobody's business but the daemon's.
    let made = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    made.map_err(|source| Fault::Refused(StoreError::File { path: path.to_owned(), source }))?;
    let db = Connection::open(path)?;
    // The index of the log then lives in our own memory, and not in a file that could be cut short under it.
    db.execute_batch("PRAGMA locking_mode = EXCLUSIVE")?;
    let layout: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if layout != 0 && layout != LAYOUT {
        return Err(Fault::Damaged(format!("it has layout {layout}, of another release")));
    }
    let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(Fault::Damaged(verdict));
    }
    db.execute_batch(TABLES)?;
    bounds.limit(&db)?;
    Ok(db)
}

/// Moves the damaged file away. There is one such file at most, so that they don't fill the disk.
fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = beside(".damaged");
    fs::rename(path, &aside).map_err(|source| StoreError::File { path: path.to_owned(), source })?;
    for rest in ["-wal", "-shm"] {
        match fs::remove_file(beside(rest)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::File { path: beside(rest), source });
            }
            _ => {}
        }
    }
    Ok(aside)
}

fn marks<T>(db: &Connection, kind: &str, value: impl Fn(u64, u64) -> T) -> Result<BTreeMap<Cell, T>, StoreError> {
    let mut statement = db.prepare("SELECT from_zone, to_zone, what, packets, bytes FROM marks WHERE kind = ?1")?;
    let mut rows = statement.query([kind])?;
    let mut marks = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let what: String = row.get(2)?;
        if let Some(what) = known(&what) {
            let (packets, bytes): (i64, i64) = (row.get(3)?, row.get(4)?);
            marks.insert((row.get(0)?, row.get(1)?, what), value(packets.cast_unsigned(), bytes.cast_unsigned()));
        }
    }
    Ok(marks)
}
