//! The same policy in the words of nftables: as well as it can be said, with and without a flow table, and as people say it.
//! Made from the checked zone file, so that neither side can be given another policy.

use std::fmt::Write;
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use segd::policy::Policy;
use segd_tests::lab::Namespace;

use super::bed::{FAR, LAN};
use super::rules::{FAMILIES, Piece, networks, pieces};

/// How the policy is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Both zones by one interval map, then one verdict map over them, protocol and port.
    Maps,
    /// The same, and established connections go by a flow table.
    Flowtable,
    /// A rule for each rule and protocol, with a named set for each zone.
    Linear,
}

const CHAIN: &str = "  chain forward {\n    type filter hook forward priority filter; policy drop;\n";

/// Puts the policy in force in a namespace.
pub(super) fn enforce(net: &Namespace, policy: &Policy, form: Form) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), ruleset(policy, form)?)?;
    let taken = net.command("nft", &["-f", &file.path().to_string_lossy()]);
    if form == Form::Flowtable && taken.as_ref().is_err_and(|error| error.to_string().contains("No such file")) {
        bail!("this kernel has no flow tables (CONFIG_NF_FLOW_TABLE, CONFIG_NFT_FLOW_OFFLOAD)");
    }
    taken?;
    spare_checksums(net)
}

/// As behind a physical interface, which has verified them already.
pub(super) fn spare_checksums(net: &Namespace) -> Result<()> {
    net.sysctl("net/netfilter/nf_conntrack_checksum", "0")
}

/// The best form as a file that takes the place of what was there, in one transaction.
pub(crate) fn ruleset_anew(policy: &Policy) -> Result<String> {
    let mut text = String::new();
    for family in FAMILIES {
        writeln!(text, "table {family} bench\ndelete table {family} bench")?;
    }
    Ok(text + &ruleset(policy, Form::Maps)?)
}

/// Both families, each in a table of its own: a packet never meets the other one's rules.
fn ruleset(policy: &Policy, form: Form) -> Result<String> {
    let mut text = String::new();
    for family in FAMILIES {
        writeln!(text, "table {family} bench {{")?;
        match form {
            Form::Maps | Form::Flowtable => maps(&mut text, policy, family, form)?,
            Form::Linear => linear(&mut text, policy, family)?,
        }
        text.push_str("  }\n}\n");
    }
    Ok(text)
}

fn maps(text: &mut String, policy: &Policy, family: &str, form: Form) -> Result<()> {
    let kind = address_type(family);
    let mut zones = Vec::new();
    for (number, zone) in (1..).zip(&policy.zones) {
        zones.extend(networks(zone, family).map(|network| format!("{network} : {number}")));
    }
    let pieces = pieces(policy)?;
    // Without a range it is a hash table.
    let flags = if pieces.iter().any(|piece| piece.low != piece.high) { "flags interval; " } else { "" };
    let verdict = |piece: &Piece| {
        let Piece { from, to, protocol, .. } = piece;
        format!("{from} . {to} . {protocol} . {} : accept", piece.ports('-'))
    };
    let verdicts: Vec<_> = pieces.iter().map(verdict).collect();
    writeln!(text, "  map zone {{ type {kind} : mark; flags interval; {} }}", elements(&zones))?;
    writeln!(
        text,
        "  map verdict {{ type mark . mark . inet_proto . inet_service : verdict; {flags}{} }}",
        elements(&verdicts)
    )?;
    if form == Form::Flowtable {
        let devices = format!("{LAN}, {FAR}");
        writeln!(text, "  flowtable fast {{ hook ingress priority filter; devices = {{ {devices} }}; }}")?;
    }
    text.push_str(CHAIN);
    if form == Form::Flowtable {
        writeln!(text, "    ct state established meta l4proto {{ tcp, udp }} flow add @fast")?;
    }
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
    for piece in pieces(policy)? {
        let Piece { from, to, protocol, .. } = piece;
        let ports = piece.ports('-');
        writeln!(text, "    {family} saddr @zone{from} {family} daddr @zone{to} {protocol} dport {ports} accept")?;
    }
    Ok(())
}

fn address_type(family: &str) -> &'static str {
    if family == "ip" { "ipv4_addr" } else { "ipv6_addr" }
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
