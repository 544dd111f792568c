//! Fragments: the first is judged like any packet and remembered, the rest gets what it got.

use super::ends::Ends;
use super::{Context, Hook, Outcome};
use crate::env::Env;
use crate::fragment::{Datagram, DatagramKey};
use crate::image::{Locator, Slot};
use crate::packet::Packet;
use crate::reason::Reason;

impl<E: Env> Context<'_, E> {
    #[inline(always)]
    fn key(&self, packet: &Packet) -> DatagramKey {
        DatagramKey::of(packet, self.at.hook as u8 != Hook::Ingress as u8)
    }

    /// Remembers what the first fragment got. A second first with other ports kills the datagram.
    #[inline(always)]
    pub(super) fn first_fragment_here(&self, packet: &Packet, outcome: &mut Outcome) {
        *outcome = self.first_fragment_outcome(packet, outcome);
    }

    #[inline(always)]
    fn first_fragment_outcome(&self, packet: &Packet, outcome: &Outcome) -> Outcome {
        let key = self.key(packet);
        let Some(datagram) = key.slot(self.env, self.control.seed) else { return outcome.refused() };
        let ports = u32::from(packet.key.sport) << 16 | u32::from(packet.key.dport);
        let known = datagram.holds(&key, self.now, self.control.hz) && !datagram.finished();
        if known && datagram.ports.get() != ports {
            datagram.dead.set(1);
            return outcome.refused();
        }
        if !outcome.passes() {
            return *outcome;
        }
        if !known {
            datagram.begin(&key, self.now, ports);
        }
        if !known || datagram.generation.get() != self.root.generation {
            self.note(datagram, outcome);
        }
        match datagram.add(packet) {
            Ok(()) => *outcome,
            Err(_) => outcome.refused(),
        }
    }

    #[inline(always)]
    fn note(&self, datagram: &Datagram, outcome: &Outcome) {
        datagram.generation.set(self.root.generation);
        datagram.slot.set(outcome.slot);
        datagram.rule.set(outcome.rule);
        datagram.from.set(outcome.from);
        datagram.to.set(outcome.to);
        datagram.src_zone.set(outcome.src_zone);
        datagram.interface.set(self.at.interface);
        datagram.reason.set(outcome.reason as u8);
        datagram.would.set(outcome.would as u8);
    }

    /// A fragment without ports.
    #[inline(always)]
    pub(super) fn later_fragment_here(&self, packet: &Packet, outcome: &mut Outcome) {
        *outcome = self.later_fragment_outcome(packet);
    }

    #[inline(always)]
    fn later_fragment_outcome(&self, packet: &Packet) -> Outcome {
        let key = self.key(packet);
        let known = key.slot(self.env, self.control.seed);
        match known {
            Some(datagram) if self.goes_on(datagram, &key) => self.as_first(datagram, packet),
            _ => self.refuse_outcome(packet, Reason::NoConnection),
        }
    }

    /// Whether the first fragment came this way, under this policy, and what allowed it still does.
    #[inline(always)]
    fn goes_on(&self, datagram: &Datagram, key: &DatagramKey) -> bool {
        datagram.holds(key, self.now, self.control.hz)
            && datagram.generation.get() == self.root.generation
            && (datagram.interface.get() == self.at.interface || self.at.hook as u8 != Hook::Ingress as u8)
            && !matches!(Slot::read(self.env, Locator(datagram.slot.get())), Some(slot) if slot.expired(self.now))
    }

    #[inline(always)]
    fn as_first(&self, datagram: &Datagram, packet: &Packet) -> Outcome {
        let ends = Ends::NOWHERE;
        let mut outcome = Outcome::deny(&ends, Reason::NoConnection);
        outcome.from = datagram.from.get();
        outcome.to = datagram.to.get();
        outcome.src_zone = datagram.src_zone.get();
        outcome.rule = datagram.rule.get();
        outcome.slot = datagram.slot.get();
        if datagram.add(packet).is_err() {
            return outcome.refused();
        }
        if let (Some(reason), Some(would)) =
            (Reason::from_number(datagram.reason.get()), Reason::from_number(datagram.would.get()))
        {
            outcome.reason = reason;
            outcome.would = would;
        }
        outcome
    }
}

impl Outcome {
    /// The same packet, refused as a fragment.
    #[inline(always)]
    fn refused(mut self) -> Self {
        self.refuse(Reason::Fragment);
        self
    }
}
