//! Counters and events. Every packet is counted exactly once: on its way in, or on its way out if this machine started it.
//! A forwarded packet that passes its second hook was counted at the first; one that is dropped there is counted as a drop.

use super::{Context, Hook, Outcome};
use crate::count::{self, REASONS, add};
use crate::env::Env;
use crate::event::Event;
use crate::flow::{self, FlowKey};
use crate::image::slot;
use crate::interface::Interface;
use crate::packet::{Packet, Part};
use crate::reason::Reason;

impl<E: Env> Context<'_, E> {
    /// [`Self::account`] out of line, as its event takes room on the stack.
    #[inline(never)]
    pub(super) fn account_apart(&self, packet: &Packet, outcome: &Outcome) -> bool {
        self.account(packet, outcome)
    }

    /// Counts a packet, and tells of it if it is the first of something. Gives whether it was.
    #[inline(always)]
    pub(super) fn account(&self, packet: &Packet, outcome: &Outcome) -> bool {
        let twice = self.at.hook as u8 == Hook::Forward as u8 && outcome.passes();
        if twice || self.at.interface == Interface::SELFTEST {
            return false;
        }
        let dropped = !outcome.passes();
        let watched = outcome.reason as u8 == Reason::Audit as u8;
        let first = outcome.opened || ((dropped || watched) && self.first_seen(packet, outcome));
        self.count_pair(outcome, first && dropped);
        self.count_rule(outcome);
        if first {
            self.tell(packet, outcome);
        }
        first
    }

    #[inline(always)]
    fn first_seen(&self, packet: &Packet, outcome: &Outcome) -> bool {
        // An audited packet of a connection in the table was told when that was opened.
        if outcome.passes() && outcome.slot != 0 {
            return false;
        }
        // A later fragment has no ports, but belongs to one datagram. Elsewhere the number says nothing: retransmissions have
        // one of their own each.
        let datagram = if packet.fragment.part as u8 == Part::Later as u8 { packet.fragment.id } else { 0 };
        // The hash is the same for both directions; what is blocked both ways is blocked in two pairs.
        let apart = u64::from(datagram) ^ outcome.would as u64 ^ u64::from(outcome.from) << 32;
        let hash = flow::mix(packet.hash ^ apart);
        count::first_blocked(self.env, hash, self.now, self.control.hz)
    }

    #[inline(always)]
    fn count_pair(&self, outcome: &Outcome, blocked: bool) {
        let zones = self.control.zones;
        let (from, to) = (u32::from(outcome.from), u32::from(outcome.to));
        let pair = if from < zones && to < zones { from * zones + to } else { 0 };
        let Some(cell) = self.env.pair_slot(pair) else { return };
        let mut place = cell.get();
        if place == 0 {
            place = self.env.claim_pair_slot(cell);
        }
        let Some(counters) = self.env.pair_counters(place) else { return };
        let reason = self.env.below(outcome.reason as u32, REASONS as u32) as usize;
        let (Some(packets), Some(sizes), Some(flows)) =
            (counters.packets.get(reason), counters.bytes.get(reason), counters.blocked.get(reason))
        else {
            return;
        };
        add(packets, u64::from(self.at.frames));
        add(sizes, u64::from(self.at.bytes));
        if blocked {
            add(flows, 1);
        }
        if outcome.opened {
            add(&counters.connections, 1);
        }
    }

    #[inline(always)]
    fn count_rule(&self, outcome: &Outcome) {
        if outcome.rule == slot::NO_RULE || !outcome.passes() {
            return;
        }
        let Some(counters) = self.env.rule_counters(outcome.rule) else { return };
        add(&counters.packets, u64::from(self.at.frames));
        add(&counters.bytes, u64::from(self.at.bytes));
        if outcome.opened {
            add(&counters.connections, 1);
        }
        counters.last_hit.set(self.now);
    }

    /// Sends an event, if there is an allowance left. A rule that asks for a log has as much again. A quarter is spared for
    /// connections that were let in: a flood of blocked ones does not keep them from being told.
    #[inline(always)]
    fn tell(&self, packet: &Packet, outcome: &Outcome) {
        let Some(budget) = self.env.event_budget() else { return };
        let rate = if outcome.log { self.control.event_rate * 2 } else { self.control.event_rate };
        let spared = if outcome.opened { 0 } else { rate / 4 };
        if !count::may_emit(budget, self.now, rate, spared, self.control.hz) {
            return;
        }
        let FlowKey { src, dst, sport, dport, proto, .. } = packet.key;
        // Zones and rule are the connection's; so are the ends.
        let (src, dst, sport, service) = if outcome.reply {
            (dst, src, dport, flow::service(proto, dport, sport))
        } else {
            (src, dst, sport, packet.service)
        };
        let event = Event {
            time: self.now,
            src,
            dst,
            rule: outcome.rule,
            ifindex: self.at.ifindex,
            sport,
            service,
            from: outcome.from,
            to: outcome.to,
            proto,
            reason: outcome.reason as u8,
            would: outcome.would as u8,
            pad: [0; 5],
        };
        if !self.env.emit(&event) {
            add(&budget.lost, 1);
        }
    }
}
