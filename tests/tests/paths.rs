//! Ways that packets take besides from one cable to another: loopback, interfaces of containers, large frames, interfaces
//! that change their name, their number or their place, and what this machine needs to get an address at all.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use segd_tests::lab::{Lab, Namespace, Port, Scratch, Zones, is_silence, until};
use segd_tests::needs_root;
use segd_tests::packet::udp;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(300);

/// Every interface but loopback.
fn everywhere(zones: &Zones) -> String {
    zones.to_string().replace("  - { name: \"wan*\"", "  - { name: \"*\"")
}

fn interface(lab: &Lab, name: &str) -> Option<Value> {
    let list = lab.daemon.json(&["interfaces"]).ok()?;
    list.as_array()?.iter().find(|one| one["name"] == name).cloned()
}

fn is_guarded(lab: &Lab, name: &str) -> bool {
    interface(lab, name).is_some_and(|one| one["enforced"] == true)
}

fn wait_until_guarded(lab: &Lab, name: &str) -> Result<()> {
    ensure!(until(SOON, || is_guarded(lab, name)), "{name} is not guarded; the daemon said:\n{}", lab.daemon.log());
    Ok(())
}

/// A page of text to this address and back, over TCP, inside one namespace.
fn talks_to_itself(net: &Namespace, address: IpAddr) -> Result<()> {
    net.run(|| {
        let listener = TcpListener::bind((address, 0))?;
        let to = listener.local_addr()?;
        let server = thread::spawn(move || -> std::io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            let mut words = [0; 1000];
            stream.read_exact(&mut words)?;
            stream.write_all(&words)
        });
        let mut stream = TcpStream::connect_timeout(&to, SOON)?;
        stream.write_all(&[7; 1000])?;
        let mut echo = [0; 1000];
        stream.read_exact(&mut echo)?;
        server.join().expect("the server does not panic")?;
        Ok(())
    })
}

#[test]
fn e1_what_this_machine_starts_is_judged_on_its_way_out() -> Result<()> {
    needs_root!();
    for hook in ["tc", "xdp", "xdp-generic"] {
        let lab = Lab::enforcing(Zones::new().rule("backup", "host", "accounting", "tcp/5432").hooks(hook))?;
        let accounting = &lab.office.accounting;
        lab.office.know_each_other()?;
        let _servers = [accounting.serves_tcp(5432)?, accounting.serves_tcp(5433)?];
        let before = lab.metrics()?;
        let connect = |to: IpAddr, port: u16| {
            lab.office.gateway.run(|| TcpStream::connect_timeout(&(to, port).into(), Duration::from_millis(700)))
        };
        for to in accounting.both() {
            connect(to, 5432).with_context(|| format!("{hook}: what a rule allows, to {to}"))?;
            assert!(connect(to, 5433).is_err(), "{hook}: another port of {to}");
        }
        let grown = lab.metrics()?.since(&before);
        let dropped: Vec<_> = grown.drops().into_iter().collect();
        assert_eq!(dropped, [("host > accounting: no-rule".to_owned(), 2)], "{hook}");
        assert_eq!(grown.count("segd_rule_connections_total", &[("rule", "backup")]), 2, "{hook}");
    }
    Ok(())
}

#[test]
fn e2_loopback_is_never_touched() -> Result<()> {
    needs_root!();
    for hook in ["tc", "xdp-generic"] {
        let lab = Lab::enforcing(everywhere(&Zones::new().hooks(hook)))?;
        let before = lab.metrics()?;
        let own = lab.office.dev.place.gateway;
        for address in [[127, 0, 0, 1].into(), "::1".parse()?, IpAddr::from(own.0), IpAddr::from(own.1)] {
            talks_to_itself(&lab.office.gateway, address).with_context(|| format!("to {address}, {hook}"))?;
        }
        let counted = lab.metrics()?.since(&before);
        for figure in ["segd_packets_total", "segd_drops_total", "segd_connections_total"] {
            assert_eq!(counted.of(figure).count(), 0, "{hook}: {figure}");
        }
        assert_eq!(interface(&lab, "lo"), None, "it is not guarded");
    }
    Ok(())
}

