//! The packet's way. This file only calls stages and hands values on.

mod account;
mod ends;
mod fragments;
mod outcome;
mod state;

pub use outcome::Outcome;

use crate::control::Control;
use crate::env::Env;
use crate::flow::{self, Found};
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

/// What every stage may ask.
pub(crate) struct Context<'a, E: Env> {
    env: &'a E,
    control: &'a Control,
    root: &'a Root,
    now: u64,
    at: Sighting,
}

/// Parse, state, zones, policy, verdict, counters, event. `packet` is room to work in: a kernel stack has too little.
#[inline(always)]
pub fn run<V: View, E: Env>(env: &E, view: &V, at: Sighting, packet: &mut Packet) -> Outcome {
    let now = env.now();
    let Some(control) = env.control() else { return Outcome::CLOSED };
    let Some(root) = control.root(now) else { return Outcome::CLOSED };
    let context = Context { env, control, root, now, at };
    *packet = Packet::EMPTY;
    let outcome = match parse::parse(view, at.framing, packet) {
        Ok(()) => context.decide(packet),
        Err(reason) => context.refuse(packet, reason),
    };
    let outcome = context.soften(outcome);
    context.account(packet, &outcome, view.frame_len());
    outcome
}

/// The zone of a frame's source, for the way out of a packet that another program has judged.
#[inline(always)]
pub fn source_zone<V: View, E: Env>(env: &E, view: &V, framing: Framing, packet: &mut Packet) -> u16 {
    *packet = Packet::EMPTY;
    let _ = parse::parse(view, framing, packet);
    let root = env.control().and_then(|control| control.root(env.now()));
    root.map_or(crate::image::zone::UNZONED, |root| root.place(env, packet.key.src).zone())
}

impl<'a, E: Env> Context<'a, E> {
    #[inline(always)]
    fn decide(&self, packet: &Packet) -> Outcome {
        match packet.fragment.part {
            Part::Whole => self.judge_packet(packet),
            Part::First => self.first_fragment(packet, self.judge_packet(packet)),
            Part::Later => self.later_fragment(packet),
        }
    }

    #[inline(always)]
    fn judge_packet(&self, packet: &Packet) -> Outcome {
        let hash = packet.key.hash(self.control.seed);
        let found = self.lookup_flow(packet, hash);
        if let Some(found) = found {
            if let Some(outcome) = self.ride(packet, found) {
                return outcome;
            }
        }
        let ends = Ends::lookup(self, packet);
        if let Err(reason) = ends.check(self, packet) {
            return Outcome::deny(&ends, reason);
        }
        if ends.essential(self, packet) {
            return Outcome::essential(&ends);
        }
        match (found, packet.kind) {
            (_, Kind::Arp) => Outcome::deny(&ends, Reason::UnsupportedEthertype),
            (_, Kind::IcmpError) => self.related(packet, &ends),
            (Some(found), _) if found.flow.live(self.now, self.control.hz) => self.judge_again(packet, &ends, found),
            _ => self.open(packet, &ends.before_translation(&self.at), hash),
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
    fn refuse(&self, packet: &Packet, reason: Reason) -> Outcome {
        let ends = if packet.addressed { Ends::lookup(self, packet) } else { Ends::NOWHERE };
        Outcome::deny(&ends, reason)
    }
}
