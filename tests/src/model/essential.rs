//! What a network needs to work at all.

use super::connection::Key;

/// Traffic that is recognised by its exact shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Address resolution.
    Arp,
    /// Router solicitation, neighbour solicitation and advertisement.
    Neighbours,
    /// Router advertisement, redirect.
    Router,
    /// DHCP, to the server.
    Asks,
    /// DHCP, to the client.
    Offers,
    /// Multicast listener discovery.
    Listeners,
}

impl Shape {
    /// The word of the zone file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Arp => "arp",
            Self::Neighbours | Self::Router => "ndp",
            Self::Asks | Self::Offers => "dhcp-client",
            Self::Listeners => "mld",
        }
    }
}

/// DHCP is known by its ports.
pub(super) const fn dhcp(key: &Key) -> Option<Shape> {
    match (key.src.is_ipv4(), key.sport, key.dport) {
        (true, 68, 67) | (false, 546, 547) => Some(Shape::Asks),
        (true, 67, 68) | (false, 547, 546) => Some(Shape::Offers),
        _ => None,
    }
}
