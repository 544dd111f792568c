//! What the parser makes of a frame: addresses without a family, ports, and what kind of packet it is.

use crate::addr::Addr;
use crate::flow::FlowKey;

/// IP protocol numbers (IANA) that have a form of their own.
pub mod proto {
    /// `ICMPv4`.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// `ICMPv6`.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// TCP flag bits (RFC 9293).
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Opens.
    pub const SYN: u8 = 2;
    /// Resets.
    pub const RST: u8 = 4;
    /// Acknowledges.
    pub const ACK: u8 = 16;
}

/// What a packet is to the state table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Neither side can tell it from a first packet: UDP, SCTP, other protocols, ICMP that is no query.
    Plain = 0,
    /// A TCP SYN without ACK: it may open a connection, and can't belong to an established one.
    Syn = 1,
    /// Any other TCP segment: it belongs to a connection or to nothing.
    Segment = 2,
    /// An ICMP request that has a reply.
    Query = 3,
    /// The reply to a [`Kind::Query`]: it belongs to one or to nothing.
    QueryReply = 4,
    /// An ICMP error. [`Packet::inner`] says what it is about.
    IcmpError = 5,
    /// ICMP that changes routes, and obsolete queries: never belongs to anything.
    IcmpStray = 6,
    /// ARP; source and destination are the sender's and the target's protocol addresses.
    Arp = 7,
}

/// Traffic that a network needs to work at all, recognised by its exact shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Essential {
    /// Nothing of the kind.
    No = 0,
    /// Address resolution.
    Arp = 1,
    /// Router solicitation, neighbour solicitation and advertisement, hop limit 255.
    Ndp = 2,
    /// A router advertisement or redirect: only this machine's own are essential.
    NdpRouter = 3,
    /// DHCP, client to server.
    DhcpRequest = 4,
    /// DHCP, server to client.
    DhcpReply = 5,
    /// Multicast listener discovery, hop limit 1.
    Mld = 6,
}

impl Essential {
    /// Whether it may come from an address of the link and ask for any other: it goes no further. Nothing else of the essentials
    /// may, and what only looks like one may be a rule's connection.
    #[inline(always)]
    #[must_use]
    pub const fn finds_neighbours(self) -> bool {
        matches!(self, Self::Arp | Self::Ndp | Self::NdpRouter)
    }
}

/// Which part of a datagram the packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// All of it.
    Whole = 0,
    /// The first fragment: it has the ports.
    First = 1,
    /// A later one: it has none.
    Later = 2,
}

/// Where a fragment stands in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(8))]
pub struct Fragment {
    /// Which part.
    pub part: Part,
    /// No fragment lies behind it.
    pub last: bool,
    /// Identification.
    pub id: u32,
    /// First byte, a multiple of 8.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Fragment {
    /// Of a datagram that comes in one piece.
    pub const WHOLE: Self = Self { part: Part::Whole, last: true, id: 0, start: 0, end: 0 };
}

/// A parsed packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its ends.
    pub key: FlowKey,
    /// [`FlowKey::hash`] of them: many ask for it. The parser does not know the seed, and leaves it alone.
    pub hash: u64,
    /// What rules match on: the destination port, the ICMP type, the protocol number.
    pub service: u16,
    /// What it is to the state table.
    pub kind: Kind,
    /// Recognised by its exact shape.
    pub essential: Essential,
    /// TCP flags.
    pub flags: u8,
    /// TCP sequence number.
    pub seq: u32,
    /// TCP acknowledgement number, whatever the flags say of it.
    pub ack: u32,
    /// Whether `key` holds addresses: a frame that was refused later still has its zones for the counters.
    pub addressed: bool,
    /// Where it stands in its datagram.
    pub fragment: Fragment,
    /// ICMP error: the ends of the packet that it quotes. Its source is the error's destination: anything else is refused
    /// when parsed.
    pub quoted: FlowKey,
    /// A neighbour advertisement: it claims an address.
    pub claims: bool,
    /// Which; worth nothing unless `claims`.
    pub claim: Addr,
}

impl Packet {
    /// Nothing parsed yet.
    pub const EMPTY: Self = Self {
        key: FlowKey::NONE,
        hash: 0,
        service: 0,
        kind: Kind::Plain,
        essential: Essential::No,
        flags: 0,
        seq: 0,
        ack: 0,
        addressed: false,
        fragment: Fragment::WHOLE,
        quoted: FlowKey::NONE,
        claims: false,
        claim: Addr::ZERO,
    };

    /// Makes a used packet [`Packet::EMPTY`] again, field by field: in one piece it would become a loop over bytes.
    #[inline(always)]
    pub fn clear(&mut self) {
        let Self { key, hash, service, kind, essential, flags, seq, ack, addressed, fragment, quoted, claims, claim } =
            self;
        *key = FlowKey::NONE;
        // Nobody reads it before the policy's seed is known, and it is written then.
        let _ = hash;
        *service = 0;
        *kind = Kind::Plain;
        *essential = Essential::No;
        *flags = 0;
        *seq = 0;
        *ack = 0;
        *addressed = false;
        *fragment = Fragment::WHOLE;
        // Without an error's kind nobody reads what it quotes.
        let _ = quoted;
        *claims = false;
        let _ = claim;
    }

    /// Whether the packet can be the first of a connection.
    #[inline(always)]
    #[must_use]
    pub fn can_open(&self) -> bool {
        matches!(self.kind, Kind::Plain | Kind::Syn | Kind::Query)
    }
}
