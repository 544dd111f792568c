//! The same policy in the words of iptables with ipset: a set for each zone, a chain for each zone that may open something,
//! so that a packet meets only its own zone's rules.

use std::fmt::Write;

use anyhow::Result;
use segd::policy::Policy;
use segd_tests::lab::Namespace;

use super::nftables::spare_checksums;
use super::rules::{FAMILIES, Piece, networks, pieces};

/// Puts the policy in force in a namespace.
pub(super) fn enforce(net: &Namespace, policy: &Policy) -> Result<()> {
    for family in FAMILIES {
        let restore = if family == "ip" { "iptables-legacy-restore" } else { "ip6tables-legacy-restore" };
        with_file(&sets(policy, family)?, |path| net.command("ipset", &["restore", "-file", path]).map(drop))?;
        with_file(&rules(policy, family)?, |path| net.command(restore, &[path]).map(drop))?;
    }
    spare_checksums(net)
}

fn with_file(text: &str, work: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), text)?;
    work(&file.path().to_string_lossy())
}

fn sets(policy: &Policy, family: &str) -> Result<String> {
    let mut text = String::new();
    let kind = if family == "ip" { "inet" } else { "inet6" };
    for (number, zone) in (1..).zip(&policy.zones) {
        let all: Vec<_> = networks(zone, family).collect();
        let room = all.len().max(1);
        writeln!(text, "create {family}_zone{number} hash:net family {kind} maxelem {room}")?;
        for network in all {
            writeln!(text, "add {family}_zone{number} {network}")?;
        }
    }
    Ok(text)
}

fn rules(policy: &Policy, family: &str) -> Result<String> {
    let mut text = String::from("*filter\n:INPUT ACCEPT\n:FORWARD DROP\n:OUTPUT ACCEPT\n");
    let mut pieces = pieces(policy)?;
    // The order within a zone stays: what is measured comes first there.
    pieces.sort_by_key(|piece| piece.from);
    let mut opening: Vec<_> = pieces.iter().map(|piece| piece.from).collect();
    opening.dedup();
    for zone in &opening {
        writeln!(text, ":from{zone} -")?;
    }
    writeln!(text, "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")?;
    writeln!(text, "-A FORWARD -m conntrack --ctstate INVALID -j DROP")?;
    for zone in &opening {
        writeln!(text, "-A FORWARD -m set --match-set {family}_zone{zone} src -g from{zone}")?;
    }
    for piece in &pieces {
        let Piece { from, to, protocol, .. } = piece;
        let ports = piece.ports(':');
        writeln!(
            text,
            "-A from{from} -p {protocol} -m {protocol} --dport {ports} -m set --match-set {family}_zone{to} dst -j ACCEPT"
        )?;
    }
    text.push_str("COMMIT\n");
    Ok(text)
}
