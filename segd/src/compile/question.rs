//! One question to a policy and its answer, wherever the image stands. It adds nothing to the packet path's decision.

use std::net::IpAddr;

use segd_common::addr::Addr;
use segd_common::env::Pages;
use segd_common::image::{Place, Root, RuleSet, slot, zone};
use segd_common::packet::proto;
use segd_common::policy::{self, judge};
use segd_common::reason::{Reason, Verdict};

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

/// Asks the image that `root` reaches in `pages`, at `now` (jiffies). Addresses that can't be on the wire are refused as
/// the spoof check does; which interface they come in by is not asked.
pub fn answer<P: Pages>(pages: &P, root: &Root, question: &Question, now: u64) -> Answer {
    let (from, to) = (root.place(pages, Addr::from(question.src)), root.place(pages, Addr::from(question.dst)));
    let (proto, service) = single(question.service);
    let watched = root.flags & Root::AUDIT != 0;
    let pair = RuleSet::read(pages, root.rule_set(pages, from.zone(), to.zone()), proto);
    let mode = if watched || pair.is_some_and(|set| set.audit) { Mode::Audit } else { Mode::Enforce };
    let (reason, would, rule) = if impossible(from, to) {
        let reason = if watched { Reason::Audit } else { Reason::SpoofedSource };
        (reason, Reason::SpoofedSource, slot::NO_RULE)
    } else {
        let judgement = judge(pages, root, &policy::Question { from, to, proto, service }, now);
        (judgement.reason, judgement.would, judgement.rule)
    };
    let rule = (rule != slot::NO_RULE).then_some(rule);
    Answer { verdict: reason.verdict(), reason, would, rule, from_zone: from.zone(), to_zone: to.zone(), mode }
}

/// What this machine sends itself is never looked at.
const fn impossible(from: Place, to: Place) -> bool {
    from.zone() != zone::HOST && (from.is(Place::BAD_SOURCE) || to.is(Place::BAD_DESTINATION))
}
