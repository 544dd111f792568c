//! Where a packet may come from: zones on their interfaces, martians, and who may say that an address is his.

use segd_common::pipeline::Sighting;
use segd_common::reason::Reason;

use crate::frame::{Line, SYN, arp, line, neighbour};
use crate::machine::Machine;
use crate::net::{ANNE, ANNE6, DMZ, FAR, HERE, HERE6, HOST, LAN, LOST, NET, Policy, SHOP, SHOP6, UNZONED};
use crate::net::{dmz, lan, local, net, onward, udp};
use crate::seen::gets;

const ALL: [u16; 5] = [UNZONED, HOST, LAN, DMZ, NET];

/// Everybody may ask everybody.
fn open() -> Machine {
    let pairs = ALL.iter().flat_map(|from| ALL.iter().map(move |to| (*from, *to)));
    Machine::under(&pairs.fold(Policy::new(), |policy, (from, to)| policy.allow(from, to, udp(53), 1)))
}

const fn ask(src: &'static str, dst: &'static str) -> Line {
    line(src, 5353, dst, 53)
}

#[test]
fn e11_a_source_on_another_zones_interface_is_spoofed() {
    let machine = open();
    let homes = [(ANNE, LAN, lan()), (SHOP, DMZ, dmz()), (FAR, NET, net())];
    for (source, zone, home) in homes {
        for (target, to, elsewhere) in homes.iter().filter(|(other, ..)| *other != source) {
            let frame = ask(source, target).udp();
            machine.send(*elsewhere, &frame).is(gets(Reason::SpoofedSource, zone, *to).told());
            machine.send(home, &frame).is(gets(Reason::Rule, zone, *to).by(1).opens());
            machine.send(*elsewhere, &frame).is(gets(Reason::SpoofedSource, zone, *to));
        }
    }
    for at in [lan(), dmz(), net()] {
        assert_eq!(
            machine.judge(at, &ask(LOST, HERE).udp()).reason,
            Reason::Rule,
            "a zone of no interface is anywhere"
        );
    }
}

#[test]
fn on_an_interface_that_the_daemon_does_not_speak_of_nothing_passes() {
    for at in [lan(), local(), onward(None)] {
        let machine = open();
        let nowhere = Sighting { interface: 0, ..at };
        machine.send(nowhere, &ask(ANNE, SHOP).udp()).is(gets(Reason::NoRule, UNZONED, UNZONED).told());
        machine.send(nowhere, &arp(1, ANNE, HERE)).is(gets(Reason::NoRule, UNZONED, UNZONED).told());
        assert_eq!(machine.states(), []);
    }
}

