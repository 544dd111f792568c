//! Booted units: what is in force when, who takes over from whom, and what the service manager does about a daemon that
//! dies, hangs or refuses its policy.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use segd_tests::lab::{is_silence, until};

use crate::gateway::{Gateway, Intruder, SOON, ledger};
use crate::{Check, Told};

pub(crate) const CHECKS: &[Check] = &[
    ("boot: the last policy is in force before the network comes up, and the daemon takes it over", boots),
    ("boot: a machine without a policy is closed but for the failsafe, where that was chosen", first_boot_closed),
    ("boot: a machine without a policy is open where nothing was chosen, and status says so", first_boot_open),
    ("service: a daemon that is killed or hangs is started anew, and enforcement goes on", comes_back),
    ("service: a refused policy is no reason to try again and again", waits_for_a_person),
    ("service: the metrics come and go with the daemon, and wake nobody", metrics),
];

/// Brings the interfaces up as a network manager does, and not before it may.
const NETWORK: &str = "[Unit]\nDefaultDependencies=no\nWants=network-pre.target\nAfter=network-pre.target\n\
    Before=network.target\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
    ExecStart=/bin/sh -c 'for link in lan20 lan30 lan40 wan0; do ip link set $link up; done'\n\
    [Install]\nWantedBy=multi-user.target\n";

/// Takes the power away, and what a boot does not find again: programs, tables, and interfaces that are up.
fn reboot(gateway: &mut Gateway) -> Result<()> {
    gateway.machine.write("/etc/systemd/system/office-network.service", NETWORK)?;
    gateway.machine.command(&["systemctl", "enable", "office-network"])?;
    gateway.machine.power_off()?;
    let net = &gateway.office.gateway;
    net.nft("flush ruleset")?;
    for host in gateway.office.hosts() {
        net.ip(&format!("link set {} down", host.place.interface))?;
    }
    gateway.machine.boot(&gateway.office.gateway)
}

fn boots(told: &Told) -> Result<()> {
    let mut gateway = Gateway::enforcing(told)?;
    let why = ["--reason", "a test", "--approved-by", "tests@example.com"];
    let rule = ["segctl", "allow", "dev", "accounting", "tcp/8000", "--id", "kept"];
    gateway.machine.command(&[&rule[..], &why].concat())?;
    let intruder = Intruder::at(&gateway.office);
    reboot(&mut gateway)?;
    gateway.wait_for("segd")?;
    gateway.holds()?;
    intruder.never_got_in()?;
    let at = |unit: &str, what: &str| -> Result<u64> {
        gateway.machine.property(unit, what)?.parse().with_context(|| format!("{what} of {unit}"))
    };
    let (armed, network) =
        (at("segd-early", "ExecMainExitTimestampMonotonic")?, at("office-network", "ExecMainStartTimestampMonotonic")?);
    ensure!(armed > 0 && armed < network, "armed at {armed} µs, and the network came at {network}");
    let early = gateway.machine.journal("segd-early")?;
    ensure!(early.contains("is in force on 4 of 4 interfaces"), "{early}");
    ensure!(!early.contains("compiled anew"), "the kept image is taken: {early}");
    let journal = gateway.machine.journal("segd")?;
    ensure!(journal.contains("taken over from an earlier daemon"), "{journal}");
    ensure!(gateway.machine.command(&["segctl", "rules"])?.contains("kept"));
    ensure!(gateway.machine.command(&["systemctl", "list-units", "--failed", "--no-legend", "segd*"])?.is_empty());
    Ok(())
}

fn first_boot_closed(told: &Told) -> Result<()> {
    let mut gateway = Gateway::up(told)?;
    gateway.install()?;
    let choice = "SEGD_FIRST_BOOT=failsafe\nSEGD_FAILSAFE_FROM=10.30.0.0/24\nSEGD_FAILSAFE_SERVICES=tcp/5432\n";
    gateway.machine.write("/etc/default/segd", choice)?;
    gateway.machine.command(&["systemctl", "enable", "segd-early"])?;
    reboot(&mut gateway)?;
    gateway.holds()?;
    ensure!(!gateway.office.dev.reaches_tcp(gateway.office.accounting.v4(), 22), "the failsafe is one service");
    let early = gateway.machine.journal("segd-early")?;
    ensure!(early.contains("all but the failsafe is closed on 4 of 4 interfaces"), "{early}");
    told_without_a_daemon(&gateway, "the boot has closed everything but the failsafe")?;
    ensure!(gateway.machine.property("segd", "ActiveState")? == "inactive");
    gateway.machine.write("/etc/segd/zones.yaml", &ledger().to_string())?;
    gateway.enable()?;
    gateway.holds()?;
    ensure!(gateway.machine.journal("segd")?.contains("taken over from an earlier daemon"));
    ensure!(gateway.machine.command(&["segctl", "status"])?.contains("without one: closed but for the failsafe"));
    ensure!(gateway.machine.command(&["segctl", "-o", "json", "status"])?.contains("\"first_boot\": \"failsafe\""));
    Ok(())
}

