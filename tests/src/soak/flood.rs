//! Forbidden packets at a steady rate, from several interfaces by turns. What the sender could not send when it was due is
//! sent as soon as it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::lab::Port;

/// With a busy machine in between, no more than this is made up for at a time.
const BEHIND: Duration = Duration::from_millis(500);
/// Frames of one call.
pub(super) const BATCH: usize = 64;
const REST: Duration = Duration::from_micros(400);

/// A sender at work; it ends when it drops.
#[derive(Debug)]
pub struct Flood {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    sender: Option<JoinHandle<()>>,
}

impl Flood {
    /// Sends these frames from these interfaces, all of them again and again, `rate` a second.
    #[must_use]
    pub fn start(rate: u64, sources: Vec<(Port, Vec<Vec<u8>>)>) -> Self {
        let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let sender = thread::spawn({
            let (over, sent) = (Arc::clone(&over), Arc::clone(&sent));
            move || flood(rate, &sources, &over, &sent)
        });
        Self { over, sent, sender: Some(sender) }
    }

    /// How many the kernel has taken so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it; gives how many the kernel took.
    #[must_use]
    pub fn stop(mut self) -> u64 {
        self.end();
        self.sent()
    }

    fn end(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            // A sender that panicked has said so.
            let _ = sender.join();
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.end();
    }
}

fn flood(rate: u64, sources: &[(Port, Vec<Vec<u8>>)], over: &AtomicBool, sent: &AtomicU64) {
    let (mut began, mut due) = (Instant::now(), 0);
    let mut batches =
        sources.iter().flat_map(|(port, frames)| frames.chunks(BATCH).map(move |some| (port, some))).cycle();
    while !over.load(Ordering::Relaxed) {
        if began.elapsed() > time_of(due, rate) + BEHIND {
            (began, due) = (Instant::now(), 0);
        }
        if time_of(due, rate) > began.elapsed() {
            thread::sleep(REST);
            continue;
        }
        let Some((port, frames)) = batches.next() else { return };
        // An interface that is gone, or not yet up, takes nothing.
        sent.fetch_add(port.send_many(frames).unwrap_or(0) as u64, Ordering::Relaxed);
        due += frames.len() as u64;
    }
}

/// When so many packets have to be out.
fn time_of(packets: u64, rate: u64) -> Duration {
    Duration::from_nanos(packets * (1_000_000_000 / rate))
}
