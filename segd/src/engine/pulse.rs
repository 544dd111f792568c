//! Does the loaded program still judge? A few frames tell, which are counted nowhere and open nothing. They are run every few
//! seconds: `/healthz`, `status` and the service manager's watchdog go by what became of them. `segctl selftest` asks more.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use segd_common::reason::Verdict;

use super::probe::PORT;
use super::writer::Core;
use crate::api::types::Amiss;
use crate::compile::Question;
use crate::frames;
use crate::policy::{Essential, Mode, Service};

/// Networks of documentation (RFC 5737): nobody's neighbours.
pub(super) const STRANGERS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 77), Ipv4Addr::new(198, 51, 100, 77)];

/// A frame, and what has to become of it.
struct Beat {
    what: &'static str,
    frame: Vec<u8>,
    passes: bool,
}

impl Core {
    /// Runs the frames through the program of every hook in use, and keeps what was wrong.
    pub(super) fn take_pulse(&mut self) {
        let beats = self.beats();
        // One interface for each program.
        let hooks: BTreeMap<String, _> =
            self.doors().into_iter().map(|door| (door.hook.to_string(), door.hook)).collect();
        let mut wrong = Vec::new();
        for (name, hook) in hooks {
            for Beat { what, frame, passes } in &beats {
                // A kernel that does not run the frame says nothing against the program.
                if let Ok(Some(passed)) = self.kernel.probe_uncounted(frame, hook)
                    && passed != *passes
                {
                    let became = if passed { "let it pass" } else { "dropped it" };
                    wrong.push(format!("{what} was run through the loaded program of {name}, which {became}"));
                }
            }
        }
        if wrong != self.misjudged {
            for wrong in &wrong {
                tracing::error!("{wrong}");
            }
        }
        self.misjudged = wrong;
    }

    /// What the last pulse found.
    pub(super) fn misjudgements(&self) -> impl Iterator<Item = Amiss> {
        let mend = "systemctl restart segd loads the programs anew; segctl selftest tells more";
        self.misjudged.iter().map(move |what| Amiss { what: what.clone(), mend: mend.to_owned() })
    }

    fn beats(&self) -> Vec<Beat> {
        let policy = &self.force.written.policy;
        let [one, other] = STRANGERS.map(IpAddr::from);
        let mut beats = vec![Beat {
            what: "a frame from a loopback address",
            frame: frames::udp(Ipv4Addr::LOCALHOST.into(), other, PORT),
            passes: policy.mode == Mode::Audit,
        }];
        if policy.essentials.contains(&Essential::Arp) {
            // Who asks without an address of its own may be anywhere (RFC 5227, 2.1.1).
            let frame = frames::arp(Ipv4Addr::UNSPECIFIED, STRANGERS[1]);
            beats.push(Beat { what: "an ARP probe", frame, passes: true });
        }
        let question = Question { src: one, dst: other, service: Service::Udp(PORT, PORT) };
        // What passes would open a connection.
        if self.answer(&question).is_ok_and(|answer| answer.verdict == Verdict::Deny) {
            beats.push(Beat {
                what: "a datagram that the policy denies",
                frame: frames::udp(one, other, PORT),
                passes: false,
            });
        }
        beats
    }
}
