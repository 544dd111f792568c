//! The table of abuses on the booted gateway: the captured daemon under the unit's own hardening, and users of that machine.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use segd_tests::abuse::{self, Scene, Who};
use segd_tests::lab::Machine;

use crate::gateway::Gateway;
use crate::{Check, Told};

pub(crate) const CHECKS: &[Check] = &[
    ("abuse: a captured daemon gets no further than its unit lets it", captured),
    ("abuse: strangers, readers and admins get no further than their groups let them", users),
    ("abuse: systemd rates both units at 1.5 or better", rated),
];

/// Where the attacker's program lies in the gateway.
const ATTACKER: &str = "/opt/segd-abuse";
/// An exposure that is better than this is asked for.
const EXPOSURE: f32 = 1.5;

fn under_attack(told: &Told) -> Result<(Gateway, Scene)> {
    let gateway = Gateway::enforcing(told)?;
    gateway.machine.copy(&told.attacker, ATTACKER)?;
    let at = PathBuf::from;
    let scene = Scene {
        pins: at("/sys/fs/bpf/segd"),
        state: at("/var/lib/segd"),
        etc: at("/etc/segd"),
        socket: at("/run/segd/segd.sock"),
        pid: gateway.pid()?.cast_signed(),
        segd: at("/usr/sbin/segd"),
    };
    Ok((gateway, scene))
}

fn captured(told: &Told) -> Result<()> {
    let (gateway, scene) = under_attack(told)?;
    let machine = &gateway.machine;
    let unit = machine.command(&["cat", "/usr/lib/systemd/system/segd.service"])?;
    machine.write("/etc/systemd/system/captured.service", &captured_unit(&unit, &scene))?;
    machine.command(&["systemctl", "daemon-reload"])?;
    machine
        .command(&["systemctl", "start", "captured"])
        .with_context(|| machine.journal("captured").unwrap_or_default())?;
    let printed = machine.command(&["cat", "/run/captured"])?;
    let faults = abuse::not_refused(&printed);
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    gateway.holds()
}

/// The daemon's unit with another program in it; its socket's folder is the real daemon's.
fn captured_unit(unit: &str, scene: &Scene) -> String {
    let others = ["Type=", "ExecStart=", "Restart", "WatchdogSec=", "RuntimeDirectory", "TimeoutStartSec="];
    let kept: Vec<&str> = unit.lines().filter(|line| !others.iter().any(|other| line.starts_with(other))).collect();
    let start = format!(
        "Type=oneshot\nExecStart={ATTACKER} --daemon {}\nStandardOutput=file:/run/captured",
        scene.words().join(" ")
    );
    kept.join("\n").replace("[Service]", &format!("[Service]\n{start}"))
}

fn users(told: &Told) -> Result<()> {
    let (gateway, scene) = under_attack(told)?;
    let group = |name| number(&gateway.machine, name);
    let (readers, admins) = (group("segd")?, group("segd-admin")?);
    let mut faults = Vec::new();
    for abuse in abuse::all() {
        for who in abuse.who.iter().filter(|who| **who != Who::Daemon) {
            let groups = match who {
                Who::Admin => format!("--groups={admins}"),
                Who::Reader => format!("--groups={readers}"),
                _ => "--clear-groups".to_owned(),
            };
            let mut command: Command = gateway.machine.inside()?;
            command.args(["setpriv", "--reuid=47111", "--regid=47111", &groups, ATTACKER]);
            let outcome = abuse::outcome(command, abuse, &scene)?;
            if !abuse.refusals.contains(&outcome) {
                faults.push(format!("{who:?} can {}: {outcome}", abuse.name));
            }
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    gateway.holds()
}

fn number(machine: &Machine, group: &str) -> Result<String> {
    let line = machine.command(&["getent", "group", group])?;
    Ok(line.split(':').nth(2).context("a group has a number")?.to_owned())
}

fn rated(told: &Told) -> Result<()> {
    let gateway = Gateway::enforcing(told)?;
    for unit in ["segd.service", "segd-early.service"] {
        let words = ["systemd-analyze", "security", "--no-pager", unit];
        let table = gateway.machine.command(&words)?;
        let last = table.lines().rfind(|line| line.contains("Overall exposure level")).context("no rating")?;
        let rating = last.rsplit(": ").next().and_then(|rest| rest.split(' ').next()?.parse::<f32>().ok());
        ensure!(rating.is_some_and(|rating| rating <= EXPOSURE), "{last}");
    }
    Ok(())
}
