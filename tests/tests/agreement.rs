//! Cases in which the programs and the model once differed. They agree, and each stays here.

use anyhow::Result;
use segd_tests::model::{Failsafe, Hook, Mode, Network, Policy, Rule, Service, Who, Zone};
use segd_tests::needs_root;
use segd_tests::oracle::{Case, Ground, Played, Step, play};
use segd_tests::packet::{ACK, DESTINATION_OPTIONS, Packet, SYN, echo_reply, echo_request, icmp, tcp};

const DEV: &str = "10.30.0.5";
const LEDGER: &str = "10.20.0.10";

fn network(text: &str, length: u8) -> Network {
    Network { address: text.parse().expect("an address"), length }
}

fn zone(number: u16, networks: Vec<Network>, interfaces: &[&str]) -> Zone {
    let interfaces = interfaces.iter().map(ToString::to_string).collect();
    Zone { number, networks, interfaces, intra_zone: false }
}

fn rule(from: Who, to: Who, service: Service) -> Rule {
    let (from, to, services) = (vec![from], vec![to], vec![service]);
    Rule { number: 0, from, to, services, expires: None, mode: Mode::Enforce, log: false }
}

fn policy(interfaces: &[&str], service: Service) -> Policy {
    let zones = vec![
        zone(0, vec![network("10.30.0.0", 24), network("fe80::", 10)], &[]),
        zone(1, vec![network("10.20.0.0", 24), network("ff02::", 16)], interfaces),
    ];
    let host = vec!["10.30.0.1".parse().expect("an address")];
    Policy { zones, rules: vec![rule(Who::Zone(0), Who::Zone(1), service)], ..Policy::empty(host) }
}

fn frame(hook: Hook, interface: u8, packet: &Packet) -> Step {
    Step::Frame { hook, interface, bytes: packet.frame() }
}

fn agree(case: &Case) -> Result<()> {
    let differs = play(&mut Ground::new()?, case, &mut Played::default())?;
    assert!(differs.is_none(), "{case}{}", differs.map(|difference| difference.to_string()).unwrap_or_default());
    Ok(())
}

fn case(policies: Vec<Policy>, adopting: bool, steps: Vec<Step>) -> Case {
    Case { policies, adopting, tc: false, steps }
}

/// It leaked once.
#[test]
fn both_sides_of_a_connection_are_asked_for_their_interface_after_a_change_of_policy() -> Result<()> {
    needs_root!();
    let web = Service::Ports(6, 443, 443);
    let (there, back) = (tcp(40_000, 443).between(DEV, LEDGER), tcp(443, 40_000).between(LEDGER, DEV));
    let steps = vec![
        frame(Hook::Ingress, 1, &there.clone().syn()),
        frame(Hook::Ingress, 1, &back.clone().flags(SYN | ACK)),
        Step::Publish(1),
        frame(Hook::Ingress, 1, &there),
        frame(Hook::Ingress, 1, &back),
    ];
    agree(&case(vec![policy(&[], web), policy(&["wan0"], web)], false, steps))
}

#[test]
fn a_header_behind_the_first_bytes_is_told_to_be_too_deep() -> Result<()> {
    needs_root!();
    let mut rest = vec![0; 8 * 54 + 7];
    rest[0] = 54;
    let deep = tcp(1, 443).syn().between("fe80::5", "ff02::1").extension_bytes(DESTINATION_OPTIONS, &rest);
    // 14 of the link, 40 of IPv6, 440 of options, 8 more: the flags stand behind byte 511.
    let deep = deep.extension(DESTINATION_OPTIONS);
    let steps = vec![frame(Hook::Ingress, 0, &deep)];
    agree(&case(vec![policy(&[], Service::Any)], false, steps))
}

#[test]
fn an_echo_reply_is_never_adopted() -> Result<()> {
    needs_root!();
    let reply = echo_reply(7, 1).between(DEV, LEDGER);
    let steps = vec![frame(Hook::Ingress, 0, &reply), frame(Hook::Ingress, 0, &reply)];
    agree(&case(vec![policy(&[], Service::Icmp(Some(0)))], true, steps))
}

#[test]
fn what_is_essential_does_not_ride_on_what_is_not() -> Result<()> {
    needs_root!();
    let report = icmp(143, 0, [0; 4]).between("fe80::5", "ff02::16");
    let steps = vec![frame(Hook::Ingress, 0, &report), frame(Hook::Ingress, 0, &report.clone().hops(1))];
    agree(&case(vec![policy(&[], Service::Any)], false, steps))
}

#[test]
fn connections_of_this_machine_are_never_the_failsafes() -> Result<()> {
    needs_root!();
    let mut policy = policy(&[], Service::Any);
    policy.rules[0] = rule(Who::Host, Who::Zone(1), Service::Icmp(Some(8)));
    policy.failsafe = Failsafe { from: vec![network("10.30.0.1", 32)], services: vec![Service::Icmp(Some(8))] };
    let mut revoked = policy.clone();
    revoked.rules.clear();
    let asks = frame(Hook::Local, 0, &echo_request(7, 1).between("10.30.0.1", LEDGER));
    let answers = frame(Hook::Ingress, 0, &echo_reply(7, 1).between(LEDGER, "10.30.0.1"));
    let steps = vec![asks.clone(), answers.clone(), asks.clone(), Step::Publish(1), answers, asks];
    agree(&Case { tc: true, ..case(vec![policy, revoked], false, steps) })
}
