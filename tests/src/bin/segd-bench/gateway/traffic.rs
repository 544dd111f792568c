//! What is sent through the gateway, and what has to become of it.

use segd_tests::packet::{ACK, Packet, SYN, tcp};

use crate::path::{Kind, Way};
use crate::steer::{Keys, Steer};

/// Live connections.
pub(super) const FLOWS: u32 = 1 << 10;

/// One kind of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
    /// Segments of live connections, at random.
    Established,
    /// SYNs from random sources to a port that no rule opens.
    Flood,
    /// SYNs that a rule allows, each of another connection.
    New,
}

/// Frames for the generator.
#[derive(Debug)]
pub(super) struct Sent {
    /// What they have in common.
    pub(super) frame: Vec<u8>,
    /// What differs.
    pub(super) steer: Steer,
    /// It differs in the destination: these go back.
    pub(super) reply: bool,
}

impl Traffic {
    /// In the order in which they are measured: what fills tables comes last.
    pub(super) const ALL: [Self; 3] = [Self::Established, Self::Flood, Self::New];

    /// In a table's head.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Flood => "denied flood",
            Self::New => "new flows",
        }
    }

    /// Whether a filter has to let it through.
    pub(super) const fn passes(self) -> bool {
        !matches!(self, Self::Flood)
    }

    /// The packets of one run, different ones in every `run`; new flows are numbered from `first` on.
    pub(super) fn sent(self, run: u32, first: u32) -> Sent {
        let (kind, packet) = match self {
            Self::Established => (Kind::Established(FLOWS), tcp(0, ALLOWED).flags(ACK).sequence(1001, 5001)),
            Self::Flood => (Kind::Denied, tcp(0, DENIED).syn()),
            Self::New => (Kind::New, tcp(0, ALLOWED).syn()),
        };
        let steer = Way { kind, v6: false }.steer(run, 0);
        let steer = if self == Self::New { steer.counting(first) } else { steer };
        Sent { frame: there(packet), steer, reply: false }
    }

    /// What opens the live connections, in order: from the source, from the sink, from the source.
    pub(super) fn handshake() -> [Sent; 3] {
        let one = |frame, reply| {
            let steer = Way { kind: Kind::New, v6: false }.steer(0, 0);
            Sent { frame, steer: Steer { keys: Keys::From(0), ..steer }, reply }
        };
        let answer = tcp(ALLOWED, 0).flags(SYN | ACK).sequence(5000, 1001).between("10.20.0.10", "10.30.0.5").frame();
        [
            one(there(tcp(0, ALLOWED).syn()), false),
            one(answer, true),
            one(there(tcp(0, ALLOWED).sequence(1001, 5001)), false),
        ]
    }
}

const ALLOWED: u16 = 5432;
const DENIED: u16 = 22;

fn there(packet: Packet) -> Vec<u8> {
    packet.between("10.30.0.5", "10.20.0.10").frame()
}
