//! `--keep`: gives the namespaces names, leaves the daemon running, says how to enter and how to take it down.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use segd_tests::lab::{Lab, Namespace, binary};

const NAMES: &str = "/run/netns";

fn named(net: &Namespace) -> PathBuf {
    Path::new(NAMES).join(format!("segd-demo-{}", net.name()))
}

/// Two demos can't carry the same names.
pub(crate) fn refuse_if_standing() -> Result<()> {
    let gateway = Path::new(NAMES).join("segd-demo-gw");
    ensure!(
        !gateway.exists(),
        "an earlier demo still stands ({}): take it down as it said when it ended, then try again",
        gateway.display()
    );
    Ok(())
}

/// Hands everything over to names, and prints them.
pub(crate) fn leave_standing(lab: &mut Lab) -> Result<()> {
    let hosts = lab.office.hosts().map(|host| &host.net);
    let all: Vec<_> = std::iter::once(&lab.office.gateway).chain(hosts).collect();
    for net in &all {
        give_name(net)?;
    }
    let pid = lab.daemon.pid().context("the daemon runs")?;
    let dir = lab.daemon.keep()?;
    println!("\nIt stands. Enter a host, or the gateway:");
    for net in &all {
        println!("   nsenter --net={}", named(net).display());
    }
    println!("Ask the daemon:");
    println!("   {} --socket {} status", binary("segctl")?.display(), lab.daemon.socket().display());
    println!("Take it down:");
    println!("   kill {pid}; umount {0}/bpf; rm -r {0}", dir.display());
    println!("   for n in gw accounting dev guest internet; do ip netns del segd-demo-$n; done");
    Ok(())
}

/// What `ip netns add` does, for a namespace that is there already.
fn give_name(net: &Namespace) -> Result<()> {
    let path = named(net);
    std::fs::create_dir_all(NAMES).with_context(|| format!("could not make {NAMES}"))?;
    std::fs::write(&path, "").with_context(|| format!("could not make {}", path.display()))?;
    let status = Command::new("mount").arg("--bind").arg(net.path()).arg(&path).status();
    ensure!(status.is_ok_and(|status| status.success()), "could not name the namespace {}", path.display());
    Ok(())
}
