//! What would happen to one new connection, and what would change it. The verdict is the kernel's own decision
//! function over the live image; only the hints are looked up in the policy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use jiff::Timestamp;
use segd_common::reason::{Reason, Verdict};

use super::grants::{live, names, zone_names};
use super::refusal::Refusal;
use super::writer::Core;
use crate::api::types::{ExplainQuery, Explanation};
use crate::compile::{Answer, Question};
use crate::policy::{Policy, Rule, Service, ZoneName};

impl Core {
    /// Explains a connection between two addresses, or between two zones: then an address of each is asked about that
    /// no sharper prefix takes away and that no failsafe speaks of.
    pub(super) fn explain(&self, query: &ExplainQuery) -> Result<Explanation, Refusal> {
        let service = self.one_service(&query.service)?;
        let (src, dst) = match (query.src.parse::<IpAddr>(), query.dst.parse::<IpAddr>()) {
            (Ok(src), Ok(dst)) => (src, dst),
            (Err(_), Err(_)) => self.members(&query.src, &query.dst, service)?,
            _ => {
                return Err(Refusal::bad(
                    format!("{} and {} are not of one kind", query.src, query.dst),
                    "ask about two addresses, or about two zones",
                ));
            }
        };
        same_family(src, dst, service)?;
        let answer = self.answer(&Question { src, dst, service })?;
        Ok(self.explanation(answer, service))
    }

    /// What the packet path would do, by the image that it reads.
    pub(super) fn answer(&self, question: &Question) -> Result<Answer, Refusal> {
        let answer = self.answers(std::slice::from_ref(question))?.pop();
        answer.ok_or_else(|| Refusal::Failed("the policy in force gave no answer".to_owned()))
    }

    /// The same for many, in their order.
    pub(super) fn answers(&self, questions: &[Question]) -> Result<Vec<Answer>, Refusal> {
        let answers = self.kernel.answers(questions);
        answers.map_err(|error| Refusal::Failed(format!("cannot read the policy in force: {error}")))
    }

    fn explanation(&self, answer: Answer, service: Service) -> Explanation {
        let known = self.names();
        let (from_zone, to_zone) = (known.zone(answer.from_zone), known.zone(answer.to_zone));
        let rule = known.rule(answer.rule);
        let asked = Asked { policy: &self.force.written.policy, from: &from_zone, to: &to_zone, service };
        let hints = asked.hints(answer, rule.as_deref());
        Explanation {
            verdict: answer.verdict.into(),
            reason: answer.reason.name().to_owned(),
            rule,
            mode: answer.mode,
            generation: self.kernel.generation(),
            hints,
            from_zone,
            to_zone,
        }
    }

    /// A literal service of one port, or a named one that stands for just that. Plain `icmp` asks about a ping.
    fn one_service(&self, text: &str) -> Result<Service, Refusal> {
        let named = self.force.written.policy.services.iter().find(|(name, _)| name == text);
        let service = match named.map(|(_, members)| members.as_slice()) {
            Some([one]) => *one,
            Some(members) => {
                let list: Vec<String> = members.iter().map(ToString::to_string).collect();
                return Err(Refusal::bad(
                    format!("service {text} stands for several"),
                    format!("ask about one of them: {}", list.join(", ")),
                ));
            }
            None => text.parse().map_err(|error: crate::policy::ServiceError| Refusal::bad(error.fault, error.mend))?,
        };
        match service {
            Service::Icmp(None) => Ok(Service::Icmp(Some(8))),
            Service::Icmpv6(None) => Ok(Service::Icmpv6(Some(128))),
            Service::Tcp(low, high) | Service::Udp(low, high) | Service::Sctp(low, high) if low != high => {
                Err(Refusal::bad(format!("{service} is a range"), "ask about one port of it"))
            }
            Service::Any => Err(Refusal::bad("any is everything", "ask about one service, such as tcp/443")),
            one => Ok(one),
        }
    }

