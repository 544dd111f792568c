//! What may be redirected on its way in, because the kernel has just forwarded the same side of the connection as it came.

use segd_common::parse::Framing;
use segd_common::pipeline::{Sighting, Work, source_zone, stamp};
use segd_common::view::Slice;

use crate::frame::{ACK, FIN, Line, RST, SYN, line};
use crate::machine::{HZ, Machine};
use crate::net::{ANNE, ANNE6, DMZ, HERE, LAN, NET, Policy, SHOP, SHOP6, dmz, lan, onward, tcp, udp};

const CALL: Line = line(ANNE, 40_000, SHOP, 443);
/// The slots of the interfaces towards the two.
const TO_LAN: u16 = 1;
const TO_DMZ: u16 = 2;

fn web() -> Policy {
    Policy::new().allow(LAN, DMZ, tcp(443), 2).allow(LAN, DMZ, udp(53), 3)
}

/// On an interface that takes shortcuts.
fn short(at: Sighting) -> Sighting {
    Sighting { shortcut: at.interface, ..at }
}

impl Machine {
    /// By which slot a frame may be redirected on its way in.
    fn direct(&self, at: Sighting, frame: &[u8]) -> u16 {
        let outcome = self.judge(short(at), frame);
        assert!(outcome.passes(), "{outcome:?}");
        outcome.direct
    }

    /// The kernel forwards it to the other side: it came in as `before` through `interface`, and leaves as `after`.
    fn forwards(&self, interface: u16, zone: u16, before: &[u8], after: &[u8]) {
        self.forwards_by(interface, if interface == TO_LAN { TO_DMZ } else { TO_LAN }, zone, before, after);
    }

    /// The same by any interface.
    fn forwards_by(&self, interface: u16, exit: u16, zone: u16, before: &[u8], after: &[u8]) {
        let mut work = Work::new();
        source_zone(self, &Slice(before), Framing::ETHERNET, &mut work);
        let stamp = stamp(&work.packet);
        let outcome = self.judge(Sighting { shortcut: interface, interface: exit, stamp, ..onward(Some(zone)) }, after);
        assert!(outcome.passes() && outcome.direct == 0, "{outcome:?}");
    }

    /// The handshake of `CALL`, seen on the way in alone.
    fn greets(&self) {
        for (at, frame) in
            [(lan(), CALL.tcp(SYN, 100)), (dmz(), CALL.back().tcp(SYN | ACK, 900)), (lan(), CALL.tcp(ACK, 101))]
        {
            assert_eq!(self.direct(at, &frame), 0, "the first packets are the kernel's");
        }
    }

    /// The kernel forwards one packet of each side of `CALL` as it comes.
    fn leases(&self) {
        let (there, back) = (CALL.tcp(ACK, 101), CALL.back().tcp(ACK, 901));
        self.forwards(TO_LAN, LAN, &there, &there);
        self.forwards(TO_DMZ, DMZ, &back, &back);
    }

    fn both_sides(&self) -> (u16, u16) {
        (self.direct(lan(), &CALL.tcp(ACK, 101)), self.direct(dmz(), &CALL.back().tcp(ACK, 901)))
    }
}

fn leased() -> Machine {
    let machine = Machine::under(&web());
    // A second begins.
    machine.now.set(u64::from(HZ) * 1000);
    machine.greets();
    machine.leases();
    machine
}

#[test]
fn what_the_kernel_stopped_forwarding_is_not_led_again_when_the_seconds_come_round() {
    let machine = leased();
    assert_eq!(machine.both_sides(), (TO_DMZ, TO_LAN));
    // Twice a second for two minutes.
    for _ in 0..240 {
        machine.now.set(machine.now.get() + u64::from(HZ) / 2);
        let second = machine.now.get() / u64::from(HZ);
        let led = machine.direct(lan(), &CALL.tcp(ACK, 101)) != 0;
        assert_eq!(led, second == 1000, "in second {second}");
    }
}

#[test]
fn what_leaves_elsewhere_than_the_other_side_comes_from_is_the_kernels() {
    let machine = Machine::under(&web());
    machine.now.set(u64::from(HZ) * 1000);
    machine.greets();
    let there = CALL.tcp(ACK, 101);
    machine.forwards_by(TO_LAN, TO_DMZ + 1, LAN, &there, &there);
    assert_eq!(machine.both_sides(), (0, 0));
}

