//! Who looks like a scan: what it touched says nothing about what is needed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use segd_common::reason::{Reason, Verdict};

use super::places::{Places, ends};
use crate::seen::Row;

/// More services on one host than any client of its needs.
const SERVICES_ON_A_HOST: usize = 20;
/// More hosts with one service, inside our own networks, than any client needs.
const HOSTS_WITH_A_SERVICE: usize = 50;
/// More services in one zone: programs that choose a port each time, or a scan spread over hosts.
const SERVICES_IN_A_ZONE: usize = 64;

/// Addresses whose traffic is no evidence, and why.
#[derive(Debug, Default)]
pub(super) struct Scanners {
    whole: BTreeMap<IpAddr, String>,
    towards: BTreeMap<(IpAddr, String), String>,
}

impl Scanners {
    /// Why traffic from `src` to a zone is no evidence.
    pub(super) fn why(&self, src: IpAddr, to: &str) -> Option<&str> {
        self.whole.get(&src).or_else(|| self.towards.get(&(src, to.to_owned()))).map(String::as_str)
    }
}

/// Looks through everything that was blocked or audited.
pub(super) fn scanners(rows: &[Row], places: &Places<'_>) -> Scanners {
    let mut on_host: HashMap<(IpAddr, IpAddr), HashSet<(u8, u16)>> = HashMap::new();
    let mut with_service: HashMap<(IpAddr, u8, u16), HashSet<IpAddr>> = HashMap::new();
    let mut in_zone: HashMap<(IpAddr, String), BTreeSet<(u8, u16)>> = HashMap::new();
    let mut scanners = Scanners::default();
    for row in rows.iter().filter(|row| is_asked_in_vain(row)) {
        let Some(ends) = ends(row, places) else {
            // So many classes in a minute that they found no room: nothing but a scan does that.
            if let Some(src) = row.src {
                scanners
                    .whole
                    .insert(src, "touched more services and hosts in a minute than were kept apart: a scan".into());
            }
            continue;
        };
        if row.port == 0 && row.src_port != 0 {
            continue;
        }
        let service = (row.proto, ends.port);
        on_host.entry((ends.src, ends.dst)).or_default().insert(service);
        in_zone.entry((ends.src, ends.to.to_owned())).or_default().insert(service);
        if places.is_inside(ends.dst) {
            with_service.entry((ends.src, row.proto, ends.port)).or_default().insert(ends.dst);
        }
    }
    let mut say = |src: IpAddr, why: String| {
        scanners.whole.entry(src).or_insert(why);
    };
    for ((src, dst), services) in on_host {
        if services.len() > SERVICES_ON_A_HOST {
            say(src, format!("touched {} services on {dst} alone: a scan", services.len()));
        }
    }
    for ((src, proto, port), hosts) in with_service {
        if hosts.len() > HOSTS_WITH_A_SERVICE {
            let service = super::words::service_text(proto, port);
            say(
                src,
                format!(
                    "touched {service} on {} hosts: a sweep; if it is a scanner of yours, write its rule by hand",
                    hosts.len()
                ),
            );
        }
    }
    for ((src, zone), services) in in_zone {
        if services.len() > SERVICES_IN_A_ZONE {
            let why = format!("touched {} services in {zone}: a scan, or ports chosen anew each time", services.len());
            scanners.towards.insert((src, zone), why);
        }
    }
    scanners
}

/// Dropped for want of a rule, or for what no honest packet has; or let pass by audit only.
fn is_asked_in_vain(row: &Row) -> bool {
    row.reason == Reason::Audit || row.reason.verdict() == Verdict::Deny
}
