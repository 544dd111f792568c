//! Crafted frames through the loaded programs, each with the verdict and the reason that it has to get. They are counted as
//! drops of their reasons, one each; what a rule would allow is only run when it is asked for, for that is counted as a
//! connection and would make an unused rule look used.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use segd_common::reason::{Reason, Verdict};

use super::grants::zone_names;
use super::probe::{Door, PORT};
use super::pulse::STRANGERS;
use super::refusal::Refusal;
use super::writer::Core;
use crate::api::types::{SelftestFrame, SelftestReport, SelftestRequest};
use crate::compile::{Answer, Question};
use crate::frames;
use crate::policy::{Essential, Mode, PolicyTest, Service};

/// Pairs of zones that are tried: with more, the first ones.
const PAIRS: usize = 64;

/// One frame before it is run.
struct Case {
    what: String,
    frame: Vec<u8>,
    door: Door,
    expected: Verdict,
    reason: Reason,
}

impl Core {
    /// Runs them all.
    pub(super) fn selftest(&self, request: SelftestRequest) -> Result<SelftestReport, Refusal> {
        let mut skipped = Vec::new();
        let mut cases = self.untrusted();
        cases.extend(self.neighbours()?);
        cases.extend(self.strangers_to_each_other(&mut skipped)?);
        cases.extend(self.own_tests(request, &mut skipped)?);
        if cases.is_empty() {
            skipped.push("everything: no interface is enforced; segctl status says why".to_owned());
        }
        let mut frames = Vec::new();
        for case in cases {
            let what = case.what.clone();
            match self.run_case(case) {
                Ok(frame) => frames.push(frame),
                // Kernels differ in what frames they take for a run.
                Err(refusal) => skipped.push(format!("{what}: {refusal}")),
            }
        }
        let passed = !frames.is_empty() && frames.iter().all(|frame| frame.right);
        Ok(SelftestReport { passed, generation: self.kernel.generation(), frames, skipped })
    }

    fn run_case(&self, case: Case) -> Result<SelftestFrame, Refusal> {
        let Case { what, frame, door, expected, reason } = case;
        let probed = self.probe(&frame, &door)?;
        let verdict = if probed.passes { Verdict::Allow } else { Verdict::Deny };
        Ok(SelftestFrame {
            what,
            interface: door.name,
            hook: door.hook.to_string(),
            expected: expected.into(),
            expected_reason: reason.name().to_owned(),
            verdict: verdict.into(),
            right: verdict == expected && probed.reasons.contains(&reason),
            moved: probed.reasons.iter().map(|reason| reason.name().to_owned()).collect(),
        })
    }

    /// One interface for each program.
    fn programs(&self) -> Vec<Door> {
        let mut known = BTreeSet::new();
        self.doors().into_iter().filter(|door| known.insert(door.hook.to_string())).collect()
    }

    /// Frames that no policy can make trustworthy. A policy that only watches lets even these pass.
    fn untrusted(&self) -> Vec<Case> {
        let watched = self.force.written.policy.mode == Mode::Audit;
        let case = |door: &Door, (what, reason, frame): &(&str, Reason, Vec<u8>)| Case {
            what: (*what).to_owned(),
            frame: frame.clone(),
            door: door.clone(),
            expected: if watched { Verdict::Allow } else { Verdict::Deny },
            reason: if watched { Reason::Audit } else { *reason },
        };
        let frames = self.untrusted_frames();
        self.programs().iter().flat_map(|door| frames.iter().map(move |frame| case(door, frame))).collect()
    }

    fn untrusted_frames(&self) -> Vec<(&'static str, Reason, Vec<u8>)> {
        let [one, other] = STRANGERS.map(IpAddr::from);
        let from = |source: Ipv4Addr| frames::udp(source.into(), other, PORT);
        let patched = |at: usize, bytes: &[u8]| {
            let mut frame = frames::udp(one, other, PORT);
            frame[at..at + bytes.len()].copy_from_slice(bytes);
            frame
        };
        let mut all = vec![
            ("a source on loopback", Reason::SpoofedSource, from(Ipv4Addr::LOCALHOST)),
            ("a source of many", Reason::SpoofedSource, from(Ipv4Addr::new(224, 0, 0, 1))),
            ("a source that is its destination", Reason::SpoofedSource, frames::udp(other, other, PORT)),
            ("TCP with SYN and FIN", Reason::BadFlags, frames::tcp(one, other, PORT, 3)),
            ("TCP without a flag", Reason::BadFlags, frames::tcp(one, other, PORT, 0)),
            ("a header that is too short to be one", Reason::BadHeader, patched(14, &[0x44])),
            ("a length beyond the frame", Reason::Truncated, patched(16, &[0x40, 0])),
            (
                "a packet that ends in its TCP header",
                Reason::Truncated,
                frames::packet(one, other, 6, &[0xc3, 0x50, 0, 9]),
            ),
            ("a source route", Reason::SourceRoute, frames::source_routed(STRANGERS[0], STRANGERS[1], PORT)),
            ("a type of frame that nobody knows", Reason::UnsupportedEthertype, frames::ethernet(0x88b5, &[0; 46])),
        ];
        let own = self.machine.addresses.iter().find_map(|address| match address {
            IpAddr::V4(address) if !address.is_loopback() => Some(*address),
            _ => None,
        });
        all.extend(own.map(|own| ("a source that is this machine", Reason::SpoofedSource, from(own))));
        all
    }

