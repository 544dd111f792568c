//! Services from what packets say, and in the words of the zone file.

use std::collections::BTreeSet;

use crate::policy::{Policy, Service};

/// The one service that a packet asked for; none for what rules do not speak of.
#[must_use]
pub fn service_of(proto: u8, port: u16) -> Option<Service> {
    match proto {
        0 => None,
        1 => Some(Service::Icmp(Some(port as u8))),
        6 => Some(Service::Tcp(port, port)),
        17 => Some(Service::Udp(port, port)),
        58 => Some(Service::Icmpv6(Some(port as u8))),
        132 => Some(Service::Sctp(port, port)),
        other => Some(Service::Proto(other)),
    }
}

/// The same as text.
pub(super) fn service_text(proto: u8, port: u16) -> String {
    service_of(proto, port).map_or_else(|| "arp".to_owned(), |service| service.to_string())
}

/// Names for services that were seen: a named service if each of its members was seen, then ranges of neighbours, then
/// single ones. Nothing is allowed beyond what was seen, but for the gaps inside a narrow range that a named
/// service has.
pub(super) fn named(seen: &BTreeSet<Service>, policy: &Policy) -> Vec<String> {
    let mut rest = seen.clone();
    let mut words = Vec::new();
    let mut services: Vec<_> = policy.services.iter().filter(|(_, members)| !members.is_empty()).collect();
    // The largest first, so that one name stands for as much as it can.
    services.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
    for (name, members) in services {
        let whole = members.iter().all(|member| whole(*member, seen));
        let fresh = rest.iter().any(|service| members.iter().any(|member| member.covers(*service)));
        if whole && fresh {
            rest.retain(|service| !members.iter().any(|member| member.covers(*service)));
            words.push(name.clone());
        }
    }
    words.sort();
    words.extend(joined(&rest).iter().map(ToString::to_string));
    words
}

/// So many ports are one service that picks among them, as passive FTP does; more are no service any more.
const PORTS_OF_ONE: u16 = 256;

/// Whether what was seen is enough of `member` for its name: a port out of a narrow range is, and what has no ports has to be
/// all that it is.
fn whole(member: Service, seen: &BTreeSet<Service>) -> bool {
    match member {
        Service::Tcp(low, high) | Service::Udp(low, high) | Service::Sctp(low, high) => {
            high - low < PORTS_OF_ONE && seen.iter().any(|service| member.covers(*service))
        }
        one => seen.contains(&one),
    }
}

/// Neighbouring ports as ranges.
fn joined(services: &BTreeSet<Service>) -> Vec<Service> {
    let mut joined: Vec<Service> = Vec::new();
    for service in services {
        match (joined.last_mut(), *service) {
            (Some(Service::Tcp(_, high)), Service::Tcp(low, top))
            | (Some(Service::Udp(_, high)), Service::Udp(low, top))
            | (Some(Service::Sctp(_, high)), Service::Sctp(low, top))
                if high.checked_add(1) == Some(low) =>
            {
                *high = top;
            }
            _ => joined.push(*service),
        }
    }
    joined
}
