//! Zones and networks. Two zones never share a prefix, and a network never has host bits set.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use glob::Pattern;
use ipnet::IpNet;

use super::names::{QUARANTINE, first, spelling};
use crate::config::fields::At;
use crate::config::findings::{Findings, Spot, quoted};
use crate::config::written::WrittenZone;
use crate::policy::{Zone, ZoneName};

/// Who has a prefix already.
type Owners<'w> = HashMap<IpNet, (&'w str, Spot)>;

/// Checks all zones, in file order.
pub(super) fn check(written: &[WrittenZone], findings: &mut Findings<'_>) -> Vec<Zone> {
    let mut seen = BTreeMap::new();
    let mut owners = Owners::new();
    let mut zones = Vec::with_capacity(written.len());
    for zone in written {
        name(&zone.name, findings);
        if first("zone", &zone.name, &mut seen, findings) {
            zones.push(one(zone, &mut owners, findings));
        } else {
            for word in &zone.networks {
                network(word, findings);
            }
        }
    }
    zones
}

fn name(name: &At<String>, findings: &mut Findings<'_>) {
    let why = match name.value.as_str() {
        ZoneName::HOST => "it is this machine, and always there",
        ZoneName::UNZONED => "it is whatever matches no zone, and always there",
        ZoneName::ANY => "it stands for every zone",
        QUARANTINE => "`segctl quarantine` puts hosts there",
        _ => {
            spelling("zone name", name, "_-", findings);
            return;
        }
    };
    findings.fault(name.spot, format!("the zone name '{}' is taken: {why}", name.value), "give the zone another name");
}

fn one<'w>(zone: &'w WrittenZone, owners: &mut Owners<'w>, findings: &mut Findings<'_>) -> Zone {
    if zone.networks.is_empty() {
        findings.fault(
            zone.name.spot,
            format!("zone {} is empty", quoted(&zone.name.value)),
            "write networks: [10.20.0.0/24], or remove the zone",
        );
    }
    let mut networks = Vec::with_capacity(zone.networks.len());
    for word in &zone.networks {
        networks.extend(
            network(word, findings).filter(|network| is_free(*network, word.spot, &zone.name.value, owners, findings)),
        );
    }
    Zone {
        name: ZoneName(zone.name.value.clone()),
        description: zone.description.clone(),
        networks,
        interfaces: zone.interfaces.iter().filter_map(|word| interface_glob(word, findings)).collect(),
        intra_zone: zone.intra_zone,
        place: findings.place(zone.name.spot),
    }
}

/// Whether nobody has the prefix yet. The same zone naming it again is only worth a warning.
fn is_free<'w>(
    network: IpNet,
    spot: Spot,
    zone: &'w str,
    owners: &mut Owners<'w>,
    findings: &mut Findings<'_>,
) -> bool {
    let Some((owner, first)) = owners.get(&network) else {
        owners.insert(network, (zone, spot));
        return true;
    };
    let place = findings.place(*first);
    if *owner == zone {
        findings.warn(
            spot,
            format!("{network} stands in zone '{zone}' twice; first in {place}"),
            "remove one of the two",
        );
    } else {
        let message = format!("{network} is in zone {} already; see {place}", quoted(owner));
        findings.fault(
            spot,
            message,
            "an address has one zone: remove it from one of the two, or write a longer prefix for a part of it",
        );
    }
    false
}

/// Parses a network; host bits are refused, because they are a wrong length as often as a wrong address.
pub(super) fn network(word: &At<String>, findings: &mut Findings<'_>) -> Option<IpNet> {
    let text = word.value.trim();
    let Ok(network) = text.parse::<IpNet>() else {
        let (message, mend) = why_no_network(text);
        findings.fault(word.spot, message, mend);
        return None;
    };
    if let IpNet::V6(v6) = network
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && v6.prefix_len() >= 96
    {
        findings.fault(
            word.spot,
            format!("{text} is an IPv4 network in IPv6 clothes"),
            format!("write {v4}/{}", v6.prefix_len() - 96),
        );
        return None;
    }
    if network.trunc() != network {
        let single = if network.addr().is_ipv4() { 32 } else { 128 };
        let mend = format!("write {}, or {}/{single} for that one host", network.trunc(), network.addr());
        findings.fault(word.spot, format!("{text} has host bits set"), mend);
        return None;
    }
    Some(network)
}

fn why_no_network(text: &str) -> (String, String) {
    if let Ok(address) = text.parse::<IpAddr>() {
        let single = if address.is_ipv4() { 32 } else { 128 };
        return (
            format!("{text} has no prefix length"),
            format!("write {text}/{single} for the one host, or the length of its network"),
        );
    }
    if let Some((address, length)) = text.split_once('/')
        && let Ok(address) = address.parse::<IpAddr>()
    {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        return (
            format!("{} is no prefix length for {address}", quoted(length)),
            format!("write a length from 0 to {longest}"),
        );
    }
    (
        format!("{} is no network", quoted(text)),
        "write ADDRESS/LENGTH, such as 10.20.0.0/24 or \"fd00:20::/64\"".to_owned(),
    )
}

/// Parses a shell-style glob over names of interfaces.
pub(super) fn interface_glob(word: &At<String>, findings: &mut Findings<'_>) -> Option<Pattern> {
    let text = word.value.as_str();
    if text.is_empty() || text.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()) {
        findings.fault(
            word.spot,
            format!("no interface can be called {}", quoted(text)),
            "write a name or a shell-style glob such as \"lan*\"",
        );
        return None;
    }
    match Pattern::new(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            findings.fault(
                word.spot,
                format!("{} is no shell-style glob: {}", quoted(text), error.msg),
                "write a name, or one with *, ? and [abc] in it",
            );
            None
        }
    }
}
