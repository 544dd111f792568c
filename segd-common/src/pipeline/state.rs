//! Connections: riding on a live one, judging it again, opening a new one, and ICMP errors about one.

use super::ends::Ends;
use super::outcome::Next;
use super::{Context, Hook, Outcome};
use crate::env::{Env, Pages};
use crate::flow::{self, Birth, Direction, Flow, Found, State, flag};
use crate::image::{Locator, Place, Root, RuleSet, Slot, zone};
use crate::packet::{Kind, Packet, proto};
use crate::policy::{Judgement, Question, is_cut, judge};
use crate::reason::Reason;

impl<E: Env> Context<'_, E> {
    /// The fast path: a live connection of this generation, its slot not expired, its source known on this interface.
    /// Nothing else is asked. `false`: ask everything.
    #[inline(always)]
    pub(super) fn ride(&self, packet: &Packet, found: &Found<'_>, outcome: &mut Outcome) -> bool {
        let &Found { flow, direction } = found;
        let at_home = self.at.hook as u8 != Hook::Ingress as u8 || flow.interface(direction) == self.at.interface;
        if flow.generation.get() != self.root.generation || !at_home || !flow.live(self.now, self.control.hz) {
            return false;
        }
        if self.is_strangers(found) {
            return false;
        }
        let at = Locator(flow.slot.get());
        let Some(slot) = Slot::read(self.env, at) else { return false };
        if slot.expired(self.now) || !flow::advance(flow, direction, packet) {
            return false;
        }
        flow.touch(self.now, self.control.hz);
        if self.at.shortcut != 0 {
            outcome.direct = self.direct(packet, found);
        }
        let reply = direction as u8 == Direction::Reply as u8;
        let audit = slot.reason as u8 == Reason::Audit as u8;
        outcome.reason = if reply && !audit { Reason::Reply } else { slot.reason };
        outcome.would = if audit { Reason::NoRule } else { outcome.reason };
        outcome.from = flow.from.get();
        outcome.to = flow.to.get();
        outcome.src_zone = if reply { outcome.to } else { outcome.from };
        outcome.slot = at.0;
        outcome.rule = slot.rule;
        true
    }

    /// By which interface a packet may be redirected on its way in; 0: by none. On the way out it shows what the kernel makes of
    /// its side of the connection, and for the rest of the second those behind it follow: what the kernel begins to translate,
    /// to drop or to send elsewhere, it is asked about again at once.
    #[inline(always)]
    fn direct(&self, packet: &Packet, &Found { flow, direction }: &Found<'_>) -> u16 {
        let plain = flow.state.get() == State::Established as u8
            && flow.flags.get() & (flag::FIN_FROM | flag::FIN_TO) == 0
            && matches!(packet.key.proto, proto::TCP | proto::UDP)
            && flow.interface(direction) == self.at.shortcut;
        let second = self.now.checked_div(u64::from(self.control.hz)).unwrap_or(0);
        match self.at.hook {
            Hook::Ingress if plain && flow.leased(direction, second) => flow.interface(direction.other()),
            Hook::Forward
                if plain
                    && flow.interface(direction.other()) == self.at.interface
                    && self.at.stamp == super::stamp(packet) =>
            {
                flow.renew_lease(direction, second);
                0
            }
            Hook::Ingress | Hook::Forward | Hook::Local => 0,
        }
    }

    /// A live connection that the fast path did not take: another generation, another interface, an expired slot. The
    /// *initiator's* right is asked again, whoever sent this packet.
    #[inline(always)]
    pub(super) fn judge_again_here(&self, packet: &Packet, outcome: &mut Outcome) {
        let ends = &Ends::lookup(self, self.env, packet);
        match flow::find(self.env, &packet.key, packet.hash, self.control.bucket_mask) {
            Some(found) => *outcome = self.judge_again_outcome(packet, ends, &found),
            None => *outcome = self.stray_between(packet, ends),
        }
    }

    #[inline(always)]
    fn judge_again_outcome(&self, packet: &Packet, ends: &Ends, found: &Found<'_>) -> Outcome {
        let &Found { flow, direction } = found;
        let strangers = self.is_strangers(found);
        let (seen, to) = sides(ends, direction);
        let from = if strangers { seen } else { origin(flow, seen) };
        let judgement = self.rejudge(from, to, flow);
        let mut outcome = Outcome::judged(&judgement, from.zone(), to.zone(), ends.src.zone());
        outcome.reply = direction as u8 == Direction::Reply as u8;
        if !judgement.allows() {
            return outcome;
        }
        if !flow::advance(flow, direction, packet) {
            return self.stray_between(packet, ends);
        }
        // What a stranger may do is no word on the connection.
        if !strangers {
            flow.slot.set(judgement.slot.0);
            flow.from.set(outcome.from);
            flow.to.set(outcome.to);
            self.restamp(flow);
            if self.at.hook as u8 == Hook::Ingress as u8 {
                flow.set_interface(direction, self.at.interface);
            }
            flow.touch(self.now, self.control.hz);
        }
        if direction as u8 == Direction::Reply as u8 && judgement.reason as u8 != Reason::Audit as u8 {
            outcome.reason = Reason::Reply;
            outcome.would = Reason::Reply;
        }
        outcome
    }

    /// Gives a flow the current generation, unless another CPU is rewriting it. On which interfaces its sides may be seen is a
    /// question to the new policy: what the old one said is forgotten first.
    #[inline(always)]
    fn restamp(&self, flow: &Flow) {
        let old = flow.generation.get();
        if old != flow::BUSY && old != self.root.generation {
            flow.set_interface(Direction::Forward, 0);
            flow.set_interface(Direction::Reply, 0);
            self.env.swap_generation(&flow.generation, old, self.root.generation);
        }
    }

    /// Whether this packet only has the ends of a connection that somebody else has opened: this machine may send with an
    /// address that is not its own, as transparent proxies do. What a stranger's packet may do is asked of its own zones.
    #[inline(always)]
    fn is_strangers(&self, &Found { flow, direction }: &Found<'_>) -> bool {
        let opens = direction as u8 == Direction::Forward as u8;
        match self.at.hook {
            Hook::Local => opens && flow.from.get() != zone::HOST,
            Hook::Ingress => opens && is_in_anothers_name(flow),
            Hook::Forward => is_in_anothers_name(flow),
        }
    }

    #[inline(always)]
    fn rejudge(&self, from: Place, to: Place, flow: &Flow) -> Judgement {
        let question = Question { from, to, proto: flow.proto.get(), service: flow.service() };
        judge(self.env, self.root, &question, self.now)
    }

    /// A packet of no live connection.
    #[inline(always)]
    pub(super) fn open<P: Pages>(&self, pages: &P, packet: &Packet, ends: &Ends, outcome: &mut Outcome) {
        let may_open =
            packet.can_open() || self.trusted_midstream(packet) || packet.kind as u8 == Kind::IcmpStray as u8;
        if !may_open && !self.watched_midstream(packet, ends) {
            outcome.next = Next::Stray;
            return;
        }
        let forward = Question { from: ends.src, to: ends.dst, proto: packet.key.proto, service: packet.service };
        let judgement = judge(pages, self.root, &forward, self.now);
        *outcome = Outcome::judged(&judgement, ends.src.zone(), ends.dst.zone(), ends.src.zone());
        let opens = judgement.allows() && (may_open || judgement.reason as u8 != Reason::Audit as u8);
        outcome.next = if opens { Next::Admit } else { self.after_denial(pages, packet, ends) };
    }

    /// Whether a packet that was denied may be the responder's of a connection that was open before the first start, or
    /// while its pair was only watched.
    #[inline(always)]
    pub(super) fn may_adopt(&self, packet: &Packet, outcome: &Outcome) -> bool {
        if packet.kind as u8 == Kind::Segment as u8 && outcome.would as u8 == Reason::NoConnection as u8 {
            return self.adopting() || self.root.flags & Root::AUDIT != 0 || outcome.passes();
        }
        self.adopting()
            && matches!(outcome.reason, Reason::NoRule | Reason::NoConnection | Reason::Expired)
            && matches!(packet.kind, Kind::Plain | Kind::Segment)
            && has_ports(packet.key.proto)
    }

    /// Adopts it if the policy allows its initiator to open it. Outside the time of adoption only a rule's own word does: what
    /// is merely watched is told as belonging to nothing.
    #[inline(always)]
    pub(super) fn adopt_here(&self, packet: &Packet, birth: &Birth, outcome: &mut Outcome) {
        // A connection that is known was not open before the first start: what was said of it stands.
        if self.known(packet) {
            return;
        }
        let seen = Ends::lookup(self, self.env, packet);
        let ends = Ends { src: seen.dst, dst: seen.src };
        let question = Question { from: ends.src, to: ends.dst, proto: packet.key.proto, service: packet.key.sport };
        let judgement = judge(self.env, self.root, &question, self.now);
        if judgement.allows() && (self.adopting() || judgement.reason as u8 != Reason::Audit as u8) {
            *outcome = Outcome::judged(&judgement, ends.src.zone(), ends.dst.zone(), ends.dst.zone());
            self.admit_reply(packet, birth, outcome);
        }
    }

    /// Mid-stream packets count as first ones in two cases: connections that were open before the first start are adopted for
    /// a while, and a forwarded packet of unknown ends was judged on its way in and translated since. The reply to a query is
    /// never adopted: who asked asks again.
    #[inline(always)]
    fn trusted_midstream(&self, packet: &Packet) -> bool {
        (self.adopting() && packet.kind as u8 != Kind::QueryReply as u8)
            || (self.at.hook as u8 == Hook::Forward as u8 && self.at.tagged.is_some())
    }

    /// Where nothing is dropped yet, the connections that rules allow are taken in from their middle at any time: nobody saw
    /// them begin, and the switch to enforcement must not be what cuts them.
    #[inline(always)]
    fn watched_midstream(&self, packet: &Packet, ends: &Ends) -> bool {
        packet.kind as u8 == Kind::Segment as u8
            && (self.root.flags & Root::AUDIT != 0 || self.watched(ends.src, ends.dst, packet.key.proto))
    }

    #[inline(always)]
    fn adopting(&self) -> bool {
        self.now < self.control.adopt_until
    }

    /// What is to be asked of a packet that the policy denies. The words for a SYN against the grain of a live connection,
    /// and for ICMP that is never one's own, say that it belongs to nothing.
    #[inline(always)]
    fn after_denial<P: Pages>(&self, pages: &P, packet: &Packet, ends: &Ends) -> Next {
        match packet.kind {
            Kind::Segment | Kind::QueryReply | Kind::IcmpStray => Next::Stray,
            Kind::Syn if self.root.rule_set(pages, ends.dst.zone(), ends.src.zone()).0 != 0 => Next::Grain,
            _ => Next::Done,
        }
    }

    /// Whether the sender of this SYN is the responder of a live connection between the same ports.
    #[inline(always)]
    pub(super) fn grain_here(&self, packet: &Packet, outcome: &mut Outcome) {
        let found = flow::find(self.env, &packet.key, packet.hash, self.control.bucket_mask);
        if let Some(Found { flow, direction }) = found
            && direction as u8 == Direction::Reply as u8
            && flow.live(self.now, self.control.hz)
            && flow.state.get() != State::Closing as u8
        {
            self.stray_here(packet, outcome);
        }
    }

    /// Belongs to nothing. A pair that is only watched lets it pass.
    #[inline(always)]
    pub(super) fn stray_here(&self, packet: &Packet, outcome: &mut Outcome) {
        let ends = Ends::lookup(self, self.env, packet).before_translation(self.at);
        *outcome = self.stray_between(packet, &ends);
    }

    #[inline(always)]
    fn stray_between(&self, packet: &Packet, ends: &Ends) -> Outcome {
        if is_cut(self.env, self.root, ends.src, self.now) || is_cut(self.env, self.root, ends.dst, self.now) {
            return Outcome::deny(ends, Reason::Quarantined);
        }
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
    pub(super) fn related_here(&self, packet: &Packet, outcome: &mut Outcome) {
        *outcome = self.related_outcome(packet, &Ends::lookup(self, self.env, packet));
    }

    #[inline(always)]
    fn related_outcome(&self, packet: &Packet, ends: &Ends) -> Outcome {
        let hash = packet.quoted.hash(self.control.seed);
        let Some(Found { flow, direction }) = flow::find(self.env, &packet.quoted, hash, self.control.bucket_mask)
        else {
            return self.stray_between(packet, ends);
        };
        if !flow.live(self.now, self.control.hz) {
            return self.stray_between(packet, ends);
        }
        // Whoever is cut off says nothing about others' connections; an end of this one is judged below.
        if packet.key.src != packet.quoted.dst && is_cut(self.env, self.root, ends.src, self.now) {
            return Outcome::deny(ends, Reason::Quarantined);
        }
        let quoted = Ends { src: ends.dst, dst: self.root.place(self.env, packet.quoted.dst) };
        let (seen, to) = sides(&quoted, direction);
        let strangers = self.at.hook as u8 == Hook::Forward as u8 && is_in_anothers_name(flow);
        let from = if strangers { seen } else { origin(flow, seen) };
        let judgement = self.rejudge(from, to, flow);
        let mut outcome = Outcome::judged(&judgement, from.zone(), to.zone(), ends.src.zone());
        if judgement.allows() && judgement.reason as u8 != Reason::Audit as u8 {
            outcome.reason = Reason::Related;
            outcome.would = Reason::Related;
        }
        outcome
    }
}

