//! Interfaces that are no plain Ethernet: what arrives without a link header, under a VLAN tag, or out of a tunnel.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use segd_tests::lab::{Host, Lab, Namespace, Scratch, Tunnel, Zones, is_silence, until};
use segd_tests::needs_root;
use segd_tests::packet::udp;

const SOON: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(300);

/// Whoever is behind the other interface is of no named network.
fn dns_for_strangers() -> Zones {
    Zones::new().rule("dns", "internet", "accounting", "udp/53, tcp/5432")
}

/// The hook and the reason that the daemon gives for an interface, once it is guarded.
fn guarded(lab: &Lab, name: &str) -> Result<(String, String)> {
    let interface = || -> Option<serde_json::Value> {
        let list = lab.daemon.json(&["interfaces"]).ok()?;
        list.as_array()?.iter().find(|one| one["name"] == name && one["enforced"] == true).cloned()
    };
    ensure!(until(SOON, || interface().is_some()), "{name} is not guarded; the daemon said:\n{}", lab.daemon.log());
    let interface = interface().context("it is gone again")?;
    let text = |key: &str| interface[key].as_str().unwrap_or_default().to_owned();
    Ok((text("hook"), text("why")))
}

#[test]
fn packets_without_a_link_header_are_judged_and_answered_through_a_tun_interface() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(dns_for_strangers())?;
    let office = &lab.office;
    let tunnel = Tunnel::open(&office.gateway, "lan60")?;
    office.gateway.ip("addr add 10.60.0.1/24 dev lan60")?;
    office.gateway.ip("addr add fd00:60::1/64 dev lan60 nodad")?;
    let (hook, why) = guarded(&lab, "lan60")?;
    assert_eq!(hook, "tc");
    assert!(why.contains("no Ethernet header"), "{why}");
    let _servers = (office.accounting.serves_udp(53)?, office.accounting.serves_udp(54)?);
    let before = lab.metrics()?;
    for (from, to) in [("10.60.0.5", office.accounting.v4()), ("fd00:60::5", office.accounting.v6())] {
        let packet = |port| udp(4000, port).between(from, to).data(b"through the tunnel").packet();
        tunnel.send(&packet(53))?;
        assert!(tunnel.hears(b"through the tunnel", SOON)?.is_some(), "an answer to {from}");
        tunnel.send(&packet(54))?;
        assert_eq!(tunnel.hears(b"through the tunnel", SILENCE)?, None, "a forbidden port, from {from}");
        let spoofed = udp(4000, 53).between(office.dev.like(to), to).data(b"through the tunnel").packet();
        tunnel.send(&spoofed)?;
    }
    let counted: Vec<_> = lab.metrics()?.since(&before).drops().into_iter().collect();
    let expected =
        [("dev > accounting: spoofed-source".to_owned(), 2), ("internet > accounting: no-rule".to_owned(), 2)];
    assert_eq!(counted, expected);
    Ok(())
}

#[test]
#[ignore = "needs a kernel with 8021q: `cargo xtask vm` boots some"]
fn a_vlan_interface_is_guarded_and_its_traffic_judged() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(dns_for_strangers())?;
    let office = &lab.office;
    for (net, under, own) in [(&office.gateway, "lan30", 1), (&office.dev.net, "eth0", 5)] {
        net.ip(&format!("link add link {under} name {under}.7 type vlan id 7"))?;
        addresses(net, &format!("{under}.7"), own)?;
    }
    route_by(&office.dev, "eth0.7")?;
    let (hook, why) = guarded(&lab, "lan30.7")?;
    assert_eq!(hook, "tc");
    assert!(why.contains("VLAN"), "{why}");
    only_the_rule_passes(&lab, &office.dev)
}

#[test]
#[ignore = "needs a kernel with WireGuard: `cargo xtask vm` boots some"]
fn what_comes_out_of_a_wireguard_tunnel_is_judged() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(dns_for_strangers().rule("tunnel", "guest", "host", "udp/51820"))?;
    let office = &lab.office;
    let keys = Scratch::new()?;
    let (here, there) = (Key::new(&keys, "here")?, Key::new(&keys, "there")?);
    let peer = "allowed-ips 10.60.0.0/24,fd00:60::/64,10.20.0.0/24,fd00:20::/64";
    for (net, name, own, key, other, rest) in [
        (&office.gateway, "lan60", 1, &here, &there, "listen-port 51820".to_owned()),
        (&office.guest.net, "wg0", 5, &there, &here, "listen-port 51821".to_owned()),
    ] {
        net.ip(&format!("link add {name} type wireguard"))?;
        let set = format!("set {name} {rest} private-key {} peer {} {peer}", key.file, other.public);
        net.command("wg", &set.split_whitespace().collect::<Vec<_>>())?;
        addresses(net, name, own)?;
    }
    let endpoint = format!("set wg0 peer {} endpoint 10.40.0.1:51820", here.public);
    office.guest.net.command("wg", &endpoint.split_whitespace().collect::<Vec<_>>())?;
    route_by(&office.guest, "wg0")?;
    let (hook, why) = guarded(&lab, "lan60")?;
    assert_eq!(hook, "tc");
    assert!(why.contains("no Ethernet header"), "{why}");
    only_the_rule_passes(&lab, &office.guest)
}

