//! The small sections: guarded interfaces, failsafe, essentials and limits.

use std::collections::{BTreeMap, BTreeSet};

use super::names::Names;
use super::zones::{interface_glob, network};
use crate::config::fault::Fault;
use crate::config::fields::At;
use crate::config::findings::{Findings, nearest, quoted};
use crate::config::written::{WrittenFailsafe, WrittenInterface, WrittenLimits};
use crate::policy::{Essential, Failsafe, InterfaceSelector, Limits};

/// More entries than that would be gigabytes of memory that is taken at start.
const MOST_ENTRIES: u64 = 16_777_216;
const ESSENTIALS: &[(&str, Essential)] = &[
    ("arp", Essential::Arp),
    ("ndp", Essential::Ndp),
    ("dhcp-client", Essential::DhcpClient),
    ("mld", Essential::Mld),
];

/// Which interfaces are guarded. A glob stands there once, so that it has one hook.
pub(super) fn interfaces(written: &[WrittenInterface], findings: &mut Findings<'_>) -> Vec<InterfaceSelector> {
    let mut seen = BTreeMap::new();
    let mut selectors = Vec::with_capacity(written.len());
    for interface in written {
        let Some(name) = interface_glob(&interface.name, findings) else { continue };
        if super::names::first("interface", &interface.name, &mut seen, findings) {
            selectors.push(InterfaceSelector { name, hook: interface.hook, forward: interface.forward });
        }
    }
    selectors
}

/// What no policy ever blocks. Half a failsafe is a fault: whoever wrote it counts on it.
pub(super) fn failsafe(
    written: Option<&At<WrittenFailsafe>>,
    names: &Names<'_>,
    findings: &mut Findings<'_>,
) -> Failsafe {
    let Some(At { value, spot }) = written.filter(|at| !at.value.from.is_empty() || !at.value.services.is_empty())
    else {
        let name = findings.name(0).to_owned();
        let mend = "name the network of the admins, and write failsafe: { from: [10.0.0.0/24], services: [tcp/22] }";
        findings
            .warn_of_file(0, Fault::of_file(name, "there is no failsafe: a wrong policy can lock everybody out", mend));
        return Failsafe::default();
    };
    if value.from.is_empty() {
        findings.fault(
            *spot,
            "the failsafe has services and no 'from'",
            "write from: [10.0.0.0/24], the network of the admins",
        );
    }
    if value.services.is_empty() {
        findings.fault(*spot, "the failsafe has a 'from' and no services", "write services: [tcp/22]");
    }
    Failsafe {
        from: value.from.iter().filter_map(|word| network(word, findings)).collect(),
        services: value.services.iter().flat_map(|word| names.services(word, findings)).collect(),
    }
}

/// What a network needs to work at all.
pub(super) fn essentials(written: Option<&At<Vec<At<String>>>>, findings: &mut Findings<'_>) -> BTreeSet<Essential> {
    let Some(written) = written else { return Essential::DEFAULT.into() };
    let mut essentials = BTreeSet::new();
    for word in &written.value {
        if let Some((_, essential)) = ESSENTIALS.iter().find(|(name, _)| *name == word.value) {
            essentials.insert(*essential);
            continue;
        }
        let mend = nearest(&word.value, ESSENTIALS.iter().map(|(name, _)| *name))
            .map_or_else(|| "there are arp, ndp, dhcp-client and mld".to_owned(), |name| format!("write {name}"));
        findings.fault(word.spot, format!("{} is no essential", quoted(&word.value)), mend);
    }
    essentials
}

/// Sizes of the state tables.
pub(super) fn limits(written: Option<&At<WrittenLimits>>, findings: &mut Findings<'_>) -> Limits {
    let default = Limits::default();
    let Some(written) = written else { return default };
    let WrittenLimits { connections, half_open } = &written.value;
    Limits {
        connections: size("connections", connections.as_ref(), default.connections, findings),
        half_open: size("half_open", half_open.as_ref(), default.half_open, findings),
    }
}

fn size(key: &str, written: Option<&At<u64>>, default: u32, findings: &mut Findings<'_>) -> u32 {
    let Some(At { value, spot }) = written else { return default };
    if (1..=MOST_ENTRIES).contains(value) {
        return *value as u32;
    }
    let message = format!("{value} is no size for a table of connections");
    findings.fault(*spot, message, format!("write a number from 1 to {MOST_ENTRIES}; the default is {key}: {default}"));
    default
}
