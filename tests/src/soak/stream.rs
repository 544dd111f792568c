//! Allowed traffic, numbered and stamped by its sender, counted by its receiver: how much was lost, and for how long it was
//! held up. Both ends are threads of this program, so they share a clock.

use std::fmt;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use indicatif::HumanCount;

use crate::lab::{Host, PATIENCE, undisturbed};

/// Between two messages.
const PACE: Duration = Duration::from_millis(1);
/// Whoever hears nothing for so long, after the last was sent, has heard all.
const SILENCE: Duration = Duration::from_millis(400);
/// A session that hears nothing for so long is cut.
const CUT: Duration = Duration::from_secs(20);
/// A number and the nanoseconds since the stream began.
const MESSAGE: usize = 16;

/// What a stream carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Messages that were sent.
    pub sent: u64,
    /// Datagrams that did not come, or segments that TCP had to send again.
    pub lost: u64,
    /// For how long it was held up at the most: between two that came with some lost between them, the time between them;
    /// else what the second took longer than the first. Pauses of the receiving thread are in it.
    pub longest_gap: Duration,
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, lost, longest_gap } = self;
        write!(f, "{}, lost {}, longest gap {} ms", HumanCount(*sent), HumanCount(*lost), longest_gap.as_millis())
    }
}

/// Messages on their way, one a millisecond.
#[derive(Debug)]
pub struct Stream {
    over: Arc<AtomicBool>,
    /// Gives how many were sent, and how many segments TCP sent again.
    sender: JoinHandle<io::Result<(u64, u64)>>,
    receiver: JoinHandle<io::Result<Heard>>,
    resends: bool,
}

impl Stream {
    /// Datagrams to this port, which nobody answers.
    pub fn datagrams(from: &Host, to: &Host, port: u16) -> Result<Self> {
        let there = to.net.run(|| UdpSocket::bind((to.v4(), port))).context("could not bind the receiver")?;
        let here = from.net.run(|| UdpSocket::bind((from.v4(), 0))).context("could not bind the sender")?;
        here.connect((to.v4(), port))?;
        // What others get through to this port is counted as theirs.
        there.connect(here.local_addr()?)?;
        there.set_read_timeout(Some(Duration::from_millis(50)))?;
        let (over, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let sender = thread::spawn({
            let over = Arc::clone(&over);
            move || send_until(&over, began, |message| here.send(message).map(drop)).map(|sent| (sent, 0))
        });
        let receiver = thread::spawn({
            let over = Arc::clone(&over);
            move || hear_datagrams(&there, &over, began)
        });
        Ok(Self { over, sender, receiver, resends: false })
    }

    /// A TCP session to this port.
    pub fn session(from: &Host, to: &Host, port: u16) -> Result<Self> {
        let listener = to.net.run(|| TcpListener::bind((to.v4(), port))).context("could not listen")?;
        let here = from.net.run(|| TcpStream::connect_timeout(&(to.v4(), port).into(), PATIENCE)).context("connect")?;
        let there = listener.accept()?.0;
        here.set_nodelay(true)?;
        here.set_write_timeout(Some(CUT))?;
        there.set_read_timeout(Some(CUT))?;
        let (over, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let sender = thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let sent = send_until(&over, began, |message| (&here).write_all(message))?;
                Ok((sent, resent(&here)?))
            }
        });
        let receiver = thread::spawn(move || hear_session(there, began));
        Ok(Self { over, sender, receiver, resends: true })
    }

    /// Ends it, waits for what is under way, and gives what was carried.
    pub fn stop(self) -> Result<Carried> {
        self.over.store(true, Ordering::Relaxed);
        let (sent, resent) = self.sender.join().map_err(|_| anyhow!("the sender panicked"))?.context("sending")?;
        let heard = self.receiver.join().map_err(|_| anyhow!("the receiver panicked"))?.context("receiving")?;
        ensure!(heard.count <= sent, "{sent} were sent, and {} came", heard.count);
        ensure!(!self.resends || heard.count == sent, "a session lost {} of {sent}", sent - heard.count);
        let lost = if self.resends { resent } else { sent - heard.count };
        Ok(Carried { sent, lost, longest_gap: Duration::from_nanos(heard.longest_gap_ns) })
    }
}

