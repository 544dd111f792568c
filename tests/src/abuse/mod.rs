//! What a compromised daemon, an admin's, a reader's or a stranger's process must not be able to do: one row for each, with
//! the attempt and the refusal. The attempts are made by `segd-abuse`, a program of its own, as whom the row says.
//!
//! No attempt may do harm where it succeeds: each is tried as root too, to see that it is a refusal and not a mistake in
//! the attempt that a test sees.

mod api;
mod calls;
mod daemon;
mod files;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

pub use api::crowd;

/// Who tries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Whoever has taken over the daemon: its user and its three capabilities.
    Daemon,
    /// A member of `segd-admin`, who may change the policy, and that alone.
    Admin,
    /// A member of `segd`, who may read.
    Reader,
    /// An ordinary user.
    Stranger,
}

/// What holds it off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wall {
    /// Users, groups, modes and capabilities: it holds wherever the daemon runs as its unit's user.
    Rights,
    /// What else the unit asks of systemd: it holds under systemd only.
    Unit,
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It worked.
    Done,
    /// The kernel said no, with this error.
    Errno(i32),
    /// The daemon said no, with this HTTP status.
    Status(u16),
    /// A program said no, with this exit status.
    Exit(i32),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Errno(number) => write!(f, "errno {number}"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Exit(code) => write!(f, "exit {code}"),
        }
    }
}

impl Outcome {
    fn read(text: &str) -> Option<Self> {
        let (word, number) = text.trim().split_once(' ').unwrap_or((text.trim(), "0"));
        Some(match word {
            "done" => Self::Done,
            "errno" => Self::Errno(number.parse().ok()?),
            "status" => Self::Status(number.parse().ok()?),
            "exit" => Self::Exit(number.parse().ok()?),
            _ => return None,
        })
    }
}

impl From<io::Result<()>> for Outcome {
    fn from(result: io::Result<()>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(error) => Self::Errno(error.raw_os_error().unwrap_or(0)),
        }
    }
}

/// The instance that is attacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// Its folder of pins.
    pub pins: PathBuf,
    /// Its state folder.
    pub state: PathBuf,
    /// The folder of its zone file.
    pub etc: PathBuf,
    /// Its control socket.
    pub socket: PathBuf,
    /// Its process.
    pub pid: i32,
    /// `segd`, where everybody may run it.
    pub segd: PathBuf,
}

impl Scene {
    /// As `segd-abuse` takes it.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let Self { pins, state, etc, socket, pid, segd } = self;
        let path = |path: &Path| path.display().to_string();
        vec![path(pins), path(state), path(etc), path(socket), pid.to_string(), path(segd)]
    }

    fn read(words: &[String]) -> Result<Self> {
        let [pins, state, etc, socket, pid, segd] = words else { bail!("pins, state, etc, socket, pid and segd") };
        let pid = pid.parse().context("a process id")?;
        let [pins, state, etc, socket, segd] = [pins, state, etc, socket, segd].map(PathBuf::from);
        Ok(Self { pins, state, etc, socket, pid, segd })
    }
}

/// Something that must not be possible.
#[derive(Clone, Copy, Debug)]
pub struct Abuse {
    /// What, in words.
    pub name: &'static str,
    /// Who must not be able to.
    pub who: &'static [Who],
    /// What holds it off.
    pub wall: Wall,
    /// The attempt.
    attempt: fn(&Scene) -> Outcome,
    /// How it may be refused; anything else is a failure.
    pub refusals: &'static [Outcome],
}

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Abuse> {
    [api::ROWS, files::ROWS, daemon::ROWS].into_iter().flatten()
}

/// The program's own main: makes one attempt and prints how it ended.
pub fn attempt(words: &[String]) -> Result<()> {
    let (name, scene) = words.split_first().context("which abuse, and of what")?;
    let abuse = all().find(|abuse| abuse.name == name).with_context(|| format!("no abuse is called {name}"))?;
    println!("{}", (abuse.attempt)(&Scene::read(scene)?));
    Ok(())
}

/// All attempts of a captured daemon, by one process under its unit: a line for each, the name and how it ended.
pub fn attempt_all(scene: &[String]) -> Result<()> {
    let scene = Scene::read(scene)?;
    for abuse in all().filter(|abuse| abuse.who.contains(&Who::Daemon)) {
        println!("{}: {}", abuse.name, (abuse.attempt)(&scene));
    }
    Ok(())
}

/// The rows of a captured daemon that were not refused, by what [`attempt_all`] printed; one that says nothing was not.
#[must_use]
pub fn not_refused(printed: &str) -> Vec<String> {
    let ended = |name: &str| printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let fault = |abuse: &Abuse| {
        let text = ended(abuse.name).unwrap_or_default();
        let outcome = Outcome::read(text).filter(|outcome| abuse.refusals.contains(outcome));
        outcome.is_none().then(|| format!("the daemon can {}: {text}", abuse.name))
    };
    all().filter(|abuse| abuse.who.contains(&Who::Daemon)).filter_map(fault).collect()
}

/// Runs `segd-abuse` by `command`, to which its words are added, and gives how the attempt ended.
pub fn outcome(mut command: Command, abuse: &Abuse, scene: &Scene) -> Result<Outcome> {
    let out = command.arg(abuse.name).args(scene.words()).output().with_context(|| format!("{command:?}"))?;
    let (said, complaint) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let last = said.lines().last().unwrap_or_default();
    Outcome::read(last).with_context(|| format!("{}: {}: {said}{complaint}", abuse.name, out.status))
}
