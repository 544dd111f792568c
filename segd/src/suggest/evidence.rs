//! What of the history is evidence for a rule, and what is not and why.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use jiff::Timestamp;
use segd_common::reason::Reason;

use super::places::{Ends, Places, ends};
use super::scans::Scanners;
use super::words::service_of;
use super::{Left, Material, Needs, granted};
use crate::api::types::LeftOut;
use crate::seen::Row;

const UDP: u8 = 17;

/// Connections of one service between two zones.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    pub(super) flows: u64,
    pub(super) sources: BTreeSet<IpAddr>,
    pub(super) destinations: BTreeSet<IpAddr>,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) expired: BTreeSet<String>,
}

/// Takes rows, keeps what is evidence.
pub(super) struct Sieve<'s> {
    material: &'s Material<'s>,
    places: &'s Places<'s>,
    scanners: &'s Scanners,
    /// Who asked whom for which UDP port: what comes back from there are answers.
    asked: HashSet<(IpAddr, IpAddr, u16)>,
    needs: Needs,
    left: Left,
}

impl<'s> Sieve<'s> {
    pub(super) fn new(material: &'s Material<'s>, places: &'s Places<'s>, scanners: &'s Scanners) -> Self {
        let datagrams = material.rows.iter().filter(|row| row.proto == UDP && row.port != 0);
        let asked = datagrams.filter_map(|row| Some((row.src?, row.dst?, row.port))).collect();
        Self { material, places, scanners, asked, needs: BTreeMap::new(), left: Left::default() }
    }

    pub(super) fn done(self) -> (Needs, Vec<LeftOut>) {
        (self.needs, self.left.list())
    }

    pub(super) fn take(&mut self, row: &Row) {
        if !self.wants(row) {
            return;
        }
        match self.judged(row) {
            Ok(()) => {}
            Err((who, why)) => self.left.add(who, &why, row.flows),
        }
    }

    /// Only the want of a rule is mended by one.
    fn wants(&self, row: &Row) -> bool {
        match (row.reason, row.would_be) {
            (Reason::NoRule | Reason::Expired, _) => true,
            (Reason::Audit, would_be) => matches!(would_be, None | Some(Reason::NoRule | Reason::Expired)),
            (Reason::Rule | Reason::IntraZone | Reason::Reply, _) => self.material.passing,
            _ => false,
        }
    }

    fn judged(&mut self, row: &Row) -> Result<(), (String, String)> {
        let Some(src) = row.src else {
            let who = format!("{} → {}", row.from_zone, row.to_zone);
            return Err((who, "more connections at once than could be told apart: a flood".into()));
        };
        let Some(ends) = ends(row, self.places) else {
            let why = self.scanners.why(src, &row.to_zone).unwrap_or("touched too much to be told apart: a scan");
            return Err((src.to_string(), why.to_owned()));
        };
        if let Some(why) = self.scanners.why(ends.src, ends.to) {
            return Err((ends.src.to_string(), why.to_owned()));
        }
        self.judged_ends(row, &ends)
    }

    fn judged_ends(&mut self, row: &Row, ends: &Ends<'_>) -> Result<(), (String, String)> {
        if self.places.is_for_many(ends.dst) {
            return Err((ends.dst.to_string(), "is meant for a whole segment, which it should not leave".into()));
        }
        if ends.src.is_unspecified() || ends.dst.is_unspecified() || is_link_local(ends.src) || is_link_local(ends.dst)
        {
            return Err((format!("{} → {}", ends.src, ends.dst), "are addresses that nothing is routed to".into()));
        }
        if row.port == 0 && row.src_port != 0 {
            let asked = self.asked.contains(&(ends.dst, ends.src, row.src_port));
            let why =
                if asked { "are answers that came too late" } else { "look like answers to nothing that was seen" };
            return Err((format!("{} from udp/{}", ends.src, row.src_port), why.into()));
        }
        let Some(service) = service_of(row.proto, ends.port) else { return Ok(()) };
        let pair = (ends.from.to_owned(), ends.to.to_owned());
        if !self.material.passing && granted(self.material.policy, &pair, service, self.material.until) {
            return Ok(());
        }
        let found = self.needs.entry(pair).or_default().entry(service).or_insert_with(|| Evidence {
            flows: 0,
            sources: BTreeSet::new(),
            destinations: BTreeSet::new(),
            first: row.first,
            last: row.last,
            expired: BTreeSet::new(),
        });
        found.flows += row.flows;
        found.sources.insert(ends.src);
        found.destinations.insert(ends.dst);
        (found.first, found.last) = (found.first.min(row.first), found.last.max(row.last));
        let expired = row.reason == Reason::Expired || row.would_be == Some(Reason::Expired);
        found.expired.extend(row.rule.clone().filter(|_| expired));
        Ok(())
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