    /// What a network needs to work at all passes, and opens nothing.
    fn neighbours(&self) -> Result<Vec<Case>, Refusal> {
        if !self.force.written.policy.essentials.contains(&Essential::Arp) {
            return Ok(Vec::new());
        }
        let sender = STRANGERS[0];
        let case = |door: Door| Case {
            what: format!("who has {}? asks {sender}", STRANGERS[1]),
            frame: frames::arp(sender, STRANGERS[1]),
            door,
            expected: Verdict::Allow,
            reason: Reason::Essential,
        };
        Ok(self.door(sender.into())?.map(case).into_iter().collect())
    }

    /// For pairs of zones a datagram that `explain` says is denied: the program has to say the same.
    fn strangers_to_each_other(&self, skipped: &mut Vec<String>) -> Result<Vec<Case>, Refusal> {
        let zones = zone_names(&self.force.written.policy);
        let pairs = zones.iter().flat_map(|from| zones.iter().map(move |to| (from, to)));
        let (mut cases, mut allowed, mut unseen) = (Vec::new(), 0, 0);
        for (from, to) in pairs.filter(|(from, _)| *from != "host").take(PAIRS) {
            let Some((src, dst)) = self.members_of(from, to) else {
                unseen += 1;
                continue;
            };
            let service = Service::Udp(PORT, PORT);
            let answer = self.answer(&Question { src, dst, service })?;
            match self.door(src)? {
                _ if answer.verdict == Verdict::Allow => allowed += 1,
                None => unseen += 1,
                Some(door) => cases.push(asked(
                    format!("{from} to {to}: {src} to {dst} {service}"),
                    &answer,
                    door,
                    frames::udp(src, dst, PORT),
                )),
            }
        }
        if allowed > 0 {
            skipped.push(format!("{allowed} pairs of zones whose udp/{PORT} is allowed or only watched: such a frame would open a connection"));
        }
        if unseen > 0 {
            skipped.push(format!("{unseen} pairs of zones without addresses of one family, or whose sources no enforced interface may see"));
        }
        Ok(cases)
    }

    fn members_of(&self, from: &str, to: &str) -> Option<(IpAddr, IpAddr)> {
        [false, true].into_iter().find_map(|ipv6| {
            let src = self.member(from, ipv6, None)?;
            Some((src, self.member(to, ipv6, Some(src))?))
        })
    }

    /// The policy's own tests, as frames.
    fn own_tests(&self, request: SelftestRequest, skipped: &mut Vec<String>) -> Result<Vec<Case>, Refusal> {
        let (mut cases, mut held_back, mut odd) = (Vec::new(), 0, 0);
        for (place, test) in &self.force.written.policy.tests {
            let PolicyTest::Connection { from, to, service, .. } = test else { continue };
            let answer = self.answer(&Question { src: *from, dst: *to, service: *service })?;
            let frame = match service {
                Service::Tcp(port, _) => Some(frames::tcp(*from, *to, *port, 2)),
                Service::Udp(port, _) => Some(frames::udp(*from, *to, *port)),
                _ => None,
            };
            match (frame, self.door(*from)?) {
                _ if answer.verdict == Verdict::Allow && !request.allowed => held_back += 1,
                (Some(frame), Some(door)) if !self.machine.addresses.contains(from) => {
                    cases.push(asked(format!("test at {place}: {from} to {to} {service}"), &answer, door, frame));
                }
                _ => odd += 1,
            }
        }
        if held_back > 0 {
            skipped.push(format!("{held_back} of the policy's tests that pass: run with --allowed, each counts as a connection of its rule"));
        }
        if odd > 0 {
            skipped.push(format!(
                "{odd} of the policy's tests that are not of TCP or UDP, or come in by no enforced interface"
            ));
        }
        Ok(cases)
    }
}

/// What `explain` says of a connection, as what its first frame has to get.
fn asked(what: String, answer: &Answer, door: Door, frame: Vec<u8>) -> Case {
    Case { what, frame, door, expected: answer.verdict, reason: answer.reason }
}
