//! A full table, and events that find no room: what is established stays, and nothing is lost in silence.

use std::collections::HashMap;

use segd_common::flow::{FlowKey, State};
use segd_common::packet::proto;
use segd_common::reason::Reason;

use crate::frame::{ACK, Line, RST, SYN, line};
use crate::machine::{HZ, Machine};
use crate::net::{ANNE, DMZ, LAN, Policy, SHOP, dmz, lan, tcp, udp};
use crate::seen::{Counter, Expect, gets};

const WEB: u32 = 2;
const THERE: Expect = gets(Reason::Rule, LAN, DMZ).by(WEB);

fn web() -> Policy {
    Policy::new().allow(LAN, DMZ, tcp(443), WEB)
}

const fn call(port: u16) -> Line {
    line(ANNE, port, SHOP, 443)
}

/// Opens one, if there is room, and lets the responder answer and the initiator go on. Gives whether there was.
fn open(machine: &Machine, call: Line) -> bool {
    let opened = machine.judge(lan(), &call.tcp(SYN, 1)).opened;
    if opened {
        assert!(machine.judge(dmz(), &call.back().tcp(SYN | ACK, 1)).passes());
        assert!(machine.judge(lan(), &call.tcp(ACK, 2)).passes());
    }
    opened
}

/// A table of two buckets, full of established connections; their ports.
fn full(policy: &Policy) -> (Machine, Vec<u16>) {
    let machine = Machine::small(policy, 2);
    let ports: Vec<u16> = (1000..2000).filter(|port| open(&machine, call(*port))).collect();
    assert_eq!(machine.states(), [State::Established as u8; 16]);
    // Their events have used up a second's allowance.
    machine.pass_secs(1);
    (machine, ports)
}

#[test]
fn d12_a_table_full_of_established_connections_takes_no_other_and_loses_none() {
    let (machine, ports) = full(&web());
    assert_eq!(ports.len(), 16);
    machine.send(lan(), &call(3000).tcp(SYN, 1)).is(gets(Reason::TableFull, LAN, DMZ).told());
    machine.send(lan(), &call(3000).tcp(SYN, 1)).is(gets(Reason::TableFull, LAN, DMZ));
    for port in ports {
        machine.send(lan(), &call(port).tcp(SYN, 1)).is(THERE);
        machine.send(lan(), &call(port).tcp(ACK, 2)).is(THERE);
        machine.send(dmz(), &call(port).back().tcp(ACK, 2)).is(gets(Reason::Reply, LAN, DMZ).by(WEB));
    }
}

#[test]
fn sessions_that_are_silent_for_days_are_not_evicted() {
    let (machine, ports) = full(&web());
    machine.pass_secs(4 * 24 * 3600);
    machine.send(lan(), &call(3000).tcp(SYN, 1)).is(gets(Reason::TableFull, LAN, DMZ).told());
    for port in ports {
        machine.send(lan(), &call(port).tcp(ACK, 2)).is(THERE);
    }
}

/// The number that finds the connection of this port.
fn hash(machine: &mut Machine, sport: u16) -> u64 {
    let address = |text: &str| text.parse::<std::net::IpAddr>().expect("an address").into();
    let key = FlowKey { src: address(ANNE), dst: address(SHOP), sport, dport: 443, proto: proto::TCP };
    key.hash(machine.control().seed)
}

#[test]
fn a_bucket_that_is_full_leaves_the_other_one() {
    let mut machine = Machine::small(&web(), 2);
    let ports: Vec<u16> = (1..2000).filter(|port| hash(&mut machine, *port) & 0x0100_0001 == 0x0100_0000).collect();
    for port in &ports[..16] {
        assert!(open(&machine, call(*port)), "port {port}, and none makes room for it");
    }
    assert!(!open(&machine, call(ports[16])));
}

#[test]
fn an_entry_whose_tag_could_not_be_set_is_no_connection() {
    let [mut machine, mut twin] = [0; 2].map(|_| Machine::small(&web(), 1));
    assert!(open(&machine, call(1000)) && open(&twin, call(1000)));
    let tag = |way: usize| machine.buckets[0].0[way / 4].get() >> (way % 4 * 16) & 0xffff;
    let way = (0..8).find(|way| tag(*way) != 0).expect("it stands somewhere");
    // The real one stands beside it; where it was looked for first there is what a failed attempt left.
    let (tag, beside) = (tag(way), way ^ 1);
    machine.buckets[0].0[way / 4].set(tag << (beside % 4 * 16));
    machine.flows[beside] = twin.flows.swap_remove(way);
    let [ghost, real] = [&machine.flows[way], &machine.flows[beside]];
    ghost.generation.set(0);
    machine.send(lan(), &call(1000).tcp(ACK, 2)).is(THERE);
    machine.send(lan(), &call(1000).tcp(RST, 2)).is(THERE);
    assert_eq!((ghost.generation.get(), ghost.state.get()), (0, State::Established as u8));
    assert_eq!(real.state.get(), State::Closing as u8);
}

