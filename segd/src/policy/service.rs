//! A service as rules name it: `tcp/443`, `udp/1000-2000`, `icmp/echo-request`, `proto/50`, `any`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One protocol and what of it is meant. Ranges are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Service {
    /// Destination ports, low to high.
    Tcp(u16, u16),
    /// Destination ports, low to high.
    Udp(u16, u16),
    /// Destination ports, low to high.
    Sctp(u16, u16),
    /// `ICMPv4`, one type or all.
    Icmp(Option<u8>),
    /// `ICMPv6`, one type or all.
    Icmpv6(Option<u8>),
    /// Any other IP protocol, by number.
    Proto(u8),
    /// Everything.
    Any,
}

/// What is wrong with a service, and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}; {mend}")]
pub struct ServiceError {
    /// What is wrong.
    pub fault: String,
    /// What to write instead.
    pub mend: String,
}

/// Names of ICMP types (RFC 792, 1256; IANA registry), as `icmp/NAME` takes them.
const ICMP_TYPES: &[(&str, u8)] = &[
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("address-mask-request", 17),
    ("address-mask-reply", 18),
];

/// Names of `ICMPv6` types (RFC 4443, 4861, 2710, 3810), as `icmpv6/NAME` takes them.
const ICMPV6_TYPES: &[(&str, u8)] = &[
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("mld-query", 130),
    ("mld-report", 131),
    ("mld-done", 132),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbour-solicitation", 135),
    ("neighbor-solicitation", 135),
    ("neighbour-advertisement", 136),
    ("neighbor-advertisement", 136),
    ("redirect", 137),
    ("mldv2-report", 143),
];

const FORMS: &str =
    "write tcp/PORT, tcp/LOW-HIGH, udp/…, sctp/…, icmp, icmp/TYPE, icmpv6, icmpv6/TYPE, proto/NUMBER or any";

fn error(fault: impl Into<String>, mend: impl Into<String>) -> ServiceError {
    ServiceError { fault: fault.into(), mend: mend.into() }
}

fn parse_port(text: &str) -> Result<u16, ServiceError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits => Ok(port),
        _ if digits => Err(error(format!("port {text} is out of range"), "ports go from 0 to 65535")),
        _ => Err(error(format!("'{text}' is not a port"), "ports are numbers from 0 to 65535")),
    }
}

fn parse_ports(text: &str) -> Result<(u16, u16), ServiceError> {
    let Some((low, high)) = text.split_once('-') else {
        let port = parse_port(text)?;
        return Ok((port, port));
    };
    let (low, high) = (parse_port(low)?, parse_port(high)?);
    if low > high {
        return Err(error(format!("range {low}-{high} runs backwards"), format!("write {high}-{low}")));
    }
    Ok((low, high))
}

fn parse_type(text: &str, family: &str, names: &[(&str, u8)]) -> Result<u8, ServiceError> {
    if let Some((_, number)) = names.iter().find(|(name, _)| *name == text) {
        return Ok(*number);
    }
    text.parse::<u8>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit())).ok_or_else(|| {
        error(
            format!("'{text}' is no {family} type"),
            format!("write a number from 0 to 255 or a name such as {family}/echo-request"),
        )
    })
}

impl FromStr for Service {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let (protocol, rest) = match text.split_once('/') {
            Some((protocol, rest)) => (protocol, Some(rest)),
            None => (text, None),
        };
        match (protocol, rest) {
            ("tcp", Some(ports)) => parse_ports(ports).map(|(low, high)| Self::Tcp(low, high)),
            ("udp", Some(ports)) => parse_ports(ports).map(|(low, high)| Self::Udp(low, high)),
            ("sctp", Some(ports)) => parse_ports(ports).map(|(low, high)| Self::Sctp(low, high)),
            ("tcp" | "udp" | "sctp", None) => Err(error(
                format!("'{text}' names no port"),
                format!("write {text}/PORT, or {text}/0-65535 for every port"),
            )),
            ("icmp", None) => Ok(Self::Icmp(None)),
            ("icmp", Some(kind)) => parse_type(kind, "icmp", ICMP_TYPES).map(|kind| Self::Icmp(Some(kind))),
            ("icmpv6", None) => Ok(Self::Icmpv6(None)),
            ("icmpv6", Some(kind)) => parse_type(kind, "icmpv6", ICMPV6_TYPES).map(|kind| Self::Icmpv6(Some(kind))),
            ("proto", Some(number)) => Self::from_protocol(number),
            ("any", None) => Ok(Self::Any),
            _ => Err(error(format!("'{text}' is no service"), FORMS)),
        }
    }
}