/// The first thing that an admin types says what the machine began with.
fn told_without_a_daemon(gateway: &Gateway, words: &str) -> Result<()> {
    let out = gateway.machine.run(&["segctl", "status"])?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.code() == Some(3) && said.contains(words), "{said}");
    Ok(())
}

fn first_boot_open(told: &Told) -> Result<()> {
    let mut gateway = Gateway::up(told)?;
    gateway.install()?;
    gateway.machine.command(&["systemctl", "enable", "segd-early"])?;
    reboot(&mut gateway)?;
    gateway.is_open()?;
    let early = gateway.machine.journal("segd-early")?;
    ensure!(early.contains("no policy was ever in force"), "{early}");
    told_without_a_daemon(&gateway, "NOTHING is enforced")?;
    gateway.machine.write("/etc/segd/zones.yaml", &ledger().to_string())?;
    gateway.enable()?;
    gateway.holds()?;
    ensure!(gateway.machine.command(&["segctl", "status"])?.contains("without one: open"));
    Ok(())
}

fn comes_back(told: &Told) -> Result<()> {
    let gateway = Gateway::enforcing(told)?;
    let machine = &gateway.machine;
    let impatient = "[Service]\nWatchdogSec=10s\n";
    machine.write("/etc/systemd/system/segd.service.d/impatient.conf", impatient)?;
    machine.command(&["systemctl", "daemon-reload"])?;
    machine.command(&["systemctl", "restart", "segd"])?;
    let intruder = Intruder::at(&gateway.office);
    let mut session = gateway.session()?;
    for signal in ["KILL", "STOP"] {
        let before = gateway.pid()?;
        machine.command(&["kill", &format!("-{signal}"), &before.to_string()])?;
        session.says("while it is gone\n")?;
        let anew = || gateway.pid().is_ok_and(|now| now != 0 && now != before);
        ensure!(until(SOON + Duration::from_secs(30), anew), "after SIG{signal}: {}", machine.journal("segd")?);
        gateway.wait_for("segd")?;
        session.says("and it is back\n")?;
    }
    intruder.never_got_in()?;
    ensure!(machine.journal("segd")?.contains("Watchdog timeout"));
    gateway.holds()
}

fn waits_for_a_person(told: &Told) -> Result<()> {
    let gateway = Gateway::enforcing(told)?;
    let machine = &gateway.machine;
    machine.write("/etc/segd/zones.yaml", "no: [zone, file")?;
    ensure!(!machine.run(&["systemctl", "restart", "segd"])?.status.success());
    std::thread::sleep(Duration::from_secs(3));
    let (state, restarts) = (machine.property("segd", "ActiveState")?, machine.property("segd", "NRestarts")?);
    ensure!((state.as_str(), restarts.as_str()) == ("failed", "0"), "{state}, {restarts} restarts");
    gateway.holds()?;
    machine.write("/etc/segd/zones.yaml", &ledger().to_string())?;
    machine.command(&["systemctl", "start", "segd"])?;
    gateway.holds()
}

fn metrics(told: &Told) -> Result<()> {
    let gateway = Gateway::enforcing(told)?;
    let machine = &gateway.machine;
    let ask = "exec 3<>/dev/tcp/127.0.0.1/9798 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3";
    let asked = || machine.run(&["bash", "-c", ask]);
    let answer = asked()?;
    ensure!(answer.stdout.starts_with(b"HTTP/1.0 200"), "{answer:?}");
    machine.command(&["systemctl", "restart", "segd"])?;
    ensure!(asked()?.stdout.starts_with(b"HTTP/1.0 200"), "after a restart");
    machine.command(&["systemctl", "stop", "segd"])?;
    ensure!(!asked()?.status.success(), "somebody listens still");
    std::thread::sleep(Duration::from_secs(1));
    ensure!(machine.property("segd", "ActiveState")? == "inactive", "who asked has started it");
    let denied = gateway.office.guest.connects(gateway.office.accounting.v4(), 5432);
    ensure!(is_silence(&denied), "what is enforced stays: {denied:?}");
    // Not a socket of its own: its unit lets it make none to the network.
    let sockets = machine.command(&["systemctl", "show", "-p", "RestrictAddressFamilies", "segd"])?;
    ensure!(!sockets.contains("AF_INET"), "{sockets}");
    Ok(())
}
