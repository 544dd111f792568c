//! One machine, one policy at a time, and every packet it has seen.

use std::collections::HashMap;
use std::net::IpAddr;

use super::address::{is_for_many, is_link_local, never_receives, never_sends};
use super::connection::{Connection, Connections, Key, State};
use super::datagram::{Datagram, Name};
use super::essential::Shape;
use super::frame::{self, Kind, Part, Seen};
use super::policy::{End, Mode, Policy, Said, Who};
use super::why::Why;

/// Where a packet is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// On its way in.
    Ingress,
    /// On its way out, started here.
    Local,
    /// On its way out, forwarded.
    Forward,
}

/// The same, and on which interface.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// Where.
    pub hook: Hook,
    /// Number of the interface.
    pub interface: u8,
    /// Its name.
    pub name: &'a str,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Why.
    pub why: Why,
    /// Zone of the initiator.
    pub from: Who,
    /// Zone of the responder.
    pub to: Who,
    /// The rule that lets it pass, by its number.
    pub rule: Option<u16>,
    /// It opened a connection.
    pub opened: bool,
    /// See [`Outcome::if_forgotten`].
    forgotten: Option<Forgotten>,
    /// Its IP protocol, if it could be read.
    pub protocol: Option<u8>,
    /// It belongs to nothing, whether it passes or not.
    stray: bool,
}

/// What a part of a datagram gets if nothing is known of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Forgotten {
    name: Name,
    /// The first part of it, whose outcome the rest gets.
    first: Option<(Part, (u16, u16))>,
    why: Why,
    from: Who,
    to: Who,
    rule: Option<u16>,
    opened: bool,
}

impl Outcome {
    fn of(why: Why, from: Who, to: Who) -> Self {
        Self { why, from, to, rule: None, opened: false, forgotten: None, protocol: None, stray: false }
    }

    fn said(said: Said, from: Who, to: Who) -> Self {
        Self { rule: said.rule, ..Self::of(said.why, from, to) }
    }

    fn refused(self) -> Self {
        Self { why: Why::Fragment, rule: None, opened: false, ..self }
    }

    fn watched(self) -> Self {
        let soften = |why: Why| if why.passes() { why } else { Why::Audit };
        let forgotten = self.forgotten.map(|forgotten| Forgotten { why: soften(forgotten.why), ..forgotten });
        Self { why: soften(self.why), forgotten, ..self }
    }

    /// The same packet if its datagram was forgotten, as a small table of these may.
    #[must_use]
    pub fn if_forgotten(&self) -> Option<Self> {
        let Forgotten { why, from, to, rule, opened, .. } = self.forgotten?;
        Some(Self { why, from, to, rule, opened, ..*self })
    }

    /// A first part that is refused for what came before it.
    fn refused_for(self, name: Name, part: Part, ports: (u16, u16)) -> Self {
        let Self { why, from, to, rule, opened, .. } = self;
        let first = why.passes().then_some((part, ports));
        Self { forgotten: Some(Forgotten { name, first, why, from, to, rule, opened }), ..self.refused() }
    }
}

/// The machine.
#[derive(Clone, Debug)]
pub struct World {
    policy: Policy,
    generation: u64,
    connections: Connections,
    datagrams: HashMap<Name, Datagram>,
    /// Connections that were open before the first start are taken over.
    pub adopting: bool,
}

#[derive(Clone, Copy)]
struct Ends {
    src: End,
    dst: End,
}

impl World {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(policy: Policy, adopting: bool) -> Self {
        Self { policy, generation: 1, connections: Connections::default(), datagrams: HashMap::new(), adopting }
    }

    /// Another policy is in force.
    pub fn publish(&mut self, policy: Policy) {
        self.policy = policy;
        self.generation += 1;
    }

    /// The policy in force.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The datagram of the packet that was judged last had been forgotten.
    pub fn forget(&mut self, at: Sight<'_>, outcome: &Outcome) {
        let (Some(Forgotten { name, first, .. }), Some(outcome)) = (outcome.forgotten, outcome.if_forgotten()) else {
            return;
        };
        self.datagrams.remove(&name);
        if let Some((part, ports)) = first {
            let mut datagram = Datagram::new(outcome, self.generation, at.interface, ports);
            datagram.add(part);
            self.datagrams.insert(name, datagram);
        }
    }

    /// Whether the policy in force drops nothing at all.
    #[must_use]
    pub fn only_watches(&self) -> bool {
        self.policy.mode == Mode::Audit
    }

