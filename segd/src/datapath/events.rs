//! The ring of events, as values.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use aya::maps::{MapData, RingBuf};
use jiff::Timestamp;
use segd_common::event::Event as Wire;
use segd_common::image::slot;
use segd_common::reason::{Reason, Verdict};
use tokio::io::unix::AsyncFd;

use super::DatapathError;
use crate::compile::Clock;

/// A new connection, or the first packet of a blocked one.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// Source of the packet.
    pub src: IpAddr,
    /// Destination of the packet.
    pub dst: IpAddr,
    /// IP protocol; 0 for ARP.
    pub proto: u8,
    /// Source port.
    pub src_port: u16,
    /// Destination port, or ICMP type, or protocol number.
    pub dst_port: u16,
    /// Initiator's zone.
    pub from: u16,
    /// Responder's zone.
    pub to: u16,
    /// Whether it passed.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// In audit mode: why enforcement would have dropped it.
    pub would_be: Option<Reason>,
    /// Rule that allows it.
    pub rule: Option<u32>,
    /// Interface it was seen on.
    pub ifindex: u32,
}

/// The reader of the ring.
pub struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
    clock: Arc<Mutex<Clock>>,
}

impl Events {
    pub(super) fn new(ring: RingBuf<MapData>, clock: Arc<Mutex<Clock>>) -> Result<Self, DatapathError> {
        // SAFETY: the ring keeps its descriptor open and the same for as long as it lives, and lives in the `AsyncFd`.
        let ring = unsafe { AsyncFd::register(ring) };
        let ring = ring.map_err(|source| DatapathError::system("watch the ring of events", source.into()))?;
        Ok(Self { ring, clock })
    }

    /// Waits for events and returns all that are there. When the ring can't be watched any longer it says so once and never
    /// returns: enforcement does not need it.
    pub async fn next(&mut self) -> Vec<Event> {
        loop {
            match self.drain().await {
                Ok(events) if events.is_empty() => {}
                Ok(events) => return events,
                Err(error) => {
                    tracing::error!(
                        "the ring of events can't be watched any longer: {error}; restart segd to see flows again"
                    );
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    async fn drain(&mut self) -> io::Result<Vec<Event>> {
        let mut guard = self.ring.readable_mut().await?;
        let clock = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let mut events = Vec::new();
        let ring = guard.get_inner_mut();
        // To the end before the readiness is cleared: otherwise what came between would wait for the next one.
        while let Some(item) = ring.next() {
            events.extend(read(&item, &clock));
        }
        guard.clear_ready();
        Ok(events)
    }
}

fn read(bytes: &[u8], clock: &Clock) -> Option<Event> {
    if bytes.len() < size_of::<Wire>() {
        return None;
    }
    // SAFETY: long enough, checked above; every bit pattern is a value of this type, and the read needs no alignment.
    let wire: Wire = unsafe { bytes.as_ptr().cast::<Wire>().read_unaligned() };
    let reason = Reason::from_number(wire.reason)?;
    let would = Reason::from_number(wire.would)?;
    Some(Event {
        time: clock.time(wire.time),
        src: wire.src.into(),
        dst: wire.dst.into(),
        proto: wire.proto,
        src_port: wire.sport,
        dst_port: wire.service,
        from: wire.from,
        to: wire.to,
        verdict: reason.verdict(),
        reason,
        would_be: (reason == Reason::Audit).then_some(would),
        rule: (wire.rule != slot::NO_RULE).then_some(wire.rule),
        ifindex: wire.ifindex,
    })
}
