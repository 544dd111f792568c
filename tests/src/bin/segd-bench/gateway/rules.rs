//! The checked policy in pieces, for filters with words of their own. What can't be said faithfully is an error.

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;
use segd::policy::{Policy, Service, Zone, ZoneRef};

/// What the policy is said in, one after the other.
pub(super) const FAMILIES: [&str; 2] = ["ip", "ip6"];

/// One service of one rule, between one pair of zones.
pub(super) struct Piece {
    /// Number of the initiator's zone: from 1, in the file's order.
    pub(super) from: usize,
    /// The responder's.
    pub(super) to: usize,
    /// `tcp` or `udp`.
    pub(super) protocol: &'static str,
    /// The first port.
    pub(super) low: u16,
    /// The last one.
    pub(super) high: u16,
}

/// All that rules allow.
pub(super) fn pieces(policy: &Policy) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    for rule in &policy.rules {
        for from in &rule.from {
            for to in &rule.to {
                let (from, to) = (number(policy, from)?, number(policy, to)?);
                for service in &rule.services {
                    let (protocol, low, high) = match service {
                        Service::Tcp(low, high) => ("tcp", *low, *high),
                        Service::Udp(low, high) => ("udp", *low, *high),
                        other => bail!("the bench does not say {other} in others' words"),
                    };
                    pieces.push(Piece { from, to, protocol, low, high });
                }
            }
        }
    }
    Ok(pieces)
}

impl Piece {
    /// Its ports, with `between` between the first and the last.
    pub(super) fn ports(&self, between: char) -> String {
        let Self { low, high, .. } = self;
        if low == high { low.to_string() } else { format!("{low}{between}{high}") }
    }
}

fn number(policy: &Policy, named: &ZoneRef) -> Result<usize> {
    let ZoneRef::Zone(name) = named else { bail!("the bench does not say `any` in others' words") };
    let place = policy.zones.iter().position(|zone| zone.name == *name).context("the bench only has ordinary zones")?;
    // Sets of intervals know no longest prefix: "all others" would have to be spelt out.
    let whole = policy.zones[place].networks.iter().any(|network| network.prefix_len() == 0);
    ensure!(!whole, "the bench has no rule about `{name}`, which holds what no other zone does");
    Ok(place + 1)
}

/// A zone's networks of one of the [`FAMILIES`], without what holds everything.
pub(super) fn networks<'a>(zone: &'a Zone, family: &'a str) -> impl Iterator<Item = &'a IpNet> {
    zone.networks.iter().filter(move |network| network.prefix_len() > 0 && network.addr().is_ipv4() == (family == "ip"))
}
