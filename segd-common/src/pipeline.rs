//! The packet's way. This file only calls stages and hands values on.

mod account;
mod apart;
mod ends;
mod fragments;
mod outcome;
mod state;

use outcome::Next;
pub use outcome::Outcome;

use crate::control::Control;
use crate::env::Env;
use crate::flow::{self, Birth, Found};
use crate::image::Root;
use crate::packet::{Kind, Packet, Part};
use crate::parse::{self, Framing};
use crate::reason::Reason;
use crate::view::View;
use ends::Ends;

/// Where a packet is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Hook {
    /// On its way in.
    Ingress = 0,
    /// On its way out, started by this machine.
    Local = 1,
    /// On its way out, forwarded: it has been judged on its way in.
    Forward = 2,
}

/// What the entry point knows of a packet.
#[derive(Clone, Copy, Debug)]
#[repr(align(8))]
pub struct Sighting {
    /// Where it is seen.
    pub hook: Hook,
    /// How to read the frame.
    pub framing: Framing,
    /// Slot of the interface; 0: unknown.
    pub interface: u16,
    /// Number of the interface, for events.
    pub ifindex: u32,
    /// Forwarded: the zone of its source on its way in, if that was noted.
    pub tagged: Option<u16>,
    /// Frames that it stands for: more than 1 with segmentation offload.
    pub frames: u32,
}

impl Sighting {
    /// Nothing known: what [`Work`] begins with.
    pub const NOWHERE: Self =
        Self { hook: Hook::Ingress, framing: Framing::ETHERNET, interface: 0, ifindex: 0, tagged: None, frames: 1 };
}

/// What every stage may ask.
pub(crate) struct Context<'a, E: Env> {
    env: &'a E,
    control: &'a Control,
    root: &'a Root,
    now: u64,
    at: &'a Sighting,
    birth: &'a Birth,
}

/// Room to work in: a kernel stack has too little.
#[derive(Debug)]
#[repr(C)]
pub struct Work {
    /// Where it is seen; the caller's part.
    pub at: Sighting,
    /// The packet.
    pub packet: Packet,
    /// What becomes of it.
    pub outcome: Outcome,
    /// The connection that it opens.
    pub birth: Birth,
}

impl Work {
    /// Nothing seen yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { at: Sighting::NOWHERE, packet: Packet::EMPTY, outcome: Outcome::CLOSED, birth: Birth::new() }
    }
}

impl Default for Work {
    fn default() -> Self {
        Self::new()
    }
}

/// Parse, state, zones, policy, verdict, counters, event. `work.at` is the caller's to fill in; `work.outcome` says the rest.
/// Gives whether the packet goes on.
#[inline(always)]
pub fn run<V: View, E: Env>(env: &E, view: &V, work: &mut Work) -> bool {
    let Work { at, packet, outcome, birth } = work;
    *outcome = Outcome::CLOSED;
    let now = env.now();
    let Some(control) = env.control() else { return false };
    let Some(root) = control.root(now) else { return false };
    let context = Context { env, control, root, now, at, birth };
    packet.clear();
    let refused = read(view, at.framing, packet);
    context.decide(packet, refused, outcome);
    env.meet();
    context.account(packet, outcome, view.frame_len());
    env.meet();
    outcome.passes()
}

/// The parser, out of line: what it keeps on the stack is gone when the judging begins. Gives the number of the reason why
/// the frame can't be trusted, or one that no reason has.
#[inline(never)]
fn read<V: View>(view: &V, framing: Framing, packet: &mut Packet) -> u8 {
    match parse::parse(view, framing, packet) {
        Ok(()) => u8::MAX,
        Err(reason) => reason as u8,
    }
}

/// The zone of a frame's source, for the way out of a packet that another program has judged. A frame that can't be read is
/// `unzoned`, not unknown: by the address that it leaves with, a translated packet would be this machine's own.
#[inline(always)]
pub fn source_zone<V: View, E: Env>(env: &E, view: &V, framing: Framing, work: &mut Work) -> u16 {
    let packet = &mut work.packet;
    packet.clear();
    let _ = parse::parse(view, framing, packet);
    let root = env.control().and_then(|control| control.root(env.now()));
    root.map_or(crate::image::zone::UNZONED, |root| root.place(env, packet.key.src).zone())
}

impl<'a, E: Env> Context<'a, E> {
    #[inline(always)]
    fn decide(&self, packet: &Packet, refused: u8, outcome: &mut Outcome) {
        match (Reason::from_number(refused), packet.fragment.part) {
            (Some(reason), _) => self.refuse(packet, reason, outcome),
            (None, Part::Later) => self.later_fragment(packet, outcome),
            (None, part) => {
                self.judge_packet(packet, outcome);
                match outcome.next {
                    Next::Done => {}
                    Next::Related => self.related(packet, outcome),
                    Next::Again => self.judge_again(packet, outcome),
                    Next::Admit => self.admit(packet, outcome),
                }
                if self.may_adopt(packet, outcome) {
                    self.adopt(packet, outcome);
                }
                if part as u8 == Part::First as u8 {
                    self.first_fragment(packet, outcome);
                }
            }
        }
        self.env.meet();
        *outcome = self.soften(*outcome);
    }

    #[inline(always)]
    fn judge_packet_here(&self, packet: &Packet, outcome: &mut Outcome) {
        let hash = packet.key.hash(self.control.seed);
        let found = self.lookup_flow(packet, hash);
        if let Some(found) = found
            && self.ride(packet, &found, outcome)
        {
            return;
        }
        let ends = Ends::lookup(self, packet);
        if let Err(reason) = ends.check(self, packet) {
            *outcome = Outcome::deny(&ends, reason);
            return;
        }
        if ends.essential(self, packet) {
            *outcome = Outcome::essential(&ends);
            return;
        }
        match (found, packet.kind) {
            (_, Kind::Arp) => *outcome = Outcome::deny(&ends, Reason::UnsupportedEthertype),
            (_, Kind::IcmpError) => outcome.next = Next::Related,
            (Some(found), _) if found.flow.live(self.now, self.control.hz) => outcome.next = Next::Again,
            _ => self.open(packet, &ends.before_translation(self.at), hash, outcome),
        }
    }

    /// A bare SYN can't belong to an established connection: it asks the policy first, so a flood does not pay for state.
    #[inline(always)]
    fn lookup_flow(&self, packet: &Packet, hash: u64) -> Option<Found<'a>> {
        if matches!(packet.kind, Kind::Syn | Kind::Arp | Kind::IcmpError) {
            return None;
        }
        flow::find(self.env, &packet.key, hash, self.control.bucket_mask)
    }

    /// A frame that can't be trusted is counted where its addresses say, if it came that far.
    #[inline(always)]
    fn refuse_here(&self, packet: &Packet, reason: Reason, outcome: &mut Outcome) {
        *outcome = self.refuse_outcome(packet, reason);
    }

    #[inline(always)]
    fn refuse_outcome(&self, packet: &Packet, reason: Reason) -> Outcome {
        let ends = if packet.addressed { Ends::lookup(self, packet) } else { Ends::NOWHERE };
        Outcome::deny(&ends, reason)
    }
}
