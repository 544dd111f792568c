//! What the loaded programs do, asked of themselves: a frame is made, run, and its verdict and reason looked at.

use std::net::IpAddr;

use segd_common::reason::{Reason, Verdict};

use super::refusal::Refusal;
use super::status::Guarding;
use super::writer::Core;
use crate::api::types::ProbeView;
use crate::compile::Question;
use crate::datapath::Probed;
use crate::frames;
use crate::interfaces::Hook;
use crate::policy::Service;

/// An interface that a frame may come in by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Door {
    pub(super) ifindex: u32,
    pub(super) name: String,
    pub(super) hook: Hook,
}

/// Discard: no policy lets it pass by accident, and nobody would answer.
pub(super) const PORT: u16 = 9;

impl Core {
    /// The guarded interfaces that enforce.
    pub(super) fn doors(&self) -> Vec<Door> {
        let enforced = self.guarded().into_iter().filter(|guarded| guarded.enforced);
        enforced.map(|Guarding { ifindex, name, hook, .. }| Door { ifindex, name, hook }).collect()
    }

    /// The first interface where a source of this address may be seen.
    pub(super) fn door(&self, src: IpAddr) -> Result<Option<Door>, Refusal> {
        Ok(self.doors_of(src)?.into_iter().next())
    }

    /// All of them.
    fn doors_of(&self, src: IpAddr) -> Result<Vec<Door>, Refusal> {
        let question = Question { src, dst: src, service: Service::Udp(PORT, PORT) };
        let zone = self.names().zone(self.answer(&question)?.from_zone);
        let listed = self.force.written.policy.zones.iter().find(|candidate| candidate.name.0 == zone);
        let may = |door: &Door| {
            listed.is_none_or(|zone| {
                zone.interfaces.is_empty() || zone.interfaces.iter().any(|glob| glob.matches(&door.name))
            })
        };
        Ok(self.doors().into_iter().filter(may).collect())
    }

    /// Runs a frame from or to somebody who is cut off through the program of each interface that it may come in by, and gives
    /// the first. `None`: there is no such interface, or the failsafe lets all of them pass.
    ///
    /// # Errors
    /// A loaded program lets it pass, or drops it for another reason.
    pub(super) fn prove_cut(&self, member: IpAddr) -> Result<Option<ProbeView>, Refusal> {
        let service = Service::Udp(PORT, PORT);
        let mut cut = None;
        for (src, dst) in self.ends_beside(member) {
            if cut.is_none() && self.answer(&Question { src, dst, service })?.reason == Reason::Quarantined {
                cut = Some((src, dst));
            }
        }
        let Some((src, dst)) = cut else { return Ok(None) };
        let doors = self.doors_of(src)?;
        for door in &doors {
            let probed = self.probe(&frames::udp(src, dst, PORT), door)?;
            if probed.passes || !probed.reasons.contains(&Reason::Quarantined) {
                let word = if probed.passes { "let it pass" } else { "dropped it for another reason" };
                return Err(Refusal::Failed(format!(
                    "a frame from {src} to {dst} was run through the loaded program of {}, which {word}",
                    door.name
                )));
            }
        }
        Ok(doors.into_iter().next().map(|door| ProbeView {
            src: src.to_string(),
            dst: dst.to_string(),
            service: service.to_string(),
            interface: door.name,
            hook: door.hook.to_string(),
            verdict: Verdict::Deny.into(),
            reason: Reason::Quarantined.name().to_owned(),
        }))
    }

    pub(super) fn probe(&self, frame: &[u8], door: &Door) -> Result<Probed, Refusal> {
        let probed = self.kernel.probe(frame, door.ifindex, door.hook);
        probed.map_err(|error| Refusal::Failed(error.to_string()))
    }

    /// Connections that a member could have: its own, and, should the failsafe speak of it, somebody's to it.
    fn ends_beside(&self, member: IpAddr) -> Vec<(IpAddr, IpAddr)> {
        let documentation: [IpAddr; 2] = [[192, 0, 2, 1].into(), [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()];
        let strangers = documentation.into_iter().filter(|other| other.is_ipv4() == member.is_ipv4());
        let other = |address: &IpAddr| address.is_ipv4() == member.is_ipv4() && *address != member;
        let host = self.machine.addresses.iter().copied().find(other);
        let mut ends: Vec<(IpAddr, IpAddr)> = host.map(|host| (member, host)).into_iter().collect();
        ends.extend(
            strangers
                .filter(|stranger| *stranger != member)
                .flat_map(|stranger| [(member, stranger), (stranger, member)]),
        );
        ends
    }
}