    /// What becomes of this frame.
    pub fn judge(&mut self, at: Sight<'_>, bytes: &[u8]) -> Outcome {
        let outcome = match frame::read(bytes) {
            Err(refused) => {
                let ends = refused.ends.map(|(src, dst)| self.ends(at, src, dst));
                let (from, to) = ends.map_or((Who::Unzoned, Who::Unzoned), |ends| (ends.src.zone, ends.dst.zone));
                Outcome::of(refused.why, from, to)
            }
            Ok(seen) => Outcome { protocol: Some(seen.key.protocol), ..self.judge_seen(at, &seen) },
        };
        // A policy that only watches drops nothing, whatever the reason.
        if self.only_watches() { outcome.watched() } else { outcome }
    }

    fn judge_seen(&mut self, at: Sight<'_>, seen: &Seen) -> Outcome {
        match seen.part {
            Some(part) if part.start > 0 => self.later_part(at, seen, part),
            part => {
                let outcome = self.whole(at, seen);
                let outcome = self.adopt(at, seen, outcome);
                part.map_or(outcome, |part| self.first_part(at, seen, part, outcome))
            }
        }
    }

    fn ends(&self, at: Sight<'_>, src: IpAddr, dst: IpAddr) -> Ends {
        let ours = End { zone: Who::Host, failsafe: false };
        let src = if at.hook == Hook::Local { ours } else { self.policy.end(src) };
        Ends { src, dst: self.policy.end(dst) }
    }

    fn whole(&mut self, at: Sight<'_>, seen: &Seen) -> Outcome {
        let ends = self.ends(at, seen.key.src, seen.key.dst);
        let (from, to) = (ends.src.zone, ends.dst.zone);
        if at.hook == Hook::Ingress && self.is_spoofed(at, seen, ends) {
            return Outcome::of(Why::SpoofedSource, from, to);
        }
        if self.is_essential(at, seen, to) {
            return Outcome::of(Why::Essential, from, to);
        }
        match seen.kind {
            Kind::Arp => return Outcome::of(Why::UnsupportedEthertype, from, to),
            Kind::Error => return self.related(at, seen, ends),
            Kind::Syn => {}
            _ => {
                if let Some((key, reply)) = self.connections.find(seen.key) {
                    return self.goes_on(at, seen, ends, key, reply);
                }
            }
        }
        self.opens(at, seen, ends)
    }

    /// On the way in an address is a claim.
    fn is_spoofed(&self, at: Sight<'_>, seen: &Seen, ends: Ends) -> bool {
        let (src, dst) = (seen.key.src, seen.key.dst);
        let essential = seen.shape.is_some();
        if src.is_unspecified() && essential && seen.claim.is_none() {
            return false;
        }
        let finds_neighbours = matches!(seen.shape, Some(Shape::Arp | Shape::Neighbours | Shape::Router));
        let stays_on_link = is_link_local(dst) || is_for_many(dst) || ends.dst.zone == Who::Host;
        if never_sends(src)
            || never_receives(dst)
            || ends.src.zone == Who::Host
            || (src == dst && seen.kind != Kind::Arp)
            || (is_link_local(src) && !finds_neighbours && !stays_on_link)
        {
            return true;
        }
        // A wrong list of interfaces must not lock the failsafe out; elsewhere its addresses are worth no more than others.
        let excused = essential || self.policy.is_failsafe_service(seen.key.protocol, seen.service);
        let seen_here = |end: End| self.policy.may_be_seen(end.zone, at.name) || (end.failsafe && excused);
        let claim = seen.claim.map(|claim| self.policy.end(claim));
        !seen_here(ends.src) || claim.is_some_and(|claim| claim.zone == Who::Host || !seen_here(claim))
    }

    fn is_essential(&self, at: Sight<'_>, seen: &Seen, to: Who) -> bool {
        let Some(shape) = seen.shape.filter(|shape| self.policy.essentials.contains(&shape.word())) else {
            return false;
        };
        let (ours, for_many) = (at.hook == Hook::Local, is_for_many(seen.key.dst));
        match shape {
            Shape::Arp | Shape::Neighbours | Shape::Listeners => true,
            Shape::Router => ours,
            Shape::Asks => ours || for_many || to == Who::Host,
            Shape::Offers => at.hook != Hook::Forward || for_many,
        }
    }

