//! A gateway that enforces, shown at work: real programs, real sockets, four hosts in network namespaces.
//!
//! Everything it says it has checked; its exit status is 1 if something did not hold. It must never touch the
//! machine's own network, and leaves nothing behind unless it was asked to.

mod keep;
mod stage;

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use segd_tests::lab::{Host, Lab, Server, Session, is_silence};
use stage::Stage;

const ZONES: &str = include_str!("../../../../zones.example.yaml");
/// What `segctl allow` opens for a while; no rule of the example names it.
const REPORTS: u16 = 8443;
const LEDGER: u16 = 5432;

fn main() -> ExitCode {
    let keep = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--keep") => true,
        Some(other) => {
            eprintln!("segd-demo takes --keep and nothing else, not `{other}`");
            return ExitCode::from(2);
        }
    };
    match show(keep) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            eprintln!("the demo stopped: {err:#}");
            ExitCode::FAILURE
        }
    }
}

/// The whole demo; whether everything held.
fn show(keep: bool) -> Result<bool> {
    if keep {
        keep::refuse_if_standing()?;
    }
    let started = Instant::now();
    let mut stage = Stage::new();
    stage.opening();
    let mut lab = Lab::enforcing(ZONES).context("could not start the gateway")?;
    let servers = serve(&lab)?;
    Act { lab: &lab, stage: &mut stage }.play()?;
    drop(servers);
    if keep {
        keep::leave_standing(&mut lab)?;
    }
    Ok(stage.closing(started.elapsed()))
}

/// Something answers on every port that is tried, so that silence is always the gateway's doing.
fn serve(lab: &Lab) -> Result<Vec<Server>> {
    let accounting = &lab.office.accounting;
    let tcp = [22, 443, LEDGER, REPORTS].map(|port| accounting.serves_tcp(port));
    let udp = [accounting.serves_udp(53), lab.office.internet.serves_udp(53)];
    tcp.into_iter().chain(udp).collect()
}

/// The scenes, in their order, on one lab.
struct Act<'a> {
    lab: &'a Lab,
    stage: &'a mut Stage,
}

