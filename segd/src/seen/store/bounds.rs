//! How old and how large the store may get. Old minutes become hours; what a scan or a flood filled an hour with becomes
//! one row of its source or of its pair; what is too old goes, and, if the file is still too large, the oldest.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Transaction, params};

use super::StoreError;
use crate::seen::class::minute;

/// The bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// What is older goes.
    pub(super) age: SignedDuration,
    /// What is older is kept by the hour.
    pub(super) minutes_for: SignedDuration,
    /// Most classes of one source, and of one pair of zones, in an hour; for each reason.
    pub(super) per_source: u32,
    pub(super) per_pair: u32,
    /// Largest file.
    pub(super) bytes: i64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            age: SignedDuration::from_hours(24 * 31),
            minutes_for: SignedDuration::from_hours(6),
            per_source: 64,
            per_pair: 2048,
            bytes: 256 << 20,
        }
    }
}

/// Columns of a class, but for its minute.
const CLASS: &str = "from_zone, to_zone, src, dst, proto, port, src_port, reason, would_be, rule";
const SUMS: &str = "sum(flows), min(first), max(last)";
const MERGE: &str = "ON CONFLICT DO UPDATE SET flows = flows + excluded.flows, \
                     first = min(first, excluded.first), last = max(last, excluded.last)";

impl Bounds {
    /// A last line of defence: `SQLite` itself refuses to grow the file beyond this.
    pub(super) fn limit(&self, db: &Connection) -> rusqlite::Result<()> {
        let page: i64 = db.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        db.query_row(&format!("PRAGMA max_page_count = {}", self.bytes * 5 / 4 / page.max(1)), [], |_| Ok(()))
    }

    /// Brings the store back within its bounds. `hours`: there may be minutes that are old enough to become hours.
    pub(super) fn tidy(&self, db: &mut Connection, now: Timestamp, hours: bool) -> Result<(), StoreError> {
        let work = db.transaction()?;
        for table in ["seen", "traffic"] {
            work.execute(&format!("DELETE FROM {table} WHERE minute < ?1"), [minute(now - self.age)])?;
        }
        if hours {
            self.make_hours(&work, minute(now - self.minutes_for))?;
        }
        work.commit()?;
        self.shrink(db)
    }

    /// Minutes before `edge` become the hours that they are in.
    fn make_hours(&self, work: &Transaction<'_>, edge: i64) -> rusqlite::Result<()> {
        let edge = edge - edge.rem_euclid(60);
        let minutes: bool = work.query_row(
            "SELECT EXISTS (SELECT 1 FROM seen WHERE minute < ?1 AND minute % 60 != 0)
                 OR EXISTS (SELECT 1 FROM traffic WHERE minute < ?1 AND minute % 60 != 0)",
            [edge],
            |row| row.get(0),
        )?;
        if !minutes {
            return Ok(());
        }
        let hour = "minute - minute % 60";
        work.execute(
            &format!(
                "INSERT INTO seen SELECT {hour}, {CLASS}, {SUMS} FROM seen WHERE minute < ?1 AND minute % 60 != 0
                 GROUP BY {hour}, {CLASS} {MERGE}"
            ),
            [edge],
        )?;
        work.execute("DELETE FROM seen WHERE minute < ?1 AND minute % 60 != 0", [edge])?;
        work.execute(
            &format!(
                "INSERT INTO traffic SELECT {hour}, from_zone, to_zone, reason, sum(packets), sum(bytes) FROM traffic
                 WHERE minute < ?1 AND minute % 60 != 0 GROUP BY {hour}, from_zone, to_zone, reason
                 ON CONFLICT DO UPDATE SET packets = packets + excluded.packets, bytes = bytes + excluded.bytes"
            ),
            [edge],
        )?;
        work.execute("DELETE FROM traffic WHERE minute < ?1 AND minute % 60 != 0", [edge])?;
        fold(work, edge, "src, reason", "src", self.per_source)?;
        fold(work, edge, "reason", "''", self.per_pair)
    }

    /// Gives up the oldest until the file is small enough.
    fn shrink(&self, db: &Connection) -> Result<(), StoreError> {
        let number = |what: &str| db.query_row(&format!("PRAGMA {what}"), [], |row| row.get::<_, i64>(0));
        let page = number("page_size")?;
        while (number("page_count")? - number("freelist_count")?) * page > self.bytes {
            let rows: i64 = db.query_row("SELECT count(*) FROM seen", [], |row| row.get(0))?;
            let edge: i64 = db.query_row(
                "SELECT coalesce((SELECT minute FROM seen ORDER BY minute LIMIT 1 OFFSET ?1),
                                 (SELECT min(minute) FROM traffic), 0)",
                [rows / 10],
                |row| row.get(0),
            )?;
            let gone = db.execute("DELETE FROM seen WHERE minute <= ?1", [edge])?
                + db.execute("DELETE FROM traffic WHERE minute <= ?1", [edge])?;
            tracing::warn!("the history of what was seen is full; {gone} of its oldest rows were given up");
            if gone == 0 {
                break;
            }
        }
        db.execute_batch("PRAGMA incremental_vacuum")?;
        Ok(())
    }
}

/// Of the classes that share `within` in an hour and pair, keeps the `most` that were seen most often; the rest becomes
/// one row, whose source is `source`.
fn fold(work: &Transaction<'_>, edge: i64, within: &str, source: &str, most: u32) -> rusqlite::Result<()> {
    work.execute_batch("DROP TABLE IF EXISTS temp.rest")?;
    work.execute(
        &format!(
            "CREATE TEMP TABLE rest AS SELECT * FROM (
                 SELECT *, row_number() OVER (
                     PARTITION BY minute, from_zone, to_zone, {within} ORDER BY flows DESC, dst, proto, port
                 ) AS place FROM seen WHERE minute < ?1 AND dst != '')
             WHERE place > ?2"
        ),
        params![edge, most],
    )?;
    work.execute(&format!("DELETE FROM seen WHERE (minute, {CLASS}) IN (SELECT minute, {CLASS} FROM temp.rest)"), [])?;
    work.execute(
        &format!(
            "INSERT INTO seen SELECT minute, from_zone, to_zone, {source}, '', 0, 0, 0, reason, would_be, '', {SUMS}
             FROM temp.rest WHERE true GROUP BY minute, from_zone, to_zone, {source}, reason, would_be {MERGE}"
        ),
        [],
    )?;
    work.execute_batch("DROP TABLE temp.rest")
}
