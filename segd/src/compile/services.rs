//! Services as spans of keys, by the class of protocol that the image asks for. It knows nothing of rules.

use segd_common::image::rule_set;

use crate::policy::Service;

/// Classes of protocols, in the order of a rule set's words.
pub(super) const CLASSES: usize = 6;

const _: () = assert!(rule_set::OTHER + 1 == CLASSES);

/// Keys of one class, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Span {
    pub(super) low: u16,
    pub(super) high: u16,
}

const fn span(low: u16, high: u16) -> Span {
    Span { low, high }
}

/// Obsolete types, and redirect, which changes routes, are never meant by "all of ICMP": source quench, redirect, timestamp,
/// information and address mask.
const ICMP: &[Span] = &[span(0, 3), span(6, 12), span(19, 255)];
/// All but redirect.
const ICMPV6: &[Span] = &[span(0, 136), span(138, 255)];
const PORTS: &[Span] = &[span(0, u16::MAX)];
const NUMBERS: &[Span] = &[span(0, 255)];

/// Calls `each` with the class and the span of everything that `service` means.
pub(super) fn for_each_span(service: Service, mut each: impl FnMut(usize, Span)) {
    let mut all = |class: usize, spans: &[Span]| spans.iter().for_each(|span| each(class, *span));
    let one = |number: u8| [span(number.into(), number.into())];
    match service {
        Service::Tcp(low, high) => all(rule_set::TCP, &[span(low, high)]),
        Service::Udp(low, high) => all(rule_set::UDP, &[span(low, high)]),
        Service::Sctp(low, high) => all(rule_set::SCTP, &[span(low, high)]),
        Service::Icmp(None) => all(rule_set::ICMP, ICMP),
        Service::Icmp(Some(kind)) => all(rule_set::ICMP, &one(kind)),
        Service::Icmpv6(None) => all(rule_set::ICMPV6, ICMPV6),
        Service::Icmpv6(Some(kind)) => all(rule_set::ICMPV6, &one(kind)),
        Service::Proto(number) => all(rule_set::OTHER, &one(number)),
        Service::Any => {
            all(rule_set::TCP, PORTS);
            all(rule_set::UDP, PORTS);
            all(rule_set::SCTP, PORTS);
            all(rule_set::ICMP, ICMP);
            all(rule_set::ICMPV6, ICMPV6);
            all(rule_set::OTHER, NUMBERS);
        }
    }
}

/// Whether the keys of a class are ports, of two bytes.
pub(super) const fn has_ports(class: usize) -> bool {
    matches!(class, rule_set::TCP | rule_set::UDP | rule_set::SCTP)
}

/// What a class is called in a zone file.
const NAMES: [&str; CLASSES] = ["tcp", "udp", "sctp", "icmp", "icmpv6", "proto"];

/// The highest key of a class.
pub(super) const fn last_key(class: usize) -> u16 {
    if has_ports(class) { u16::MAX } else { 255 }
}

/// Spans of classes in the words of a zone file: all of them together are `any`, and all that is meant by ICMP is `icmp`.
pub(super) fn worded(spans: &[(usize, Span)]) -> Vec<String> {
    let meant = |service: Service| {
        let mut all = Vec::new();
        for_each_span(service, |class, span| all.push((class, span)));
        all
    };
    let whole = (0..CLASSES).all(|class| spans.contains(&(class, span(0, last_key(class)))));
    if whole || spans == meant(Service::Any) {
        return vec![Service::Any.to_string()];
    }
    let mut words: Vec<String> = Vec::new();
    for (class, name) in NAMES.iter().enumerate() {
        let own: Vec<(usize, Span)> = spans.iter().copied().filter(|(other, _)| *other == class).collect();
        let icmp = [Service::Icmp(None), Service::Icmpv6(None)].into_iter().find(|service| own == meant(*service));
        match icmp {
            Some(service) => words.push(service.to_string()),
            None => words.extend(own.iter().map(|(_, Span { low, high })| {
                if low == high { format!("{name}/{low}") } else { format!("{name}/{low}-{high}") }
            })),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key that `service` means, by class.
    fn meant(service: Service) -> Vec<(usize, u16, u16)> {
        let mut all = Vec::new();
        for_each_span(service, |class, Span { low, high }| all.push((class, low, high)));
        all
    }

    #[test]
    fn a_service_covers_what_the_image_lets_it() {
        let icmp = (0..=255).flat_map(|kind| [Service::Icmp(Some(kind)), Service::Icmpv6(Some(kind))]);
        let others = [Service::Tcp(80, 80), Service::Udp(0, 9), Service::Sctp(5, 5), Service::Proto(47)];
        for narrow in icmp.chain(others) {
            for wide in [Service::Any, Service::Icmp(None), Service::Icmpv6(None), Service::Tcp(1, 99), narrow] {
                let within = |(class, low, high): &(usize, u16, u16)| {
                    meant(wide).iter().any(|(of, from, to)| of == class && from <= low && high <= to)
                };
                assert_eq!(wide.covers(narrow), meant(narrow).iter().all(within), "{narrow} in {wide}");
            }
        }
    }
}
