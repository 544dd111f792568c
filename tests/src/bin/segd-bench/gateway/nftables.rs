//! The same policy in the words of nftables, twice: as well as it can be said, and as people say it. Made from the checked
//! zone file, so that neither side can be given another policy; what can't be said faithfully is an error.

use std::fmt::Write;
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;
use segd::policy::{Policy, Service, Zone, ZoneRef};
use segd_tests::lab::Namespace;

/// How the policy is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Both zones by one interval map, then one verdict map over them, protocol and port.
    Maps,
    /// A rule for each rule and protocol, with a named set for each zone.
    Linear,
}

const CHAIN: &str = "  chain forward {\n    type filter hook forward priority filter; policy drop;\n";

/// Puts the policy in force in a namespace.
pub(super) fn enforce(net: &Namespace, policy: &Policy, form: Form) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), ruleset(policy, form)?)?;
    net.command("nft", &["-f", &file.path().to_string_lossy()])?;
    // As behind a physical interface, which has verified checksums already.
    net.sysctl("net/netfilter/nf_conntrack_checksum", "0")
}

/// Both families, each in a table of its own: a packet never meets the other one's rules.
fn ruleset(policy: &Policy, form: Form) -> Result<String> {
    let mut text = String::new();
    for family in ["ip", "ip6"] {
        writeln!(text, "table {family} bench {{")?;
        match form {
            Form::Maps => maps(&mut text, policy, family)?,
            Form::Linear => linear(&mut text, policy, family)?,
        }
        text.push_str("  }\n}\n");
    }
    Ok(text)
}

fn maps(text: &mut String, policy: &Policy, family: &str) -> Result<()> {
    let kind = address_type(family);
    let mut zones = Vec::new();
    for (number, zone) in (1..).zip(&policy.zones) {
        zones.extend(networks(zone, family).map(|network| format!("{network} : {number}")));
    }
    let (mut verdicts, mut flags) = (Vec::new(), "");
    each(policy, |from, to, protocol, ports| {
        // Without a range it is a hash table.
        if ports.contains('-') {
            flags = "flags interval; ";
        }
        verdicts.push(format!("{from} . {to} . {protocol} . {ports} : accept"));
    })?;
    writeln!(text, "  map zone {{ type {kind} : mark; flags interval; {} }}", elements(&zones))?;
    writeln!(
        text,
        "  map verdict {{ type mark . mark . inet_proto . inet_service : verdict; {flags}{} }}",
        elements(&verdicts)
    )?;
    text.push_str(CHAIN);
    writeln!(text, "    ct state vmap {{ established : accept, related : accept, invalid : drop }}")?;
    writeln!(text, "    meta mark set {family} saddr map @zone")?;
    writeln!(text, "    ct mark set {family} daddr map @zone")?;
    writeln!(text, "    meta mark . ct mark . meta l4proto . th dport vmap @verdict")?;
    Ok(())
}

fn linear(text: &mut String, policy: &Policy, family: &str) -> Result<()> {
    let kind = address_type(family);
    for (number, zone) in (1..).zip(&policy.zones) {
        let all: Vec<_> = networks(zone, family).map(ToString::to_string).collect();
        writeln!(text, "  set zone{number} {{ type {kind}; flags interval; {} }}", elements(&all))?;
    }
    text.push_str(CHAIN);
    writeln!(text, "    ct state established,related accept\n    ct state invalid drop")?;
    let mut rules = String::new();
    each(policy, |from, to, protocol, ports| {
        // Writing into a string cannot fail.
        let _ =
            writeln!(rules, "    {family} saddr @zone{from} {family} daddr @zone{to} {protocol} dport {ports} accept");
    })?;
    text.push_str(&rules);
    Ok(())
}

/// Calls `say` with the numbers of both zones, the protocol and the ports of all that rules allow.
fn each(policy: &Policy, mut say: impl FnMut(usize, usize, &str, String)) -> Result<()> {
    for rule in &policy.rules {
        for from in &rule.from {
            for to in &rule.to {
                let (from, to) = (number(policy, from)?, number(policy, to)?);
                for service in &rule.services {
                    match service {
                        Service::Tcp(low, high) => say(from, to, "tcp", ports(*low, *high)),
                        Service::Udp(low, high) => say(from, to, "udp", ports(*low, *high)),
                        other => bail!("the bench does not say {other} in nftables"),
                    }
                }
            }
        }
    }
    Ok(())
}

/// From 1, in the file's order.
fn number(policy: &Policy, named: &ZoneRef) -> Result<usize> {
    let ZoneRef::Zone(name) = named else { bail!("the bench does not say `any` in nftables") };
    let place = policy.zones.iter().position(|zone| zone.name == *name).context("the bench only has ordinary zones")?;
    // Sets of intervals know no longest prefix: "all others" would have to be spelt out.
    let whole = policy.zones[place].networks.iter().any(|network| network.prefix_len() == 0);
    ensure!(!whole, "the bench has no rule about `{name}`, which holds what no other zone does");
    Ok(place + 1)
}

fn networks<'a>(zone: &'a Zone, family: &'a str) -> impl Iterator<Item = &'a IpNet> {
    zone.networks.iter().filter(move |network| network.prefix_len() > 0 && network.addr().is_ipv4() == (family == "ip"))
}

fn address_type(family: &str) -> &'static str {
    if family == "ip" { "ipv4_addr" } else { "ipv6_addr" }
}

fn ports(low: u16, high: u16) -> String {
    if low == high { low.to_string() } else { format!("{low}-{high}") }
}

fn elements(all: &[String]) -> String {
    if all.is_empty() { String::new() } else { format!("elements = {{ {} }}", all.join(", ")) }
}

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE` (include/uapi/linux/netfilter).
const DELETE: u16 = 1 << 8 | 2;

#[repr(C)]
struct Flush {
    header: libc::nlmsghdr,
    /// `struct nfgenmsg`: every family, version 0.
    message: u32,
}

/// Forgets every connection of a namespace: its table has one size for the whole machine and would overflow.
pub(super) fn forget(net: &Namespace) -> Result<()> {
    net.run(forget_here).with_context(|| format!("could not empty the connection table of {}", net.name()))
}

fn forget_here() -> io::Result<()> {
    let protocol = Some(libc::NETLINK_NETFILTER.into());
    let socket = socket2::Socket::new(libc::AF_NETLINK.into(), socket2::Type::RAW, protocol)?;
    let header = libc::nlmsghdr {
        nlmsg_len: size_of::<Flush>() as u32,
        nlmsg_type: DELETE,
        nlmsg_flags: (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16,
        nlmsg_seq: 1,
        nlmsg_pid: 0,
    };
    let request = Flush { header, message: 0 };
    let mut answer = [0u8; 64];
    let fd = socket.as_raw_fd();
    // SAFETY: both buffers are ours and of the length that is told.
    let got = unsafe {
        if libc::send(fd, (&raw const request).cast(), size_of::<Flush>(), 0) < 0 {
            return Err(io::Error::last_os_error());
        }
        libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), 0)
    };
    // `struct nlmsgerr` begins with the error, negative, behind the header.
    match answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) if got >= 20 => Ok(()),
        Some(error) if got >= 20 => Err(io::Error::from_raw_os_error(-error)),
        _ => Err(io::Error::last_os_error()),
    }
}
