//! One question to a policy and its answer, wherever the image stands. It asks what the packet path asks of a first
//! packet, in the same words, and a comparison with the loaded programs says whether it does.

use std::net::IpAddr;

use segd_common::addr::Addr;
use segd_common::env::Pages;
use segd_common::image::{Place, Root, RuleSet, slot, zone};
use segd_common::packet::{Essential, Kind, Packet, proto};
use segd_common::policy::{self, judge};
use segd_common::reason::{Reason, Verdict};

use super::first::first_packet;
use crate::policy::{Mode, Service};

/// May `src` open this to `dst`?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Initiator.
    pub src: IpAddr,
    /// Responder.
    pub dst: IpAddr,
    /// One protocol and port; see [`single`] for what a wider one asks.
    pub service: Service,
}

/// What becomes of a new connection, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it passes.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Why enforcement would have dropped it, when `reason` is `audit`; else the same as `reason`.
    pub would: Reason,
    /// Number of the rule that allows it, or that has run out.
    pub rule: Option<u32>,
    /// The initiator's zone.
    pub from_zone: u16,
    /// The responder's zone.
    pub to_zone: u16,
    /// `Audit`: the policy, or this pair of zones, is only watched.
    pub mode: Mode,
}

/// Protocol and key that a service is asked as: its lowest port; for all of ICMP a ping; for `any` a protocol for
/// experiments (RFC 3692), which no other service includes.
#[must_use]
pub const fn single(service: Service) -> (u8, u16) {
    match service {
        Service::Tcp(low, _) => (proto::TCP, low),
        Service::Udp(low, _) => (proto::UDP, low),
        Service::Sctp(low, _) => (proto::SCTP, low),
        Service::Icmp(None) => (proto::ICMP, 8),
        Service::Icmp(Some(kind)) => (proto::ICMP, kind as u16),
        Service::Icmpv6(None) => (proto::ICMPV6, 128),
        Service::Icmpv6(Some(kind)) => (proto::ICMPV6, kind as u16),
        Service::Proto(number) => (number, number as u16),
        Service::Any => (253, 253),
    }
}

/// Asks the image that `root` reaches in `pages`, at `now` (jiffies), about the first packet of a connection. Addresses that
/// can't be on the wire are refused as the spoof check does; which interface they come in by is not asked.
pub fn answer<P: Pages>(pages: &P, root: &Root, question: &Question, now: u64) -> Answer {
    let (proto, service) = single(question.service);
    let place = |address: IpAddr| root.place(pages, Addr::from(address));
    let (from, to) = (sender(place(question.src)), place(question.dst));
    let asked = Asked { pages, root, now, question: policy::Question { from, to, proto, service } };
    let mode = if asked.watched(from, to) { Mode::Audit } else { Mode::Enforce };
    let found = match first_packet(question.src, question.dst, proto, service) {
        Ok(packet) => asked.decide(&packet, question.src == question.dst),
        Err(reason) => Found::deny(reason),
    };
    let Found { reason, would, rule } = found.softened(root.flags & Root::AUDIT != 0);
    let rule = (rule != slot::NO_RULE).then_some(rule);
    Answer { verdict: reason.verdict(), reason, would, rule, from_zone: from.zone(), to_zone: to.zone(), mode }
}

/// What this machine sends is from `host`, and nothing else is known of it.
fn sender(place: Place) -> Place {
    if place.zone() == zone::HOST { Place(u32::from(zone::HOST)) } else { place }
}

/// What was found out.
struct Found {
    reason: Reason,
    would: Reason,
    rule: u32,
}

impl Found {
    const fn deny(reason: Reason) -> Self {
        Self { reason, would: reason, rule: slot::NO_RULE }
    }

    /// Passed where it is only watched.
    fn softened(self, watched: bool) -> Self {
        if watched { Self { reason: self.reason.watched(), ..self } } else { self }
    }
}

/// A question, and whom it is put to.
struct Asked<'a, P> {
    pages: &'a P,
    root: &'a Root,
    now: u64,
    question: policy::Question,
}

impl<P: Pages> Asked<'_, P> {
    /// The packet path's steps for a packet of no connection.
    fn decide(&self, packet: &Packet, to_itself: bool) -> Found {
        if self.is_impossible(packet, to_itself) {
            return Found::deny(Reason::SpoofedSource);
        }
        if self.is_essential(packet.essential) {
            return Found { reason: Reason::Essential, would: Reason::Essential, rule: slot::NO_RULE };
        }
        let judgement = judge(self.pages, self.root, &self.question, self.now);
        let belongs = match packet.kind {
            Kind::QueryReply | Kind::IcmpError => false,
            Kind::IcmpStray => judgement.allows(),
            _ => true,
        };
        if belongs {
            return Found { reason: judgement.reason, would: judgement.would, rule: judgement.rule };
        }
        let policy::Question { from, to, .. } = self.question;
        Found::deny(Reason::NoConnection).softened(self.watched(from, to) || self.watched(to, from))
    }

    /// What this machine sends is never looked at.
    fn is_impossible(&self, packet: &Packet, to_itself: bool) -> bool {
        let policy::Question { from, to, .. } = self.question;
        let essential = packet.essential as u8 != Essential::No as u8;
        if from.zone() == zone::HOST || (packet.key.src == Addr::ZERO && essential && !packet.claims) {
            return false;
        }
        let stays = to.is(Place::LINK_LOCAL) || to.is(Place::MULTICAST) || to.zone() == zone::HOST;
        let leaves_link = from.is(Place::LINK_LOCAL) && !packet.essential.finds_neighbours() && !stays;
        from.is(Place::BAD_SOURCE) || to.is(Place::BAD_DESTINATION) || to_itself || leaves_link
    }

    /// DHCP is known by the port that it is asked from, which nobody names here.
    fn is_essential(&self, shape: Essential) -> bool {
        let ours = self.question.from.zone() == zone::HOST;
        let fits = match shape {
            Essential::Ndp | Essential::Mld => true,
            Essential::NdpRouter => ours,
            _ => false,
        };
        fits && self.root.essentials & (1 << shape as u32) != 0
    }

    fn watched(&self, from: Place, to: Place) -> bool {
        let set = self.root.rule_set(self.pages, from.zone(), to.zone());
        let pair = RuleSet::read(self.pages, set, self.question.proto);
        self.root.flags & Root::AUDIT != 0 || pair.is_some_and(|set| set.audit)
    }
}
