//! Interfaces that lie upon others: which ones see everything that one of them sees, and by what names those above it go. Pure:
//! links are all it asks.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Link};

/// The links that together see every packet of `link` before it does on the way in, and after it on the way out: the ports of a
/// bridge, and what a VLAN lies upon. Empty: nobody does.
///
/// A macvlan's packets to its neighbour never reach what it lies upon, a bond's member may be taken out of it while its program
/// stays, and tunnels carry packets that nobody saw: these have no such links.
#[must_use]
pub fn lower(link: &Link, links: &BTreeMap<u32, Link>) -> Vec<u32> {
    match link.kind {
        Kind::Bridge => links.values().filter(|port| port.master == Some(link.index)).map(|port| port.index).collect(),
        Kind::Vlan => link.parent.filter(|parent| links.contains_key(parent)).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The names of everything that takes its packets from `link`, however far above: a source that may be seen on one of them is
/// seen on `link` first.
#[must_use]
pub fn names_above(link: &Link, links: &BTreeMap<u32, Link>) -> BTreeSet<String> {
    let mut seen = BTreeSet::from([link.index]);
    let mut below = vec![link.index];
    while let Some(index) = below.pop() {
        let master = links.get(&index).and_then(|link| link.master);
        let takes =
            |other: &&Link| Some(other.index) == master || (other.kind == Kind::Vlan && other.parent == Some(index));
        below.extend(links.values().filter(takes).map(|other| other.index).filter(|other| seen.insert(*other)));
    }
    seen.remove(&link.index);
    seen.iter().filter_map(|index| links.get(index)).map(|link| link.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// eth0 with the VLAN eth0.10, which is a port of br0 as veth1 is; br0 has the VLAN br0.7.
    fn links() -> BTreeMap<u32, Link> {
        let all = [
            Link::sample(1, "lo", Kind::Loopback),
            Link::sample(2, "eth0", Kind::Physical),
            Link { parent: Some(2), master: Some(4), ..Link::sample(3, "eth0.10", Kind::Vlan) },
            Link::sample(4, "br0", Kind::Bridge),
            Link { master: Some(4), ..Link::sample(5, "veth1", Kind::Veth) },
            Link { parent: Some(4), ..Link::sample(6, "br0.7", Kind::Vlan) },
            Link { parent: Some(2), ..Link::sample(7, "macvlan0", Kind::Macvlan) },
            Link::sample(8, "br1", Kind::Bridge),
            Link { parent: Some(99), ..Link::sample(9, "elsewhere", Kind::Vlan) },
        ];
        all.map(|link| (link.index, link)).into()
    }

    fn lower_of(index: u32) -> Vec<u32> {
        lower(&links()[&index], &links())
    }

    #[test]
    fn a_bridge_lies_upon_its_ports_and_a_vlan_upon_its_parent() {
        assert_eq!(lower_of(4), [3, 5]);
        assert_eq!(lower_of(3), [2]);
        assert_eq!(lower_of(6), [4]);
    }

    #[test]
    fn a_bridge_without_ports_a_vlan_of_another_namespace_and_a_macvlan_are_alone() {
        assert_eq!([8, 9, 7, 5, 2].map(lower_of).concat(), [0; 0]);
    }

    #[test]
    fn a_link_goes_by_the_names_of_all_that_take_its_packets() {
        let names = |index: u32| names_above(&links()[&index], &links()).into_iter().collect::<Vec<_>>();
        assert_eq!(names(2), ["br0", "br0.7", "eth0.10"]);
        assert_eq!(names(5), ["br0", "br0.7"]);
        assert_eq!(names(4), ["br0.7"]);
        assert_eq!(names(6), [""; 0]);
    }

    #[test]
    fn links_that_name_each_other_end_the_search() {
        let one = Link { master: Some(2), ..Link::sample(1, "a", Kind::Bridge) };
        let two = Link { master: Some(1), ..Link::sample(2, "b", Kind::Bridge) };
        let links = BTreeMap::from([(1, one.clone()), (2, two)]);
        assert_eq!(names_above(&one, &links), ["b".to_owned()].into());
    }
}
