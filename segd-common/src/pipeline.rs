//! The packet's way. This file only calls stages and hands values on.

mod account;
mod apart;
mod ends;
mod express;
mod fragments;
mod outcome;
mod state;

pub use express::{Express, express};
use outcome::Next;
pub use outcome::Outcome;

use crate::control::Control;
use crate::env::{Env, Inline, Pages};
use crate::flow::{self, Birth, Found};
use crate::image::{Root, zone};
use crate::packet::{Essential, Kind, Packet, Part, proto};
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
    /// Slot of the interface by which it came in, if that takes shortcuts; else 0.
    pub shortcut: u16,
    /// Forwarded: what [`stamp`] or [`voucher`] said on its way in, if the kernel kept it.
    pub stamp: u32,
    /// Frames that it stands for: more than 1 with segmentation offload.
    pub frames: u32,
    /// Bytes of the frame; found when it is read.
    pub bytes: u32,
}

impl Sighting {
    /// Nothing known: what [`Work`] begins with.
    pub const NOWHERE: Self = Self {
        hook: Hook::Ingress,
        framing: Framing::ETHERNET,
        interface: 0,
        ifindex: 0,
        tagged: None,
        shortcut: 0,
        stamp: 0,
        frames: 1,
        bytes: 0,
    };
}

/// What every stage may ask.
pub(crate) struct Context<'a, E: Env> {
    env: &'a E,
    control: &'a Control,
    root: &'a Root,
    now: u64,
    at: &'a Sighting,
}

/// Room to work in: a kernel stack has too little.
#[derive(Debug)]
#[repr(C)]
pub struct Work {
    /// Where it is seen; the caller's part.
    pub at: Sighting,
    /// The packet.
    pub packet: Packet,
    /// Where its addresses belong.
    ends: Ends,
    /// What becomes of it.
    pub outcome: Outcome,
    /// The connection that it opens.
    pub birth: Birth,
}

impl Work {
    /// Nothing seen yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            at: Sighting::NOWHERE,
            packet: Packet::EMPTY,
            ends: Ends::NOWHERE,
            outcome: Outcome::CLOSED,
            birth: Birth::new(),
        }
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
    work.outcome = Outcome::CLOSED;
    let refused = read(view, &mut work.at, &mut work.packet);
    env.meet();
    finish(env, refused, work)
}

/// Goes on where [`express`] has left off, with the packet and the outcome that it gave.
#[inline(always)]
pub fn resume<E: Env>(env: &E, work: &mut Work) -> bool {
    finish(env, RESUMED, work)
}

#[inline(always)]
fn finish<E: Env>(env: &E, refused: u8, work: &mut Work) -> bool {
    let Work { at, packet, outcome, birth, .. } = work;
    let Some(context) = Context::new(env, at) else { return false };
    if refused != RESUMED {
        packet.hash = packet.key.hash(context.control.seed);
    }
    context.decide(packet, refused, birth, outcome);
    env.meet();
    context.account_apart(packet, outcome);
    env.meet();
    outcome.passes()
}

/// What [`read`] gives when there is nothing to refuse: no [`Reason`] has this number.
const SOUND: u8 = u8::MAX;
/// In its place: the packet has been read, and judged as far as the short way goes.
const RESUMED: u8 = u8::MAX - 1;

/// Frame to packet. Gives the number of the reason why the frame can't be trusted, or [`SOUND`].
#[inline(always)]
fn read<V: View>(view: &V, at: &mut Sighting, packet: &mut Packet) -> u8 {
    packet.clear();
    let view = view.measured();
    at.bytes = view.frame_len();
    read_apart(&view, at.framing, packet)
}

/// The parser, out of line: what it keeps on the stack is gone when the judging begins.
#[inline(never)]
fn read_apart<V: View>(view: &V, framing: Framing, packet: &mut Packet) -> u8 {
    match parse::parse(view, framing, packet) {
        Ok(()) => SOUND,
        Err(reason) => reason as u8,
    }
}

/// The zone of a frame's source, for the way out of a packet that another program has judged. A frame that can't be read is
/// `unzoned`, not unknown: by the address that it leaves with, a translated packet would be this machine's own.
#[inline(always)]
pub fn source_zone<V: View, E: Env>(env: &E, view: &V, framing: Framing, work: &mut Work) -> u16 {
    let packet = &mut work.packet;
    if parse::plain(view, framing, packet).is_none() {
        packet.clear();
        let _ = parse::parse(view, framing, packet);
    }
    packet.hash = packet.key.hash(seed(env));
    env.meet();
    let root = env.control().and_then(|control| control.root(env.now()));
    root.map_or(zone::UNZONED, |root| root.place(&Inline(env), packet.key.src).zone())
}

/// What a packet's ends are known by from its way in to its way out: if translation changes them, the number changes. Never 0.
#[inline(always)]
#[must_use]
pub const fn stamp(packet: &Packet) -> u32 {
    packet.hash as u32 | 1
}

