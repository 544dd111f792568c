//! An admin at a desk who applies, over ssh, a policy that locks the desk out: the old policy has to be back in time, and the
//! session with it, with segd alive and with segd killed.

use std::fmt;
use std::fs;
use std::iter;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use indicatif::HumanCount;

use super::remote::Remote;
use crate::lab::{Daemon, Lab, Zones, binary, is_silence, until};
use crate::oracle::Random;

/// How many callers lock themselves out at a time.
const DESKS: u64 = 4;
/// What the caller gives itself to confirm.
const TRIAL: Duration = Duration::from_secs(2);
/// How much later the old policy may be back: a tick of the kernel, and the time that a new connection and this program take.
const GRACE: Duration = Duration::from_millis(800);
/// TCP doubles its pauses while nobody answers: what it sent as the trial began is sent again no later than after as long
/// again as the trial took. Until then a session that could go on says nothing.
const RESENT: Duration = Duration::from_millis(2800);
const SOON: Duration = Duration::from_secs(15);

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lockouts {
    /// How often the caller locked itself out.
    pub rounds: u64,
    /// How often segd was killed then.
    pub killed: u64,
    /// From the lock-out until a new connection passes again, at the most.
    pub longest_closed: Duration,
    /// From the lock-out until the session answers, at the most.
    pub longest_silence: Duration,
}

impl fmt::Display for Lockouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, killed, longest_closed, longest_silence } = self;
        write!(
            f,
            "{} policies that lock the caller out for {} s, segd killed in {}: the old one was back after {} ms at the most, \
             the session after {} ms; all {rounds} came back",
            HumanCount(*rounds),
            TRIAL.as_secs(),
            HumanCount(*killed),
            longest_closed.as_millis(),
            longest_silence.as_millis()
        )
    }
}