    /// An address of each zone, both of one family that fits the service.
    fn members(&self, from: &str, to: &str, service: Service) -> Result<(IpAddr, IpAddr), Refusal> {
        let policy = &self.force.written.policy;
        for zone in [from, to] {
            if !zone_names(policy).iter().any(|name| name == zone) {
                let mend = format!("zones are: {}", zone_names(policy).join(", "));
                return Err(Refusal::bad(format!("{zone} is neither an address nor a zone"), mend));
            }
        }
        let found = [false, true].into_iter().filter(|ipv6| fits(service, *ipv6)).find_map(|ipv6| {
            let src = self.member(from, ipv6, None)?;
            Some((src, self.member(to, ipv6, Some(src))?))
        });
        found.ok_or_else(|| {
            let detail = format!("{from} and {to} have no addresses of one family that {service} fits and that no sharper prefix takes away");
            Refusal::bad(detail, "ask about two addresses")
        })
    }

    /// An address that belongs to `zone` and to nothing sharper, and that is not `other`.
    pub(super) fn member(&self, zone: &str, ipv6: bool, other: Option<IpAddr>) -> Option<IpAddr> {
        let policy = &self.force.written.policy;
        let of_family = |address: &IpAddr| address.is_ipv6() == ipv6 && Some(*address) != other;
        if zone == ZoneName::HOST {
            return self.machine.addresses.iter().copied().find(of_family);
        }
        let all = if ipv6 { IpNet::from(ipnet::Ipv6Net::default()) } else { IpNet::from(ipnet::Ipv4Net::default()) };
        let own = policy.zones.iter().find(|candidate| candidate.name.0 == zone);
        let networks = own.map_or_else(|| vec![all], |own| own.networks.clone());
        let belongs = |address: &IpAddr| {
            of_family(address)
                && !special(*address)
                && !self.machine.addresses.contains(address)
                && !policy.failsafe.from.iter().any(|network| network.contains(address))
                && zone_of(policy, *address) == zone
        };
        networks.iter().flat_map(|network| candidates(policy, *network)).find(belongs)
    }
}

/// Where a member of `network` could be found: its first addresses, and those just behind whatever is carved out of it.
pub(super) fn candidates(policy: &Policy, network: IpNet) -> Vec<IpAddr> {
    let carved = policy.zones.iter().flat_map(|zone| &zone.networks).chain(&policy.failsafe.from);
    let behind = carved
        .filter(|inner| network.contains(*inner) && **inner != network)
        .filter_map(|inner| after(inner.broadcast(), 1));
    let starts = std::iter::once(network.network()).chain(behind);
    // Two of each: source and destination may have to be different members of one zone.
    starts
        .flat_map(|start| [after(start, 1), after(start, 2), Some(start)])
        .flatten()
        .filter(|address| network.contains(address))
        .collect()
}

fn after(address: IpAddr, steps: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(steps.into()).map(|next| Ipv4Addr::from(next).into()),
        IpAddr::V6(address) => u128::from(address).checked_add(steps.into()).map(|next| Ipv6Addr::from(next).into()),
    }
}

/// Addresses that no ordinary packet comes from.
pub(super) fn special(address: IpAddr) -> bool {
    let this_network = matches!(address, IpAddr::V4(address) if address.octets()[0] == 0 || address.is_broadcast() || address.octets()[0] >= 240);
    this_network || address.is_unspecified() || address.is_loopback() || address.is_multicast()
}

/// The zone with the longest prefix; the machine's own addresses are not asked.
pub(super) fn zone_of(policy: &Policy, address: IpAddr) -> &str {
    let prefixes =
        policy.zones.iter().flat_map(|zone| zone.networks.iter().map(move |network| (network, zone.name.0.as_str())));
    let longest =
        prefixes.filter(|(network, _)| network.contains(&address)).max_by_key(|(network, _)| network.prefix_len());
    longest.map_or(ZoneName::UNZONED, |(_, zone)| zone)
}

