//! A booted gateway with the office around it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use segd_tests::lab::{Machine, Office, Server, Session, Zones, is_silence, until};

use crate::Told;

/// How long a unit may take.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What is allowed on these gateways: developers reach accounting's ledger.
pub(crate) fn ledger() -> Zones {
    Zones::new().rule("ledger", "dev", "accounting", "tcp/5432")
}

/// A gateway that is up, or was.
pub(crate) struct Gateway {
    pub(crate) machine: Machine,
    pub(crate) office: Arc<Office>,
    _server: Server,
}

impl Gateway {
    /// Up, with the package beside it in /tmp, not installed.
    pub(crate) fn up(told: &Told) -> Result<Self> {
        let (mut machine, office) = (Machine::new(&told.base)?, Office::new()?);
        machine.copy(&told.package, "/root/segd.deb")?;
        machine.copy(&told.next, "/root/next.deb")?;
        machine.boot(&office.gateway)?;
        let server = office.accounting.serves_tcp(5432)?;
        Ok(Self { machine, office: Arc::new(office), _server: server })
    }

    /// The same, and the package enforces a policy.
    pub(crate) fn enforcing(told: &Told) -> Result<Self> {
        let gateway = Self::up(told)?;
        gateway.install()?;
        gateway.machine.write("/etc/segd/zones.yaml", &ledger().to_string())?;
        gateway.enable()?;
        gateway.holds()?;
        Ok(gateway)
    }

    pub(crate) fn install(&self) -> Result<String> {
        self.machine.command(&["dpkg", "--install", "/root/segd.deb"])
    }

    pub(crate) fn enable(&self) -> Result<()> {
        let enabled = self.machine.command(&["systemctl", "enable", "--now", "segd"]);
        enabled.map(drop).with_context(|| self.machine.journal("segd").unwrap_or_default())
    }

    /// The policy is in force: what it allows passes, what it does not is dropped.
    pub(crate) fn holds(&self) -> Result<()> {
        ensure!(self.passes_allowed(), "what is allowed does not pass");
        let denied = self.office.guest.connects(self.office.accounting.v4(), 5432);
        ensure!(is_silence(&denied), "what is forbidden is not dropped: {denied:?}");
        Ok(())
    }

    /// Nothing is in force.
    pub(crate) fn is_open(&self) -> Result<()> {
        ensure!(self.office.guest.reaches_tcp(self.office.accounting.v4(), 5432), "something is dropped");
        let pins = self.machine.run(&["ls", "-A", "/sys/fs/bpf/segd"])?;
        ensure!(!pins.status.success() || pins.stdout.is_empty(), "pinned: {}", String::from_utf8_lossy(&pins.stdout));
        let tables = self.machine.command(&["nft", "list", "tables"])?;
        ensure!(!tables.contains("segd"), "{tables}");
        Ok(())
    }

    pub(crate) fn passes_allowed(&self) -> bool {
        self.office.dev.reaches_tcp(self.office.accounting.v4(), 5432)
    }

    pub(crate) fn session(&self) -> Result<Session> {
        let mut session = self.office.dev.connects(self.office.accounting.v4(), 5432)?;
        session.says("hello\n")?;
        Ok(session)
    }

    /// Waits until a unit is active.
    pub(crate) fn wait_for(&self, unit: &str) -> Result<()> {
        let active = || self.machine.property(unit, "ActiveState").is_ok_and(|state| state == "active");
        ensure!(until(SOON, active), "{unit} is not active: {}", self.machine.journal(unit)?);
        Ok(())
    }

    /// The daemon's number, inside.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.machine.property("segd", "MainPID")?.parse().context("a number")
    }
}

/// Somebody who tries what is forbidden again and again, until it is asked how often it went through.
pub(crate) struct Intruder {
    stop: Arc<AtomicBool>,
    got_in: Arc<AtomicU32>,
    thread: JoinHandle<u32>,
}

impl Intruder {
    pub(crate) fn at(office: &Arc<Office>) -> Self {
        let (stop, got_in) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (office, stopped, counted) = (Arc::clone(office), Arc::clone(&stop), Arc::clone(&got_in));
        let thread = thread::spawn(move || {
            let mut tries = 0;
            while !stopped.load(Ordering::Relaxed) {
                tries += 1;
                // Several at a time, so that no moment is without one.
                thread::scope(|scope| {
                    for _ in 0..4 {
                        scope.spawn(|| {
                            if office.guest.connects(office.accounting.v4(), 5432).is_ok() {
                                counted.fetch_add(1, Ordering::Relaxed);
                            }
                        });
                        thread::sleep(Duration::from_millis(25));
                    }
                });
            }
            tries
        });
        Self { stop, got_in, thread }
    }

    /// Ends it; it has to have tried, and never to have got through.
    pub(crate) fn never_got_in(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let tries = self.thread.join().map_err(|_| anyhow::anyhow!("the intruder panicked"))?;
        let got_in = self.got_in.load(Ordering::Relaxed);
        ensure!(tries > 0 && got_in == 0, "what is forbidden went through {got_in} times in {tries} rounds");
        Ok(())
    }
}
