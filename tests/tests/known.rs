//! Differences between the programs and the model that are known: each has its shape here, and this fails when one is gone.
//! Then its line in `oracle/known.rs` goes, and its test here becomes one of what is right.

use anyhow::Result;
use segd_tests::model::{Hook, Mode, Network, Policy, Rule, Service, Who, Zone};
use segd_tests::needs_root;
use segd_tests::oracle::{Case, Ground, KNOWN, Played, Step, play};
use segd_tests::packet::{ACK, DESTINATION_OPTIONS, Packet, SYN, echo_reply, icmp, tcp};

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

fn known_in(case: &Case) -> Result<[u64; KNOWN.len()]> {
    let mut played = Played::default();
    let unknown = play(&mut Ground::new()?, case, &mut played)?;
    assert!(unknown.is_none(), "{case}{}", unknown.map(|difference| difference.to_string()).unwrap_or_default());
    Ok(played.known)
}

fn shows(known: &[u64; KNOWN.len()], words: &str) {
    let place = KNOWN.iter().position(|known| known.what.contains(words)).expect("a known difference");
    assert!(known[place] > 0, "gone, so take it out of the list: {}", KNOWN[place].what);
}

fn case(policies: Vec<Policy>, adopting: bool, steps: Vec<Step>) -> Case {
    Case { policies, adopting, tc: false, steps }
}

/// A leak: the list is kept short, and this one first.
#[test]
fn the_other_side_of_a_connection_is_not_asked_for_its_interface_after_a_change_of_policy() -> Result<()> {
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
    shows(
        &known_in(&case(vec![policy(&[], web), policy(&["wan0"], web)], false, steps))?,
        "other side of a live connection",
    );
    Ok(())
}

#[test]
fn a_header_behind_the_first_bytes_is_told_to_be_truncated() -> Result<()> {
    needs_root!();
    let mut rest = vec![0; 8 * 54 + 7];
    rest[0] = 54;
    let deep = tcp(1, 443).syn().between("fe80::5", "ff02::1").extension_bytes(DESTINATION_OPTIONS, &rest);
    // 14 of the link, 40 of IPv6, 440 of options, 8 more: the flags stand behind byte 511.
    let deep = deep.extension(DESTINATION_OPTIONS);
    let steps = vec![frame(Hook::Ingress, 0, &deep)];
    shows(&known_in(&case(vec![policy(&[], Service::Any)], false, steps))?, "behind the first 512");
    Ok(())
}

#[test]
fn an_echo_reply_is_adopted_as_a_connection_of_its_own() -> Result<()> {
    needs_root!();
    let reply = echo_reply(7, 1).between(DEV, LEDGER);
    let steps = vec![frame(Hook::Ingress, 0, &reply), frame(Hook::Ingress, 0, &reply)];
    shows(&known_in(&case(vec![policy(&[], Service::Icmp(Some(0)))], true, steps))?, "while connections are adopted");
    Ok(())
}

#[test]
fn what_is_essential_rides_on_what_is_not() -> Result<()> {
    needs_root!();
    let report = icmp(143, 0, [0; 4]).between("fe80::5", "ff02::16");
    let steps = vec![frame(Hook::Ingress, 0, &report), frame(Hook::Ingress, 0, &report.clone().hops(1))];
    shows(&known_in(&case(vec![policy(&[], Service::Any)], false, steps))?, "what is essential rides");
    Ok(())
}
