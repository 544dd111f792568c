//! Connections, and how a packet moves one on.

use std::collections::HashMap;
use std::net::IpAddr;

use super::frame::{Kind, Seen};
use super::policy::Who;
use super::transport::{FIN, RST, SYN};

/// The ends of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Sender.
    pub src: IpAddr,
    /// Receiver.
    pub dst: IpAddr,
    /// Sender's port.
    pub sport: u16,
    /// Receiver's port.
    pub dport: u16,
    /// IP protocol.
    pub protocol: u8,
}

impl Key {
    /// The other side's packets.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self { src: self.dst, dst: self.src, sport: self.dport, dport: self.sport, protocol: self.protocol }
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The responder has not answered.
    HalfOpen,
    /// It has.
    Established,
    /// Both have finished, or one has reset.
    Closing,
}

/// One side of a TCP connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Side {
    /// The last sequence number that made sense, in [`UNIT`]s; `None`: not heard yet.
    seq: Option<u16>,
    finished: bool,
}

/// A connection. Its key in the table is its initiator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// How far it has come.
    pub state: State,
    /// What rules match on.
    pub service: u16,
    /// Where its initiator is from, as it was judged last.
    pub from: Who,
    /// Whether that is another zone than its address's.
    pub renamed: bool,
    initiator: Side,
    responder: Side,
}

/// Bytes that are one step of a sequence number here: a state needs no more.
const UNIT: u32 = 1 << 16;
/// Sequence numbers may jump that many steps: 1 MiB.
const WINDOW: u16 = 16;

fn steps(seq: u32) -> u16 {
    (seq / UNIT) as u16
}

impl Connection {
    /// One that begins with this packet; `reply`: it is the responder's.
    #[must_use]
    pub fn begun(seen: &Seen, service: u16, state: State, reply: bool, from: Who) -> Self {
        let (heard, unheard) = (Side { seq: Some(steps(seen.seq)), finished: false }, Side::default());
        let (initiator, responder) = if reply { (unheard, heard) } else { (heard, unheard) };
        Self { state, service, from, renamed: false, initiator, responder }
    }

    /// Whether the packet belongs to it, whatever its ports say; if so, moves it on.
    pub fn takes(&mut self, seen: &Seen, reply: bool) -> bool {
        match seen.kind {
            Kind::Segment => return self.takes_segment(seen, reply),
            Kind::Query | Kind::Stray if reply => return false,
            Kind::Answer if !reply => return false,
            _ => {}
        }
        if reply && self.state == State::HalfOpen {
            self.state = State::Established;
        }
        true
    }

    fn takes_segment(&mut self, seen: &Seen, reply: bool) -> bool {
        let first_answer = reply && self.state == State::HalfOpen;
        let side = if reply { &mut self.responder } else { &mut self.initiator };
        let now = steps(seen.seq);
        let near = side.seq.is_some_and(|seq| now.wrapping_sub(seq).min(seq.wrapping_sub(now)) <= WINDOW);
        if seen.flags & SYN != 0 {
            // The initiator's SYN-ACK answers nothing.
            if !reply {
                return false;
            }
            if first_answer {
                self.state = State::Established;
                side.seq = Some(now);
                return true;
            }
        }
        if seen.flags & RST != 0 {
            if first_answer || near {
                self.state = State::Closing;
            }
            return true;
        }
        if first_answer || (side.seq.is_some() && !near) {
            return true;
        }
        side.seq = Some(now);
        if seen.flags & FIN != 0 {
            side.finished = true;
            if self.initiator.finished && self.responder.finished {
                self.state = State::Closing;
            }
        }
        true
    }
}

/// All connections.
#[derive(Clone, Debug, Default)]
pub struct Connections(HashMap<Key, Connection>);

impl Connections {
    /// The connection of a packet with these ends, its initiator's key, and whether they are the responder's.
    #[must_use]
    pub fn find(&self, key: Key) -> Option<(Key, bool)> {
        if self.0.contains_key(&key) {
            Some((key, false))
        } else {
            Some((key.reversed(), true)).filter(|(key, _)| self.0.contains_key(key))
        }
    }

    /// The one with this initiator's key.
    pub fn get(&mut self, key: Key) -> Option<&mut Connection> {
        self.0.get_mut(&key)
    }

    /// Puts one in the place of whatever was between these ends.
    pub fn open(&mut self, key: Key, connection: Connection) {
        self.0.remove(&key.reversed());
        self.0.insert(key, connection);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
