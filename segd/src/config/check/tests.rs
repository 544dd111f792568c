//! The statements under `tests:`: are they questions that can be asked. Whether they hold is for `compile` to say.

use std::net::IpAddr;

use super::names::Names;
use crate::config::fields::At;
use crate::config::findings::{Findings, quoted};
use crate::config::written::WrittenTest;
use crate::policy::{Place, PolicyTest, Service, ZoneName};

/// Checks all tests, in file order.
pub(super) fn check(
    written: &[At<WrittenTest>],
    names: &Names<'_>,
    findings: &mut Findings<'_>,
) -> Vec<(Place, PolicyTest)> {
    let mut tests = Vec::with_capacity(written.len());
    for test in written {
        let checked = match &test.value {
            WrittenTest::Reach { zone, only_from } => reach(zone, only_from, names, findings),
            WrittenTest::Connection { from, to, service, expect_allow } => {
                let service = exactly_one(service, names, findings);
                endpoints(from, to, findings).zip(service).map(|((from, to), service)| PolicyTest::Connection {
                    from,
                    to,
                    service,
                    expect_allow: *expect_allow,
                })
            }
        };
        tests.extend(checked.map(|checked| (findings.place(test.spot), checked)));
    }
    tests
}

fn reach(
    zone: &At<String>,
    only_from: &[At<String>],
    names: &Names<'_>,
    findings: &mut Findings<'_>,
) -> Option<PolicyTest> {
    let mut allowed = Vec::with_capacity(only_from.len());
    for word in only_from {
        if word.value == ZoneName::ANY {
            findings.fault(
                word.spot,
                "a test of reach with any in it always holds",
                "name the zones that may reach it, or remove the test",
            );
        } else {
            allowed.extend(names.zone(word, findings));
        }
    }
    if zone.value == ZoneName::ANY {
        findings.fault(zone.spot, "a test of reach is about one zone", "write one test for each zone");
        return None;
    }
    names.zone(zone, findings).map(|zone| PolicyTest::Reach { zone, only_from: allowed })
}

fn endpoints(from: &At<String>, to: &At<String>, findings: &mut Findings<'_>) -> Option<(IpAddr, IpAddr)> {
    let (source, responder) = (address(from, findings), address(to, findings));
    let (source, responder) = (source?, responder?);
    if source.is_ipv4() != responder.is_ipv4() {
        findings.fault(
            to.spot,
            format!("{source} and {responder} are of two families"),
            "write two IPv4 or two IPv6 addresses",
        );
        return None;
    }
    Some((source, responder))
}

fn address(word: &At<String>, findings: &mut Findings<'_>) -> Option<IpAddr> {
    if let Ok(address) = word.value.trim().parse() {
        return Some(address);
    }
    findings.fault(
        word.spot,
        format!("{} is no address", quoted(&word.value)),
        "a test asks about two single addresses, such as 10.20.0.10 or \"fd00:20::10\"",
    );
    None
}

/// A question is about one protocol and one port.
fn exactly_one(word: &At<String>, names: &Names<'_>, findings: &mut Findings<'_>) -> Option<Service> {
    let services = names.services(word, findings);
    let mend = match services.as_slice() {
        [] => return None,
        [Service::Tcp(low, high) | Service::Udp(low, high) | Service::Sctp(low, high)] if low == high => {
            return Some(services[0]);
        }
        [Service::Icmp(Some(_)) | Service::Icmpv6(Some(_)) | Service::Proto(_)] => return Some(services[0]),
        [Service::Icmp(None)] => "name a type, such as icmp/echo-request",
        [Service::Icmpv6(None)] => "name a type, such as icmpv6/echo-request",
        _ => "write one protocol and one port, such as tcp/443; for more, write more tests",
    };
    findings.fault(word.spot, format!("{} is more than one question", quoted(&word.value)), mend);
    None
}
