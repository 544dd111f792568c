//! UDP: replies, and what only looks like one.

use segd_common::reason::Reason;

use crate::frame::{Line, line};
use crate::machine::Machine;
use crate::net::{ANNE, DMZ, LAN, Policy, SHOP, dmz, lan, udp};
use crate::seen::gets;

const NAMES: u32 = 1;
const ASK: Line = line(ANNE, 5353, SHOP, 53);

fn names() -> Machine {
    Machine::under(&Policy::new().allow(LAN, DMZ, udp(53), NAMES))
}

#[test]
fn a_question_is_answered_under_its_rule() {
    let machine = names();
    machine.send(lan(), &ASK.udp()).is(gets(Reason::Rule, LAN, DMZ).by(NAMES).opens());
    machine.send(dmz(), &ASK.back().udp()).is(gets(Reason::Reply, LAN, DMZ).by(NAMES));
    machine.send(lan(), &ASK.udp()).is(gets(Reason::Rule, LAN, DMZ).by(NAMES));
    machine.pass_secs(179);
    machine.send(dmz(), &ASK.back().udp()).is(gets(Reason::Reply, LAN, DMZ).by(NAMES));
    machine.pass_secs(181);
    machine.send(dmz(), &ASK.back().udp()).is(gets(Reason::NoRule, DMZ, LAN).told());
    machine.send(lan(), &ASK.udp()).is(gets(Reason::Rule, LAN, DMZ).by(NAMES).opens());
}

#[test]
fn d7_an_answer_that_nobody_asked_for_is_a_question_without_a_rule() {
    let machine = names();
    machine.send(dmz(), &ASK.back().udp()).is(gets(Reason::NoRule, DMZ, LAN).told());
    machine.send(lan(), &ASK.udp()).is(gets(Reason::Rule, LAN, DMZ).by(NAMES).opens());
    for forged in [line(SHOP, 54, ANNE, 5353), line(SHOP, 53, ANNE, 5354), line("10.2.0.8", 53, ANNE, 5353)] {
        machine.send(dmz(), &forged.udp()).is(gets(Reason::NoRule, DMZ, LAN).told());
    }
    machine.send(dmz(), &line(SHOP, 53, ANNE, 5353).tcp(16, 1)).is(gets(Reason::NoConnection, DMZ, LAN).told());
}

#[test]
fn an_unanswered_question_is_forgotten_sooner_than_an_answered_one() {
    let machine = names();
    machine.send(lan(), &ASK.udp()).is(gets(Reason::Rule, LAN, DMZ).by(NAMES).opens());
    machine.pass_secs(31);
    machine.send(dmz(), &ASK.back().udp()).is(gets(Reason::NoRule, DMZ, LAN).told());
}
