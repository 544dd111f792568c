//! The packet builder for all grounds: the parser on the host, `BPF_PROG_TEST_RUN`, raw sockets in namespaces.
//!
//! A packet is told from the inside out and always comes out right (lengths, checksums) unless the test says
//! otherwise:
//!
//! ```
//! use segd_tests::packet::{DOT1Q, tcp};
//! let frame = tcp(40000, 5432).syn().between("10.30.0.5", "10.20.0.10").tag(DOT1Q, 0).frame();
//! assert_eq!(frame.len(), 14 + 4 + 20 + 20);
//! ```
//!
//! It must never parse: a builder that shares code with the parser proves nothing about it.

mod checksum;
mod ip;
mod neighbours;
mod transport;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use ip::{AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ROUTING};
use ip::{Fragment, Ip};
pub use neighbours::{arp_reply, arp_request, neighbour_advertisement, neighbour_solicitation, router_advertisement};
use transport::Transport;
pub use transport::{ACK, FIN, PSH, RST, SYN, URG};

/// Tag protocol of a customer VLAN.
pub const DOT1Q: u16 = 0x8100;
/// Tag protocol of a service provider's VLAN.
pub const DOT1AD: u16 = 0x88a8;
/// A frame's address that every station takes.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// A packet being told. [`Packet::frame`] gives it with its Ethernet header, [`Packet::packet`] without.
#[derive(Debug, Clone)]
pub struct Packet {
    dst_mac: [u8; 6],
    src_mac: [u8; 6],
    /// Tag protocol and tag, outermost first.
    tags: Vec<(u16, u16)>,
    ethertype: Option<u16>,
    ip: Ip,
    transport: Transport,
    payload: Vec<u8>,
}

/// A TCP segment; without a call to [`Packet::flags`] or [`Packet::syn`] a plain ACK.
#[must_use]
pub fn tcp(src_port: u16, dst_port: u16) -> Packet {
    Packet::new(Transport::Tcp { src_port, dst_port, flags: ACK, seq: 1000, ack: 0, options: Vec::new() })
}

/// A UDP datagram.
#[must_use]
pub fn udp(src_port: u16, dst_port: u16) -> Packet {
    Packet::new(Transport::Udp { src_port, dst_port })
}

/// An SCTP packet with one chunk of this type (1 is INIT); [`Packet::data`] is the chunk's value.
#[must_use]
pub fn sctp(src_port: u16, dst_port: u16, chunk: u8) -> Packet {
    Packet::new(Transport::Sctp { src_port, dst_port, chunk })
}

/// An echo request of the addresses' family.
#[must_use]
pub fn echo_request(id: u16, seq: u16) -> Packet {
    Packet::new(Transport::Echo { reply: false, id, seq })
}

/// An echo reply of the addresses' family.
#[must_use]
pub fn echo_reply(id: u16, seq: u16) -> Packet {
    Packet::new(Transport::Echo { reply: true, id, seq })
}

/// An ICMP or ICMPv6 message, by the addresses' family; `rest` is the second word of its header.
#[must_use]
pub fn icmp(kind: u8, code: u8, rest: [u8; 4]) -> Packet {
    Packet::new(Transport::Icmp { kind, code, rest })
}

/// An ICMP or ICMPv6 error that quotes the beginning of `about`, and goes back to its sender.
#[must_use]
pub fn icmp_error(kind: u8, code: u8, about: &Packet) -> Packet {
    let quoted = about.packet();
    let quote = quoted.len().min(512);
    icmp(kind, code, [0; 4]).between(about.ip.dst, about.ip.src).data(&quoted[..quote])
}

/// Any other protocol; [`Packet::data`] is all it carries.
#[must_use]
pub fn protocol(number: u8) -> Packet {
    Packet::new(Transport::Bytes { protocol: number })
}

/// An address, or words for one.
pub trait IntoAddr {
    /// The address.
    ///
    /// # Panics
    /// If the words are none.
    fn into_addr(self) -> IpAddr;
}

impl IntoAddr for &str {
    fn into_addr(self) -> IpAddr {
        self.parse().unwrap_or_else(|_| panic!("`{self}` is no IP address"))
    }
}

macro_rules! is_an_address {
    ($($kind:ty)*) => { $(
        impl IntoAddr for $kind {
            fn into_addr(self) -> IpAddr {
                self.into()
            }
        }
    )* };
}
is_an_address!(IpAddr Ipv4Addr Ipv6Addr);

