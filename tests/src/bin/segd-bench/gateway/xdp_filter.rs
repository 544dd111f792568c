//! xdp-filter (xdp-tools) with what it can say of the policy: ports that some rule opens. It knows no networks, no zones and no
//! connections, so it is a yardstick and no peer.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use segd::policy::Policy;
use segd_tests::lab::Namespace;

use super::bed::LAN;
use super::rules::pieces;

/// Keeps its programs loaded. What it pins, it pins in a mount namespace of its own: another xdp-filter on this machine is left
/// in peace.
pub(super) struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended by itself; both calls then fail or return at once.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Puts the ports in force where initiators are. Beyond, it would have to let in whatever comes from these ports.
pub(super) fn enforce(net: &Namespace, policy: &Policy) -> Result<Held> {
    let pieces = pieces(policy)?;
    ensure!(pieces.iter().all(|piece| piece.low == piece.high), "xdp-filter has no ranges");
    let ports: BTreeSet<_> = pieces.iter().map(|piece| (piece.low, piece.protocol)).collect();
    let mut script = String::from("set -e; mount -t bpf bpf /sys/fs/bpf\n");
    writeln!(script, "xdp-filter load --policy deny --features tcp,udp {LAN}")?;
    for (port, protocol) in ports {
        writeln!(script, "xdp-filter port {port} --proto {protocol} --mode dst")?;
    }
    script.push_str("echo ready; exec sleep infinity\n");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut held = Held(net.run(|| command.spawn()).context("could not start xdp-filter")?);
    let said = held.0.stdout.take().context("xdp-filter has no output")?;
    let ready = BufReader::new(said).lines().map_while(Result::ok).any(|line| line == "ready");
    if !ready {
        let errors = held.0.stderr.take().map(std::io::read_to_string).transpose()?.unwrap_or_default();
        anyhow::bail!("xdp-filter could not be loaded: {}", errors.trim());
    }
    Ok(held)
}
