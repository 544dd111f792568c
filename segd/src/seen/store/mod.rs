//! The store on the disk: `SQLite`, one row for each minute and class, and for each minute, pair of zones and reason. Every
//! write is one transaction; what is written down and what the counters stood at go together, so that nothing is told
//! twice, whenever the daemon dies.

mod ask;
mod bounds;
mod error;
mod open;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{CachedStatement, Connection, Transaction, params};
use segd_common::reason::Reason;

pub(super) use error::REFUSED;
pub use error::StoreError;

use super::balance::{CONNECTIONS, Cell, Told, beyond, counted_by, grown};
use super::class::minute;
use super::rows::{Row, reason_named};
use bounds::Bounds;

/// Adds to the row of the class, or makes it.
const ADD: &str = "\
INSERT INTO seen (minute, from_zone, to_zone, src, dst, proto, port, src_port, reason, would_be, rule, flows, first, last)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
ON CONFLICT DO UPDATE SET flows = flows + excluded.flows, first = min(first, excluded.first), last = max(last, excluded.last)";

/// The store, open.
#[derive(Debug)]
pub(super) struct Store {
    db: Connection,
    bounds: Bounds,
    /// What the counters stood at when they were last written down.
    traffic: BTreeMap<Cell, [u64; 2]>,
    /// How many connections of each counter stand in rows.
    flows: BTreeMap<Cell, u64>,
    /// The last minute in which old rows were looked for.
    tidied: i64,
}

impl Store {
    /// Writes down `rows`, what the counters say beyond them, and what passed the wire.
    pub(super) fn keep(
        &mut self,
        now: Timestamp,
        rows: &[Row],
        told: &Told,
        due: Option<&(Timestamp, Told)>,
    ) -> Result<(), StoreError> {
        let (mut flows, mut traffic) = (self.flows.clone(), self.traffic.clone());
        let work = self.db.transaction()?;
        for row in rows {
            add(&work, row)?;
            if let Some(cell) = counted_by(row) {
                *flows.entry(cell).or_default() += row.flows;
            }
        }
        if let Some((at, settled)) = due {
            keep_beyond(&work, *at, settled, &mut flows)?;
        }
        keep_traffic(&work, minute(now), told, &mut traffic)?;
        keep_marks(&work, (&self.traffic, &self.flows), (&traffic, &flows))?;
        work.commit()?;
        (self.flows, self.traffic) = (flows, traffic);
        let before = std::mem::replace(&mut self.tidied, minute(now));
        if before != self.tidied {
            self.bounds.tidy(&mut self.db, now, before / 60 != self.tidied / 60)?;
        }
        Ok(())
    }
}

fn add(work: &Transaction<'_>, row: &Row) -> rusqlite::Result<()> {
    let Row { minute, from_zone, to_zone, src, dst, proto, port, src_port, reason, would_be, rule, flows, first, last } =
        row;
    let address = |address: &Option<std::net::IpAddr>| address.map_or_else(String::new, |address| address.to_string());
    let mut statement: CachedStatement<'_> = work.prepare_cached(ADD)?;
    statement.execute(params![
        minute,
        from_zone,
        to_zone,
        address(src),
        address(dst),
        proto,
        port,
        src_port,
        reason.name(),
        would_be.map_or("", Reason::name),
        rule.as_deref().unwrap_or(""),
        flows.cast_signed(),
        first.as_second(),
        last.as_second(),
    ])?;
    Ok(())
}

/// What the counters said at `at`, and no row tells: one row for each pair and reason, without addresses.
fn keep_beyond(
    work: &Transaction<'_>,
    at: Timestamp,
    settled: &Told,
    flows: &mut BTreeMap<Cell, u64>,
) -> rusqlite::Result<()> {
    for (cell, counted) in &settled.flows {
        let written = flows.entry(cell.clone()).or_default();
        let more = beyond(*counted, *written);
        if more == 0 {
            continue;
        }
        *written += more;
        let (from_zone, to_zone, what) = cell.clone();
        let (reason, would_be) = match reason_named(what) {
            Some(reason) => (reason, None),
            None => passed(settled, &from_zone, &to_zone),
        };
        add(
            work,
            &Row {
                minute: minute(at),
                from_zone,
                to_zone,
                src: None,
                dst: None,
                proto: 0,
                port: 0,
                src_port: 0,
                reason,
                would_be,
                rule: None,
                flows: more,
                first: at,
                last: at,
            },
        )?;
    }
    Ok(())
}

/// By what connections passed of which nothing else is known: by audit, if nothing else ever passed there.
fn passed(told: &Told, from: &str, to: &str) -> (Reason, Option<Reason>) {
    let any = |reason: Reason| told.traffic.contains_key(&(from.to_owned(), to.to_owned(), reason.name()));
    let by_policy = [Reason::Rule, Reason::IntraZone, Reason::Failsafe].into_iter().any(any);
    if any(Reason::Audit) && !by_policy { (Reason::Audit, Some(Reason::NoRule)) } else { (Reason::Rule, None) }
}

fn keep_traffic(
    work: &Transaction<'_>,
    minute: i64,
    told: &Told,
    traffic: &mut BTreeMap<Cell, [u64; 2]>,
) -> rusqlite::Result<()> {
    let mut statement = work.prepare_cached(
        "INSERT INTO traffic (minute, from_zone, to_zone, reason, packets, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET packets = packets + excluded.packets, bytes = bytes + excluded.bytes",
    )?;
    for (cell, now) in &told.traffic {
        let before = traffic.insert(cell.clone(), *now).unwrap_or_default();
        let [packets, bytes] = [grown(now[0], before[0]), grown(now[1], before[1])];
        if packets != 0 {
            statement.execute(params![minute, cell.0, cell.1, cell.2, packets.cast_signed(), bytes.cast_signed()])?;
        }
    }
    Ok(())
}

type Marks<'m> = (&'m BTreeMap<Cell, [u64; 2]>, &'m BTreeMap<Cell, u64>);

/// Writes down what the counters stood at, where that changed.
fn keep_marks(work: &Transaction<'_>, before: Marks<'_>, now: Marks<'_>) -> rusqlite::Result<()> {
    let mut statement = work.prepare_cached(
        "INSERT OR REPLACE INTO marks (kind, from_zone, to_zone, what, packets, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (cell, [packets, bytes]) in now.0.iter().filter(|(cell, value)| before.0.get(*cell) != Some(*value)) {
        statement.execute(params!["traffic", cell.0, cell.1, cell.2, packets.cast_signed(), bytes.cast_signed()])?;
    }
    for (cell, flows) in now.1.iter().filter(|(cell, value)| before.1.get(*cell) != Some(*value)) {
        statement.execute(params!["flows", cell.0, cell.1, cell.2, flows.cast_signed(), 0])?;
    }
    Ok(())
}

/// The word of a cell as it is known here; none for one that is no longer.
fn known(word: &str) -> Option<&'static str> {
    if word == CONNECTIONS { Some(CONNECTIONS) } else { reason_named(word).map(Reason::name) }
}
