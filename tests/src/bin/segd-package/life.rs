//! The package on a running gateway: installed, upgraded, removed and purged, with traffic all the while.

use anyhow::{Context as _, Result, ensure};
use segd_tests::lab::until;

use crate::gateway::{Gateway, Intruder, SOON, ledger};
use crate::{Check, Told};

pub(crate) const CHECKS: &[Check] = &[
    ("installing blocks nothing, also where a policy lies ready; enabling does", installing),
    ("an upgrade replaces the daemon, and neither pauses enforcement nor cuts a session", upgrading),
    ("a removal takes enforcement off and keeps the policy; installed again, nothing starts", removing),
    ("a removal that can't take enforcement off leaves the package and the policy in force", refusing),
    ("a purge leaves no file, unit, pin or table", purging),
];

fn installing(told: &Told) -> Result<()> {
    let gateway = Gateway::up(told)?;
    let machine = &gateway.machine;
    machine.write("/etc/segd/zones.yaml", &ledger().to_string())?;
    gateway.install()?;
    ensure!(machine.property("segd", "ActiveState")? == "inactive");
    ensure!(machine.property("segd", "UnitFileState")? == "disabled");
    gateway.is_open()?;
    gateway.enable()?;
    gateway.holds()?;
    ensure!(machine.property("segd-early", "UnitFileState")? == "enabled", "the next boot begins with the policy");
    ensure!(machine.command(&["segctl", "status"])?.contains("ENFORCING"));
    let user = machine.command(&["stat", "--format=%U", &format!("/proc/{}", gateway.pid()?)])?;
    ensure!(user.trim() == "segd", "it runs as {user}");
    Ok(())
}

fn upgrading(told: &Told) -> Result<()> {
    let gateway = Gateway::enforcing(told)?;
    let machine = &gateway.machine;
    let (before, mut session) = (gateway.pid()?, gateway.session()?);
    let intruder = Intruder::at(&gateway.office);
    machine.command(&["dpkg", "--install", "/root/next.deb"])?;
    gateway.wait_for("segd")?;
    ensure!(gateway.pid()? != before, "the old daemon still runs");
    session.says("after the upgrade\n")?;
    intruder.never_got_in()?;
    gateway.holds()?;
    let journal = machine.journal("segd")?;
    ensure!(journal.contains("taken over from an earlier daemon"), "{journal}");
    ensure!(machine.command(&["dpkg-query", "-W", "-f", "${Version}", "segd"])? == "99.0.0-1");
    // Stopped by the admin, it stays so, and so does what is enforced.
    machine.command(&["systemctl", "stop", "segd"])?;
    machine.command(&["dpkg", "--install", "--force-downgrade", "/root/segd.deb"])?;
    ensure!(machine.property("segd", "ActiveState")? == "inactive");
    session.says("after the way back\n")?;
    gateway.holds()
}

fn removing(told: &Told) -> Result<()> {
    let gateway = Gateway::enforcing(told)?;
    let machine = &gateway.machine;
    machine.command(&["dpkg", "--remove", "segd"])?;
    gateway.is_open()?;
    ensure!(machine.path("/etc/segd/zones.yaml").is_file() && machine.path("/var/lib/segd").is_dir());
    let failed = machine.command(&["systemctl", "list-units", "--failed", "--no-legend", "--plain"])?;
    ensure!(failed.trim().is_empty(), "{failed}");
    gateway.install()?;
    ensure!(machine.property("segd", "ActiveState")? == "inactive");
    gateway.is_open()?;
    machine.command(&["systemctl", "start", "segd"])?;
    gateway.holds()
}

fn refusing(told: &Told) -> Result<()> {
    let gateway = Gateway::enforcing(told)?;
    let machine = &gateway.machine;
    machine.command(&["systemctl", "stop", "segd"])?;
    // Another daemon that is at work on the same pins.
    let other = "exec 9</sys/fs/bpf/segd; flock -x 9; touch /run/held; sleep 60";
    machine.command(&["systemd-run", "--unit=other", "bash", "-c", other])?;
    ensure!(until(SOON, || machine.run(&["test", "-e", "/run/held"]).is_ok_and(|out| out.status.success())));
    let out = machine.run(&["dpkg", "--remove", "segd"])?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    ensure!(!out.status.success() && said.contains("the package stays"), "{said}");
    ensure!(machine.command(&["dpkg-query", "-W", "-f", "${db:Status-Status}", "segd"])? == "installed");
    ensure!(!String::from_utf8_lossy(&out.stdout).contains("enforces nothing"), "{out:?}");
    gateway.holds()?;
    machine.command(&["systemctl", "stop", "other"])?;
    gateway.wait_for("segd").context("whoever looks after what is in force is back")?;
    gateway.holds()?;
    machine.command(&["dpkg", "--remove", "segd"])?;
    gateway.is_open()
}

fn purging(told: &Told) -> Result<()> {
    let gateway = Gateway::enforcing(told)?;
    let machine = &gateway.machine;
    machine.command(&["dpkg", "--purge", "segd"])?;
    gateway.is_open()?;
    for path in ["/etc/segd", "/var/lib/segd", "/run/segd", "/usr/share/segd", "/usr/lib/systemd/system/segd.service"] {
        ensure!(!machine.run(&["test", "-e", path])?.status.success(), "{path} is still there");
    }
    let found = machine.command(&["find", "/etc/systemd", "/var/lib/systemd", "-name", "*segd*"])?;
    ensure!(found.trim().is_empty(), "{found}");
    let failed = machine.command(&["systemctl", "list-units", "--all", "--no-legend", "--plain", "segd*"])?;
    ensure!(failed.trim().is_empty(), "{failed}");
    Ok(())
}