/// How a connection begins.
struct Opening {
    state: State,
    reversed: bool,
}

impl Opening {
    /// Of a connection that begins in its middle, one side is still to be heard.
    #[inline(always)]
    const fn unheard(&self) -> u8 {
        match (self.state, self.reversed) {
            (State::Established, true) => flag::UNHEARD_FROM,
            (State::Established, false) => flag::UNHEARD_TO,
            _ => 0,
        }
    }
}

impl<E: Env> Context<'_, E> {
    /// Remembers the connection of a packet that `outcome` lets in.
    #[inline(always)]
    pub(super) fn admit_here(&self, packet: &Packet, birth: &Birth, outcome: &mut Outcome) {
        let midstream = packet.kind as u8 == Kind::Segment as u8 || packet.kind as u8 == Kind::QueryReply as u8;
        let state = if midstream { State::Established } else { State::HalfOpen };
        outcome.opened = self.remember(packet, birth, &Opening { state, reversed: false }, outcome);
        if !outcome.opened && !self.retried(packet) {
            self.full(packet, outcome);
        }
    }

    /// Adopts a connection by a packet of its responder's.
    #[inline(always)]
    fn admit_reply(&self, packet: &Packet, birth: &Birth, outcome: &mut Outcome) {
        let opening = Opening { state: State::Established, reversed: true };
        outcome.opened = self.remember(packet, birth, &opening, outcome);
        if !outcome.opened {
            return self.full(packet, outcome);
        }
        if outcome.reason as u8 != Reason::Audit as u8 {
            outcome.reason = Reason::Reply;
            outcome.would = Reason::Reply;
        }
    }

    #[inline(always)]
    fn full(&self, packet: &Packet, outcome: &mut Outcome) {
        outcome.refuse(Reason::TableFull);
        let (from, to) = (Place(u32::from(outcome.from)), Place(u32::from(outcome.to)));
        if self.watched(from, to, packet.key.proto) {
            *outcome = outcome.watched();
        }
    }

    /// Whether the connection is there already: a SYN that is sent again changes nothing in a live one, and the second packet
    /// of a flow may find that another CPU was quicker with the first.
    #[inline(always)]
    fn retried(&self, packet: &Packet) -> bool {
        packet.can_open() && self.known(packet)
    }

    /// Whether there is a live connection between the packet's ends.
    #[inline(always)]
    fn known(&self, packet: &Packet) -> bool {
        match flow::find(self.env, &packet.key, packet.hash, self.control.bucket_mask) {
            Some(found) => found.flow.live(self.now, self.control.hz),
            None => false,
        }
    }

    /// Writes the connection down. `false`: it is there already, or there is no room.
    #[inline(always)]
    fn remember(&self, packet: &Packet, birth: &Birth, opening: &Opening, outcome: &Outcome) -> bool {
        let initiator = if opening.reversed { packet.key.dst } else { packet.key.src };
        // Judged from another zone than its address now says: what translation made of it must not be asked again. On the way
        // in addresses are what they are.
        let translated =
            self.at.hook as u8 != Hook::Ingress as u8 && outcome.from != self.root.place(self.env, initiator).zone();
        birth.set_key(&packet.key);
        birth.reversed.set(opening.reversed);
        birth.hash.set(packet.hash);
        birth.state.set(opening.state);
        birth.flags.set(if translated { flag::TRANSLATED } else { 0 } | opening.unheard());
        birth.generation.set(self.root.generation);
        birth.slot.set(Locator(outcome.slot));
        birth.from.set(outcome.from);
        birth.to.set(outcome.to);
        birth.seq.set(packet.seq);
        birth.interface.set(if self.at.hook as u8 == Hook::Ingress as u8 { self.at.interface } else { 0 });
        birth.now.set(self.now);
        match flow::find(self.env, &packet.key, packet.hash, self.control.bucket_mask) {
            Some(found) => self.replace(found, birth),
            None => self.env.create(birth, self.control.bucket_mask, self.control.hz),
        }
    }

    /// The same ports again: a finished connection makes way for a new one; a live one stays as it is.
    #[inline(always)]
    fn replace(&self, found: Found<'_>, birth: &Birth) -> bool {
        let Found { flow, direction } = found;
        let over = flow.state.get() == State::Closing as u8 || !flow.live(self.now, self.control.hz);
        if over {
            return flow.reopen(self.env, birth);
        }
        if direction as u8 == Direction::Forward as u8 && !self.is_strangers(&found) {
            flow.slot.set(birth.slot.get().0);
            flow.from.set(birth.from.get());
            flow.to.set(birth.to.get());
            self.restamp(flow);
            // The way out knows no interface of the source's: what the way in found out stays.
            if birth.interface.get() != 0 {
                flow.if_from.set(birth.interface.get());
            }
            flow.touch(self.now, self.control.hz);
        }
        false
    }
}

/// The initiator's place: of a translated connection only the zone is known, and it stands in the entry.
#[inline(always)]
fn origin(flow: &Flow, seen: Place) -> Place {
    if flow.flags.get() & flag::TRANSLATED != 0 { Place(u32::from(flow.from.get())) } else { seen }
}

/// Whether this machine has opened it with an address that is not its own.
#[inline(always)]
fn is_in_anothers_name(flow: &Flow) -> bool {
    flow.flags.get() & flag::TRANSLATED != 0 && flow.from.get() == zone::HOST
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
