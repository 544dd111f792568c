//! Addresses: networks, and the ones that never are on a wire.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A prefix of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    /// Host bits are zero.
    pub address: IpAddr,
    /// 0 to 32, or 0 to 128.
    pub length: u8,
}

impl Network {
    /// The network of this length around an address.
    #[must_use]
    pub fn around(address: IpAddr, length: u8) -> Self {
        Self { address: from_bits(bits(address) & mask(length, width(address)), address.is_ipv4()), length }
    }

    /// Whether the address lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && bits(address) & mask(self.length, width(address)) == bits(self.address)
    }

    /// The last address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        let width = width(self.address);
        let all = if width == 32 { u128::from(u32::MAX) } else { u128::MAX };
        from_bits(bits(self.address) | all & !mask(self.length, width), width == 32)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn mask(length: u8, width: u8) -> u128 {
    let all = if width == 32 { u128::from(u32::MAX) } else { u128::MAX };
    if length == 0 { 0 } else { all << (width - length) & all }
}

/// An address as a number.
#[must_use]
pub fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address that a number is, wrapped around at the end of its family.
#[must_use]
pub fn from_bits(bits: u128, ipv4: bool) -> IpAddr {
    if ipv4 { Ipv4Addr::from_bits(bits as u32).into() } else { Ipv6Addr::from_bits(bits).into() }
}

/// "This network" and loopback (RFC 6890), multicast and the reserved part of IPv4, never send.
#[must_use]
pub fn never_sends(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => matches!(v4.octets()[0], 0 | 127 | 224..),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_loopback() || v6.is_multicast() || disguised(address),
    }
}

/// "This network" and loopback are nowhere to send to.
#[must_use]
pub fn never_receives(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => matches!(v4.octets()[0], 0 | 127),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_loopback() || disguised(address),
    }
}

/// `::ffff:a.b.c.d`.
#[must_use]
pub fn disguised(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// Every station of a link, or a group of them.
#[must_use]
pub fn is_for_many(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}

/// `fe80::/10`.
#[must_use]
pub fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80)
}

/// Prefixes that hide an IPv4 address: they belong to no zone unless one names them, or a part of them.
pub const TUNNELS: [Network; 3] = [
    Network { address: IpAddr::V6(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0)), length: 16 },
    Network { address: IpAddr::V6(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0)), length: 32 },
    Network { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), length: 96 },
];