/// What a receiver heard.
#[derive(Debug, Default)]
struct Heard {
    count: u64,
    longest_gap_ns: u64,
    last: Option<Arrival>,
}

#[derive(Clone, Copy, Debug)]
struct Arrival {
    number: u64,
    sent_ns: u64,
    came_ns: u64,
}

impl Heard {
    fn hear(&mut self, message: &[u8; MESSAGE], began: Instant) {
        let (number, sent) = message.split_at(MESSAGE / 2);
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_be_bytes);
        let now = Arrival { number: word(number), sent_ns: word(sent), came_ns: nanos(began) };
        if let Some(last) = self.last.replace(now) {
            self.longest_gap_ns = self.longest_gap_ns.max(gap(&last, &now));
        }
        self.count += 1;
    }
}

fn gap(last: &Arrival, now: &Arrival) -> u64 {
    let between = now.came_ns.saturating_sub(last.came_ns);
    if now.number == last.number + 1 {
        between.saturating_sub(now.sent_ns.saturating_sub(last.sent_ns))
    } else {
        between
    }
}

fn nanos(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn send_until(
    over: &AtomicBool,
    began: Instant,
    mut send: impl FnMut(&[u8; MESSAGE]) -> io::Result<()>,
) -> io::Result<u64> {
    let mut message = [0; MESSAGE];
    let mut number: u64 = 0;
    while !over.load(Ordering::Relaxed) {
        message[..MESSAGE / 2].copy_from_slice(&number.to_be_bytes());
        message[MESSAGE / 2..].copy_from_slice(&nanos(began).to_be_bytes());
        send(&message)?;
        number += 1;
        thread::sleep(PACE);
    }
    Ok(number)
}

fn hear_datagrams(socket: &UdpSocket, over: &AtomicBool, began: Instant) -> io::Result<Heard> {
    let (mut heard, mut message, mut quiet_since) = (Heard::default(), [0; MESSAGE], Instant::now());
    while !over.load(Ordering::Relaxed) || quiet_since.elapsed() < SILENCE {
        match undisturbed(|| socket.recv(&mut message)) {
            Ok(_) => {
                heard.hear(&message, began);
                quiet_since = Instant::now();
            }
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(err) => return Err(err),
        }
    }
    Ok(heard)
}

fn hear_session(mut stream: TcpStream, began: Instant) -> io::Result<Heard> {
    let (mut heard, mut message) = (Heard::default(), [0; MESSAGE]);
    loop {
        match stream.read_exact(&mut message) {
            Ok(()) => heard.hear(&message, began),
            // The sender has closed its end.
            Err(err) if err.kind() == ErrorKind::UnexpectedEof => return Ok(heard),
            Err(err) => return Err(err),
        }
    }
}

/// Segments that this end of a connection has sent again so far.
fn resent(stream: &TcpStream) -> io::Result<u64> {
    // SAFETY: numbers, for which zeros are valid.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    let to = std::ptr::from_mut(&mut info).cast();
    // SAFETY: the kernel writes at most `length` bytes to a live value of that size.
    let got = unsafe { libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, to, &raw mut length) };
    if got == 0 { Ok(u64::from(info.tcpi_total_retrans)) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(number: u64, sent_ns: u64, came_ns: u64) -> Arrival {
        Arrival { number, sent_ns, came_ns }
    }

    #[test]
    fn a_pause_of_the_sender_is_no_gap_and_a_loss_is_one_from_the_last_that_came() {
        let last = arrival(7, 1000, 1100);
        assert_eq!(gap(&last, &arrival(8, 9000, 9100)), 0, "it sent late");
        assert_eq!(gap(&last, &arrival(8, 2000, 9100)), 7000, "it came late");
        assert_eq!(gap(&last, &arrival(9, 9000, 9100)), 8000, "one was lost");
    }
}