impl Act<'_> {
    fn play(&mut self) -> Result<()> {
        self.default_deny()?;
        self.allowed_services()?;
        self.one_more_rule()?;
        self.explanations()?;
        self.revocation()?;
        self.numbers()
    }

    fn default_deny(&mut self) -> Result<()> {
        self.stage.scene(
            "Nothing passes that no rule allows",
            "Guests try the finance server, which listens on all of this.",
        );
        let (guest, accounting) = (&self.lab.office.guest, &self.lab.office.accounting);
        self.both("guest > accounting tcp/443", accounting, false, |to| Ok(!is_silence(&guest.connects(to, 443))))?;
        self.both("guest > accounting udp/53", accounting, false, |to| Ok(guest.reaches_udp(to, 53)))?;
        self.both("guest > accounting ping", accounting, false, |to| guest.pings(to, 56))
    }

    fn allowed_services(&mut self) -> Result<()> {
        self.stage.scene(
            "What a rule allows passes, with its replies",
            "Rules of zones.example.yaml; none of them is for the way back.",
        );
        let office = &self.lab.office;
        self.both("dev > accounting tcp/5432", &office.accounting, true, |to| Ok(office.dev.reaches_tcp(to, LEDGER)))?;
        self.both("dev > internet udp/53", &office.internet, true, |to| Ok(office.dev.reaches_udp(to, 53)))?;
        self.both("accounting > dev ping", &office.dev, true, |to| office.accounting.pings(to, 56))?;
        self.both("dev > accounting tcp/22", &office.accounting, false, |to| {
            Ok(!is_silence(&office.dev.connects(to, 22)))
        })
    }

    fn one_more_rule(&mut self) -> Result<()> {
        self.stage.scene("An admin opens one more service", "With a reason, somebody who approved, and an end.");
        let office = &self.lab.office;
        let tries = |to| Ok(!is_silence(&office.dev.connects(to, REPORTS)));
        self.both("dev > accounting tcp/8443", &office.accounting, false, tries)?;
        self.segctl(
            0,
            &[
                "allow",
                "dev",
                "accounting",
                "tcp/8443",
                "--id",
                "reports",
                "--expires",
                "8h",
                "--reason",
                "Trial of the new report page",
                "--approved-by",
                "finance-lead@example.com",
            ],
        )?;
        self.both("dev > accounting tcp/8443", &office.accounting, true, |to| Ok(office.dev.reaches_tcp(to, REPORTS)))
    }

    fn explanations(&mut self) -> Result<()> {
        self.stage.scene(
            "Every verdict can be explained",
            "Asked of the programs in the kernel: exit status 0 allows, 1 denies.",
        );
        self.segctl(0, &["explain", "10.30.0.5", "10.20.0.10", "tcp/8443"])?;
        self.segctl(1, &["explain", "fd00:40::7", "fd00:20::10", "tcp/443"])
    }

    fn revocation(&mut self) -> Result<()> {
        self.stage.scene(
            "A revoked rule cuts its live sessions",
            "Two sessions are open to the report page, two to the ledger.",
        );
        let (mut reports, mut ledger) = (self.sessions(REPORTS)?, self.sessions(LEDGER)?);
        self.talks("dev > accounting tcp/8443, open session", true, &mut reports);
        self.segctl(0, &["revoke", "reports", "--reason", "The trial is over"])?;
        self.talks("dev > accounting tcp/8443, open session", false, &mut reports);
        self.talks("dev > accounting tcp/5432, open session", true, &mut ledger);
        Ok(())
    }

    fn numbers(&mut self) -> Result<()> {
        self.stage.scene("Who talks to whom", "The zone matrix, as segctl draws it.");
        self.segctl(0, &["matrix"])?;
        self.stage.scene("What Prometheus reads", "Distinct blocked connections: exactly those that you saw.");
        let page = self.lab.daemon.page(&self.lab.office.gateway)?;
        let blocked: Vec<_> = page.lines().filter(|line| line.starts_with("segd_blocked_flows_total{")).collect();
        self.stage.page(&blocked);
        let blocked = self.lab.metrics()?.blocked_flows();
        // In two families each: tcp, udp and ping of the guests; tcp/22, tcp/8443 before its rule, and the two
        // sessions of the revoked rule.
        let seen = [("dev > accounting: no-rule".to_owned(), 6), ("guest > accounting: no-rule".to_owned(), 6)];
        self.stage.held("6 by dev and 6 by guest, all to accounting, and nothing else", blocked == seen.into());
        Ok(())
    }

    /// Tries in both families, and shows one line.
    fn both(&mut self, what: &str, to: &Host, expected: bool, attempt: impl Fn(IpAddr) -> Result<bool>) -> Result<()> {
        let [v4, v6] = to.both().map(attempt);
        self.stage.tried(what, expected, [v4?, v6?]);
        Ok(())
    }

    fn sessions(&self, port: u16) -> Result<Vec<Session>> {
        let open = |to| self.lab.office.dev.connects(to, port).with_context(|| format!("no session with {to} {port}"));
        self.lab.office.accounting.both().into_iter().map(open).collect()
    }

    fn talks(&mut self, what: &str, expected: bool, sessions: &mut [Session]) {
        let mut answers = sessions.iter_mut().map(|session| session.says("still there?\n").is_ok());
        let outcome = [answers.next().unwrap_or(false), answers.next().unwrap_or(false)];
        self.stage.tried(what, expected, outcome);
    }

    /// Runs segctl and shows what was typed and what it said.
    fn segctl(&mut self, expected: i32, words: &[&str]) -> Result<()> {
        let out = self.lab.daemon.segctl(words)?;
        let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
        self.stage.typed(words, &said);
        match out.status.code() {
            Some(status) if status == expected => Ok(()),
            _ => bail!("segctl ended with {}, not with {expected}", out.status),
        }
    }
}
