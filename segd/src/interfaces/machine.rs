//! What is known of the machine: its links and its addresses, and what an event changes in that. Pure: events and
//! listings go in, changes come out; sockets and clocks are the watcher's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Change, Link, address::Address};

/// Everything that the kernel listed at one time.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) links: Vec<Link>,
    pub(super) addresses: BTreeSet<Address>,
}

/// What one message of the kernel says.
#[derive(Debug)]
pub(super) enum Event {
    Link(Link),
    Gone(u32),
    AddressAdded(Address),
    AddressRemoved(Address),
}

/// The links and addresses as of the last event.
#[derive(Debug, Default)]
pub(super) struct Machine {
    links: BTreeMap<u32, Link>,
    addresses: BTreeSet<Address>,
    /// The addresses that were last told; `None` until the first time.
    told: Option<BTreeSet<IpAddr>>,
}

impl Machine {
    /// Takes an event in; what it changed in the links is told at once, addresses wait for [`Self::tell_addresses`].
    pub(super) fn apply(&mut self, event: Event) -> Option<Change> {
        match event {
            Event::Link(link) => self.link(link),
            Event::Gone(index) => self.gone(index),
            Event::AddressAdded(address) => {
                self.addresses.insert(address);
                None
            }
            Event::AddressRemoved(address) => {
                self.addresses.remove(&address);
                None
            }
        }
    }

    /// Puts a fresh listing in the place of all that was known, and tells the difference.
    pub(super) fn replace(&mut self, listing: Listing) -> Vec<Change> {
        let Listing { links, addresses } = listing;
        let links: BTreeMap<u32, Link> = links.into_iter().map(|link| (link.index, link)).collect();
        // Another kind under a known number is another device: what was attached went away with the old one.
        let gone: Vec<u32> = self
            .links
            .values()
            .filter(|old| links.get(&old.index).is_none_or(|new| new.kind != old.kind))
            .map(|old| old.index)
            .collect();
        let mut changes: Vec<Change> = gone.into_iter().filter_map(|index| self.gone(index)).collect();
        changes.extend(links.into_values().filter_map(|link| self.link(link)));
        self.addresses = addresses;
        changes
    }

    /// The full set of this machine's addresses, if it differs from what was last told.
    pub(super) fn tell_addresses(&mut self) -> Option<Change> {
        let now: BTreeSet<IpAddr> = self.addresses.iter().filter(|a| a.is_told()).map(|a| a.ip).collect();
        if self.told.as_ref() == Some(&now) {
            return None;
        }
        self.told = Some(now.clone());
        Some(Change::Addresses(now))
    }

    fn link(&mut self, link: Link) -> Option<Change> {
        if self.links.get(&link.index) == Some(&link) {
            return None;
        }
        self.links.insert(link.index, link.clone());
        Some(Change::Link(link))
    }

    fn gone(&mut self, index: u32) -> Option<Change> {
        self.addresses.retain(|address| address.index != index);
        self.links.remove(&index).map(|_| Change::Gone { index })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link::sample(index, name, Kind::Veth)
    }

    fn address(index: u32, ip: &str, prefix_len: u8) -> Address {
        Address { index, ip: ip.parse().unwrap(), prefix_len, peer: None }
    }

    fn told(ips: &[&str]) -> Change {
        Change::Addresses(ips.iter().map(|ip| ip.parse().unwrap()).collect())
    }

    #[test]
    fn a_link_is_told_when_it_differs_and_a_rename_replaces_it() {
        let mut machine = Machine::default();
        assert_eq!(machine.apply(Event::Link(link(3, "a"))), Some(Change::Link(link(3, "a"))));
        assert_eq!(machine.apply(Event::Link(link(3, "a"))), None);
        assert_eq!(machine.apply(Event::Link(link(3, "b"))), Some(Change::Link(link(3, "b"))));
        assert_eq!(machine.apply(Event::Gone(3)), Some(Change::Gone { index: 3 }));
        assert_eq!(machine.apply(Event::Gone(3)), None);
    }

    #[test]
    fn a_number_that_is_used_again_is_told_as_gone_first() {
        let mut machine = Machine::default();
        machine.apply(Event::Link(link(3, "a")));
        assert_eq!(machine.apply(Event::Gone(3)), Some(Change::Gone { index: 3 }));
        assert_eq!(machine.apply(Event::Link(link(3, "a"))), Some(Change::Link(link(3, "a"))));
    }

    #[test]
    fn a_fresh_listing_tells_the_difference_only() {
        let mut machine = Machine::default();
        for known in [link(2, "stays"), link(3, "goes"), link(4, "renamed"), link(5, "other-device")] {
            machine.apply(Event::Link(known));
        }
        let other_device = Link::sample(5, "other-device", Kind::Bridge);
        let listing = Listing {
            links: vec![link(2, "stays"), link(4, "new-name"), other_device.clone(), link(6, "comes")],
            addresses: BTreeSet::new(),
        };
        assert_eq!(
            machine.replace(listing),
            [
                Change::Gone { index: 3 },
                Change::Gone { index: 5 },
                Change::Link(link(4, "new-name")),
                Change::Link(other_device),
                Change::Link(link(6, "comes")),
            ]
        );
    }

    #[test]
    fn loopback_s_own_addresses_are_left_out_and_others_on_it_are_told() {
        let mut machine = Machine::default();
        for ip in ["127.0.0.1", "127.8.8.8", "::1", "10.255.0.1", "fd00::1"] {
            machine.apply(Event::AddressAdded(address(1, ip, 32)));
        }
        assert_eq!(machine.tell_addresses(), Some(told(&["10.255.0.1", "fd00::1"])));
        assert_eq!(machine.tell_addresses(), None);
    }

    #[test]
    fn an_address_is_ours_as_long_as_it_stands_anywhere() {
        let mut machine = Machine::default();
        machine.apply(Event::AddressAdded(address(2, "10.0.0.1", 24)));
        machine.apply(Event::AddressAdded(address(2, "10.0.0.1", 16)));
        machine.apply(Event::AddressAdded(address(3, "10.0.0.1", 24)));
        assert_eq!(machine.tell_addresses(), Some(told(&["10.0.0.1"])));
        machine.apply(Event::AddressRemoved(address(2, "10.0.0.1", 24)));
        machine.apply(Event::AddressRemoved(address(2, "10.0.0.1", 16)));
        assert_eq!(machine.tell_addresses(), None);
        machine.apply(Event::Gone(3));
        assert_eq!(machine.tell_addresses(), Some(told(&[])));
    }

    #[test]
    fn no_address_at_all_is_told_once_too() {
        let mut machine = Machine::default();
        assert_eq!(machine.tell_addresses(), Some(told(&[])));
        assert_eq!(machine.tell_addresses(), None);
    }
}
