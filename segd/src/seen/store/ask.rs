//! What is read out of the store.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use rusqlite::{Row as SqlRow, params};
use segd_common::reason::Verdict;

use super::{Store, StoreError};
use crate::seen::class::minute;
use crate::seen::rows::{Asked, PairSum, Row, reason_named};

/// Rows of an answer; of more, the newest.
const MOST: u32 = 200_000;

/// Classes, each with the sum over its minutes. `?5`: only what did not pass by policy.
const CLASSES: &str = "\
SELECT from_zone, to_zone, src, dst, proto, port, src_port, reason, would_be, rule, sum(flows), min(first), max(last) AS latest
FROM seen WHERE minute >= ?1 AND (?2 = '' OR from_zone = ?2) AND (?3 = '' OR to_zone = ?3)
  AND (NOT ?5 OR reason NOT IN ('rule', 'reply', 'related', 'intra-zone', 'failsafe', 'essential'))
GROUP BY from_zone, to_zone, src, dst, proto, port, src_port, reason, would_be, rule
ORDER BY latest DESC, src, dst, proto, port LIMIT ?4";

impl Store {
    /// Classes that were seen since then, the one seen last at the end.
    pub(in crate::seen) fn rows(&self, asked: &Asked) -> Result<Vec<Row>, StoreError> {
        let Asked { since, blocked, from, to } = asked;
        let mut statement = self.db.prepare_cached(CLASSES)?;
        let any = |zone: &Option<String>| zone.clone().unwrap_or_default();
        let mut found = statement.query(params![minute(*since), any(from), any(to), MOST, blocked])?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            rows.extend(read(row)?);
        }
        rows.reverse();
        Ok(rows)
    }

    /// What each pair of zones did since then.
    pub(in crate::seen) fn pairs(&self, since: Timestamp) -> Result<Vec<PairSum>, StoreError> {
        let mut pairs: BTreeMap<(String, String), PairSum> = BTreeMap::new();
        let mut pair = |from: String, to: String, change: &dyn Fn(&mut PairSum)| {
            change(pairs.entry((from.clone(), to.clone())).or_insert_with(|| PairSum::of(from, to)));
        };
        let mut statement = self.db.prepare_cached(
            "SELECT from_zone, to_zone, reason, sum(packets), sum(bytes) FROM traffic WHERE minute >= ?1
             GROUP BY from_zone, to_zone, reason",
        )?;
        let mut found = statement.query([minute(since)])?;
        while let Some(row) = found.next()? {
            let Some(reason) = reason_named(&row.get::<_, String>(2)?) else { continue };
            let (packets, bytes): (i64, i64) = (row.get(3)?, row.get(4)?);
            pair(row.get(0)?, row.get(1)?, &|sum| {
                sum.packets[reason as usize] += packets.cast_unsigned();
                sum.bytes += bytes.cast_unsigned();
            });
        }
        let mut statement = self.db.prepare_cached(
            "SELECT from_zone, to_zone, reason, sum(flows) FROM seen WHERE minute >= ?1 GROUP BY from_zone, to_zone, reason",
        )?;
        let mut found = statement.query([minute(since)])?;
        while let Some(row) = found.next()? {
            let Some(reason) = reason_named(&row.get::<_, String>(2)?) else { continue };
            let flows = row.get::<_, i64>(3)?.cast_unsigned();
            pair(row.get(0)?, row.get(1)?, &|sum| match reason.verdict() {
                Verdict::Allow => sum.connections += flows,
                Verdict::Deny => sum.blocked_flows += flows,
            });
        }
        Ok(pairs.into_values().collect())
    }

    /// When the oldest minute was.
    pub(in crate::seen) fn oldest(&self) -> Result<Option<Timestamp>, StoreError> {
        let oldest: Option<i64> = self.db.query_row(
            "SELECT min(m) FROM (SELECT min(minute) AS m FROM seen UNION ALL SELECT min(minute) FROM traffic)",
            [],
            |row| row.get(0),
        )?;
        Ok(oldest.and_then(|minute| Timestamp::from_second(minute * 60).ok()))
    }
}

/// A row; none if it has words that this release does not know.
fn read(row: &SqlRow<'_>) -> rusqlite::Result<Option<Row>> {
    let Some(reason) = reason_named(&row.get::<_, String>(7)?) else { return Ok(None) };
    let address = |column: usize| row.get::<_, String>(column).map(|text| text.parse::<IpAddr>().ok());
    let time = |column: usize| row.get(column).map(|second| Timestamp::from_second(second).unwrap_or_default());
    Ok(Some(Row {
        minute: 0,
        from_zone: row.get(0)?,
        to_zone: row.get(1)?,
        src: address(2)?,
        dst: address(3)?,
        proto: row.get(4)?,
        port: row.get(5)?,
        src_port: row.get(6)?,
        reason,
        would_be: reason_named(&row.get::<_, String>(8)?),
        rule: Some(row.get::<_, String>(9)?).filter(|rule| !rule.is_empty()),
        flows: row.get::<_, i64>(10)?.cast_unsigned(),
        first: time(11)?,
        last: time(12)?,
    }))
}