#[test]
fn b12_b13_b14_addresses_that_no_wire_carries_are_spoofed() {
    let machine = open();
    let sources = [HERE, "127.0.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "240.0.0.1", "255.255.255.255"];
    for source in sources {
        assert_eq!(machine.judge(lan(), &ask(source, SHOP).udp()).reason, Reason::SpoofedSource, "{source}");
    }
    for source in [HERE6, "::1", "::", "ff02::1"] {
        assert_eq!(machine.judge(lan(), &ask(source, SHOP6).udp()).reason, Reason::SpoofedSource, "{source}");
    }
    for target in ["127.0.0.1", "0.0.0.0", ANNE] {
        assert_eq!(machine.judge(lan(), &ask(ANNE, target).udp()).reason, Reason::SpoofedSource, "{target}");
    }
    machine.send(lan(), &line(ANNE, 1, ANNE, 53).tcp(SYN, 1)).is(gets(Reason::SpoofedSource, LAN, LAN).told());
    assert_eq!(machine.states(), []);
}

#[test]
fn c11_ipv4_in_disguise_is_spoofed_before_anybody_asks_for_its_zone() {
    let machine = open();
    let spoofed = gets(Reason::SpoofedSource, UNZONED, UNZONED);
    machine.send(lan(), &ask("::ffff:10.1.0.5", SHOP6).udp()).is(spoofed.told());
    assert_eq!(machine.judge(lan(), &ask(ANNE6, "::ffff:10.2.0.7").udp()).reason, Reason::SpoofedSource);
    assert_eq!(machine.judge(local(), &ask(HERE6, "::ffff:10.2.0.7").udp()).reason, Reason::SpoofedSource);
}

#[test]
fn c12_link_local_addresses_stay_on_their_link() {
    let machine = open();
    let there = "fe80::5";
    machine.send(lan(), &ask(there, SHOP6).udp()).is(gets(Reason::SpoofedSource, UNZONED, DMZ).told());
    machine.send(lan(), &ask(there, HERE6).udp()).is(gets(Reason::Rule, UNZONED, HOST).by(1).opens());
    machine.send(lan(), &ask(there, "fe80::1").udp()).is(gets(Reason::Rule, UNZONED, HOST).by(1).opens());
}

#[test]
fn c12_what_looks_essential_takes_no_link_local_address_off_its_link() {
    // Were it let in by a rule, all that follows on its connection would be.
    let dhcp = Policy::new().allow(UNZONED, DMZ, udp(547), 1);
    for policy in [dhcp, Policy::new()] {
        let machine = Machine::under(&policy);
        let request = line("fe80::5", 546, SHOP6, 547);
        machine.send(lan(), &request.udp()).is(gets(Reason::SpoofedSource, UNZONED, DMZ).told());
        let outcome = machine.judge(lan(), &neighbour("fe80::5", SHOP6, 135, SHOP6));
        assert_eq!(outcome.reason, Reason::Essential, "who has that address is asked on the link");
    }
}

#[test]
fn a15_an_arp_sender_is_a_source_like_any_other() {
    let machine = Machine::under(&Policy::new());
    let essential = |from, to| gets(Reason::Essential, from, to);
    for operation in [1, 2] {
        machine.send(lan(), &arp(operation, ANNE, HERE)).is(essential(LAN, HOST));
        machine.send(lan(), &arp(operation, ANNE, ANNE)).is(essential(LAN, LAN));
        machine.send(local(), &arp(operation, HERE, ANNE)).is(essential(HOST, LAN));
    }
    machine.send(lan(), &arp(1, "0.0.0.0", ANNE)).is(essential(UNZONED, LAN));
    let spoofed = |from, to| gets(Reason::SpoofedSource, from, to).told();
    machine.send(lan(), &arp(2, SHOP, ANNE)).is(spoofed(DMZ, LAN));
    machine.send(lan(), &arp(2, HERE, ANNE)).is(spoofed(HOST, LAN));
    machine.send(lan(), &arp(1, HERE, HERE)).is(spoofed(HOST, HOST));
    machine.send(lan(), &arp(3, ANNE, HERE)).is(gets(Reason::BadHeader, UNZONED, UNZONED).told());
}

#[test]
fn a_neighbour_claims_only_what_may_be_seen_where_he_is() {
    let machine = Machine::under(&Policy::new());
    let essential = gets(Reason::Essential, LAN, HOST);
    machine.send(lan(), &neighbour(ANNE6, HERE6, 136, ANNE6)).is(essential);
    machine.send(lan(), &neighbour(ANNE6, HERE6, 136, "fe80::5")).is(essential);
    let spoofed = gets(Reason::SpoofedSource, LAN, HOST);
    machine.send(lan(), &neighbour(ANNE6, HERE6, 136, HERE6)).is(spoofed.told());
    machine.send(lan(), &neighbour(ANNE6, HERE6, 136, SHOP6)).is(spoofed);
    machine.send(lan(), &neighbour(ANNE6, HERE6, 136, "::ffff:10.1.0.5")).is(spoofed);
    assert_eq!(machine.judge(lan(), &neighbour(SHOP6, HERE6, 136, ANNE6)).reason, Reason::SpoofedSource);
}

#[test]
fn a_neighbour_without_an_address_claims_nothing() {
    let machine = Machine::under(&Policy::new());
    for target in [HERE6, SHOP6, ANNE6] {
        assert_eq!(machine.judge(lan(), &neighbour("::", "ff02::1", 136, target)).reason, Reason::SpoofedSource);
    }
}
