//! Questions of chance: what the daemon explains is what the loaded programs do with the first packet of that connection.

use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::{Context, Result};
use segd::compile::Question;
use segd::policy::Service as Asked;
use segd_common::reason::Verdict;

use super::ground::{Ground, INTERFACES};
use super::policies::{PORTS, address_near, member};
use super::random::Random;
use crate::model::{Hook, Policy, Service, Sight, Who, World};
use crate::packet::{Packet, icmp, icmp_error, neighbour_advertisement, protocol, sctp, tcp, udp};

/// Asks that often about the policy that is in force. `Some`: an answer that is not what happens.
pub fn ask(ground: &mut Ground, random: &mut Random, policy: &Policy, questions: u64) -> Result<Option<String>> {
    ground.forget(false)?;
    let mut world = World::new(policy.clone(), false);
    let mut asked_before = HashSet::new();
    for number in 0..questions {
        // Each is a connection of its own. Ports that mean something stay out.
        let port = 1024 + (number % 60_000) as u16;
        let (src, dst, service) = question(random, policy);
        // What has no ports is one connection however often it is asked about.
        if !matches!(service, Service::Ports(..)) && !asked_before.insert((src.min(dst), src.max(dst))) {
            continue;
        }
        let Some(frame) = first_packet(src, dst, service, port) else { continue };
        let Some(at) = place(policy, src) else { continue };
        let answer = ground.datapath().answers(&[Question { src, dst, service: asked(service)? }])?[0];
        let said = world.judge(at, &frame);
        let zone = |number| ground.zone(number).context("a zone that no policy has");
        let (from, to) = (zone(answer.from_zone)?, zone(answer.to_zone)?);
        let rule = answer.rule.and_then(|number| ground.rule(number));
        let passed = ground.send(at.hook, at.interface, false, &frame)?;
        let counted = ground.counted(&said, at.hook)?;
        let same = (answer.reason.name(), answer.verdict == Verdict::Allow, rule, from, to)
            == (said.why.name(), passed, said.rule, said.from, said.to);
        if !same || !counted {
            let got = ground.moved(passed)?;
            return Ok(Some(format!(
                "{src} → {dst} {service}: explained as {} by rule {rule:?}, {} → {}; the model says {} by rule {:?}, {} → {}; \
                 in the kernel {} (as the model says: {counted}, {got:?})\n{}",
                answer.reason.name(),
                from.name(),
                to.name(),
                said.why.name(),
                said.rule,
                said.from.name(),
                said.to.name(),
                if passed { "it passes" } else { "it is dropped" },
                policy.to_yaml(jiff::Timestamp::now())
            )));
        }
    }
    Ok(None)
}

fn asked(service: Service) -> Result<Asked> {
    Ok(service.to_string().parse()?)
}

fn question(random: &mut Random, policy: &Policy) -> (IpAddr, IpAddr, Service) {
    let rule = random.maybe(&policy.rules).cloned().filter(|_| random.percent(60));
    let ipv4 = random.percent(50);
    let (from, to, wide) = match &rule {
        Some(rule) => (*random.pick(&rule.from), *random.pick(&rule.to), Some(*random.pick(&rule.services))),
        None => (Who::Any, Who::Any, None),
    };
    let service = one_of(random, wide);
    let ipv4 = match service {
        Service::Icmp(_) => true,
        Service::Icmpv6(_) => false,
        _ => ipv4,
    };
    let mut end = |zone| {
        if random.percent(4) {
            let strange: &[&str] = if ipv4 {
                &["127.0.0.1", "0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255"]
            } else {
                &["::", "::1", "ff02::1", "fe80::5", "fe80::9", "2002:a01:5::1"]
            };
            return random.pick(strange).parse().unwrap_or_else(|_| address_near(random, policy, ipv4));
        }
        member(random, policy, zone, ipv4)
    };
    (end(from), end(to), service)
}

/// One port or type of a service, or of none.
fn one_of(random: &mut Random, wide: Option<Service>) -> Service {
    let port = |random: &mut Random| *random.pick(&PORTS);
    match wide {
        Some(Service::Ports(protocol, low, high)) => {
            let port = match random.below(4) {
                0 => high.saturating_add(1),
                1 => low.saturating_sub(1),
                _ => random.between(low.into(), high.into()) as u16,
            };
            Service::Ports(protocol, port, port)
        }
        Some(Service::Icmp(None)) => Service::Icmp(Some(random.below(45) as u8)),
        Some(Service::Icmpv6(None)) => {
            Service::Icmpv6(Some(*random.pick(&[1, 2, 128, 129, 130, 133, 134, 135, 136, 143, 200])))
        }
        Some(Service::Any) | None => {
            let port = port(random);
            match random.below(8) {
                0 => Service::Icmp(Some(random.below(45) as u8)),
                1 => Service::Icmpv6(Some(*random.pick(&[1, 3, 128, 129, 131, 133, 134, 135, 136, 137, 143, 201]))),
                2 => Service::Protocol(*random.pick(&[47, 50, 4, 41, 253])),
                kind => Service::Ports([6, 17, 132, 6, 6][kind - 3], port, port),
            }
        }
        Some(one) => one,
    }
}

/// The first packet of the connection that is asked about, as a well-behaved sender makes it.
fn first_packet(src: IpAddr, dst: IpAddr, service: Service, port: u16) -> Option<Vec<u8>> {
    let packet = match service {
        Service::Ports(6, at, _) => tcp(port, at).syn(),
        Service::Ports(17, at, _) => udp(port, at),
        Service::Ports(_, at, _) => sctp(port, at, 1),
        Service::Icmp(Some(kind)) | Service::Icmpv6(Some(kind)) => return Some(message(src, dst, kind, port)),
        // Next header 0, 43, 44, 51, 59 and 60 are no protocols in IPv6.
        Service::Protocol(0 | 43 | 44 | 51 | 59 | 60) | Service::Icmp(None) | Service::Icmpv6(None) | Service::Any => {
            return None;
        }
        Service::Protocol(number) => protocol(number).data(&[0; 24]),
    };
    Some(packet.between(src, dst).frame())
}

fn message(src: IpAddr, dst: IpAddr, kind: u8, id: u16) -> Vec<u8> {
    let about = || udp(4000, 4000).between(dst, src);
    let packet: Packet = match (src, dst, kind) {
        (IpAddr::V4(_), _, 3 | 11 | 12) | (IpAddr::V6(_), _, 1..=4) => icmp_error(kind, 0, &about()),
        (IpAddr::V6(src), IpAddr::V6(dst), 136) => neighbour_advertisement([2; 6], src, dst),
        _ => {
            let [high, low] = id.to_be_bytes();
            icmp(kind, 0, [high, low, 0, 1]).between(src, dst).data(&[0; 48])
        }
    };
    let hops = match (src.is_ipv4(), kind) {
        (false, 133..=137) => 255,
        (false, 130..=132 | 143) => 1,
        _ => 64,
    };
    packet.hops(hops).frame()
}

/// Where the sender is seen: what this machine sends on its way out, the rest on an interface of its zone.
fn place(policy: &Policy, src: IpAddr) -> Option<Sight<'static>> {
    let zone = policy.zone_of(src);
    let hook = if zone == Who::Host { Hook::Local } else { Hook::Ingress };
    let interface = INTERFACES.iter().position(|name| policy.may_be_seen(zone, name))?;
    Some(Sight { hook, interface: interface as u8, name: INTERFACES[interface] })
}
