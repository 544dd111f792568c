//! Where addresses are by the policy of now. Zones may have been carved anew since something was seen.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::policy::{Policy, ZoneName};
use crate::seen::Row;

/// Shorter prefixes are "everything else" rather than somebody's network.
const WIDE_V4: u8 = 8;
const WIDE_V6: u8 = 32;

/// Addresses and their zones.
pub(super) struct Places<'p> {
    host: HashSet<IpAddr>,
    /// The longest prefixes first.
    networks: Vec<(IpNet, &'p str)>,
}

impl<'p> Places<'p> {
    pub(super) fn new(policy: &'p Policy, host: &[IpAddr]) -> Self {
        let of_zone =
            |zone: &'p crate::policy::Zone| zone.networks.iter().map(|network| (*network, zone.name.0.as_str()));
        let mut networks: Vec<_> = policy.zones.iter().flat_map(of_zone).collect();
        networks.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        Self { host: host.iter().copied().collect(), networks }
    }

    /// The zone of an address. `seen`: the zone that the packet path put it in; it stands for an address of this machine,
    /// which is what translation makes of others.
    pub(super) fn zone<'a>(&'a self, address: IpAddr, seen: &'a str) -> &'a str {
        if self.host.contains(&address) {
            let known = |zone: &str| zone == ZoneName::HOST || self.networks.iter().any(|(_, name)| *name == zone);
            return if known(seen) { seen } else { ZoneName::HOST };
        }
        self.network(address).map_or(ZoneName::UNZONED, |(_, zone)| zone)
    }

    /// Whether an address is in somebody's network, where a sweep would be remarkable.
    pub(super) fn is_inside(&self, address: IpAddr) -> bool {
        let wide = if address.is_ipv4() { WIDE_V4 } else { WIDE_V6 };
        self.network(address).is_some_and(|(network, _)| network.prefix_len() >= wide)
    }

    /// Whether a packet to `address` is meant for many.
    pub(super) fn is_for_many(&self, address: IpAddr) -> bool {
        let limited = matches!(address, IpAddr::V4(address) if address.is_broadcast());
        let directed = address.is_ipv4()
            && self
                .network(address)
                .is_some_and(|(network, _)| network.prefix_len() < 31 && network.broadcast() == address);
        address.is_multicast() || limited || directed
    }

    fn network(&self, address: IpAddr) -> Option<(IpNet, &'p str)> {
        self.networks.iter().find(|(network, _)| network.contains(&address)).copied()
    }
}

/// Both ends of a row that has them, turned to who opened: an adopted connection may have been heard of by its answer
/// first, and then its source lies in the zone of the responder.
pub(super) fn ends<'a>(row: &'a Row, places: &'a Places<'_>) -> Option<Ends<'a>> {
    let (src, dst) = (row.src?, row.dst?);
    let turned = row.src_port != 0
        && row.port != 0
        && row.from_zone != row.to_zone
        && places.zone(src, &row.from_zone) == row.to_zone
        && places.zone(dst, &row.to_zone) == row.from_zone;
    let (src, dst, port) = if turned { (dst, src, row.src_port) } else { (src, dst, row.port) };
    Some(Ends { src, dst, port, from: places.zone(src, &row.from_zone), to: places.zone(dst, &row.to_zone) })
}

/// Who opened what to whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends<'a> {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) port: u16,
    pub(super) from: &'a str,
    pub(super) to: &'a str,
}