#[test]
fn what_comes_out_of_a_vxlan_tunnel_is_judged_and_the_tunnel_needs_a_rule() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(dns_for_strangers())?;
    let office = &lab.office;
    for (net, name, own, here, there) in [
        (&office.gateway, "lan60", 1, "10.40.0.1", "10.40.0.7"),
        (&office.guest.net, "vx0", 5, "10.40.0.7", "10.40.0.1"),
    ] {
        net.ip(&format!("link add {name} type vxlan id 7 dstport 4789 local {here} remote {there}"))?;
        addresses(net, name, own)?;
    }
    route_by(&office.guest, "vx0")?;
    guarded(&lab, "lan60")?;
    let server = office.accounting.serves_udp(53)?;
    let before = lab.metrics()?;
    assert!(!office.guest.reaches_udp(office.accounting.v4(), 53), "nobody allows the tunnel");
    let dropped = lab
        .metrics()?
        .since(&before)
        .count("segd_drops_total", &[("from_zone", "guest"), ("to_zone", "host"), ("reason", "no-rule")]);
    assert!(dropped > 0);
    drop(server);
    lab.reload(dns_for_strangers().rule("tunnel", "[guest, host]", "[host, guest]", "udp/4789"))?;
    only_the_rule_passes(&lab, &office.guest)
}

/// One end's addresses in the network that is behind the other interface.
fn addresses(net: &Namespace, interface: &str, own: u8) -> Result<()> {
    net.ip(&format!("link set {interface} up"))?;
    net.ip(&format!("addr add 10.60.0.{own}/24 dev {interface}"))?;
    net.ip(&format!("addr add fd00:60::{own}/64 dev {interface} nodad")).map(drop)
}

/// The host reaches accounting through that interface alone.
fn route_by(host: &Host, interface: &str) -> Result<()> {
    host.net.ip(&format!("route add 10.20.0.0/24 via 10.60.0.1 dev {interface} src 10.60.0.5"))?;
    host.net.ip(&format!("-6 route add fd00:20::/64 via fd00:60::1 dev {interface} src fd00:60::5")).map(drop)
}

/// The rule's services pass both ways, others are dropped and counted, for a host behind another interface.
fn only_the_rule_passes(lab: &Lab, host: &Host) -> Result<()> {
    let accounting = &lab.office.accounting;
    let _servers = (accounting.serves_udp(53)?, accounting.serves_tcp(5432)?, accounting.serves_tcp(5433)?);
    for to in accounting.both() {
        // A tunnel comes up with its first packets.
        assert!(until(SOON, || host.reaches_udp(to, 53)), "udp to {to}; the daemon said:\n{}", lab.daemon.log());
    }
    let before = lab.metrics()?;
    for to in accounting.both() {
        let mut session = host.connects(to, 5432)?;
        session.says(&"a page of the ledger ".repeat(1000))?;
        assert!(is_silence(&host.connects(to, 5433)), "another port of {to}");
    }
    let drops: Vec<_> = lab.metrics()?.since(&before).drops().into_iter().collect();
    assert_eq!(drops, [("internet > accounting: no-rule".to_owned(), 2)]);
    Ok(())
}

/// A WireGuard key: the private one in a file, as `wg` wants it.
struct Key {
    file: String,
    public: String,
}

impl Key {
    fn new(keys: &Scratch, name: &str) -> Result<Self> {
        let file = keys.path(name);
        let private = Command::new("wg").arg("genkey").output().context("could not run wg")?.stdout;
        std::fs::write(&file, &private)?;
        let input = std::fs::File::open(&file)?;
        let public = Command::new("wg").arg("pubkey").stdin(Stdio::from(input)).output()?.stdout;
        Ok(Self { file: file.display().to_string(), public: String::from_utf8(public)?.trim().to_owned() })
    }
}
