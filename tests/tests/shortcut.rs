//! `forward: shortcut`: what is established is redirected in XDP, and arrives where and how the kernel's way would bring it.
//! How much the kernel forwarded says who did it; it must never be asked how long anything took.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use segd_tests::lab::{FORWARD_8443, Lab, MASQUERADE, PATIENCE, Session, Zones, is_silence, undisturbed, until};
use segd_tests::needs_root;

/// How often something is said and echoed; the kernel forwards a handful of them, one each second and side.
const ROUNDS: u64 = 500;
const LONG: Duration = Duration::from_secs(20);

fn ledger() -> Zones {
    Zones::new().shortcut().rule("ledger", "dev", "accounting", "tcp/5432, udp/5432")
}

fn enforcing(zones: &Zones) -> Result<Lab> {
    let mut lab = Lab::prepared(zones)?;
    lab.office.like_cards()?;
    lab.start()?;
    Ok(lab)
}

/// How many packets the kernel forwards while this is said and echoed [`ROUNDS`] times.
fn forwarded_while(lab: &Lab, mut says: impl FnMut() -> std::io::Result<()>) -> Result<u64> {
    let before = lab.office.gateway.forwarded()?;
    (0..ROUNDS).try_for_each(|_| says()).context("an echo did not come back")?;
    Ok(lab.office.gateway.forwarded()? - before)
}

fn forwarded_for(lab: &Lab, session: &mut Session) -> Result<u64> {
    forwarded_while(lab, || session.says("still there?\n"))
}