impl Packet {
    fn new(transport: Transport) -> Self {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            dst_mac: [2, 0, 0, 0, 0, 2],
            src_mac: [2, 0, 0, 0, 0, 1],
            tags: Vec::new(),
            ethertype: None,
            ip: Ip {
                src: nowhere,
                dst: nowhere,
                hops: 64,
                options: Vec::new(),
                extensions: Vec::new(),
                fragment: None,
                id: 1,
            },
            transport,
            payload: Vec::new(),
        }
    }

    /// Source and destination; their family makes the packet IPv4 or IPv6.
    ///
    /// # Panics
    /// If the two are not of one family.
    #[must_use]
    pub fn between(mut self, src: impl IntoAddr, dst: impl IntoAddr) -> Self {
        (self.ip.src, self.ip.dst) = (src.into_addr(), dst.into_addr());
        assert_eq!(self.ip.src.is_ipv4(), self.ip.dst.is_ipv4(), "both ends are of one family");
        self
    }

    /// Source and destination of the frame.
    #[must_use]
    pub fn macs(mut self, src: [u8; 6], dst: [u8; 6]) -> Self {
        (self.src_mac, self.dst_mac) = (src, dst);
        self
    }

    /// One more VLAN tag, inside those that are there.
    #[must_use]
    pub fn tag(mut self, tpid: u16, vid: u16) -> Self {
        self.tags.push((tpid, vid));
        self
    }

    /// Another EtherType than the one that fits.
    #[must_use]
    pub fn ethertype(mut self, ethertype: u16) -> Self {
        self.ethertype = Some(ethertype);
        self
    }

    /// The TCP flags, all of them.
    ///
    /// # Panics
    /// If this is not TCP.
    #[must_use]
    pub fn flags(mut self, to: u8) -> Self {
        let Transport::Tcp { flags, .. } = &mut self.transport else { panic!("only TCP has flags") };
        *flags = to;
        self
    }

    /// Only SYN: this opens a connection.
    #[must_use]
    pub fn syn(self) -> Self {
        self.flags(SYN)
    }

    /// Sequence and acknowledgment number.
    ///
    /// # Panics
    /// If this is not TCP.
    #[must_use]
    pub fn sequence(mut self, at: u32, acknowledges: u32) -> Self {
        let Transport::Tcp { seq, ack, .. } = &mut self.transport else { panic!("only TCP counts bytes") };
        (*seq, *ack) = (at, acknowledges);
        self
    }

    /// TCP options, filled up to whole words.
    ///
    /// # Panics
    /// If this is not TCP.
    #[must_use]
    pub fn tcp_options(mut self, bytes: &[u8]) -> Self {
        let Transport::Tcp { options, .. } = &mut self.transport else { panic!("only TCP has these options") };
        *options = bytes.to_vec();
        self
    }

    /// What the innermost layer carries.
    #[must_use]
    pub fn data(mut self, bytes: &[u8]) -> Self {
        self.payload = bytes.to_vec();
        self
    }

    /// Time to live, or hop limit.
    #[must_use]
    pub fn hops(mut self, hops: u8) -> Self {
        self.ip.hops = hops;
        self
    }

    /// IPv4 options, filled up to whole words (at most 40 bytes).
    #[must_use]
    pub fn options(mut self, bytes: &[u8]) -> Self {
        self.ip.options = bytes.to_vec();
        self
    }

    /// One more IPv6 extension header that does nothing: options are padding, routing has no segments left.
    #[must_use]
    pub fn extension(self, kind: u8) -> Self {
        let rest = match kind {
            ROUTING => [0, 2, 0, 0, 0, 0, 0],
            AUTHENTICATION => return self.extension_bytes(kind, &[1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]),
            // Length 0 is eight bytes; then one PadN option of four.
            _ => [0, 1, 4, 0, 0, 0, 0],
        };
        self.extension_bytes(kind, &rest)
    }

    /// One more IPv6 extension header; `rest` is everything behind its "next header" byte.
    #[must_use]
    pub fn extension_bytes(mut self, kind: u8, rest: &[u8]) -> Self {
        self.ip.extensions.push((kind, rest.to_vec()));
        self
    }

    /// Says that this is a part of datagram `id`: its place in bytes, and whether more follow. What the packet
    /// carries is not cut: for the parts of a whole datagram see [`Packet::fragments`].
    #[must_use]
    pub fn fragment(mut self, id: u32, offset: u16, more: bool) -> Self {
        self.ip.fragment = Some(Fragment { id, offset, more });
        self
    }

    /// Only `data`, without a transport header: a later fragment.
    #[must_use]
    pub fn headless(mut self) -> Self {
        self.transport = Transport::Bytes { protocol: self.transport.protocol(self.ip.src.is_ipv4()) };
        self
    }

    /// The packet from its IP header on.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        self.ip.packet(self.protocol(), &self.body())
    }

    /// The whole frame.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        self.framed(&self.packet())
    }

    /// The frames of this datagram, cut into parts of at most `part` bytes.
    #[must_use]
    pub fn fragments(&self, id: u32, part: usize) -> Vec<Vec<u8>> {
        let packets = self.ip.fragments(id, self.protocol(), &self.body(), part);
        packets.iter().map(|packet| self.framed(packet)).collect()
    }

    /// Whether its addresses are IPv4's.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.ip.src.is_ipv4()
    }

    fn protocol(&self) -> u8 {
        self.transport.protocol(self.ip.src.is_ipv4())
    }

    fn body(&self) -> Vec<u8> {
        self.transport.bytes(self.ip.src, self.ip.dst, &self.payload)
    }

    fn framed(&self, packet: &[u8]) -> Vec<u8> {
        let ethertype = self.ethertype.unwrap_or(if self.ip.src.is_ipv4() { 0x0800 } else { 0x86dd });
        ethernet(self.src_mac, self.dst_mac, &self.tags, ethertype, packet)
    }
}

/// An Ethernet frame around any bytes; `tags` are tag protocol and tag, outermost first.
#[must_use]
pub fn ethernet(src: [u8; 6], dst: [u8; 6], tags: &[(u16, u16)], ethertype: u16, body: &[u8]) -> Vec<u8> {
    let mut out = [dst, src].concat();
    for (tpid, tag) in tags {
        out.extend(tpid.to_be_bytes());
        out.extend(tag.to_be_bytes());
    }
    out.extend(ethertype.to_be_bytes());
    out.extend(body);
    out
}

#[cfg(test)]
mod tests;
