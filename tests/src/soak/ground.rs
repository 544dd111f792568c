//! The office under load: a flood that nobody allows, from a visitor (judged by TC) and from the internet (judged by XDP), and
//! a developer who talks to accounting all the while. What of the flood comes through is counted by accounting's kernel.

use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::figures::Figures;
use super::flood::{BATCH, Flood};
use super::stream::Stream;
use crate::lab::{Host, Lab, Port, Watch, Zones};
use crate::packet::{tcp, udp};

/// The allowed datagrams' port, and the allowed session's.
const DATAGRAMS: u16 = 5000;
const SESSION: u16 = 5432;
/// Packets a second that are due: enough over the 100,000 that a scenario is to stand.
const RATE: u64 = 125_000;
/// Whom the visitor pretends to be: a developer who is allowed what is asked for.
const PRETENDED: &str = "10.30.0.9";

/// A lab on which scenarios are played.
#[derive(Debug)]
pub struct Ground {
    /// The office, and the daemon that guards it.
    pub lab: Lab,
}

impl Ground {
    /// Builds it, with the first of the two policies in force.
    pub fn new() -> Result<Self> {
        let lab = Lab::enforcing(Self::policy(0))?;
        lab.office.know_each_other()?;
        Watch::new(
            &lab.office.accounting.net,
            &[
                "ip saddr { 10.40.0.0/24, 10.50.0.0/24, 198.51.100.0/24 }",
                &format!("ip saddr {PRETENDED}"),
                "ip6 saddr { fd00:40::/64, 2001:db8:100::/64 }",
            ],
        )?;
        Ok(Self { lab })
    }

    /// How many forbidden packets have come to accounting so far.
    pub fn leaked(&self) -> Result<u64> {
        Watch::of(&self.lab.office.accounting.net).leaked()
    }

    /// Two policies by turns: both allow the developer's traffic and none of the flood, and differ in everything else.
    #[must_use]
    pub fn policy(number: u64) -> Zones {
        let both = Zones::new().hook("wan0", "xdp").rule("talk", "dev", "accounting", "udp/5000, tcp/5432");
        if number.is_multiple_of(2) {
            both.rule("web", "guest", "internet", "tcp/80, tcp/443")
        } else {
            let more =
                |zones: Zones, port| zones.rule(&format!("extra-{port}"), "dev", "internet", &format!("tcp/{port}"));
            (1000..1020).fold(both.rule("mail", "guest", "internet", "tcp/25"), more)
        }
    }

    /// Does something so many times while traffic goes on, and counts. Ends at the first round in which something leaks. A
    /// round gives how many forbidden packets it sent beside the flood.
    pub fn under_load(
        &mut self,
        rounds: u64,
        mut round: impl FnMut(&mut Lab, u64) -> Result<u64>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Figures> {
        let office = &self.lab.office;
        let (guest, internet, accounting) = (&office.guest, &office.internet, &office.accounting);
        let datagrams = Stream::datagrams(&office.dev, accounting, DATAGRAMS)?;
        let session = Stream::session(&office.dev, accounting, SESSION)?;
        let flood = Flood::start(
            RATE,
            vec![
                (Port::open(&guest.net, "eth0")?, forbidden(guest, accounting)),
                (Port::open(&internet.net, "eth0")?, forbidden(internet, accounting)),
            ],
        );
        let mut figures = Figures::default();
        let began = Instant::now();
        for number in 0..rounds {
            figures.sent += round(&mut self.lab, number).with_context(|| format!("round {number}"))?;
            figures.rounds += 1;
            progress(figures.rounds);
            figures.leaked = self.leaked()?;
            if figures.leaked > 0 {
                break;
            }
        }
        figures.took = began.elapsed();
        figures.flooded = flood.stop();
        figures.session =
            session.stop().with_context(|| format!("the session; segd said:\n{}", self.lab.daemon.log()))?;
        figures.datagrams = datagrams.stop()?;
        figures.leaked = self.leaked()?;
        Ok(figures)
    }
}

/// Frames that no policy allows this host to send to that one: both families, both protocols, and a source that is not its own.
pub(super) fn forbidden(from: &Host, to: &Host) -> Vec<Vec<u8>> {
    let frame = |number: u16| {
        let (far, port) = (to.both()[usize::from(number % 2)], 20_000 + number);
        let own: IpAddr = from.like(far);
        match number % 8 {
            0 => udp(port, DATAGRAMS).between(PRETENDED, to.v4()).data(b"spoofed").frame(),
            1..4 => tcp(port, SESSION).syn().between(own, far).frame(),
            _ => udp(port, DATAGRAMS).between(own, far).data(b"forbidden").frame(),
        }
    };
    (0..BATCH as u16).map(frame).collect()
}
