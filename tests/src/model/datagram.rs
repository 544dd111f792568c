//! Datagrams that come in parts. The first part has the ports, and has to come first; the others get what it got, as long
//! as no byte comes twice.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::frame::Part;
use super::world::Outcome;

/// What names a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Identification.
    pub id: u32,
    /// Part of the name in IPv4 only.
    pub protocol: Option<u8>,
    /// Each hook knows its own: what is forwarded may be cut anew.
    pub outgoing: bool,
}

/// Gaps that may be open at one time.
const GAPS: usize = 4;
/// Parts whose exact copies are known as such.
const COPIES: usize = 4;

/// One under way.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// What its first part got.
    pub outcome: Outcome,
    /// Under which policy.
    pub generation: u64,
    /// On which interface.
    pub interface: u8,
    /// The ports of its first part.
    pub ports: (u16, u16),
    /// Parts have contradicted each other.
    pub dead: bool,
    ended: bool,
    /// What has come, in units of eight bytes.
    units: Vec<(usize, usize)>,
    latest: VecDeque<Part>,
}

impl Datagram {
    /// Nothing has come of it yet.
    #[must_use]
    pub fn new(outcome: Outcome, generation: u64, interface: u8, ports: (u16, u16)) -> Self {
        let (units, latest) = (Vec::new(), VecDeque::new());
        Self { outcome, generation, interface, ports, dead: false, ended: false, units, latest }
    }

    /// Whether all of it has come: then its name is free again.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.ended && !self.dead && self.gaps() == 0
    }

    fn gaps(&self) -> usize {
        let mut units = self.units.clone();
        units.sort_unstable();
        let mut end = 0;
        let mut gaps = 0;
        for (from, to) in units {
            gaps += usize::from(from > end);
            end = to;
        }
        gaps
    }

    /// Adds a part. `false`: it shares bytes with another and is not its copy, or leaves too much open; or one did before.
    pub fn add(&mut self, part: Part) -> bool {
        if self.dead {
            return false;
        }
        let piece = (part.start / 8, part.end.div_ceil(8));
        if self.latest.contains(&part) {
            return true;
        }
        let overlaps = self.units.iter().any(|(from, to)| piece.0 < *to && *from < piece.1);
        self.units.push(piece);
        if overlaps || self.gaps() > GAPS {
            self.dead = true;
            return false;
        }
        self.ended |= !part.more;
        self.latest.push_back(part);
        if self.latest.len() > COPIES {
            self.latest.pop_front();
        }
        true
    }
}
