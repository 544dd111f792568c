//! What makes two connections the same: zones, addresses, service, verdict and rule. Source ports change with each
//! connection and are left out, but where they are the service.

use std::net::IpAddr;

use jiff::Timestamp;
use segd_common::reason::{Reason, Verdict};

use crate::datapath::Event;

/// From here on ports are chosen by the kernel for whoever asks.
const EPHEMERAL: u16 = 32_768;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// One class of connections in one minute. An address that is missing stands for all that found no class of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Class {
    /// Minutes since 1970.
    pub minute: i64,
    /// Initiator's zone.
    pub from: u16,
    /// Responder's zone.
    pub to: u16,
    /// Who opened.
    pub src: Option<IpAddr>,
    /// Who was asked.
    pub dst: Option<IpAddr>,
    /// IP protocol.
    pub proto: u8,
    /// Responder's port, ICMP type or protocol number; 0: many.
    pub port: u16,
    /// Sender's port, where the packet looks like an answer: from a service to a port that a kernel chose.
    pub src_port: u16,
    /// Why it passed or did not.
    pub reason: Reason,
    /// Why enforcement would have dropped it.
    pub would_be: Option<Reason>,
    /// The rule that allows it.
    pub rule: Option<u32>,
}

/// How often, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// Connections, or blocked attempts without their retransmissions.
    pub flows: u64,
    /// The first of them.
    pub first: Timestamp,
    /// The last of them.
    pub last: Timestamp,
}

impl Count {
    /// One, at `time`.
    pub(super) const fn one(time: Timestamp) -> Self {
        Self { flows: 1, first: time, last: time }
    }

    /// Adds one more.
    pub(super) fn add(&mut self, time: Timestamp) {
        self.flows += 1;
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }
}

/// Verdicts that have room apart from each other, so that what is dropped never takes the place of what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Allowed,
    Audited,
    Denied,
}

impl Class {
    /// The class of an event.
    pub(super) fn of(event: &Event) -> Self {
        let Event {
            time,
            src,
            dst,
            proto,
            src_port,
            dst_port,
            from,
            to,
            verdict: _,
            reason,
            would_be,
            rule,
            ifindex: _,
        } = event;
        // An adopted connection that its responder was heard of first: turned round, to who opened.
        let turned = *reason == Reason::Reply;
        let (src, dst) = if turned { (*dst, *src) } else { (*src, *dst) };
        let (src_port, dst_port) = if turned { (*dst_port, *src_port) } else { (*src_port, *dst_port) };
        let answer = matches!(*proto, TCP | UDP) && dst_port >= EPHEMERAL && src_port < EPHEMERAL;
        Self {
            minute: minute(*time),
            from: *from,
            to: *to,
            src: Some(src),
            dst: Some(dst),
            proto: *proto,
            // Answers go to another port each time.
            port: if answer && *proto == UDP { 0 } else { dst_port },
            src_port: if answer { src_port } else { 0 },
            reason: *reason,
            would_be: *would_be,
            rule: *rule,
        }
    }

    /// The same without what is said of single services: everything else that its source did.
    pub(super) fn of_source(&self) -> Self {
        Self { dst: None, proto: 0, port: 0, src_port: 0, rule: None, ..self.clone() }
    }

    /// The same for everybody of its zone.
    pub(super) fn of_pair(&self) -> Self {
        Self { src: None, ..self.of_source() }
    }

    pub(super) fn kind(&self) -> Kind {
        match (self.reason, self.reason.verdict()) {
            (Reason::Audit, _) => Kind::Audited,
            (_, Verdict::Allow) => Kind::Allowed,
            (_, Verdict::Deny) => Kind::Denied,
        }
    }
}

/// Minutes since 1970.
pub(super) fn minute(time: Timestamp) -> i64 {
    time.as_second().div_euclid(60)
}
