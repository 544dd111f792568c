//! Connections: riding on a live one, judging it again, opening a new one, and ICMP errors about one.

use super::ends::Ends;
use super::{Context, Hook, Outcome};
use crate::env::Env;
use crate::flow::{self, Birth, Direction, Flow, Found, State, flag};
use crate::image::{Place, RuleSet, Slot};
use crate::packet::{Kind, Packet, proto};
use crate::policy::{Judgement, Question, judge};
use crate::reason::Reason;

impl<E: Env> Context<'_, E> {
    /// The fast path: a live connection of this generation, its slot not expired, its source known on this interface.
    /// Nothing else is asked. `None`: ask everything.
    #[inline(always)]
    pub(super) fn ride(&self, packet: &Packet, found: Found<'_>) -> Option<Outcome> {
        let Found { flow, direction } = found;
        let at_home = self.at.hook as u8 != Hook::Ingress as u8 || flow.interface(direction) == self.at.interface;
        if flow.generation.get() != self.root.generation || !at_home || !flow.live(self.now, self.control.hz) {
            return None;
        }
        let at = crate::image::Locator(flow.slot.get());
        let slot = Slot::read(self.env, at)?;
        if slot.expired(self.now) || !flow::advance(flow, direction, packet) {
            return None;
        }
        flow.touch(self.now, self.control.hz);
        let (from, to) = (flow.from.get(), flow.to.get());
        let reply = direction as u8 == Direction::Reply as u8;
        let audit = slot.reason as u8 == Reason::Audit as u8;
        let reason = if reply && !audit { Reason::Reply } else { slot.reason };
        Some(Outcome {
            reason,
            would: if audit { Reason::NoRule } else { reason },
            from,
            to,
            src_zone: if reply { to } else { from },
            slot: at.0,
            rule: slot.rule,
            opened: false,
            log: false,
        })
    }

    /// A live connection that the fast path did not take: another generation, another interface, an expired slot. The
    /// *initiator's* right is asked again, whoever sent this packet.
    #[inline(always)]
    pub(super) fn judge_again(&self, packet: &Packet, ends: &Ends, found: Found<'_>) -> Outcome {
        let Found { flow, direction } = found;
        let judgement = self.rejudge(ends, flow, direction);
        let (from, to) = sides(ends, direction);
        let mut outcome = Outcome::judged(&judgement, self.origin(flow, from).zone(), to.zone(), ends.src.zone());
        if !judgement.allows() {
            return outcome;
        }
        if !flow::advance(flow, direction, packet) {
            return self.stray(packet, ends);
        }
        flow.slot.set(judgement.slot.0);
        flow.from.set(outcome.from);
        flow.to.set(outcome.to);
        if self.at.hook as u8 == Hook::Ingress as u8 {
            flow.set_interface(direction, self.at.interface);
        }
        flow.touch(self.now, self.control.hz);
        self.restamp(flow);
        if direction as u8 == Direction::Reply as u8 && judgement.reason as u8 != Reason::Audit as u8 {
            outcome.reason = Reason::Reply;
            outcome.would = Reason::Reply;
        }
        outcome
    }

    /// Gives a flow the current generation, unless another CPU is rewriting it.
    #[inline(always)]
    fn restamp(&self, flow: &Flow) {
        let old = flow.generation.get();
        if old != flow::BUSY && old != self.root.generation {
            self.env.swap_generation(&flow.generation, old, self.root.generation);
        }
    }

    /// The initiator's place: of a translated connection only the zone is known, and it stands in the entry.
    #[inline(always)]
    fn origin(&self, flow: &Flow, seen: Place) -> Place {
        if flow.flags.get() & flag::TRANSLATED != 0 { Place(u32::from(flow.from.get())) } else { seen }
    }

    #[inline(always)]
    fn rejudge(&self, ends: &Ends, flow: &Flow, direction: Direction) -> Judgement {
        let (from, to) = sides(ends, direction);
        let from = self.origin(flow, from);
        let question = Question { from, to, proto: flow.proto.get(), service: flow.service() };
        judge(self.env, self.root, &question, self.now)
    }

    /// A packet of no live connection.
    #[inline(always)]
    pub(super) fn open(&self, packet: &Packet, ends: &Ends, hash: u64) -> Outcome {
        if !packet.can_open() && !self.trusted_midstream() && packet.kind as u8 != Kind::IcmpStray as u8 {
            return self.stray(packet, ends);
        }
        let forward = Question { from: ends.src, to: ends.dst, proto: packet.key.proto, service: packet.service };
        let judgement = judge(self.env, self.root, &forward, self.now);
        if judgement.allows() {
            return self.admit(packet, &Opening { ends: *ends, hash, judgement, reversed: false });
        }
        if self.adopting() {
            let back = Ends { src: ends.dst, dst: ends.src };
            let question = Question { from: back.src, to: back.dst, proto: packet.key.proto, service: packet.key.sport };
            let judgement = judge(self.env, self.root, &question, self.now);
            if judgement.allows() && !matches!(packet.kind, Kind::Syn | Kind::Query) && has_ports(packet.key.proto) {
                return self.admit_reply(packet, &Opening { ends: back, hash, judgement, reversed: true });
            }
        }
        self.denied(packet, ends, hash, &judgement)
    }

    /// Mid-stream segments count as first packets in two cases: connections that were open before the first start are
    /// adopted for a while, and a forwarded packet of unknown ends was judged on its way in and translated since.
    #[inline(always)]
    fn trusted_midstream(&self) -> bool {
        self.adopting() || (self.at.hook as u8 == Hook::Forward as u8 && self.at.tagged.is_some())
    }

    #[inline(always)]
    fn adopting(&self) -> bool {
        self.now < self.control.adopt_until
    }

    /// Denied by policy. The words for a SYN against the grain of a live connection, and for ICMP that is never one's
    /// own, say that it belongs to nothing.
    #[inline(always)]
    fn denied(&self, packet: &Packet, ends: &Ends, hash: u64, judgement: &Judgement) -> Outcome {
        let stray = match packet.kind {
            Kind::Segment | Kind::QueryReply | Kind::IcmpStray => true,
            Kind::Syn => self.against_the_grain(packet, ends, hash),
            _ => false,
        };
        if stray {
            return self.stray(packet, ends);
        }
        Outcome::judged(judgement, ends.src.zone(), ends.dst.zone(), ends.src.zone())
    }

    /// Whether the sender of this SYN is the responder of a live connection between the same ports.
    #[inline(always)]
    fn against_the_grain(&self, packet: &Packet, ends: &Ends, hash: u64) -> bool {
        if self.root.rule_set(self.env, ends.dst.zone(), ends.src.zone()).0 == 0 {
            return false;
        }
        match flow::find(self.env, &packet.key, hash, self.control.bucket_mask) {
            Some(found) => {
                let reply = found.direction as u8 == Direction::Reply as u8;
                reply && found.flow.live(self.now, self.control.hz) && found.flow.state.get() != State::Closing as u8
            }
            None => false,
        }
    }

    /// Belongs to nothing. A pair that is only watched lets it pass.
    #[inline(always)]
    fn stray(&self, packet: &Packet, ends: &Ends) -> Outcome {
        let outcome = Outcome::deny(ends, Reason::NoConnection);
        if self.watched(ends.src, ends.dst, packet.key.proto) || self.watched(ends.dst, ends.src, packet.key.proto) {
            return outcome.watched();
        }
        outcome
    }

    #[inline(always)]
    fn watched(&self, from: Place, to: Place, protocol: u8) -> bool {
        let at = self.root.rule_set(self.env, from.zone(), to.zone());
        matches!(RuleSet::read(self.env, at, protocol), Some(set) if set.audit)
    }

    /// An ICMP error about a live connection. It goes to the sender of the packet that it quotes: the parser saw to that.
    #[inline(always)]
    pub(super) fn related(&self, packet: &Packet, ends: &Ends) -> Outcome {
        let hash = packet.quoted.hash(self.control.seed);
        let Some(Found { flow, direction }) = flow::find(self.env, &packet.quoted, hash, self.control.bucket_mask) else {
            return self.stray(packet, ends);
        };
        if !flow.live(self.now, self.control.hz) {
            return self.stray(packet, ends);
        }
        let quoted = Ends { src: ends.dst, dst: self.root.place(self.env, packet.quoted.dst) };
        let judgement = self.rejudge(&quoted, flow, direction);
        let (from, to) = sides(&quoted, direction);
        let from = self.origin(flow, from);
        let mut outcome = Outcome::judged(&judgement, from.zone(), to.zone(), ends.src.zone());
        if judgement.allows() && judgement.reason as u8 != Reason::Audit as u8 {
            outcome.reason = Reason::Related;
            outcome.would = Reason::Related;
        }
        outcome
    }
}

