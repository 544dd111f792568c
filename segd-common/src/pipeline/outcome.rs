//! What becomes of one packet.

use super::Context;
use super::ends::Ends;
use crate::env::Env;
use crate::image::{Root, slot, zone};
use crate::policy::Judgement;
use crate::reason::{Reason, Verdict};

/// The verdict on one packet, and everything the counters and events say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(8))]
pub struct Outcome {
    /// Why.
    pub reason: Reason,
    /// Why enforcement would have dropped it, when `reason` is `audit`.
    pub would: Reason,
    /// Initiator's zone.
    pub from: u16,
    /// Responder's zone.
    pub to: u16,
    /// Sender's zone.
    pub src_zone: u16,
    /// Slot that allows it; 0: none.
    pub slot: u32,
    /// Rule that allows it; [`slot::NO_RULE`]: none.
    pub rule: u32,
    /// It opened a connection.
    pub opened: bool,
    /// The rule asks for an event.
    pub log: bool,
    /// The responder sent it.
    pub reply: bool,
    /// On its way in: the slot of the interface by which it may be redirected at once, because the kernel forwards this side of
    /// the connection as it comes and the other side comes in there; else 0.
    pub direct: u16,
    /// What is still to be asked.
    pub(super) next: Next,
}

/// What is to be asked after the policy. The stages follow each other and do not call each other: a kernel stack holds few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Next {
    /// Nothing.
    Done = 0,
    /// An ICMP error: which connection is it about?
    Related = 1,
    /// A live connection that the fast path did not take: may its initiator still?
    Again = 2,
    /// A first packet that the policy allows: is there room for its connection?
    Admit = 3,
    /// A packet that belongs to nothing: is its pair only watched?
    Stray = 4,
    /// A SYN that the policy denies: is it the responder's of a live connection, and belongs to nothing?
    Grain = 5,
}

impl Outcome {
    /// No configuration: fail closed.
    pub const CLOSED: Self = Self::of(Reason::NoRule, zone::UNZONED, zone::UNZONED);

    /// On its way out: it was judged, and counted, on its way in.
    pub(super) const JUDGED: Self = Self::of(Reason::Rule, zone::UNZONED, zone::UNZONED);

    #[inline(always)]
    const fn of(reason: Reason, from: u16, to: u16) -> Self {
        Self {
            reason,
            would: reason,
            from,
            to,
            src_zone: from,
            slot: 0,
            rule: slot::NO_RULE,
            opened: false,
            log: false,
            reply: false,
            direct: 0,
            next: Next::Done,
        }
    }

    /// Dropped.
    #[inline(always)]
    pub(super) const fn deny(ends: &Ends, reason: Reason) -> Self {
        Self::of(reason, ends.src.zone(), ends.dst.zone())
    }

    /// What a network needs to work at all.
    #[inline(always)]
    pub(super) const fn essential(ends: &Ends) -> Self {
        Self::of(Reason::Essential, ends.src.zone(), ends.dst.zone())
    }

    /// What the decision function said of a connection between two zones.
    #[inline(always)]
    pub(super) const fn judged(judgement: &Judgement, from: u16, to: u16, src_zone: u16) -> Self {
        Self {
            reason: judgement.reason,
            would: judgement.would,
            from,
            to,
            src_zone,
            slot: judgement.slot.0,
            rule: judgement.rule,
            opened: false,
            log: judgement.log,
            reply: false,
            direct: 0,
            next: Next::Done,
        }
    }

    /// Whether the packet goes on.
    #[inline(always)]
    #[must_use]
    pub fn passes(&self) -> bool {
        self.reason.verdict() == Verdict::Allow
    }

    /// Turns it into a drop.
    #[inline(always)]
    pub(super) fn refuse(&mut self, reason: Reason) {
        self.reason = reason;
        self.would = reason;
        self.slot = 0;
        self.rule = slot::NO_RULE;
        self.opened = false;
    }

    /// The same packet, let through because the mode only watches. Whoever is cut off is cut off in any mode.
    #[inline(always)]
    pub(super) fn watched(mut self) -> Self {
        let softened = self.reason.watched();
        if softened as u8 != self.reason as u8 {
            self.would = self.reason;
            self.reason = softened;
        }
        self
    }
}

impl<E: Env> Context<'_, E> {
    /// A policy in audit mode lets pass what would be dropped, whatever the reason.
    #[inline(always)]
    pub(super) fn soften(&self, outcome: Outcome) -> Outcome {
        if self.root.flags & Root::AUDIT != 0 { outcome.watched() } else { outcome }
    }
}
