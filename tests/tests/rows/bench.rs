//! Two zones and a few rules between them, and one frame at a time.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use segd_common::reason::Reason;
use segd_tests::model::{Failsafe, Hook, Mode, Network, Policy, Rule, Service, Who, Why, Zone};
use segd_tests::oracle::Ground;
use segd_tests::packet::Packet;

/// In zone 0, which may ask zone 1.
pub(crate) const DEV: &str = "10.30.0.5";
pub(crate) const DEV6: &str = "fd00:30::5";
/// In zone 1.
pub(crate) const LEDGER: &str = "10.20.0.10";
pub(crate) const LEDGER6: &str = "fd00:20::10";
/// This machine.
pub(crate) const HERE: &str = "10.30.0.1";
pub(crate) const HERE6: &str = "fd00:30::1";
/// What zone 0 may ask for.
pub(crate) const PORT: u16 = 5432;

/// Interfaces: zone 0 is seen on the first only, zone 1 on the first two.
pub(crate) const LAN: u8 = 0;
pub(crate) const LAN1: u8 = 1;
pub(crate) const WAN: u8 = 2;

/// Grounds that nobody uses now. Loading one takes the verifier a second, so the next test takes it over; when the last test
/// is done they are taken down.
struct Pool {
    idle: Vec<Ground>,
    at_work: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { idle: Vec::new(), at_work: 0 });

/// The programs under [`policy`].
pub(crate) struct Bench {
    /// Always there, but while it is given back.
    ground: Option<Ground>,
    before: [u64; Reason::COUNT],
}

fn network(text: &str, length: u8) -> Network {
    Network { address: text.parse().expect("an address"), length }
}

/// Zone 0 may ask zone 1 on one port, ping it, and send it GRE.
pub(crate) fn policy() -> Policy {
    let zone = |number, networks, interfaces: &[&str]| Zone {
        number,
        networks,
        interfaces: interfaces.iter().map(ToString::to_string).collect(),
        intra_zone: false,
    };
    let zones = vec![
        zone(0, vec![network("10.30.0.0", 24), network("fd00:30::", 64)], &["lan0"]),
        zone(1, vec![network("10.20.0.0", 24), network("fd00:20::", 64)], &["lan*"]),
    ];
    let services = vec![
        Service::Ports(6, PORT, PORT),
        Service::Ports(17, PORT, PORT),
        Service::Ports(132, PORT, PORT),
        Service::Icmp(Some(8)),
        Service::Icmpv6(Some(128)),
        Service::Protocol(47),
    ];
    let rule = Rule {
        number: 0,
        from: vec![Who::Zone(0)],
        to: vec![Who::Zone(1)],
        services,
        expires: None,
        mode: Mode::Enforce,
        log: false,
    };
    let host: Vec<IpAddr> = [HERE, HERE6, "fe80::1"].map(|text| text.parse().expect("an address")).to_vec();
    Policy { zones, rules: vec![rule], failsafe: Failsafe::default(), ..Policy::empty(host) }
}

impl Bench {
    /// Nothing has been sent yet.
    pub(crate) fn new() -> Self {
        Self::under(&policy())
    }

    pub(crate) fn under(policy: &Policy) -> Self {
        let idle = {
            let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
            pool.at_work += 1;
            pool.idle.pop()
        };
        let mut ground = idle.unwrap_or_else(|| Ground::new().expect("the programs load"));
        ground.forget(false).expect("nothing is remembered");
        ground.publish(policy).expect("the policy is put in force");
        let before = ground.packets().expect("counters");
        Self { ground: Some(ground), before }
    }

    fn ground(&mut self) -> &mut Ground {
        self.ground.as_mut().expect("a bench at work has its ground")
    }

    /// Another policy is put in force.
    pub(crate) fn publish(&mut self, policy: &Policy) {
        self.ground().publish(policy).expect("the policy is put in force");
    }

    /// Every packet and connection is forgotten.
    pub(crate) fn forget(&mut self) {
        self.ground().forget(false).expect("nothing is remembered");
    }

    /// What a frame on its way in by XDP gets; exactly one counter moves, by one.
    pub(crate) fn got(&mut self, interface: u8, frame: &[u8]) -> Reason {
        let passed = self.ground().send(Hook::Ingress, interface, false, frame).expect("the program runs");
        let now = self.ground().packets().expect("counters");
        let moved: Vec<Reason> =
            Reason::ALL.into_iter().filter(|reason| now[*reason as usize] != self.before[*reason as usize]).collect();
        let sum: u64 = now.iter().sum::<u64>() - self.before.iter().sum::<u64>();
        self.before = now;
        assert_eq!((moved.len(), sum), (1, 1), "one counter moves by one, not {moved:?}: {frame:02x?}");
        assert_eq!(passed, moved[0].verdict() == segd_common::reason::Verdict::Allow, "{moved:?}: {frame:02x?}");
        moved[0]
    }

    /// A frame gets this, on the interface of zone 0.
    pub(crate) fn gets(&mut self, frame: &[u8], why: Why) {
        self.gets_on(LAN, frame, why);
    }

    /// A frame gets this.
    pub(crate) fn gets_on(&mut self, interface: u8, frame: &[u8], why: Why) {
        let got = self.got(interface, frame);
        assert_eq!(got.name(), why.name(), "{} bytes: {frame:02x?}", frame.len());
    }

    /// A packet gets this.
    pub(crate) fn packet(&mut self, packet: &Packet, why: Why) {
        self.gets(&packet.frame(), why);
    }

    /// A packet of zone 1's gets this.
    pub(crate) fn answer(&mut self, packet: &Packet, why: Why) {
        self.gets_on(LAN1, &packet.frame(), why);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        pool.at_work -= 1;
        pool.idle.extend(self.ground.take());
        if pool.at_work == 0 {
            pool.idle.clear();
        }
    }
}
