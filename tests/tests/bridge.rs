//! A bridge on the gateway: its ports are guarded, and the bridge itself sees nothing that they do not.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::Result;
use segd_tests::lab::{ForeignProgram, Lab, MASQUERADE, Metrics, Port, Zones, is_silence, until};
use segd_tests::needs_root;
use segd_tests::packet::udp;

const SOON: Duration = Duration::from_secs(8);
const FRAMES: u64 = 50;

/// The office with `dev` and `guest` behind one bridge, and their zones bound to it, which names no port.
fn bridged(zones: &Zones) -> Result<Lab> {
    let text = zones.to_string().replace("  - { name: \"wan*\"", "  - { name: br0 }\n  - { name: \"wan*\"");
    let text =
        text.replace("interfaces: [lan30]", "interfaces: [br0]").replace("interfaces: [lan40]", "interfaces: [br0]");
    let mut lab = Lab::prepared(text)?;
    let gateway = &lab.office.gateway;
    gateway.ip("link add br0 address 02:00:00:00:00:02 type bridge")?;
    gateway.ip("link set br0 up")?;
    for (port, address) in [("lan30", "10.30.0.1/24"), ("lan40", "10.40.0.1/24")] {
        gateway.ip(&format!("addr flush dev {port}"))?;
        gateway.ip(&format!("link set {port} master br0"))?;
        gateway.ip(&format!("addr add {address} dev br0"))?;
    }
    lab.start()?;
    Ok(lab)
}

fn rules() -> Zones {
    Zones::new()
        .rule("names", "dev", "accounting", "udp/53")
        .rule("out", "dev", "internet", "tcp/80")
        .rule("own", "host", "dev", "udp/53")
        .rule("ssh", "dev", "host", "tcp/22")
}

/// Every verdict on every pair.
fn judged(metrics: &Metrics) -> f64 {
    metrics.sum("segd_packets_total", &[])
}

fn interface(lab: &Lab, name: &str) -> Result<serde_json::Value> {
    let status = lab.daemon.json(&["status"])?;
    let all = status["interfaces"].as_array().cloned().unwrap_or_default();
    Ok(all.into_iter().find(|interface| interface["name"] == name).unwrap_or_default())
}

#[test]
fn a_packet_through_a_bridge_is_judged_at_its_port_and_counted_once() -> Result<()> {
    needs_root!();
    let lab = bridged(&rules())?;
    let (dev, accounting, gateway) = (&lab.office.dev, &lab.office.accounting, &lab.office.gateway);
    assert!(lab.daemon.json(&["status"])?["state"] == "enforcing", "{}", lab.daemon.log());
    assert_eq!(interface(&lab, "br0")?["enforced"], true);
    let why = interface(&lab, "br0")?["why"].to_string();
    assert!(why.contains("lan30") && why.contains("lan40"), "{why}");
    // Somebody listens, and nobody answers.
    let _sinks =
        (accounting.net.run(|| UdpSocket::bind(("0.0.0.0", 53)))?, dev.net.run(|| UdpSocket::bind(("0.0.0.0", 53)))?);
    let (sender, mut at) = (Port::open(&dev.net, "eth0")?, Port::open(&accounting.net, "eth0")?);
    let frame = udp(4000, 53).between(dev.v4(), accounting.v4()).data(b"forwarded").frame();
    sender.send(&frame)?;
    assert!(at.hears(b"forwarded", SOON)?.is_some(), "allowed by the zone that names the bridge alone");
    std::thread::sleep(Duration::from_millis(100));
    let before = lab.metrics()?;
    (0..FRAMES).try_for_each(|_| sender.send(&frame))?;
    let all = || lab.metrics().is_ok_and(|now| judged(&now.since(&before)) >= 50.0);
    assert!(until(SOON, all));
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(lab.metrics()?.since(&before).count("segd_rule_packets_total", &[("rule", "names")]), FRAMES);
    let own = gateway.run(|| UdpSocket::bind(("10.30.0.1", 4001)))?;
    let before = lab.metrics()?;
    for _ in 0..FRAMES {
        own.send_to(b"from the gateway", (dev.v4(), 53))?;
    }
    std::thread::sleep(Duration::from_millis(200));
    let after = lab.metrics()?.since(&before);
    assert_eq!(after.count("segd_rule_packets_total", &[("rule", "own")]), FRAMES);
    assert_eq!(after.count("segd_rule_connections_total", &[("rule", "own")]), 1);
    Ok(())
}

#[test]
fn what_goes_from_port_to_port_to_this_machine_or_out_is_judged_and_a_foreign_source_is_spoofed() -> Result<()> {
    needs_root!();
    let lab = bridged(&rules())?;
    let office = &lab.office;
    office.gateway.nft(MASQUERADE)?;
    let _servers = (office.internet.serves_tcp(80)?, office.internet.serves_tcp(81)?, office.guest.serves_tcp(80)?);
    assert!(office.dev.reaches_tcp(office.internet.v4(), 80), "translated on its way out: {}", lab.daemon.log());
    assert!(is_silence(&office.dev.connects(office.internet.v4(), 81)), "no rule");
    assert!(is_silence(&office.guest.connects(office.internet.v4(), 80)), "no rule for guests");
    assert!(is_silence(&office.guest.connects("10.30.0.1".parse()?, 22)), "to this machine");
    // A neighbour on the same bridge: no router between.
    office.dev.net.ip("route add 10.40.0.0/24 dev eth0")?;
    office.guest.net.ip("route add 10.30.0.0/24 dev eth0")?;
    assert!(is_silence(&office.dev.connects(office.guest.v4(), 80)), "from port to port");
    let before = lab.metrics()?;
    let elsewhere = Port::open(&office.accounting.net, "eth0")?;
    elsewhere.send(&udp(4000, 53).between(office.dev.v4(), office.accounting.v4()).frame())?;
    let spoofed = || {
        let reason = [("from_zone", "dev"), ("reason", "spoofed-source")];
        lab.metrics().is_ok_and(|now| now.since(&before).sum("segd_drops_total", &reason) > 0.0)
    };
    assert!(until(SOON, spoofed), "dev's address behind lan20");
    Ok(())
}

#[test]
fn a_port_that_can_not_be_guarded_leaves_the_bridge_guarded_itself() -> Result<()> {
    needs_root!();
    let lab = bridged(&rules())?;
    let covered = || interface(&lab, "br0").is_ok_and(|bridge| bridge["why"].to_string().contains("sees nothing"));
    assert!(until(SOON, covered));
    // A port by xdp that somebody else holds.
    let zones = std::fs::read_to_string(lab.daemon.config())?;
    let _foreign = ForeignProgram::attach(&lab.office.gateway, "lan40")?;
    lab.reload(zones.replace("interfaces:\n", "interfaces:\n  - { name: lan40, hook: xdp }\n"))?;
    assert!(until(SOON, || !covered()), "{}", lab.daemon.log());
    assert_eq!(interface(&lab, "lan40")?["enforced"], false);
    assert_eq!(interface(&lab, "br0")?["enforced"], true);
    assert_eq!(lab.daemon.json(&["status"])?["state"], "degraded");
    Ok(())
}
