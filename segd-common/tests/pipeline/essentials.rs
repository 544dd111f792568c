//! What a network needs to work at all passes under an empty policy, in its exact shape and in no other.

use segd_common::packet::proto;
use segd_common::reason::Reason;

use crate::frame::{arp, hop_limit, icmp, ip, line, neighbour};
use crate::machine::Machine;
use crate::net::{ANNE, ANNE6, DMZ, HERE, HERE6, HOST, LAN, Policy, SHOP, SHOP6, UNZONED, lan, local};
use crate::seen::gets;

const ALL_NODES: &str = "ff02::1";
const ROUTERS: &str = "ff02::2";

fn report(src: &str) -> Vec<u8> {
    icmp(src, "ff02::16", &[143, 0, 0, 0, 0, 0, 0, 0])
}

fn essentials() -> Vec<(&'static str, segd_common::pipeline::Sighting, Vec<u8>)> {
    vec![
        ("ARP", lan(), arp(1, ANNE, HERE)),
        ("DAD of a neighbour", lan(), neighbour("::", "ff02::1:ff00:5", 135, ANNE6)),
        ("DAD of ours", local(), neighbour("::", "ff02::1:ff00:1", 135, HERE6)),
        ("NS", lan(), neighbour(ANNE6, HERE6, 135, HERE6)),
        ("NA", lan(), neighbour(ANNE6, HERE6, 136, ANNE6)),
        ("our NA", local(), neighbour(HERE6, ANNE6, 136, HERE6)),
        ("RS", local(), neighbour("fe80::1", ROUTERS, 133, "::")),
        ("RS of a neighbour", lan(), neighbour("::", ROUTERS, 133, "::")),
        ("our RA", local(), neighbour("fe80::1", ALL_NODES, 134, "::")),
        ("MLD", lan(), hop_limit(report("fe80::5"), 1)),
        ("MLD before DAD", lan(), hop_limit(report("::"), 1)),
        ("our DHCP", local(), line("0.0.0.0", 68, "255.255.255.255", 67).udp()),
        ("DHCP's answer", lan(), line(ANNE, 67, "255.255.255.255", 68).udp()),
        ("DHCP's answer to us", lan(), line(ANNE, 67, HERE, 68).udp()),
        ("our DHCPv6", local(), line("fe80::1", 546, "ff02::1:2", 547).udp()),
        ("DHCPv6's answer", lan(), line("fe80::5", 547, "fe80::1", 546).udp()),
    ]
}

#[test]
fn c16_the_essentials_pass_under_an_empty_policy_and_open_nothing() {
    let machine = Machine::under(&Policy::new());
    for (name, at, frame) in essentials() {
        let outcome = machine.judge(at, &frame);
        assert_eq!((outcome.reason, outcome.opened), (Reason::Essential, false), "{name}");
    }
    assert_eq!(machine.states(), []);
    assert!(machine.events.borrow().is_empty());
}

#[test]
fn a_policy_without_essentials_passes_none_of_them() {
    let machine = Machine::under(&Policy::new().without_essentials());
    for (name, at, frame) in essentials() {
        assert!(!machine.judge(at, &frame).passes(), "{name}");
    }
}

#[test]
fn c14_a_router_advertisement_or_redirect_of_anybody_else_is_no_essential() {
    let machine = Machine::under(&Policy::new());
    machine.send(lan(), &neighbour("fe80::5", ALL_NODES, 134, "::")).is(gets(Reason::NoRule, UNZONED, UNZONED).told());
    let redirect = icmp("fe80::5", HERE6, &[&[137, 0][..], &[0; 38]].concat());
    machine.send(lan(), &hop_limit(redirect, 255)).is(gets(Reason::NoRule, UNZONED, HOST).told());
}

#[test]
fn c15_neighbour_discovery_that_a_router_has_passed_on_is_refused() {
    let machine = Machine::under(&Policy::new());
    let passed_on = hop_limit(neighbour(ANNE6, HERE6, 135, HERE6), 254);
    machine.send(lan(), &passed_on).is(gets(Reason::BadHeader, LAN, HOST).told());
    machine.send(lan(), &hop_limit(report("fe80::5"), 2)).is(gets(Reason::NoRule, UNZONED, UNZONED).told());
}

#[test]
fn a_dhcp_offer_may_go_to_the_address_that_it_offers() {
    let machine = Machine::under(&Policy::new());
    machine.send(lan(), &line(ANNE, 67, SHOP, 68).udp()).is(gets(Reason::Essential, LAN, DMZ));
    machine.send(lan(), &line(ANNE6, 547, SHOP6, 546).udp()).is(gets(Reason::Essential, LAN, DMZ));
}

#[test]
fn what_only_looks_like_dhcp_is_judged() {
    let machine = Machine::under(&Policy::new());
    machine.send(lan(), &line(ANNE, 68, SHOP, 67).udp()).is(gets(Reason::NoRule, LAN, DMZ).told());
    machine.send(lan(), &line(ANNE, 67, HERE, 69).udp()).is(gets(Reason::NoRule, LAN, HOST).told());
    for ask in [line(ANNE, 1068, HERE, 67), line(ANNE6, 1546, HERE6, 547)] {
        machine.send(lan(), &ask.udp()).is(gets(Reason::NoRule, LAN, HOST).told());
    }
    let tcp = ip(ANNE, HERE, proto::TCP, &line(ANNE, 67, HERE, 68).segment(2, 1));
    machine.send(lan(), &tcp).is(gets(Reason::NoRule, LAN, HOST).told());
}