#[test]
fn e4_a_container_on_a_macvlan_is_guarded_by_the_interface_below() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(Zones::new().rule("web", "dev", "internet", "udp/80"))?;
    let office = &lab.office;
    let container = Namespace::new("container")?;
    office.gateway.ip("link add link lan30 name mv0 address 02:00:00:00:00:60 type macvlan mode bridge")?;
    office.gateway.ip(&format!("link set mv0 netns {}", container.path().display()))?;
    container.ip("link set mv0 up")?;
    for (net, interface, own) in [(&container, "mv0", 9), (&office.dev.net, "eth0", 5)] {
        net.ip(&format!("addr add 10.60.0.{own}/24 dev {interface}"))?;
        net.ip(&format!("addr add fd00:60::{own}/64 dev {interface} nodad"))?;
    }
    let mut at = Port::open(&container, "mv0")?;
    let sender = Port::open(&office.dev.net, "eth0")?;
    let before = lab.metrics()?;
    for (from, to) in [("10.30.0.5", "10.60.0.9"), ("fd00:30::5", "fd00:60::9")] {
        let frame = |port| {
            udp(4000, port)
                .between(from, to)
                .macs([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 0x60])
                .data(b"to the container")
                .frame()
        };
        sender.send(&frame(80))?;
        assert!(at.hears(b"to the container", SOON)?.is_some(), "what a rule allows from {from}");
        sender.send(&frame(81))?;
        assert_eq!(at.hears(b"to the container", SILENCE)?, None, "a forbidden port, from {from}");
    }
    let dropped: Vec<_> = lab.metrics()?.since(&before).drops().into_iter().collect();
    assert_eq!(dropped, [("dev > internet: no-rule".to_owned(), 2)]);
    Ok(())
}

#[test]
fn a14_frames_larger_than_a_page_are_judged_or_their_interface_is_told_and_closed() -> Result<()> {
    needs_root!();
    for hook in ["auto", "tc", "xdp", "xdp-generic"] {
        let mut lab = Lab::prepared(Zones::new().rule("dns", "dev", "accounting", "udp/53").hooks(hook))?;
        let office = &lab.office;
        for (net, interface) in [
            (&office.gateway, "lan20"),
            (&office.gateway, "lan30"),
            (&office.accounting.net, "eth0"),
            (&office.dev.net, "eth0"),
        ] {
            net.ip(&format!("link set {interface} mtu 9000"))?;
        }
        lab.start()?;
        let office = &lab.office;
        office.know_each_other()?;
        let enforced = ["lan20", "lan30"].map(|name| is_guarded(&lab, name));
        let _servers = (office.accounting.serves_udp(53)?, office.accounting.serves_udp(54)?);
        let large = vec![b'x'; 8500];
        let before = lab.metrics()?;
        for to in office.accounting.both() {
            let answer = office.dev.asks_udp(to, 53, &large);
            if enforced == [true; 2] {
                answer.with_context(|| format!("{hook}: a large question that a rule allows, to {to}"))?;
            } else {
                assert!(is_silence(&answer), "{hook}: closed where it is not guarded");
            }
            assert!(is_silence(&office.dev.asks_udp(to, 54, &large)), "{hook}: a large question that no rule allows");
        }
        if enforced == [true; 2] {
            let dropped: Vec<_> = lab.metrics()?.since(&before).drops().into_iter().collect();
            assert_eq!(dropped, [("dev > accounting: no-rule".to_owned(), 2)], "{hook}");
        } else {
            assert_eq!(lab.daemon.json(&["status"])?["state"], "degraded", "{hook}: it is told");
        }
        eprintln!("{hook}: enforced {enforced:?}");
    }
    Ok(())
}

