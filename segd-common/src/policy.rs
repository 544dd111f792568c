//! The decision function: who may open what to whom. The kernel programs, `explain`, `diff` and the policy's tests all
//! call this one.

use crate::env::Pages;
use crate::image::{Locator, Place, Root, RuleSet, Slot, slot, zone};
use crate::packet::proto;
use crate::reason::{Reason, Verdict};

/// May `from` open this to `to`?
#[derive(Clone, Copy, Debug)]
#[repr(align(8))]
pub struct Question {
    /// The initiator's place.
    pub from: Place,
    /// The responder's place.
    pub to: Place,
    /// IP protocol.
    pub proto: u8,
    /// Destination port, ICMP type or protocol number.
    pub service: u16,
}

/// The answer, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(8))]
pub struct Judgement {
    /// Why.
    pub reason: Reason,
    /// Why enforcement would have dropped it, when `reason` is `audit`; else the same as `reason`.
    pub would: Reason,
    /// The slot that allows it; [`Locator::NONE`] when it is denied.
    pub slot: Locator,
    /// The rule that allows it, or that has run out; [`slot::NO_RULE`] when there is none.
    pub rule: u32,
    /// An event for each connection.
    pub log: bool,
}

impl Judgement {
    /// Whether it may be opened.
    #[inline(always)]
    #[must_use]
    pub fn allows(&self) -> bool {
        self.reason.verdict() == Verdict::Allow
    }

    #[inline(always)]
    const fn deny(reason: Reason, rule: u32) -> Self {
        Self { reason, would: reason, slot: Locator::NONE, rule, log: false }
    }

    #[inline(always)]
    const fn allow(at: Locator, slot: &Slot, would: Reason) -> Self {
        let would = if matches!(slot.reason, Reason::Audit) { would } else { slot.reason };
        Self { reason: slot.reason, would, slot: at, rule: slot.rule, log: slot.log }
    }
}

/// Slots that follow each other at the most: an enforced rule's, an audited rule's.
const MAX_SLOTS: u32 = 2;

/// Answers `question` at `now` (jiffies).
#[inline(always)]
pub fn judge<P: Pages>(pages: &P, root: &Root, question: &Question, now: u64) -> Judgement {
    // What this machine starts is not the failsafe's, whichever of its addresses it uses: on the way out none is asked for.
    if question.from.is(Place::FAILSAFE) && question.from.zone() != zone::HOST {
        let judgement = judge_by(pages, root.failsafe, question, now);
        if judgement.allows() {
            return judgement;
        }
    }
    if is_cut(pages, root, question.from, now) || is_cut(pages, root, question.to, now) {
        return Judgement::deny(Reason::Quarantined, slot::NO_RULE);
    }
    let set = root.rule_set(pages, question.from.zone(), question.to.zone());
    judge_by(pages, set, question, now)
}

/// Whether an address is cut off. A mark that leads nowhere cuts off for good.
#[inline(always)]
pub(crate) fn is_cut<P: Pages>(pages: &P, root: &Root, place: Place, now: u64) -> bool {
    let mark = place.cut();
    if mark == 0 {
        return false;
    }
    match Slot::read(pages, root.rule_set(pages, zone::QUARANTINE, mark)) {
        Some(slot) => !slot.expired(now),
        None => true,
    }
}

/// Whether the failsafe list names a service.
#[inline(always)]
pub(crate) fn is_failsafe<P: Pages>(pages: &P, root: &Root, protocol: u8, service: u16) -> bool {
    match RuleSet::read(pages, root.failsafe, protocol) {
        Some(set) => set.named(pages, service).0 != 0 || set.default_slot().0 != 0,
        None => false,
    }
}

/// Default deny, in the word that fits the protocol.
#[inline(always)]
const fn default_deny(protocol: u8) -> Reason {
    match protocol {
        proto::TCP | proto::UDP | proto::SCTP | proto::ICMP | proto::ICMPV6 => Reason::NoRule,
        _ => Reason::UnsupportedProtocol,
    }
}

#[inline(always)]
fn judge_by<P: Pages>(pages: &P, set: Locator, question: &Question, now: u64) -> Judgement {
    let mut denied = Judgement::deny(default_deny(question.proto), slot::NO_RULE);
    let Some(set) = RuleSet::read(pages, set, question.proto) else { return denied };
    let mut at = set.named(pages, question.service);
    for _ in 0..MAX_SLOTS {
        let Some(slot) = Slot::read(pages, at) else { break };
        if !slot.expired(now) {
            return Judgement::allow(at, &slot, denied.would);
        }
        denied = Judgement::deny(Reason::Expired, slot.rule);
        at = slot.then;
    }
    let at = set.default_slot();
    match Slot::read(pages, at) {
        Some(slot) => Judgement::allow(at, &slot, denied.would),
        None => denied,
    }
}