/// Whether `icmp` and `any` mean this type too. Never meant are obsolete ones, and redirect, which changes routes: source
/// quench, redirect, timestamp, information and address mask (RFC 6918, RFC 1122).
#[must_use]
pub(crate) const fn in_all_of_icmp(kind: u8) -> bool {
    !matches!(kind, 4 | 5 | 13..=18)
}

/// The same for `icmpv6`: all but redirect (RFC 4861).
#[must_use]
pub(crate) const fn in_all_of_icmpv6(kind: u8) -> bool {
    kind != 137
}

impl Service {
    /// Whether everything that `other` is, is in it. Two spans that only together hold a third don't.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::Tcp(low, high), Self::Tcp(from, to))
            | (Self::Udp(low, high), Self::Udp(from, to))
            | (Self::Sctp(low, high), Self::Sctp(from, to)) => low <= from && to <= high,
            (Self::Any | Self::Icmp(None), Self::Icmp(Some(kind))) => in_all_of_icmp(kind),
            (Self::Any | Self::Icmpv6(None), Self::Icmpv6(Some(kind))) => in_all_of_icmpv6(kind),
            (Self::Any, _) => true,
            (service, other) => service == other,
        }
    }

    /// Protocols that have a form of their own are refused here, so that one thing is written in one way.
    fn from_protocol(text: &str) -> Result<Self, ServiceError> {
        let number = text.parse::<u8>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
        match number {
            Some(1) => Err(error("proto/1 is ICMP", "write icmp or icmp/TYPE")),
            Some(6) => Err(error("proto/6 is TCP", "write tcp/PORT")),
            Some(17) => Err(error("proto/17 is UDP", "write udp/PORT")),
            Some(58) => Err(error("proto/58 is ICMPv6", "write icmpv6 or icmpv6/TYPE")),
            Some(132) => Err(error("proto/132 is SCTP", "write sctp/PORT")),
            Some(number) => Ok(Self::Proto(number)),
            None => Err(error(format!("'{text}' is no protocol number"), "protocols go from 0 to 255")),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = |f: &mut fmt::Formatter<'_>, name: &str, low: u16, high: u16| {
            if low == high { write!(f, "{name}/{low}") } else { write!(f, "{name}/{low}-{high}") }
        };
        match *self {
            Self::Tcp(low, high) => ports(f, "tcp", low, high),
            Self::Udp(low, high) => ports(f, "udp", low, high),
            Self::Sctp(low, high) => ports(f, "sctp", low, high),
            Self::Icmp(None) => f.write_str("icmp"),
            Self::Icmp(Some(kind)) => write!(f, "icmp/{kind}"),
            Self::Icmpv6(None) => f.write_str("icmpv6"),
            Self::Icmpv6(Some(kind)) => write!(f, "icmpv6/{kind}"),
            Self::Proto(number) => write!(f, "proto/{number}"),
            Self::Any => f.write_str("any"),
        }
    }
}

impl TryFrom<String> for Service {
    type Error = ServiceError;

    fn try_from(text: String) -> Result<Self, ServiceError> {
        text.parse()
    }
}

impl From<Service> for String {
    fn from(service: Service) -> Self {
        service.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_reads_back_as_it_is_shown() {
        for text in ["tcp/80", "udp/0-65535", "sctp/36412", "icmp", "icmp/8", "icmpv6", "icmpv6/128", "proto/50", "any"]
        {
            assert_eq!(text.parse::<Service>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn names_of_icmp_types_are_numbers() {
        assert_eq!("icmp/echo-request".parse(), Ok(Service::Icmp(Some(8))));
        assert_eq!("icmpv6/echo-request".parse(), Ok(Service::Icmpv6(Some(128))));
    }

    #[test]
    fn faults_name_the_mend() {
        for text in [
            "tcp",
            "tcp/65536",
            "tcp/9-3",
            "tcp/+80",
            "udp/",
            "icmp/256",
            "icmp/nonsense",
            "proto/6",
            "proto/256",
            "http",
            "any/1",
            "",
        ] {
            let error = text.parse::<Service>().unwrap_err();
            assert!(!error.fault.is_empty() && !error.mend.is_empty(), "{text}");
        }
    }
}