/// Pairs of ports whose connections have one tag and begin their search at one way: the second stands beside the first.
fn twins() -> Vec<(u16, u16)> {
    let mut machine = Machine::small(&web(), 1);
    let mut known = HashMap::new();
    let mut twins = Vec::new();
    for port in 1..6000 {
        let hash = hash(&mut machine, port);
        twins.extend(known.insert((hash >> 48, hash >> 16 & 7), port).map(|first| (first, port)));
    }
    twins
}

#[test]
fn two_connections_with_one_tag_are_told_apart() {
    let twins = twins();
    assert!(twins.len() > 10, "{} pairs are too few to say anything", twins.len());
    for (first, second) in twins {
        let machine = Machine::small(&web(), 1);
        for port in [first, second] {
            machine.send(lan(), &call(port).tcp(SYN, 1)).is(THERE.opens());
            machine.send(dmz(), &call(port).back().tcp(SYN | ACK, 1)).is(gets(Reason::Reply, LAN, DMZ).by(WEB));
        }
        for port in [first, second] {
            machine.send(lan(), &call(port).tcp(ACK, 2)).is(THERE);
            machine.send(dmz(), &call(port).back().tcp(ACK, 2)).is(gets(Reason::Reply, LAN, DMZ).by(WEB));
        }
    }
}

#[test]
fn a_watched_pair_passes_what_finds_no_room() {
    let (machine, _) = full(&web().rest(LAN, DMZ, Reason::Audit));
    machine.send(lan(), &call(3000).tcp(SYN, 1)).is(gets(Reason::Audit, LAN, DMZ).instead_of(Reason::TableFull).told());
}

#[test]
fn d11_a_flood_of_half_open_connections_evicts_nobody_but_its_like() {
    let machine = Machine::small(&web(), 16);
    let established: Vec<u16> = (1000..1064).filter(|port| open(&machine, call(*port))).collect();
    assert_eq!(established.len(), 64);
    for port in 2000..12_000 {
        let outcome = machine.judge(lan(), &line("10.1.0.6", port, SHOP, 443).tcp(SYN, 1));
        assert!(outcome.opened || outcome.reason == Reason::TableFull);
    }
    for port in established {
        machine.send(lan(), &call(port).tcp(ACK, 2)).is(THERE);
    }
    machine.send(lan(), &line("10.1.0.6", 11_999, SHOP, 443).tcp(SYN, 1)).is(THERE);
}

/// A machine whose table of two buckets is full of connections to which `then` happened, each after its first packet.
fn full_of(first: impl Fn(Line) -> Vec<u8>, then: impl Fn(&Machine, Line)) -> Machine {
    let machine = Machine::small(&web().allow(LAN, DMZ, udp(443), WEB), 2);
    // Far more than there is room for: both buckets get their eight.
    for port in 1000..1200 {
        if machine.judge(lan(), &first(call(port))).opened {
            then(&machine, call(port));
        }
    }
    assert_eq!(machine.states().len(), 16);
    machine
}

/// How many of a hundred new connections find room there.
fn find_room(machine: &Machine) -> usize {
    (3000..3100).filter(|port| machine.judge(lan(), &call(*port).tcp(SYN, 1)).opened).count()
}

/// A made-up source gets an answer, which it never sees.
#[test]
fn d11_what_only_the_server_has_a_part_in_makes_room() {
    let syn = |call: Line| call.tcp(SYN, 1);
    let answers = |flags, seq| {
        move |machine: &Machine, call: Line| {
            machine.send(dmz(), &call.back().tcp(flags, seq)).is(gets(Reason::Reply, LAN, DMZ).by(WEB));
        }
    };
    assert_eq!(find_room(&full_of(syn, answers(SYN | ACK, 1))), 100, "an answer");
    assert_eq!(find_room(&full_of(syn, answers(RST | ACK, 0))), 100, "a refusal");
    let reply = |machine: &Machine, call: Line| {
        machine.send(dmz(), &call.back().udp()).is(gets(Reason::Reply, LAN, DMZ).by(WEB));
    };
    assert_eq!(find_room(&full_of(Line::udp, reply)), 100, "an answer by UDP");
    let blind = |machine: &Machine, call: Line| {
        // Our frames acknowledge nothing; the server's number is far from that.
        answers(SYN | ACK, 5 << 16)(machine, call);
        machine.send(lan(), &call.tcp(ACK, 2)).is(THERE);
    };
    assert_eq!(find_room(&full_of(syn, blind)), 100, "an acknowledgement that is a guess");
}

