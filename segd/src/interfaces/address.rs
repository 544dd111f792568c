//! One address of this machine as the kernel tells it. Never judges what an address is good for, but for
//! loopback's own and those that lost to another machine.

use std::net::IpAddr;

use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};

/// An address on an interface. The same address may stand there more than once, with other lengths or peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) index: u32,
    pub(super) ip: IpAddr,
    pub(super) prefix_len: u8,
    pub(super) peer: Option<IpAddr>,
}

impl Address {
    /// Reads the kernel's message; `None` if it holds no address.
    pub(super) fn from_message(message: &AddressMessage) -> Option<Self> {
        let (mut address, mut local) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::Local(ip) => local = Some(*ip),
                _ => {}
            }
        }
        // On a point-to-point interface `Address` is the peer's, and `Local` is ours; IPv6 without a peer tells
        // no `Local` at all.
        let ip = local.or(address)?;
        let peer = address.filter(|&peer| peer != ip);
        Some(Self { index: message.header.index, ip, prefix_len: message.header.prefix_len, peer })
    }

    /// Whether it belongs to the zone `host`: 127/8 and `::1` are every machine's own.
    pub(super) fn is_told(&self) -> bool {
        !self.ip.is_loopback()
    }
}

/// Whether duplicate address detection found that another machine has it.
pub(super) fn is_lost(message: &AddressMessage) -> bool {
    message
        .attributes
        .iter()
        .any(|attribute| matches!(attribute, AddressAttribute::Flags(flags) if flags.contains(AddressFlags::Dadfailed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(attributes: Vec<AddressAttribute>) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.index = 3;
        message.header.prefix_len = 32;
        message.attributes = attributes;
        message
    }

    #[test]
    fn the_local_address_is_ours_and_the_other_one_the_peer_s() {
        let ours: IpAddr = "10.0.0.1".parse().unwrap();
        let theirs: IpAddr = "10.0.0.2".parse().unwrap();
        let read =
            Address::from_message(&message(vec![AddressAttribute::Address(theirs), AddressAttribute::Local(ours)]));
        assert_eq!(read, Some(Address { index: 3, ip: ours, prefix_len: 32, peer: Some(theirs) }));
    }

    #[test]
    fn an_address_that_another_machine_has_is_lost() {
        let ip: IpAddr = "fd00::1".parse().unwrap();
        let flags = |flags| message(vec![AddressAttribute::Address(ip), AddressAttribute::Flags(flags)]);
        assert!(is_lost(&flags(AddressFlags::Permanent | AddressFlags::Dadfailed)));
        assert!(!is_lost(&flags(AddressFlags::Permanent | AddressFlags::Tentative)));
    }
}