#[test]
fn a_side_that_the_kernel_forwarded_follows_by_the_interface_of_the_other() {
    let machine = Machine::under(&web());
    machine.greets();
    assert_eq!(machine.both_sides(), (0, 0));
    let there = CALL.tcp(ACK, 101);
    machine.forwards(TO_LAN, LAN, &there, &there);
    assert_eq!(machine.both_sides(), (TO_DMZ, 0), "each side for itself");
    machine.leases();
    assert_eq!(machine.both_sides(), (TO_DMZ, TO_LAN));
}

#[test]
fn datagrams_of_both_families_follow_too() {
    for (from, to) in [(ANNE, SHOP), (ANNE6, SHOP6)] {
        let machine = Machine::under(&web());
        let ask = line(from, 5353, to, 53);
        assert_eq!(machine.direct(lan(), &ask.udp()), 0);
        machine.forwards(TO_LAN, LAN, &ask.udp(), &ask.udp());
        assert_eq!(machine.direct(lan(), &ask.udp()), 0, "nobody has answered");
        assert_eq!(machine.direct(dmz(), &ask.back().udp()), 0);
        machine.forwards(TO_LAN, LAN, &ask.udp(), &ask.udp());
        assert_eq!(machine.direct(lan(), &ask.udp()), TO_DMZ);
    }
}

#[test]
fn it_lasts_until_the_second_is_over() {
    let machine = leased();
    machine.pass(u64::from(HZ) - 1);
    assert_eq!(machine.both_sides(), (TO_DMZ, TO_LAN));
    machine.pass(1);
    assert_eq!(machine.both_sides(), (0, 0));
    machine.leases();
    assert_eq!(machine.both_sides(), (TO_DMZ, TO_LAN));
    // Six bits of the second come round.
    for seconds in [63, 64, 128] {
        machine.leases();
        machine.pass_secs(seconds);
        assert_eq!(machine.both_sides(), (0, 0), "{seconds} s later");
    }
}

#[test]
fn what_leaves_as_another_packet_is_always_asked_about() {
    let machine = Machine::under(&web());
    machine.greets();
    let there = CALL.tcp(ACK, 101);
    for other in [line(HERE, 61_000, SHOP, 443), line(ANNE, 40_001, SHOP, 443), line(ANNE, 40_000, SHOP, 8443)] {
        // It came in as another, and leaves as this connection's.
        machine.forwards(TO_LAN, LAN, &other.tcp(ACK, 101), &there);
        assert_eq!(machine.both_sides(), (0, 0), "{other:?}");
    }
    // Nobody stamped it on its way in.
    let outcome = machine.judge(Sighting { shortcut: TO_LAN, ..onward(Some(LAN)) }, &there);
    assert!(outcome.passes());
    assert_eq!(machine.both_sides(), (0, 0));
}

#[test]
fn what_came_in_elsewhere_or_takes_no_shortcut_gives_none() {
    let machine = Machine::under(&web());
    machine.greets();
    let there = CALL.tcp(ACK, 101);
    machine.forwards(3, NET, &there, &there);
    assert_eq!(machine.both_sides(), (0, 0), "by another interface");
    machine.forwards(0, LAN, &there, &there);
    assert_eq!(machine.both_sides(), (0, 0), "by one that takes none");
    machine.leases();
    let outcome = machine.judge(lan(), &there);
    assert!(outcome.passes() && outcome.direct == 0, "{outcome:?}");
}

#[test]
fn a_connection_that_ends_is_the_kernels() {
    for last in [FIN | ACK, RST | ACK] {
        let machine = leased();
        assert_eq!(machine.direct(lan(), &CALL.tcp(last, 101)), 0);
        assert_eq!(machine.direct(lan(), &CALL.tcp(ACK, 102)), 0);
    }
}

#[test]
fn a_new_policy_asks_again_before_anything_is_redirected() {
    let mut machine = leased();
    machine.publish(&web());
    assert_eq!(machine.direct(lan(), &CALL.tcp(ACK, 101)), 0, "it is judged anew");
    assert_eq!(machine.direct(lan(), &CALL.tcp(ACK, 101)), 0, "where the other side comes in is not known yet");
    assert_eq!(machine.direct(dmz(), &CALL.back().tcp(ACK, 901)), 0, "judged anew as well");
    assert_eq!(machine.both_sides(), (TO_DMZ, TO_LAN));
    machine.publish(&Policy::new());
    assert!(!machine.judge(short(lan()), &CALL.tcp(ACK, 101)).passes());
    assert!(!machine.judge(short(dmz()), &CALL.back().tcp(ACK, 901)).passes());
}