#[test]
fn e6_a_guard_follows_its_interface_through_names_numbers_and_namespaces() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(Zones::new().rule("ledger", "guest", "accounting", "tcp/5432"))?;
    let office = &lab.office;
    let (guest, to) = (&office.guest, office.accounting.v4());
    let _servers = (office.accounting.serves_tcp(5432)?, office.accounting.serves_tcp(5433)?);
    assert!(guest.reaches_tcp(to, 5432));

    // Under another name it is guarded on, and no longer the interface that the zone is bound to.
    office.gateway.ip("link set lan40 name lan45")?;
    wait_until_guarded(&lab, "lan45")?;
    assert!(until(SOON, || interface(&lab, "lan40").is_none()), "the old name is gone");
    let before = lab.metrics()?;
    assert!(is_silence(&guest.connects(to, 5432)));
    let spoofed = lab.metrics()?.since(&before).drops().get("guest > accounting: spoofed-source").copied();
    assert!(spoofed.is_some_and(|packets| packets > 0), "{:?}", lab.metrics()?.since(&before).drops());
    office.gateway.ip("link set lan45 name lan40")?;
    wait_until_guarded(&lab, "lan40")?;
    assert!(until(SOON, || guest.reaches_tcp(to, 5432)), "and back: {}", lab.daemon.log());

    // A new interface with the number of an old one is nobody's until it is guarded, whatever the old one was.
    let number = index_of(&office.gateway, "lan40")?;
    office.gateway.ip("link del lan40")?;
    assert!(until(SOON, || interface(&lab, "lan40").is_none()), "it is gone");
    office.gateway.ip(&format!(
        "link add lan46 index {number} address 02:00:00:00:00:02 type veth peer name eth0 address 02:00:00:00:00:01 netns {}",
        guest.net.path().display()
    ))?;
    for (net, device, (v4, _)) in
        [(&office.gateway, "lan46", guest.place.gateway), (&guest.net, "eth0", guest.place.host)]
    {
        net.ip(&format!("link set {device} up"))?;
        net.ip(&format!("addr add {v4}/24 dev {device}"))?;
    }
    guest.net.ip(&format!("route add default via {}", guest.place.gateway.0))?;
    let outcome = guest.connects(to, 5432);
    eprintln!(
        "done {} {:#?} {}",
        jiff::Timestamp::now(),
        lab.metrics()?.since(&before).0.iter().map(|(a, b)| format!("{a} {b}")).collect::<Vec<_>>(),
        office.gateway.command("nft", &["list", "ruleset"])?
    );
    assert!(is_silence(&outcome), "the number does not let it in: {outcome:?}");
    wait_until_guarded(&lab, "lan46")?;
    assert_eq!(index_of(&office.gateway, "lan46")?, number);
    assert!(is_silence(&guest.connects(to, 5432)), "guests are bound to lan40");

    // In another namespace it is none of ours any more, and works.
    let elsewhere = Namespace::new("elsewhere")?;
    office.gateway.ip(&format!("link set lan46 netns {}", elsewhere.path().display()))?;
    assert!(until(SOON, || interface(&lab, "lan46").is_none()), "{}", lab.daemon.log());
    elsewhere.ip("link set lan46 up")?;
    elsewhere.ip(&format!("addr add {}/24 dev lan46", guest.place.gateway.0))?;
    assert!(until(SOON, || guest.pings(guest.place.gateway.0.into(), 56).unwrap_or(false)), "it is let go");
    Ok(())
}

fn index_of(net: &Namespace, name: &str) -> Result<u64> {
    let link: Value = serde_json::from_str(&net.ip(&format!("-j link show dev {name}"))?)?;
    link[0]["ifindex"].as_u64().context("an interface has a number")
}

#[test]
fn e13_this_machine_gets_its_address_by_dhcp_under_an_empty_policy() -> Result<()> {
    needs_root!();
    for hook in ["tc", "xdp", "xdp-generic"] {
        let lab = Lab::enforcing(Zones::new().hooks(hook))?;
        let (gateway, server) = (&lab.office.gateway, &lab.office.internet.net);
        let files = Scratch::new()?;
        let (config, leases) = (files.path("udhcpd.conf"), files.path("leases"));
        std::fs::write(&leases, "")?;
        std::fs::write(
            &config,
            format!(
                "start 198.51.100.50\nend 198.51.100.59\ninterface eth0\nlease_file {}\npidfile {}\noption subnet 255.255.255.0\n",
                leases.display(),
                files.path("pid").display()
            ),
        )?;
        let daemon = |net: &Namespace, words: &[&str]| {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            net.run(|| command.spawn()).with_context(|| format!("could not run {}", words[0]))
        };
        let mut serving = daemon(server, &["udhcpd", "-f", &config.display().to_string()])?;
        let asked =
            gateway.output("udhcpc", &["-i", "wan0", "-n", "-q", "-f", "-t", "5", "-T", "1", "-s", "/bin/true"]);
        // It is ours, and must not outlive the test.
        let _ = serving.kill();
        let _ = serving.wait();
        let asked = asked?;
        let said = String::from_utf8_lossy(&asked.stderr).into_owned() + &String::from_utf8_lossy(&asked.stdout);
        assert!(asked.status.success() && said.contains("198.51.100.5"), "{hook}: {said}");
        let others = lab.metrics()?.drops();
        assert!(others.keys().all(|drop| !drop.contains("udp")), "{hook}: {others:?}");
    }
    Ok(())
}