/// Another such number, which only a program that has judged the packet gives: with the same ends on its way out it would be
/// asked the same question again, and is not. `None`: it has to be.
#[inline(always)]
pub fn voucher(Work { packet, outcome, .. }: &Work) -> Option<u32> {
    let ends = outcome.from != zone::HOST && outcome.to != zone::HOST;
    // What is essential here may be a matter of policy where it leaves. And a part of a datagram is no more than that.
    let whole = packet.fragment.part as u8 == Part::Whole as u8 && matches!(packet.key.proto, proto::TCP | proto::UDP);
    if outcome.passes() && ends && whole && outcome.reason as u8 != Reason::Essential as u8 {
        return Some(vouched(packet.hash));
    }
    None
}

/// By which one of this machine's programs knows another's word about what came in by an interface.
#[inline(always)]
pub fn seal<E: Env>(env: &E, ifindex: u32) -> u64 {
    flow::mix(seed(env) ^ u64::from(ifindex))
}

#[inline(always)]
const fn vouched(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
}

/// 0 without a policy, under which nothing passes.
#[inline(always)]
fn seed<E: Env>(env: &E) -> u64 {
    env.control().map_or(0, |control| control.seed)
}

impl<'a, E: Env> Context<'a, E> {
    /// `None`: there is no policy, and nothing passes.
    #[inline(always)]
    fn new(env: &'a E, at: &'a Sighting) -> Option<Self> {
        let now = env.now();
        let control = env.control()?;
        let root = control.root(now)?;
        Some(Self { env, control, root, now, at })
    }

    #[inline(always)]
    fn decide(&self, packet: &Packet, refused: u8, birth: &Birth, outcome: &mut Outcome) {
        // On an interface that the daemon does not speak of nothing passes.
        if self.at.interface != 0 {
            self.decide_here(packet, refused, birth, outcome);
        }
        self.env.meet();
        *outcome = self.soften(*outcome);
    }

    #[inline(always)]
    fn decide_here(&self, packet: &Packet, refused: u8, birth: &Birth, outcome: &mut Outcome) {
        match (Reason::from_number(refused), packet.fragment.part) {
            (Some(reason), _) => self.refuse(packet, reason, outcome),
            (None, Part::Later) => self.later_fragment(packet, outcome),
            (None, part) => {
                if refused == SOUND {
                    self.judge_packet(packet, outcome);
                }
                match outcome.next {
                    Next::Done => {}
                    Next::Related => self.related(packet, outcome),
                    Next::Again => self.judge_again(packet, outcome),
                    Next::Admit => self.admit(packet, birth, outcome),
                    Next::Stray => self.stray(packet, outcome),
                    Next::Grain => self.grain(packet, outcome),
                }
                if self.may_adopt(packet, outcome) {
                    self.adopt(packet, birth, outcome);
                }
                if part as u8 == Part::First as u8 {
                    self.first_fragment(packet, outcome);
                }
            }
        }
    }

    #[inline(always)]
    fn judge_packet_here(&self, packet: &Packet, outcome: &mut Outcome) {
        let found = if self.skips_state(packet) {
            None
        } else {
            flow::find(self.env, &packet.key, packet.hash, self.control.bucket_mask)
        };
        let mut ends = Ends::NOWHERE;
        self.judge_found(self.env, packet, found, &mut ends, outcome);
    }

    /// What is asked of every packet that has ports, given its connection. `pages` says how the image is walked; `ends` is room
    /// for the packet's.
    #[inline(always)]
    fn judge_found<P: Pages>(
        &self,
        pages: &P,
        packet: &Packet,
        found: Option<Found<'a>>,
        ends: &mut Ends,
        outcome: &mut Outcome,
    ) {
        // What is essential is so whatever connection there is between its ends.
        if let Some(found) = found
            && packet.essential as u8 == Essential::No as u8
            && self.ride(packet, &found, outcome)
        {
            return;
        }
        *ends = Ends::lookup(self, pages, packet);
        self.env.meet();
        if let Err(reason) = ends.check(self, pages, packet) {
            *outcome = Outcome::deny(ends, reason);
            return;
        }
        if ends.essential(self, packet) {
            *outcome = Outcome::essential(ends);
            return;
        }
        match (found, packet.kind) {
            (_, Kind::Arp) => *outcome = Outcome::deny(ends, Reason::UnsupportedEthertype),
            (_, Kind::IcmpError) => outcome.next = Next::Related,
            (Some(found), _) if found.flow.live(self.now, self.control.hz) => outcome.next = Next::Again,
            _ => {
                *ends = ends.before_translation(self.at);
                self.env.meet();
                self.open(pages, packet, ends, outcome);
            }
        }
    }

    /// A bare SYN can't belong to an established connection: it asks the policy first, so a flood does not pay for state.
    #[inline(always)]
    fn skips_state(&self, packet: &Packet) -> bool {
        matches!(packet.kind, Kind::Syn | Kind::Arp | Kind::IcmpError)
    }

    /// A frame that can't be trusted is counted where its addresses say, if it came that far.
    #[inline(always)]
    fn refuse_here(&self, packet: &Packet, reason: Reason, outcome: &mut Outcome) {
        *outcome = self.refuse_outcome(packet, reason);
    }

    #[inline(always)]
    fn refuse_outcome(&self, packet: &Packet, reason: Reason) -> Outcome {
        let ends = if packet.addressed { Ends::lookup(self, self.env, packet) } else { Ends::NOWHERE };
        Outcome::deny(&ends, reason)
    }
}