#[test]
fn d12_what_both_sides_have_a_part_in_stays() {
    let (syn, answer) = (|call: Line| call.tcp(SYN, 1), |call: Line, seq| call.back().tcp(SYN | ACK, seq));
    let knows = |machine: &Machine, call: Line| {
        assert!(machine.judge(dmz(), &answer(call, 1)).passes());
        assert!(machine.judge(lan(), &call.tcp(ACK, 2)).passes());
    };
    assert_eq!(find_room(&full_of(syn, knows)), 0, "the initiator knows the server's number");
    let goes_on = |machine: &Machine, call: Line| {
        assert!(machine.judge(dmz(), &answer(call, 5 << 16)).passes());
        assert!(machine.judge(dmz(), &call.back().tcp(ACK, (5 << 16) + 1)).passes());
    };
    assert_eq!(find_room(&full_of(syn, goes_on)), 0, "the server goes on");
    let asks_again = |machine: &Machine, call: Line| {
        assert!(machine.judge(dmz(), &call.back().udp()).passes());
        assert!(machine.judge(lan(), &call.udp()).passes());
    };
    assert_eq!(find_room(&full_of(Line::udp, asks_again)), 0, "UDP goes to and fro");
}

#[test]
fn a_connection_that_is_over_makes_room() {
    let (machine, ports) = full(&web());
    machine.send(lan(), &call(ports[0]).tcp(RST | ACK, 2)).is(THERE);
    assert!(find_room(&machine) > 0);
    for port in &ports[1..] {
        machine.send(lan(), &call(*port).tcp(ACK, 2)).is(THERE);
    }
}

#[test]
fn a_connection_that_was_forgotten_makes_room() {
    let (machine, _) = full(&web());
    machine.pass_secs(5 * 24 * 3600);
    machine.send(lan(), &call(3000).tcp(SYN, 1)).is(THERE.opens());
    assert_eq!(machine.states().len(), 16);
}

#[test]
fn events_beyond_the_allowance_are_counted_as_lost() {
    let mut machine = Machine::under(&web());
    machine.control().event_rate = 2;
    for port in 0..5 {
        assert!(machine.judge(lan(), &call(port).tcp(SYN, 1)).opened);
    }
    assert_eq!(machine.events.borrow().len(), 2);
    assert_eq!(machine.counters()[&Counter::EventsLost], 3);
    machine.pass_secs(1);
    machine.send(lan(), &call(6).tcp(SYN, 1)).is(THERE.opens());
    machine.ring = 0;
    assert!(machine.judge(lan(), &call(7).tcp(SYN, 1)).opened);
    assert_eq!(machine.counters()[&Counter::EventsLost], 4);
}

/// Linux begins to count jiffies five minutes before their low half comes round.
#[test]
fn a_machine_that_has_just_booted_tells_its_first_event() {
    let machine = Machine::under(&Policy::new());
    machine.now.set(u64::from(u32::MAX) - 200 * u64::from(HZ));
    for port in 0..3 {
        machine.send(lan(), &call(port).tcp(SYN, 1)).is(gets(Reason::NoRule, LAN, DMZ).told());
        machine.pass_secs(100);
    }
}

#[test]
fn what_is_blocked_leaves_a_quarter_of_the_allowance_to_what_is_let_in() {
    let mut machine = Machine::under(&web());
    machine.control().event_rate = 8;
    for port in 0..20 {
        assert!(!machine.judge(lan(), &line(ANNE, 1000 + port, SHOP, 22).tcp(SYN, 1)).passes());
    }
    assert_eq!(machine.events.borrow().len(), 6);
    for port in 0..3 {
        assert!(machine.judge(lan(), &call(port).tcp(SYN, 1)).opened);
    }
    assert_eq!(machine.events.borrow().len(), 8);
    assert_eq!(machine.counters()[&Counter::EventsLost], 14 + 1);
}

#[test]
fn zones_beyond_the_counters_are_counted_as_unzoned() {
    let mut machine = Machine::under(&web());
    machine.control().zones = 4;
    assert!(machine.judge(lan(), &call(1).tcp(SYN, 1)).passes());
    assert_eq!(machine.counters()[&Counter::Packets(0, 0, "rule")], 1);
}