fn same_family(src: IpAddr, dst: IpAddr, service: Service) -> Result<(), Refusal> {
    if src.is_ipv6() != dst.is_ipv6() {
        return Err(Refusal::bad(
            format!("{src} and {dst} are of two families"),
            "ask about two IPv4 or two IPv6 addresses",
        ));
    }
    if !fits(service, src.is_ipv6()) {
        return Err(Refusal::bad(
            format!("{service} does not run between {src} and {dst}"),
            "icmp is of IPv4, icmpv6 of IPv6",
        ));
    }
    Ok(())
}

const fn fits(service: Service, ipv6: bool) -> bool {
    match service {
        Service::Icmp(_) => !ipv6,
        Service::Icmpv6(_) => ipv6,
        _ => true,
    }
}

/// What was asked, in names.
struct Asked<'a> {
    policy: &'a Policy,
    from: &'a str,
    to: &'a str,
    service: Service,
}

impl Asked<'_> {
    /// What would change the verdict.
    fn hints(&self, answer: Answer, rule: Option<&str>) -> Vec<String> {
        match (answer.verdict, answer.reason) {
            (Verdict::Allow, Reason::Audit) => self.of_audit(answer.would),
            (Verdict::Allow, _) => self.of_allowed(rule),
            (Verdict::Deny, Reason::NoRule | Reason::Expired) => self.of_denied(),
            (Verdict::Deny, Reason::Quarantined) => {
                vec!["segctl quarantine lists who is cut off; segctl release ADDR lets them back".to_owned()]
            }
            (Verdict::Deny, reason) => vec![format!("no rule changes this: {}", reason.name())],
        }
    }

    fn of_allowed(&self, rule: Option<&str>) -> Vec<String> {
        let Some(rule) = rule else { return Vec::new() };
        let others: Vec<&str> = self
            .live_rules(self.from, self.to)
            .filter(|other| other.id.0 != rule && self.covered_by(other))
            .map(|other| other.id.0.as_str())
            .collect();
        let mut hints: Vec<String> = others.iter().map(|other| format!("rule {other} allows it too")).collect();
        hints.push(format!(
            "segctl revoke {rule} --reason … takes the rule away{}",
            if others.is_empty() { ", and would deny this" } else { "" }
        ));
        hints
    }

    /// `would`: why enforcement would drop it.
    fn of_audit(&self, would: Reason) -> Vec<String> {
        let mut hints = vec![format!(
            "only the audit mode lets it pass; segctl enforce {} {} would deny it ({})",
            self.from,
            self.to,
            would.name()
        )];
        if matches!(would, Reason::NoRule | Reason::Expired) {
            hints.extend(self.of_denied());
        }
        hints
    }

    fn of_denied(&self) -> Vec<String> {
        let mut hints = Vec::new();
        for rule in self.rules(self.from, self.to).filter(|rule| self.covered_by(rule)) {
            if let Some(expires) = rule.expires {
                hints.push(format!("rule {} ({}) would allow it, but ran out at {expires}", rule.id, rule.place));
            }
        }
        for rule in self.live_rules(self.from, self.to) {
            hints.push(format!(
                "rule {} lets {} reach {}, but only by {}",
                rule.id,
                self.from,
                self.to,
                rule.services_written.join(", ")
            ));
        }
        for rule in self.live_rules(self.to, self.from).filter(|rule| self.from != self.to && self.covered_by(rule)) {
            hints.push(format!(
                "rule {} allows it the other way round only, from {} to {}",
                rule.id, self.to, self.from
            ));
        }
        hints.push(format!(
            "segctl allow {} {} {} --reason … --approved-by … would allow it",
            self.from, self.to, self.service
        ));
        hints
    }

    fn rules(&self, from: &str, to: &str) -> impl Iterator<Item = &Rule> {
        self.policy.rules.iter().filter(move |rule| names(&rule.from, from) && names(&rule.to, to))
    }

    fn live_rules(&self, from: &str, to: &str) -> impl Iterator<Item = &Rule> {
        let now = Timestamp::now();
        self.rules(from, to).filter(move |rule| live(rule, now))
    }

    fn covered_by(&self, rule: &Rule) -> bool {
        rule.services.iter().any(|service| service.covers(self.service))
    }
}
