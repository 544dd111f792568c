//! TCP through the gateway as virtual machines and containers meet it: `hook: auto`, segmentation offload on, nothing
//! redirected. Bulk by iperf3; round trips of single bytes by sockets of our own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use segd::policy::Policy;
use segd_tests::lab::until;

use super::bed::Bed;
use super::candidate::{Candidate, Filter, enforce, hooks};
use crate::measure::{Effort, Series};
use crate::policy::Written;

/// What was found, by candidate.
#[derive(Debug)]
pub(super) struct Throughput {
    pub(super) seen: Vec<Seen>,
}

/// One candidate's rounds.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) name: String,
    /// Gbit/s, in the order of rounds.
    pub(super) gigabits: Vec<f64>,
    /// Microseconds a round trip: median and 99th percentile of each round.
    pub(super) median: Vec<f64>,
    pub(super) p99: Vec<f64>,
    /// Connections a second, one after the other: opened, a byte there and back, closed.
    pub(super) connections: Vec<f64>,
}

const PORT: &str = "5432";
const BULK: &str = "10.20.0.10";
const ECHO: &str = "10.20.0.11:5432";
const CANDIDATES: [Candidate; 3] = [Candidate::Nothing, Candidate::NftMaps, Candidate::Segd("auto")];
/// Fewer than this many make no 99th percentile.
const TRIPS: u32 = 2_000;
/// Of one round. Of all rounds there have to be fewer than a client has ports.
const CONNECTIONS: u32 = 1_500;

/// A gateway with both servers behind it; they end with this value.
struct Way {
    server: Child,
    filter: Filter,
    bed: Bed,
}

impl Drop for Way {
    fn drop(&mut self) {
        // It may have ended by itself; both calls then fail or return at once.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Measures all, interleaved.
pub(super) fn measure(written: &Written, policy: &Policy, effort: Effort) -> Result<Throughput> {
    let mut ways = Vec::new();
    let mut seen: Vec<Seen> = Vec::new();
    for candidate in CANDIDATES {
        let way = Way::new(candidate, written, policy)?;
        seen.push(Seen { name: way.name(candidate)?, ..Seen::default() });
        ways.push(way);
    }
    let seconds = (effort.repeat / 250_000).max(1);
    for _ in 0..effort.rounds.min(7) {
        for (way, seen) in ways.iter().zip(&mut seen) {
            seen.gigabits.push(way.bulk(seconds)?);
            let trips = way.trips(TRIPS * seconds)?;
            seen.median.push(trips.0);
            seen.p99.push(trips.1);
            seen.connections.push(way.connections(CONNECTIONS)?);
        }
    }
    Ok(Throughput { seen })
}

impl Way {
    fn new(candidate: Candidate, written: &Written, policy: &Policy) -> Result<Self> {
        let bed = Bed::routed()?;
        let filter = enforce(candidate, &bed, written, policy)?;
        let mut command = Command::new("iperf3");
        command.args(["-s", "-B", BULK, "-p", PORT]).stdout(Stdio::null()).stderr(Stdio::null());
        let server = bed.sink.run(|| command.spawn()).context("could not start iperf3")?;
        let listener = bed.sink.run(|| TcpListener::bind(ECHO))?;
        std::thread::spawn(move || echo(&listener));
        let way = Self { server, filter, bed };
        let address = format!("{BULK}:{PORT}").parse()?;
        let connect =
            || way.bed.source.run(|| TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok());
        ensure!(until(Duration::from_secs(5), connect), "{candidate}: no TCP connection to iperf3 came about");
        Ok(way)
    }

    /// With the hooks that the daemon chose.
    fn name(&self, candidate: Candidate) -> Result<String> {
        let Filter::Daemon(daemon) = &self.filter else { return Ok(candidate.to_string()) };
        let mut hooks = hooks(daemon)?;
        hooks.dedup();
        Ok(format!("{candidate}: {}", hooks.join(" and ")))
    }

    /// Gbit/s that arrived.
    fn bulk(&self, seconds: u32) -> Result<f64> {
        let seconds = seconds.to_string();
        let said = self.bed.source.command("iperf3", &["-c", BULK, "-p", PORT, "-t", &seconds, "-J"])?;
        let said: serde_json::Value = serde_json::from_str(&said)?;
        let bits = said["end"]["sum_received"]["bits_per_second"].as_f64().context("iperf3 tells no throughput")?;
        Ok(bits / 1e9)
    }

    /// A second.
    fn connections(&self, count: u32) -> Result<f64> {
        let began = Instant::now();
        self.bed.source.run(|| {
            for _ in 0..count {
                let mut stream = TcpStream::connect(ECHO)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                stream.write_all(b"x")?;
                stream.read_exact(&mut [0])?;
            }
            Ok::<(), std::io::Error>(())
        })?;
        Ok(f64::from(count) / began.elapsed().as_secs_f64())
    }

    /// Microseconds: the median and the 99th percentile.
    fn trips(&self, count: u32) -> Result<(f64, f64)> {
        let mut stream = self.bed.source.run(|| TcpStream::connect(ECHO))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut all = Vec::new();
        for _ in 0..count {
            let began = Instant::now();
            stream.write_all(b"x")?;
            stream.read_exact(&mut [0])?;
            all.push(began.elapsed().as_secs_f64() * 1e6);
        }
        all.sort_by(f64::total_cmp);
        let at = |percent: usize| all.get(all.len() * percent / 100).copied().context("no round trip");
        Ok((at(50)?, at(99)?))
    }
}

/// Answers one client after the other, until its process ends.
fn echo(listener: &TcpListener) {
    for mut stream in listener.incoming().flatten() {
        let mut byte = [0];
        // A client that leaves is no fault.
        let _ = stream.set_nodelay(true);
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
    }
}

/// This candidate's rounds as ratios of another's.
pub(super) fn ratios(ours: &[f64], theirs: &[f64]) -> Series {
    let mut series = Series::default();
    ours.iter().zip(theirs).for_each(|(ours, theirs)| series.push(ours / theirs));
    series
}
