//! Both ends of a packet: their zones, whether they can be true, and whether the packet is essential.

use super::{Context, Hook, Sighting};
use crate::addr::Addr;
use crate::env::{Env, Pages};
use crate::image::{Place, zone};
use crate::packet::{Essential, Kind, Packet};
use crate::policy::is_failsafe;
use crate::reason::Reason;

/// Where the packet's addresses belong.
#[derive(Clone, Copy, Debug)]
#[repr(align(8))]
pub(crate) struct Ends {
    /// Sender.
    pub(crate) src: Place,
    /// Receiver.
    pub(crate) dst: Place,
}

impl Ends {
    /// Of a frame that has no addresses.
    pub(crate) const NOWHERE: Self = Self { src: Place(0), dst: Place(0) };

    /// By address; what this machine starts is from `host`, whatever address it uses.
    #[inline(always)]
    pub(crate) fn lookup<E: Env, P: Pages>(context: &Context<'_, E>, pages: &P, packet: &Packet) -> Self {
        let src = match context.at.hook {
            Hook::Local => Place(u32::from(zone::HOST)),
            Hook::Ingress | Hook::Forward => context.root.place(pages, packet.key.src),
        };
        Self { src, dst: context.root.place(pages, packet.key.dst) }
    }

    /// The ends of a first packet: what was forwarded is from the zone that was noted on its way in, whatever address
    /// translation made of it since.
    #[inline(always)]
    pub(crate) fn before_translation(&self, at: &Sighting) -> Self {
        match at.tagged {
            // Another zone than the address's: what is known of the address is not known of the initiator.
            Some(zone) if zone != self.src.zone() => Self { src: Place(u32::from(zone)), dst: self.dst },
            // Forwarded with our own address, and nobody noted where it came from: it is no packet of ours.
            None if at.hook as u8 == Hook::Forward as u8 && self.src.zone() == zone::HOST => {
                Self { src: Place(u32::from(zone::UNZONED)), dst: self.dst }
            }
            _ => *self,
        }
    }

    /// The spoof check: on the way in only, where an address is a claim.
    ///
    /// # Errors
    /// `spoofed-source`.
    #[inline(always)]
    pub(crate) fn check<E: Env, P: Pages>(
        &self,
        context: &Context<'_, E>,
        pages: &P,
        packet: &Packet,
    ) -> Result<(), Reason> {
        if context.at.hook as u8 != Hook::Ingress as u8 {
            return Ok(());
        }
        let essential = packet.essential as u8 != Essential::No as u8;
        let unspecified = packet.key.src == Addr::ZERO || packet.key.src == Addr::v4(0);
        if unspecified && essential && !packet.claims {
            return Ok(());
        }
        if self.impossible(packet) {
            return Err(Reason::SpoofedSource);
        }
        if packet.claims {
            let claim = context.root.place(pages, packet.claim);
            if claim.zone() == zone::HOST || !Self::seen_here(context, pages, packet, claim) {
                return Err(Reason::SpoofedSource);
            }
        }
        if Self::seen_here(context, pages, packet, self.src) { Ok(()) } else { Err(Reason::SpoofedSource) }
    }

    #[inline(always)]
    fn impossible(&self, packet: &Packet) -> bool {
        let arp = packet.kind as u8 == Kind::Arp as u8;
        let leaves_link =
            !self.dst.is(Place::LINK_LOCAL) && !self.dst.is(Place::MULTICAST) && self.dst.zone() != zone::HOST;
        self.src.is(Place::BAD_SOURCE)
            || self.dst.is(Place::BAD_DESTINATION)
            || self.src.zone() == zone::HOST
            || (packet.key.src == packet.key.dst && !arp)
            || (self.src.is(Place::LINK_LOCAL) && !packet.essential.finds_neighbours() && leaves_link)
    }

    /// The failsafe is no zone's: an `interfaces` list that is wrong must not lock it out. That goes for its services, and
    /// for what finds its neighbours; elsewhere its addresses are worth no more than others.
    #[inline(always)]
    fn seen_here<E: Env, P: Pages>(context: &Context<'_, E>, pages: &P, packet: &Packet, place: Place) -> bool {
        context.root.may_be_seen(pages, place.zone(), context.at.interface)
            || place.is(Place::FAILSAFE)
                && (packet.essential as u8 != Essential::No as u8
                    || is_failsafe(pages, context.root, packet.key.proto, packet.service))
    }

    /// Whether the packet passes under every policy.
    #[inline(always)]
    pub(crate) fn essential<E: Env>(&self, context: &Context<'_, E>, packet: &Packet) -> bool {
        if context.root.essentials & (1 << (packet.essential as u32)) == 0 {
            return false;
        }
        let forwarded = context.at.hook as u8 == Hook::Forward as u8;
        let local = context.at.hook as u8 == Hook::Local as u8;
        let to_us_or_all = self.dst.zone() == zone::HOST || self.dst.is(Place::MULTICAST);
        match packet.essential {
            Essential::No => false,
            Essential::Arp | Essential::Ndp | Essential::Mld => true,
            Essential::NdpRouter => local,
            Essential::DhcpRequest => local || to_us_or_all,
            // The address that a server offers is not ours yet, and it may send the offer there. What is not for us is
            // judged where it leaves.
            Essential::DhcpReply => !forwarded || self.dst.is(Place::MULTICAST),
        }
    }
}
