//! What was judged on its way in is not asked again on its way out, unless anything about it is another thing there.

use segd_common::pipeline::{Sighting, stamp, voucher};
use segd_common::reason::Reason;

use crate::frame::{ACK, Line, Piece, SYN, icmp, line};
use crate::machine::Machine;
use crate::net::{ANNE, DMZ, HERE, LAN, Policy, SHOP, dmz, lan, onward, tcp, udp};
use crate::seen::gets;

const CALL: Line = line(ANNE, 40_000, SHOP, 443);

fn web() -> Policy {
    Policy::new().allow(LAN, DMZ, tcp(443), 2).allow(LAN, DMZ, udp(53), 3)
}

/// On its way out, forwarded from the LAN with this number.
fn with(stamp: Option<u32>) -> Sighting {
    Sighting { stamp: stamp.unwrap_or_default(), ..onward(Some(LAN)) }
}

impl Machine {
    /// The number that a frame gets on its way in.
    fn vouches(&self, at: Sighting, frame: &[u8]) -> Option<u32> {
        voucher(&self.work(at, frame))
    }

    /// Whether a frame leaves without a question. Nothing is counted either way.
    fn waves_through(&self, at: Sighting, frame: &[u8]) -> bool {
        let before = self.state();
        let outcome = self.judge(at, frame);
        assert!(outcome.passes() == (before == self.state()), "{outcome:?}");
        outcome.passes()
    }
}

#[test]
fn what_was_judged_leaves_without_a_question() {
    let mut machine = Machine::under(&web());
    let (syn, answer) = (CALL.tcp(SYN, 1), CALL.back().tcp(SYN | ACK, 900));
    let there = machine.vouches(lan(), &syn);
    let back = machine.vouches(dmz(), &answer);
    // By then the policy has nothing to say: only the number lets them pass.
    machine.publish(&Policy::new());
    assert!(machine.waves_through(with(there), &syn));
    assert!(machine.waves_through(Sighting { tagged: Some(DMZ), ..with(back) }, &answer));
    assert!(!machine.waves_through(with(None), &syn));
}

#[test]
fn other_ends_another_number_or_no_origin_are_asked() {
    let mut machine = Machine::under(&web());
    let syn = CALL.tcp(SYN, 1);
    let given = machine.vouches(lan(), &syn).expect("it was let in");
    let work = machine.work(lan(), &syn);
    machine.publish(&Policy::new());
    for other in [line(HERE, 40_000, SHOP, 443), line(ANNE, 40_001, SHOP, 443), line(ANNE, 40_000, SHOP, 22)] {
        assert!(!machine.waves_through(with(Some(given)), &other.tcp(SYN, 1)), "{other:?}");
    }
    assert!(!machine.waves_through(with(Some(given)), &CALL.udp()), "another protocol");
    assert!(!machine.waves_through(with(Some(stamp(&work.packet))), &syn), "seen, and not judged");
    assert!(!machine.waves_through(with(Some(given ^ 2)), &syn));
    assert!(
        !machine.waves_through(Sighting { tagged: None, ..with(Some(given)) }, &syn),
        "nobody knows where it is from"
    );
    let short = Sighting { shortcut: 1, ..with(Some(given)) };
    assert!(!machine.waves_through(short, &syn), "its connection wants to see it");
    assert!(!machine.waves_through(Sighting { interface: 0, ..with(Some(given)) }, &syn), "an unknown interface");
    machine.control = None;
    assert!(!machine.judge(with(Some(given)), &syn).passes(), "without any policy");
}

#[test]
fn only_whole_packets_that_rules_let_through_are_vouched_for() {
    let machine = Machine::under(&web().allow(LAN, LAN, tcp(80), 4));
    assert!(machine.vouches(lan(), &line(ANNE, 5353, SHOP, 53).udp()).is_some());
    for (what, frame) in [
        ("a packet that is dropped", line(ANNE, 40_000, SHOP, 22).tcp(SYN, 1)),
        ("one for this machine", line(ANNE, 40_000, HERE, 443).tcp(SYN, 1)),
        ("a query", icmp(ANNE, SHOP, &[8, 0, 0, 0, 0, 1, 0, 1])),
        ("an offer of an address, which is judged where it leaves", line(ANNE, 67, SHOP, 68).udp()),
    ] {
        assert_eq!(machine.vouches(lan(), &frame), None, "{what}");
    }
    let ask = line(ANNE, 5354, SHOP, 53);
    let first = Piece { id: 7, start: 0, more: true }.of(ask, 17, &ask.datagram(24));
    machine.send(lan(), &first).is(gets(Reason::Rule, LAN, DMZ).by(3).opens());
    assert_eq!(machine.vouches(lan(), &first), None, "a part of a datagram");
}

#[test]
fn what_is_only_watched_is_vouched_for_too() {
    let machine = Machine::under(&Policy::new().audit());
    let syn = CALL.tcp(SYN, 1);
    let given = machine.vouches(lan(), &syn);
    assert!(given.is_some() && machine.waves_through(with(given), &syn));
}