/// A connection about to be opened: the initiator's side first.
struct Opening {
    ends: Ends,
    hash: u64,
    judgement: Judgement,
    reversed: bool,
}

impl<E: Env> Context<'_, E> {
    /// Lets a packet in that the policy allows, and remembers its connection.
    #[inline(always)]
    fn admit(&self, packet: &Packet, opening: &Opening) -> Outcome {
        let midstream = packet.kind as u8 == Kind::Segment as u8 || packet.kind as u8 == Kind::QueryReply as u8;
        let state = if midstream { State::Established } else { State::HalfOpen };
        let (src, dst) = (opening.ends.src.zone(), opening.ends.dst.zone());
        let mut outcome = Outcome::judged(&opening.judgement, src, dst, src);
        outcome.opened = self.remember(packet, opening, state);
        if !outcome.opened && !self.retried(packet, opening) {
            return self.full(packet, &opening.ends);
        }
        outcome
    }

    /// Adopts a connection by a packet of its responder's.
    #[inline(always)]
    fn admit_reply(&self, packet: &Packet, opening: &Opening) -> Outcome {
        let (from, to) = (opening.ends.src.zone(), opening.ends.dst.zone());
        let mut outcome = Outcome::judged(&opening.judgement, from, to, to);
        outcome.opened = self.remember(packet, opening, State::Established);
        if !outcome.opened {
            return self.full(packet, &opening.ends);
        }
        if outcome.reason as u8 != Reason::Audit as u8 {
            outcome.reason = Reason::Reply;
            outcome.would = Reason::Reply;
        }
        outcome
    }

    #[inline(always)]
    fn full(&self, packet: &Packet, ends: &Ends) -> Outcome {
        let outcome = Outcome::deny(ends, Reason::TableFull);
        if self.watched(ends.src, ends.dst, packet.key.proto) { outcome.watched() } else { outcome }
    }

    /// Whether the connection is there already: a SYN that is sent again changes nothing in a live one.
    #[inline(always)]
    fn retried(&self, packet: &Packet, opening: &Opening) -> bool {
        if packet.kind as u8 != Kind::Syn as u8 {
            return false;
        }
        match flow::find(self.env, &packet.key, opening.hash, self.control.bucket_mask) {
            Some(found) => found.flow.live(self.now, self.control.hz),
            None => false,
        }
    }

    /// Writes the connection down. `false`: it is there already, or there is no room.
    #[inline(always)]
    fn remember(&self, packet: &Packet, opening: &Opening, state: State) -> bool {
        let translated = self.at.tagged.is_some_and(|zone| zone != self.root.place(self.env, packet.key.src).zone());
        let birth = Birth {
            key: &packet.key,
            reversed: opening.reversed,
            hash: opening.hash,
            state,
            flags: if translated { flag::TRANSLATED } else { 0 },
            generation: self.root.generation,
            slot: opening.judgement.slot,
            from: opening.ends.src.zone(),
            to: opening.ends.dst.zone(),
            seq: packet.seq,
            interface: if self.at.hook as u8 == Hook::Ingress as u8 { self.at.interface } else { 0 },
            now: self.now,
        };
        match flow::find(self.env, &packet.key, opening.hash, self.control.bucket_mask) {
            Some(found) => self.replace(found, &birth),
            None => flow::create(self.env, &birth, self.control.bucket_mask, self.control.hz),
        }
    }

    /// The same ports again: a finished connection makes way for a new one; a live one stays as it is.
    #[inline(always)]
    fn replace(&self, found: Found<'_>, birth: &Birth<'_>) -> bool {
        let Found { flow, direction } = found;
        let over = flow.state.get() == State::Closing as u8 || !flow.live(self.now, self.control.hz);
        if over {
            return flow.reopen(self.env, birth);
        }
        if direction as u8 == Direction::Forward as u8 {
            flow.slot.set(birth.slot.0);
            flow.from.set(birth.from);
            flow.to.set(birth.to);
            flow.if_from.set(birth.interface);
            flow.touch(self.now, self.control.hz);
            self.restamp(flow);
        }
        false
    }
}

/// Initiator's and responder's place.
#[inline(always)]
fn sides(ends: &Ends, direction: Direction) -> (Place, Place) {
    if direction as u8 == Direction::Forward as u8 { (ends.src, ends.dst) } else { (ends.dst, ends.src) }
}

#[inline(always)]
const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, proto::TCP | proto::UDP | proto::SCTP)
}