/// Locks the caller out so many times, at [`DESKS`] gateways side by side: a trial is mostly waiting. In every second round
/// segd is killed as soon as the policy holds. Ends at the first session that does not come back.
pub fn lockouts(rounds: u64, seed: u64, progress: &mut dyn FnMut(u64)) -> Result<Lockouts> {
    let (next, (tell, told)) = (AtomicU64::new(0), mpsc::channel());
    let at_a_desk = |tell: mpsc::Sender<Result<(bool, Back)>>| {
        let mut desk = Desk::log_in()?;
        let numbers = iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        for number in numbers.take_while(|number| *number < rounds) {
            let (policy, kill) = (locks_out(&mut Random::new(seed, number)), number % 2 == 1);
            let back = desk.locked_out(&policy, kill);
            let back = back.with_context(|| format!("round {number} of seed {seed}, with\n{policy}"))?;
            if tell.send(Ok((kill, back))).is_err() {
                break;
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        for _ in 0..DESKS.min(rounds) {
            let tell = tell.clone();
            scope.spawn(|| {
                let failed = tell.clone();
                if let Err(why) = at_a_desk(tell) {
                    // Nobody listens any more once another desk has failed.
                    let _ = failed.send(Err(why));
                }
            });
        }
        drop(tell);
        let mut all = Lockouts::default();
        // What is left of `told` is dropped with the first failure, and every desk ends after its round.
        for back in told {
            let (killed, back) = back?;
            all.rounds += 1;
            all.killed += u64::from(killed);
            all.longest_closed = all.longest_closed.max(back.closed);
            all.longest_silence = all.longest_silence.max(back.silence);
            progress(all.rounds);
        }
        ensure!(all.rounds == rounds, "a desk ended before its time");
        Ok(all)
    })
}

/// How long it took until everything was as before.
struct Back {
    closed: Duration,
    silence: Duration,
}

/// Where the admin sits.
struct Desk {
    remote: Remote,
    lab: Lab,
}

impl Desk {
    fn log_in() -> Result<Self> {
        let lab = Lab::enforcing(with_ssh(Zones::new()))?;
        let remote = Remote::log_in(&lab.office.gateway, &lab.office.dev, gateway(&lab))?;
        Ok(Self { remote, lab })
    }

    fn locked_out(&mut self, policy: &str, kill: bool) -> Result<Back> {
        let before = fs::read_to_string(self.lab.daemon.config())?;
        let file = self.lab.daemon.config().with_file_name("new.yaml");
        fs::write(&file, policy)?;
        self.is_refused()?;
        self.applies()?;
        let locked_out = Instant::now();
        if kill {
            self.lab.daemon.kill()?;
        }
        let (dev, address) = (&self.lab.office.dev, gateway(&self.lab));
        ensure!(is_silence(&dev.connects(address, 22)), "a new connection passes: the caller is not locked out");
        self.remote.says("echo back")?;
        ensure!(until(TRIAL + SOON, || dev.opens_at_once(address, 22)), "the old policy does not come back");
        let closed = locked_out.elapsed();
        ensure!(self.remote.hears("back", SOON), "the session does not come back");
        let silence = locked_out.elapsed();
        ensure!(closed <= TRIAL + GRACE, "the old policy was back after {} ms only", closed.as_millis());
        ensure!(silence <= TRIAL + RESENT, "the session was back after {} ms only", silence.as_millis());
        if kill {
            self.lab.start()?;
        }
        let daemon = &self.lab.daemon;
        let is_over = || {
            daemon.json(&["status"]).is_ok_and(|status| status["pending"].is_null())
                && fs::read_to_string(daemon.config()).is_ok_and(|now| now == before)
        };
        ensure!(until(SOON, is_over), "the old zone file is not in its place; segd said:\n{}", daemon.log());
        Ok(Back { closed, silence })
    }

    /// Types the command without `--force`: the policy would cut the session that it is typed in, and nothing may change.
    fn is_refused(&mut self) -> Result<()> {
        let generation =
            |daemon: &Daemon| daemon.json(&["status"])?["generation"].as_u64().context("status has no generation");
        let before = generation(&self.lab.daemon)?;
        let told = self.lab.daemon.config().with_file_name("told");
        let apply = self.apply()?;
        self.remote.says(&format!("{apply} >{} 2>&1; echo refused with $?", told.display()))?;
        let refused = self.remote.hears("refused with 5", SOON);
        let told = fs::read_to_string(told)?;
        ensure!(refused, "a policy that cuts its caller off was taken:\n{told}");
        let names = [&format!("your own connection: {}", self.lab.office.dev.v4()), "tcp/22", "--force"];
        ensure!(names.iter().all(|name| told.contains(*name)), "the refusal says too little:\n{told}");
        ensure!(generation(&self.lab.daemon)? == before, "a policy that was refused has changed something");
        Ok(())
    }

    /// Types the command that puts a policy on trial, and waits until that holds.
    fn applies(&mut self) -> Result<()> {
        let apply = self.apply()?;
        self.remote.says(&format!("{apply} --force >/dev/null 2>&1"))?;
        let daemon = &self.lab.daemon;
        let on_trial = || daemon.json(&["status"]).is_ok_and(|status| !status["pending"].is_null());
        ensure!(until(SOON, on_trial), "the policy was not applied; segd said:\n{}", daemon.log());
        Ok(())
    }

    fn apply(&self) -> Result<String> {
        let (segctl, socket) = (binary("segctl")?, self.lab.daemon.socket());
        let file = self.lab.daemon.config().with_file_name("new.yaml");
        let (segctl, socket, file, trial) = (segctl.display(), socket.display(), file.display(), TRIAL.as_secs());
        Ok(format!("{segctl} --socket {socket} apply {file} --confirm {trial}s"))
    }
}

/// The gateway's address at the desk.
fn gateway(lab: &Lab) -> IpAddr {
    lab.office.dev.place.gateway.0.into()
}

fn with_ssh(zones: Zones) -> Zones {
    zones.rule("ssh", "dev", "host", "tcp/22")
}

/// A policy by which nobody at the desk reaches the gateway's port 22, for one reason or another.
fn locks_out(random: &mut Random) -> String {
    const ZONES: [&str; 4] = ["accounting", "dev", "guest", "internet"];
    let mut zones = Zones::new();
    for number in 0..random.below(12) {
        // Between networks only: no rule to the gateway itself.
        let (from, to) = (*random.pick(&ZONES), *random.pick(&ZONES));
        let services = format!("tcp/{}, udp/{}", random.between(1, 65_535), random.between(1, 65_535));
        zones = zones.rule(&format!("r-{number}"), from, to, &services);
    }
    let past = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(i64::from(random.between(1, 9999) as u16));
    match random.below(7) {
        0 => zones.to_string(),
        1 => zones.rule("ssh", "guest", "host", "tcp/22").to_string(),
        2 => zones.rule("ssh", "dev", "host", "tcp/2222, udp/22").to_string(),
        3 => with_ssh(zones).until(past).to_string(),
        4 => zones.rule("ssh", "dev", "accounting", "tcp/22").to_string(),
        // The desk is in another zone, or seen where its zone is not.
        5 => with_ssh(zones).to_string().replace("10.30.0.0/24", "10.30.0.128/25"),
        _ => with_ssh(zones).to_string().replace("[lan30]", "[lan31]"),
    }
}
