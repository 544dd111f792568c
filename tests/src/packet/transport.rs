//! What an IP packet carries: TCP, UDP, SCTP, ICMP of both families, or bytes. It must never look at the link.

use std::net::IpAddr;

use super::checksum::{crc32c, internet, pseudo_header};

/// TCP flag: no more data from this side.
pub const FIN: u8 = 0x01;
/// TCP flag: opens a connection.
pub const SYN: u8 = 0x02;
/// TCP flag: ends a connection at once.
pub const RST: u8 = 0x04;
/// TCP flag: hand over to the application.
pub const PSH: u8 = 0x08;
/// TCP flag: the acknowledgment number counts.
pub const ACK: u8 = 0x10;
/// TCP flag: the urgent pointer counts.
pub const URG: u8 = 0x20;

/// The part behind the IP header.
#[derive(Debug, Clone)]
pub(super) enum Transport {
    Tcp {
        src_port: u16,
        dst_port: u16,
        flags: u8,
        seq: u32,
        ack: u32,
        options: Vec<u8>,
    },
    Udp {
        src_port: u16,
        dst_port: u16,
    },
    Sctp {
        src_port: u16,
        dst_port: u16,
        chunk: u8,
    },
    /// `icmp` or `icmpv6` by the family of the addresses; `rest` is the second word of the header.
    Icmp {
        kind: u8,
        code: u8,
        rest: [u8; 4],
    },
    /// An echo, whose type number depends on the family.
    Echo {
        reply: bool,
        id: u16,
        seq: u16,
    },
    Bytes {
        protocol: u8,
    },
}

impl Transport {
    /// The number in the IP header.
    pub(super) fn protocol(&self, ipv4: bool) -> u8 {
        match self {
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
            Self::Sctp { .. } => 132,
            Self::Icmp { .. } | Self::Echo { .. } => {
                if ipv4 {
                    1
                } else {
                    58
                }
            }
            Self::Bytes { protocol } => *protocol,
        }
    }

    /// Header and payload with a right checksum for these addresses.
    pub(super) fn bytes(&self, src: IpAddr, dst: IpAddr, payload: &[u8]) -> Vec<u8> {
        let (mut header, sum_at) = self.header(src.is_ipv4(), payload.len());
        if let Self::Sctp { .. } = self {
            let crc = crc32c(&[&header, payload].concat());
            header[8..12].copy_from_slice(&crc.to_le_bytes());
        } else if let Some(at) = sum_at {
            let protocol = self.protocol(src.is_ipv4());
            let pseudo = if protocol == 1 {
                Vec::new()
            } else {
                pseudo_header(src, dst, protocol, header.len() + payload.len())
            };
            let sum = match internet(&[&pseudo, &header, payload]) {
                0 if protocol == 17 => 0xffff,
                sum => sum,
            };
            header[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        header.extend(payload);
        header
    }

    /// The header with a zero checksum, and where the checksum goes.
    fn header(&self, ipv4: bool, payload: usize) -> (Vec<u8>, Option<usize>) {
        let mut out = Vec::new();
        match self {
            Self::Tcp { src_port, dst_port, flags, seq, ack, options } => {
                put_ports(&mut out, *src_port, *dst_port);
                out.extend(seq.to_be_bytes());
                out.extend(ack.to_be_bytes());
                let words = 5 + options.len().div_ceil(4) as u8;
                out.extend([words << 4, *flags, 0xff, 0xff, 0, 0, 0, 0]);
                out.extend(options);
                out.resize(usize::from(words) * 4, 0);
                (out, Some(16))
            }
            Self::Udp { src_port, dst_port } => {
                put_ports(&mut out, *src_port, *dst_port);
                out.extend((8 + payload as u16).to_be_bytes());
                out.extend([0, 0]);
                (out, Some(6))
            }
            Self::Sctp { src_port, dst_port, chunk } => {
                put_ports(&mut out, *src_port, *dst_port);
                out.extend([0; 8]);
                out.extend([*chunk, 0]);
                out.extend((4 + payload as u16).to_be_bytes());
                (out, None)
            }
            Self::Icmp { kind, code, rest } => {
                out.extend([*kind, *code, 0, 0]);
                out.extend(rest);
                (out, Some(2))
            }
            Self::Echo { reply, id, seq } => {
                let kind = match (ipv4, reply) {
                    (true, false) => 8,
                    (true, true) => 0,
                    (false, false) => 128,
                    (false, true) => 129,
                };
                out.extend([kind, 0, 0, 0]);
                put_ports(&mut out, *id, *seq);
                (out, Some(2))
            }
            Self::Bytes { .. } => (out, None),
        }
    }
}

fn put_ports(out: &mut Vec<u8>, src: u16, dst: u16) {
    out.extend(src.to_be_bytes());
    out.extend(dst.to_be_bytes());
}