    /// A packet of a connection that is known: its initiator's right is asked again, whoever sent the packet.
    fn goes_on(&mut self, at: Sight<'_>, seen: &Seen, ends: Ends, key: Key, reply: bool) -> Outcome {
        let (from, to) = if reply { (ends.dst, ends.src) } else { (ends.src, ends.dst) };
        let Some(connection) = self.connections.get(key) else { return self.stray(ends) };
        let strangers = connection.is_strangers(at.hook, reply);
        let from = if strangers { from } else { connection.origin(from) };
        let said = self.policy.says(from, to, key.protocol, connection.service);
        let outcome = Outcome::said(said, from.zone, to.zone);
        if !said.why.passes() {
            return outcome;
        }
        if !connection.takes(seen, reply) {
            return self.stray(ends);
        }
        if !strangers {
            connection.from = from.zone;
        }
        let why = if reply && said.why != Why::Audit { Why::Reply } else { said.why };
        Outcome { why, ..outcome }
    }

    /// A packet of no connection.
    fn opens(&mut self, at: Sight<'_>, seen: &Seen, mut ends: Ends) -> Outcome {
        // Forwarded with our own address, and nobody has noted where it came from: it is no packet of ours.
        if at.hook == Hook::Forward && ends.src.zone == Who::Host {
            ends.src = End { zone: Who::Unzoned, failsafe: false };
        }
        // The answer to a query is never adopted: who asked asks again.
        let midstream = seen.kind == Kind::Answer || (seen.kind == Kind::Segment && !self.adopting);
        // Where nothing is dropped yet, connections that a rule allows are taken in from their middle at any time.
        let watched = seen.kind == Kind::Segment && self.policy.is_watched(ends.src.zone, ends.dst.zone);
        if midstream && !watched {
            return self.stray(ends);
        }
        let said = self.policy.says(ends.src, ends.dst, seen.key.protocol, seen.service);
        let outcome = Outcome::said(said, ends.src.zone, ends.dst.zone);
        if said.why.passes() && !(midstream && said.why == Why::Audit) {
            return Outcome { opened: self.remember(at, seen, ends.src.zone), ..outcome };
        }
        let belongs_to_nothing = match seen.kind {
            Kind::Segment | Kind::Answer | Kind::Stray => true,
            Kind::Syn => self.is_against_the_grain(seen.key, ends),
            _ => false,
        };
        if belongs_to_nothing { self.stray(ends) } else { outcome }
    }

    /// A live connection stays as it is when its SYN comes again; a finished one makes way.
    fn remember(&mut self, at: Sight<'_>, seen: &Seen, from: Who) -> bool {
        if let Some((key, reply)) = self.connections.find(seen.key)
            && let Some(connection) = self.connections.get(key)
            && connection.state != State::Closing
        {
            if !reply && !connection.is_strangers(at.hook, reply) {
                connection.from = from;
            }
            return false;
        }
        let midstream = matches!(seen.kind, Kind::Segment | Kind::Answer);
        let state = if midstream { State::Established } else { State::HalfOpen };
        let mut connection = Connection::begun(seen, seen.service, state, false, from);
        connection.renamed = from != self.policy.zone_of(seen.key.src);
        self.connections.open(seen.key, connection);
        true
    }

    /// A SYN from the responder of a live connection is no reply. Where nothing is allowed either way, nobody looks.
    fn is_against_the_grain(&mut self, key: Key, ends: Ends) -> bool {
        let spoken_of = self.policy.speaks_of(ends.dst.zone, ends.src.zone);
        let Some((initiator, true)) = self.connections.find(key) else { return false };
        spoken_of && self.connections.get(initiator).is_some_and(|connection| connection.state != State::Closing)
    }

    /// An ICMP error about a connection.
    fn related(&mut self, at: Sight<'_>, seen: &Seen, ends: Ends) -> Outcome {
        let Some(quoted) = seen.quoted else { return self.stray(ends) };
        let Some((key, reply)) = self.connections.find(quoted) else { return self.stray(ends) };
        let Some(connection) = self.connections.get(key).copied() else { return self.stray(ends) };
        let other = self.policy.end(quoted.dst);
        let (from, to) = if reply { (other, ends.dst) } else { (ends.dst, other) };
        let strangers = at.hook == Hook::Forward && connection.is_in_anothers_name();
        let from = if strangers { from } else { connection.origin(from) };
        let said = self.policy.says(from, to, key.protocol, connection.service);
        let related = said.why.passes() && said.why != Why::Audit;
        let why = if related { Why::Related } else { said.why };
        Outcome { why, ..Outcome::said(said, from.zone, to.zone) }
    }

    /// Belongs to nothing. Between zones that are only watched it passes.
    fn stray(&self, ends: Ends) -> Outcome {
        let (from, to) = (ends.src.zone, ends.dst.zone);
        let outcome = Outcome { stray: true, ..Outcome::of(Why::NoConnection, from, to) };
        if self.policy.is_watched(from, to) || self.policy.is_watched(to, from) { outcome.watched() } else { outcome }
    }

