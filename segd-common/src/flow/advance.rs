//! How one packet moves a connection on.

use super::{Direction, Flow, State, flag};
use crate::packet::{Kind, Packet, tcp};

/// How far from the last one a sequence number may be to change a state, in units of 64 KiB: 1 MiB.
const WINDOW: u16 = 16;

#[inline(always)]
fn near(last: u16, seq: u32) -> bool {
    let distance = ((seq >> 16) as u16).wrapping_sub(last);
    distance <= WINDOW || distance >= 0u16.wrapping_sub(WINDOW)
}

/// Moves a connection on by one packet. `false`: the packet does not belong to it, whatever its ports say.
#[inline(always)]
pub fn advance(flow: &Flow, direction: Direction, packet: &Packet) -> bool {
    let reply = direction as u8 == Direction::Reply as u8;
    if packet.kind as u8 == Kind::Segment as u8 {
        return advance_tcp(flow, reply, packet);
    }
    // An id may look like a type, and a query then like the reply to its own reverse.
    let asks = packet.kind as u8 == Kind::Query as u8 || packet.kind as u8 == Kind::IcmpStray as u8;
    if (asks && reply) || (packet.kind as u8 == Kind::QueryReply as u8 && !reply) {
        return false;
    }
    if reply && flow.state.get() == State::HalfOpen as u8 {
        answered(flow);
    } else if !reply {
        prove(flow);
    }
    true
}

/// The first answer: whoever opened it may still be made up.
#[inline(always)]
fn answered(flow: &Flow) {
    flow.flags.set(flow.flags.get() | flag::UNPROVEN);
    flow.state.set(State::Established as u8);
}

#[inline(always)]
fn prove(flow: &Flow) {
    let flags = flow.flags.get();
    if flags & flag::UNPROVEN != 0 {
        flow.flags.set(flags & !flag::UNPROVEN);
    }
}

/// Whether a TCP segment shows that the handshake is done: the initiator acknowledges the responder's number, which nobody
/// else knows, or the responder goes on. At most 128 KiB may have gone by, as the high half of the number is all that is kept.
#[inline(always)]
fn proves(flow: &Flow, reply: bool, packet: &Packet) -> bool {
    if packet.flags & (tcp::SYN | tcp::RST) != 0 {
        return false;
    }
    let beyond = ((packet.ack >> 16) as u16).wrapping_sub(flow.seq_to.get());
    reply || (packet.flags & tcp::ACK != 0 && beyond <= 1)
}

#[inline(always)]
fn advance_tcp(flow: &Flow, reply: bool, packet: &Packet) -> bool {
    let opening = packet.flags & tcp::SYN != 0;
    if opening && !reply {
        return false;
    }
    let last = if reply { &flow.seq_to } else { &flow.seq_from };
    let first_answer = reply && flow.state.get() == State::HalfOpen as u8;
    if first_answer && opening {
        answered(flow);
        last.set((packet.seq >> 16) as u16);
        return true;
    }
    if flow.flags.get() & flag::UNPROVEN != 0 && proves(flow, reply, packet) {
        prove(flow);
    }
    let unheard = flow.flags.get() & if reply { flag::UNHEARD_TO } else { flag::UNHEARD_FROM };
    if packet.flags & tcp::RST != 0 {
        // The answer to a SYN carries no sequence number of its own (RFC 9293, 3.10.7.1).
        if first_answer || (unheard == 0 && near(last.get(), packet.seq)) {
            flow.state.set(State::Closing as u8);
        }
        return true;
    }
    if unheard != 0 {
        flow.flags.set(flow.flags.get() & !unheard);
        last.set((packet.seq >> 16) as u16);
    }
    if first_answer || !near(last.get(), packet.seq) {
        return true;
    }
    if last.get() != (packet.seq >> 16) as u16 {
        last.set((packet.seq >> 16) as u16);
    }
    if packet.flags & tcp::FIN != 0 {
        let flags = flow.flags.get() | if reply { flag::FIN_TO } else { flag::FIN_FROM };
        flow.flags.set(flags);
        if flags & (flag::FIN_FROM | flag::FIN_TO) == flag::FIN_FROM | flag::FIN_TO {
            flow.state.set(State::Closing as u8);
        }
    }
    true
}