/// A socket that speaks from one port for long.
fn asks(lab: &Lab, to: IpAddr) -> Result<impl FnMut() -> std::io::Result<()>> {
    let from = lab.office.dev.like(to);
    let socket = lab.office.dev.net.run(|| UdpSocket::bind((from, 0)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect((to, 5432))?;
    Ok(move || {
        socket.send(b"question")?;
        undisturbed(|| socket.recv(&mut [0; 16])).map(drop)
    })
}

/// What `segctl interfaces` says of who forwards what comes in by `name`.
fn told(lab: &Lab, name: &str) -> Result<(String, Option<String>)> {
    let page = lab.daemon.json(&["interfaces"])?;
    let found = page.as_array().into_iter().flatten().find(|interface| interface["name"] == name);
    let interface = found.with_context(|| format!("{name} is not guarded"))?;
    let text = |key: &str| interface[key].as_str().map(str::to_owned);
    Ok((text("forward").context("nobody forwards")?, text("forward_why")))
}

#[test]
fn established_connections_are_redirected_and_counted_and_all_else_is_the_kernels() -> Result<()> {
    needs_root!();
    let lab = enforcing(&ledger())?;
    let _servers = (lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_udp(5432)?);
    assert_eq!(told(&lab, "lan30")?, ("shortcut".into(), None));
    for to in lab.office.accounting.both() {
        let before = lab.metrics()?;
        let mut session = lab.office.dev.connects(to, 5432)?;
        let forwarded = forwarded_for(&lab, &mut session)?;
        assert!(forwarded < ROUNDS / 5, "{to} by TCP: the kernel forwarded {forwarded}");
        let forwarded = forwarded_while(&lab, asks(&lab, to)?)?;
        assert!(forwarded < ROUNDS / 5, "{to} by UDP: the kernel forwarded {forwarded}");
        let moved = lab.metrics()?.since(&before);
        let pair = [("from_zone", "dev"), ("to_zone", "accounting"), ("verdict", "allow")];
        let packets = moved.count("segd_packets_total", &pair);
        assert!((4 * ROUNDS..10 * ROUNDS).contains(&packets), "{to}: {packets} packets");
        assert_eq!(moved.drops(), [].into(), "{to}");
        assert!(is_silence(&lab.office.guest.connects(to, 5432)), "another zone");
        assert!(is_silence(&lab.office.dev.connects(to, 5433)), "another port");
    }
    Ok(())
}

#[test]
fn a_revoked_rule_cuts_what_is_redirected() -> Result<()> {
    needs_root!();
    let lab = enforcing(&ledger())?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let mut session = lab.office.dev.connects(lab.office.accounting.v4(), 5432)?;
    ensure!(forwarded_for(&lab, &mut session)? < ROUNDS / 5, "it is not redirected");
    lab.reload(Zones::new().shortcut())?;
    assert!(is_silence(&session.says("still there?\n")));
    Ok(())
}

#[test]
fn what_the_kernel_begins_to_drop_is_dropped_within_a_second() -> Result<()> {
    needs_root!();
    let lab = enforcing(&ledger())?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let mut session = lab.office.dev.connects(lab.office.accounting.v4(), 5432)?;
    ensure!(forwarded_for(&lab, &mut session)? < ROUNDS / 5, "it is not redirected");
    lab.office
        .gateway
        .nft("table inet other { chain f { type filter hook forward priority 0; tcp dport 5432 drop; }; }")?;
    assert!(until(LONG, || session.says("still there?\n").is_err()), "another filter's word counts for nothing");
    Ok(())
}

#[test]
fn what_the_kernel_translates_it_forwards() -> Result<()> {
    needs_root!();
    let zones = Zones::new()
        .shortcut()
        .rule("out", "dev", "internet", "tcp/443")
        .rule("arrives", "internet", "host", "tcp/8443")
        .rule("leads-to", "internet", "accounting", "tcp/443")
        .rule("ledger", "dev", "accounting", "tcp/5432");
    let lab = enforcing(&zones)?;
    let office = &lab.office;
    office.gateway.nft(MASQUERADE)?;
    office.gateway.nft(FORWARD_8443)?;
    office.gateway.sysctl("net/netfilter/nf_conntrack_tcp_be_liberal", "1")?;
    let _servers = (office.internet.serves_tcp(443)?, office.accounting.serves_tcp(443)?);
    let _ledger = office.accounting.serves_tcp(5432)?;
    for (who, to, port) in
        [(&office.dev, office.internet.v4(), 443), (&office.internet, office.gateway_address(), 8443)]
    {
        let mut session = who.connects(to, port)?;
        let forwarded = forwarded_for(&lab, &mut session)?;
        assert!(forwarded >= 2 * ROUNDS, "{to}: the kernel forwarded only {forwarded}");
    }
    assert_eq!(told(&lab, "lan30")?, ("shortcut".into(), None));
    let mut plain = office.dev.connects(office.accounting.v4(), 5432)?;
    assert!(forwarded_for(&lab, &mut plain)? < ROUNDS / 5, "a connection beside them, as it comes");
    Ok(())
}

#[test]
fn connection_tracking_that_wants_to_see_all_gets_it_and_the_reason_is_told() -> Result<()> {
    needs_root!();
    let lab = enforcing(&ledger())?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    lab.office.gateway.nft(
        "table inet other { chain f { type filter hook forward priority 0; ct state established,new accept; drop; }; }",
    )?;
    let mut session = lab.office.dev.connects(lab.office.accounting.v4(), 5432)?;
    assert!(
        until(LONG, || told(&lab, "lan30").is_ok_and(|(forward, _)| forward == "kernel")),
        "{:?}",
        told(&lab, "lan30")
    );
    let (_, why) = told(&lab, "lan30")?;
    assert!(why.as_ref().is_some_and(|why| why.contains("nf_conntrack_tcp_be_liberal")), "{why:?}");
    assert!(lab.daemon.ctl(&["interfaces"])?.contains("the kernel forwards: connection tracking"));
    assert!(forwarded_for(&lab, &mut session)? >= 2 * ROUNDS, "it sees all");
    lab.office.gateway.sysctl("net/netfilter/nf_conntrack_tcp_be_liberal", "1")?;
    assert!(
        until(LONG, || told(&lab, "lan30").is_ok_and(|told| told == ("shortcut".into(), None))),
        "once it need not"
    );
    assert!(forwarded_for(&lab, &mut session)? < ROUNDS / 5);
    Ok(())
}

#[test]
fn another_route_another_neighbour_and_a_narrower_way_are_the_kernels() -> Result<()> {
    needs_root!();
    let lab = enforcing(&ledger())?;
    let office = &lab.office;
    office.cable(&office.accounting, "lan21", "eth1")?;
    let _server = office.accounting.serves_tcp(5432)?;
    let mut session = office.dev.connects(office.accounting.v4(), 5432)?;
    ensure!(forwarded_for(&lab, &mut session)? < ROUNDS / 5, "it is not redirected");
    office.gateway.ip("neigh flush dev lan20")?;
    assert!(forwarded_for(&lab, &mut session)? < ROUNDS / 5, "after the kernel has asked for the neighbour");
    office.gateway.ip("link set lan20 mtu 1280")?;
    office.accounting.net.ip("link set eth0 mtu 1280")?;
    let long = "x".repeat(20_000);
    session.says(&long).context("the sender is not told of the narrower way")?;
    office.gateway.ip("route add 10.20.0.10/32 dev lan21")?;
    let forwarded = forwarded_for(&lab, &mut session)?;
    assert!(forwarded >= ROUNDS, "XDP sends where the other side never was seen; the kernel forwarded {forwarded}");
    Ok(())
}

#[test]
fn what_is_not_finished_by_its_sender_arrives_whole() -> Result<()> {
    needs_root!();
    // A virtual cable brings packets whose checksums, and whose cuts into segments, are left to the next card.
    for offload in ["gro on tx on tso on", "gro on tx on tso off", "gro off tx on tso on"] {
        let mut lab = Lab::prepared(ledger())?;
        lab.office.hosts().into_iter().try_for_each(|host| host.net.offload("eth0", offload))?;
        lab.start()?;
        let _servers = (lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_udp(5432)?);
        let long = "0123456789".repeat(3_000);
        for to in lab.office.accounting.both() {
            let mut session = lab.office.dev.connects(to, 5432)?;
            for _ in 0..20 {
                session.says(&long).with_context(|| format!("{to} with {offload}"))?;
            }
            forwarded_while(&lab, asks(&lab, to)?).with_context(|| format!("{to} with {offload}"))?;
        }
    }
    Ok(())
}