    /// A packet of the responder of a connection that was open before the first start, or while its pair was only watched.
    fn adopt(&mut self, at: Sight<'_>, seen: &Seen, outcome: Outcome) -> Outcome {
        let denied = matches!(outcome.why, Why::NoRule | Why::NoConnection | Why::Expired);
        let fits = matches!(seen.kind, Kind::Plain | Kind::Segment) && matches!(seen.key.protocol, 6 | 17 | 132);
        let watched = outcome.why.passes() || self.policy.mode == Mode::Audit;
        let may_be_adopted = if seen.kind == Kind::Segment && outcome.stray {
            self.adopting || watched
        } else {
            self.adopting && denied && fits
        };
        if !may_be_adopted || self.connections.find(seen.key).is_some() {
            return outcome;
        }
        let ends = self.ends(at, seen.key.src, seen.key.dst);
        let said = self.policy.says(ends.dst, ends.src, seen.key.protocol, seen.key.sport);
        // Later only a rule's own word does: what is merely watched belongs to nothing.
        if !said.why.passes() || (said.why == Why::Audit && !self.adopting) {
            return outcome;
        }
        let connection = Connection::begun(seen, seen.key.sport, State::Established, true, ends.dst.zone);
        self.connections.open(seen.key.reversed(), connection);
        let why = if said.why == Why::Audit { Why::Audit } else { Why::Reply };
        Outcome { why, opened: true, ..Outcome::said(said, ends.dst.zone, ends.src.zone) }
    }

    fn first_part(&mut self, at: Sight<'_>, seen: &Seen, part: Part, outcome: Outcome) -> Outcome {
        let name = Name::of(at, seen, part);
        let ports = (seen.key.sport, seen.key.dport);
        let known = self.datagrams.get_mut(&name).filter(|datagram| !datagram.is_finished());
        match known {
            Some(datagram) if datagram.ports != ports => {
                datagram.dead = true;
                return outcome.refused_for(name, part, ports);
            }
            _ if !outcome.why.passes() => return outcome,
            Some(datagram) => {
                if datagram.generation != self.generation {
                    datagram.outcome = outcome;
                    datagram.generation = self.generation;
                    datagram.interface = at.interface;
                }
            }
            None => {
                let datagram = Datagram::new(outcome, self.generation, at.interface, ports);
                self.datagrams.insert(name, datagram);
            }
        }
        match self.datagrams.get_mut(&name).map(|datagram| datagram.add(part)) {
            Some(true) => outcome,
            _ => outcome.refused_for(name, part, ports),
        }
    }

    fn later_part(&mut self, at: Sight<'_>, seen: &Seen, part: Part) -> Outcome {
        let name = Name::of(at, seen, part);
        let generation = self.generation;
        let ends = self.ends(at, seen.key.src, seen.key.dst);
        let of_nothing = Outcome::of(Why::NoConnection, ends.src.zone, ends.dst.zone);
        let known = self.datagrams.get_mut(&name).filter(|datagram| {
            datagram.generation == generation && (datagram.interface == at.interface || at.hook != Hook::Ingress)
        });
        let Some(datagram) = known else { return of_nothing };
        let Outcome { why, from, to, rule, opened, .. } = of_nothing;
        let forgotten = Some(Forgotten { name, first: None, why, from, to, rule, opened });
        let outcome = Outcome { opened: false, forgotten, ..datagram.outcome };
        if datagram.add(part) { outcome } else { outcome.refused() }
    }
}

impl Connection {
    /// Its initiator: where its address says, unless it was judged by something else.
    fn origin(&self, seen: End) -> End {
        if self.renamed { End { zone: self.from, failsafe: false } } else { seen }
    }

    /// This machine has opened it with an address that is not its own.
    fn is_in_anothers_name(&self) -> bool {
        self.renamed && self.from == Who::Host
    }

    /// The packet comes from somebody else than the end of the connection whose address it has.
    fn is_strangers(&self, hook: Hook, reply: bool) -> bool {
        match hook {
            Hook::Local => !reply && self.from != Who::Host,
            Hook::Ingress => !reply && self.is_in_anothers_name(),
            Hook::Forward => self.is_in_anothers_name(),
        }
    }
}

impl Name {
    fn of(at: Sight<'_>, seen: &Seen, part: Part) -> Self {
        let Key { src, dst, protocol, .. } = seen.key;
        // RFC 8200, 4.5: of IPv6 datagrams the protocol is no part of the name.
        let protocol = src.is_ipv4().then_some(protocol);
        Self { src, dst, id: part.id, protocol, outgoing: at.hook != Hook::Ingress }
    }
}
