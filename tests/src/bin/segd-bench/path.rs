//! The packet's ways that are measured: who sends what, and what has to become of it. A number whose packets got another
//! verdict than they should is worth nothing, so that is an error.

use anyhow::{Result, ensure};
use segd_common::reason::Reason;
use segd_tests::packet::{ACK, Packet, SYN, tcp};

use crate::ground::Ground;
use crate::steer::{Keys, Steer};

/// What the packets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Segments of so many live connections, at random; a power of two.
    Established(u32),
    /// Segments that the responders of the same connections send. Measured behind [`Self::Established`], which opens them.
    Reply(u32),
    /// First fragments, each of another datagram of one of [`FRAGMENTED`] live connections.
    Fragment,
    /// SYNs from random sources to a port that no rule opens.
    Denied,
    /// The same where the policy only watches.
    Watched,
    /// SYNs of connections that a rule allows, each a new one, into a full table.
    New,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// What the packets are.
    pub(crate) kind: Kind,
    /// IPv6.
    pub(crate) v6: bool,
}

const ALLOWED: u16 = 5432;
const DENIED: u16 = 22;
/// Of so many connections one may find both of its buckets full in a table that is not.
const UNLUCKY: u64 = 100_000;
/// Connections that are opened before the first of them is answered.
const TURN: u32 = 1 << 14;
/// Below it are the keys of live connections.
const FIRST_NEW: u32 = 1 << 20;
/// Connections whose datagrams come in fragments: an address each, and all of them of one port.
pub(crate) const FRAGMENTED: u32 = 1 << 16;
/// The first of their keys, and the port that it gives.
const FIRST_FRAGMENTED: u32 = 0x7000_0000;
const FRAGMENTED_PORT: u16 = 0x7400;
/// More than the connection table holds.
const FILL: u32 = 1 << 21;

impl Way {
    /// The frame that the generator varies.
    pub(crate) fn frame(self) -> Vec<u8> {
        match self.kind {
            Kind::Established(_) => self.between(tcp(0, ALLOWED)),
            Kind::Reply(_) => self.back(tcp(ALLOWED, 0)),
            Kind::Fragment => self.between(tcp(FRAGMENTED_PORT, ALLOWED).data(&[0; 4]).fragment(0, 0, true)),
            Kind::Denied | Kind::Watched => self.between(tcp(0, DENIED).syn()),
            Kind::New => self.between(tcp(0, ALLOWED).syn()),
        }
        .frame()
    }

    /// The series of its packets in run number `run` of `repeat` packets.
    pub(crate) fn steer(self, run: u32, repeat: u32) -> Steer {
        let keys = match self.kind {
            Kind::Established(flows) | Kind::Reply(flows) => Keys::Below(u64::from(flows), u64::from(run)),
            Kind::Fragment => Keys::From(run * repeat),
            Kind::Denied | Kind::Watched => Keys::Below(1 << 32, u64::from(run)),
            Kind::New => Keys::From(FIRST_NEW + FILL + run * repeat),
        };
        let steer = self.varies(keys, matches!(self.kind, Kind::Reply(_)));
        match self.kind {
            // A datagram's number in a port's place.
            Kind::Fragment => Steer { port_at: if self.v6 { 60 } else { 18 }, ..steer },
            _ => steer,
        }
    }

    /// Opens what has to be there, fills what has to be full, and looks at the verdict of every packet once.
    pub(crate) fn prepare(self, ground: &mut Ground, repeat: u32) -> Result<()> {
        match self.kind {
            Kind::Established(flows) => self.establish(ground, 0, flows)?,
            Kind::Fragment => self.establish(ground, FIRST_FRAGMENTED, FRAGMENTED)?,
            Kind::Reply(_) | Kind::Denied => {}
            Kind::New | Kind::Watched => {
                ground.run("judge", &self.frame(), self.varies(Keys::From(FIRST_NEW), false), FILL)?;
            }
        }
        let before = ground.packets()?;
        ground.run("judge", &self.frame(), self.steer(0, repeat), repeat)?;
        let after = ground.packets()?;
        let others = Reason::ALL.into_iter().filter(|reason| *reason != self.reason());
        let others: Vec<_> = others
            .map(|reason| (reason.name(), after[reason as usize] - before[reason as usize]))
            .filter(|(_, packets)| *packets > 0)
            .collect();
        let right = after[self.reason() as usize] - before[self.reason() as usize];
        let wrong: u64 = others.iter().map(|(_, packets)| packets).sum();
        // A few find both of their buckets full: that is what they should cost. The segments of those that did are nobody's.
        let tolerated = match self.kind {
            Kind::New => u64::from(repeat) / 1000,
            Kind::Established(flows) | Kind::Reply(flows) if u64::from(flows) >= UNLUCKY => u64::from(repeat) / 10_000,
            Kind::Established(_) | Kind::Reply(_) | Kind::Fragment | Kind::Denied | Kind::Watched => 0,
        };
        if wrong > 0 {
            eprintln!("{self:?}: {others:?} besides {right} as expected");
        }
        ensure!(right + wrong == u64::from(repeat) && wrong <= tolerated, "{self:?}: {right} right, {others:?} not");
        Ok(())
    }

    const fn reason(self) -> Reason {
        match self.kind {
            Kind::Established(_) | Kind::Fragment | Kind::New => Reason::Rule,
            Kind::Reply(_) => Reason::Reply,
            Kind::Denied => Reason::NoRule,
            Kind::Watched => Reason::Audit,
        }
    }

    /// Opens connections, `flows` of them, whose keys begin with `first`.
    fn establish(self, ground: &mut Ground, first: u32, flows: u32) -> Result<()> {
        let before = ground.established();
        let syn = self.between(tcp(0, ALLOWED).syn()).frame();
        let answer = self.back(tcp(ALLOWED, 0).flags(SYN | ACK)).frame();
        // In turns: of very many that wait for their answer, one takes another's place.
        for done in (0..flows).step_by(TURN as usize) {
            let (first, count) = (first + done, TURN.min(flows - done));
            ground.run("judge", &syn, self.varies(Keys::From(first), false), count)?;
            ground.run("judge", &answer, self.varies(Keys::From(first), true), count)?;
        }
        let opened = ground.established() - before;
        let refused = u64::from(flows) - opened.min(u64::from(flows));
        ensure!(refused <= u64::from(flows) / UNLUCKY, "{opened} of {flows} connections are established");
        Ok(())
    }

    fn between(self, packet: Packet) -> Packet {
        if self.v6 { packet.between("fd00:30::5", "fd00:20::10") } else { packet.between("10.30.0.5", "10.20.0.10") }
    }

    fn back(self, packet: Packet) -> Packet {
        if self.v6 { packet.between("fd00:20::10", "fd00:30::5") } else { packet.between("10.20.0.10", "10.30.0.5") }
    }

    /// Offsets are those of a frame without tags, options and extension headers.
    fn varies(self, keys: Keys, reply: bool) -> Steer {
        let base = match (self.kind, self.v6) {
            (Kind::Denied | Kind::Watched, _) => None,
            (_, true) => Some(0),
            (_, false) => Some(0x0a1e_0000),
        };
        // IPv6: the second word of a random source, else the last one.
        let word = if base.is_none() { 4 } else { 12 };
        let (src, dst, ports) = if self.v6 { (22 + word, 38 + word, 54) } else { (26, 30, 34) };
        let (address_at, port_at) = if reply { (dst, ports + 2) } else { (src, ports) };
        Steer { keys, address_at, port_at, base }
    }
}
