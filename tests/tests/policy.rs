//! What passes and what does not, with real sockets through the real daemon, and what is counted for it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::Result;
use segd_tests::lab::{Host, Lab, Port, Zones, is_silence};
use segd_tests::needs_root;
use segd_tests::packet::{DOT1Q, udp};

/// How long a test listens for a frame that must not come.
const SILENCE: Duration = Duration::from_millis(300);

fn counted<const N: usize>(entries: [(&str, u64); N]) -> BTreeMap<String, u64> {
    entries.into_iter().map(|(what, count)| (what.to_owned(), count)).collect()
}

#[test]
fn without_a_rule_nothing_passes_and_every_attempt_is_counted_as_no_rule() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(Zones::new())?;
    let office = &lab.office;
    let _servers = (office.accounting.serves_tcp(5432)?, office.accounting.serves_udp(53)?);
    let before = lab.metrics()?;
    for to in office.accounting.both() {
        assert!(is_silence(&office.dev.connects(to, 5432)), "tcp to {to}");
        assert!(is_silence(&office.dev.asks_udp(to, 53, b"?")), "udp to {to}");
        assert!(!office.dev.pings(to, 56)?, "ping to {to}");
    }
    let after = lab.metrics()?.since(&before);
    // Three attempts in two families, one packet each.
    assert_eq!(after.drops(), counted([("dev > accounting: no-rule", 6)]));
    assert_eq!(after.blocked_flows(), counted([("dev > accounting: no-rule", 6)]));
    assert_eq!(after.of("segd_connections_total").count(), 0, "nothing was allowed");
    Ok(())
}

#[test]
fn a_retransmission_is_one_blocked_flow_and_many_packets() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(Zones::new())?;
    let dev = Port::open(&lab.office.dev.net, "eth0")?;
    let before = lab.metrics()?;
    let mut frame = udp(4000, 53).between(lab.office.dev.v4(), lab.office.accounting.v4()).frame();
    for identification in 0..10 {
        // Every packet has a number of its own, so the checksum changes with it: ones' complement, one for one.
        if identification > 0 {
            frame[19] += 1;
            frame[25] -= 1;
        }
        dev.send(&frame)?;
    }
    let after = lab.metrics()?.since(&before);
    assert_eq!(after.drops(), counted([("dev > accounting: no-rule", 10)]));
    assert_eq!(after.blocked_flows(), counted([("dev > accounting: no-rule", 1)]));
    Ok(())
}

#[test]
fn a_rule_allows_its_service_with_the_replies_and_nothing_else() -> Result<()> {
    needs_root!();
    let zones =
        Zones::new().rule("open", "dev", "accounting", "tcp/5432, udp/53, icmp/echo-request, icmpv6/echo-request");
    let lab = Lab::enforcing(zones)?;
    let office = &lab.office;
    let _servers = (
        office.accounting.serves_tcp(5432)?,
        office.accounting.serves_tcp(5433)?,
        office.accounting.serves_udp(53)?,
        office.dev.serves_tcp(5432)?,
    );
    let before = lab.metrics()?;
    for (to, back) in office.accounting.both().into_iter().zip(office.dev.both()) {
        assert!(office.dev.reaches_tcp(to, 5432), "the rule's tcp port at {to}");
        assert!(office.dev.reaches_udp(to, 53), "the rule's udp port at {to}");
        assert!(office.dev.pings(to, 56)?, "ping to {to}");
        assert!(is_silence(&office.dev.connects(to, 5433)), "another port at {to}");
        assert!(is_silence(&office.guest.connects(to, 5432)), "another zone to {to}");
        assert!(is_silence(&office.accounting.connects(back, 5432)), "the other direction, to {back}");
        assert!(!office.accounting.pings(back, 56)?, "the other direction, ping to {back}");
    }
    let after = lab.metrics()?.since(&before);
    let drops =
        [("accounting > dev: no-rule", 4), ("dev > accounting: no-rule", 2), ("guest > accounting: no-rule", 2)];
    assert_eq!(after.drops(), counted(drops));
    let pair = [("from_zone", "dev"), ("to_zone", "accounting")];
    assert_eq!(after.count("segd_connections_total", &pair), 6);
    assert_eq!(after.count("segd_rule_connections_total", &[("rule", "open")]), 6);
    Ok(())
}

#[test]
fn sessions_pass_by_rules_alone_at_every_hook() -> Result<()> {
    needs_root!();
    for hook in ["xdp", "xdp-generic", "tc"] {
        let lab = Lab::enforcing(Zones::new().hooks(hook).rule("ledger", "dev", "accounting", "tcp/5432"))?;
        let office = &lab.office;
        let _servers = (office.accounting.serves_tcp(5432)?, office.accounting.serves_tcp(5433)?);
        let before = lab.metrics()?;
        for to in office.accounting.both() {
            let mut session = office.dev.connects(to, 5432)?;
            session.says(&"a page of the ledger ".repeat(1000))?;
            assert!(is_silence(&office.dev.connects(to, 5433)), "another port of {to} by {hook}");
            assert!(is_silence(&office.guest.connects(to, 5432)), "another zone to {to} by {hook}");
        }
        let drops = [("dev > accounting: no-rule", 2), ("guest > accounting: no-rule", 2)];
        assert_eq!(lab.metrics()?.since(&before).drops(), counted(drops), "{hook}");
    }
    Ok(())
}

#[test]
fn an_allowed_client_learns_of_a_closed_udp_port_at_once() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(Zones::new().rule("dns", "dev", "accounting", "udp/53"))?;
    let before = lab.metrics()?;
    for to in lab.office.accounting.both() {
        let refused = lab.office.dev.asks_udp(to, 53, b"?").map_err(|err| err.kind());
        assert_eq!(refused, Err(ErrorKind::ConnectionRefused), "{to}");
    }
    assert_eq!(lab.metrics()?.since(&before).drops(), counted([]));
    Ok(())
}

#[test]
fn fragments_get_what_their_first_fragment_got() -> Result<()> {
    needs_root!();
    let services = "udp/53, icmp/echo-request, icmpv6/echo-request";
    let lab = Lab::enforcing(Zones::new().rule("open", "dev", "accounting", services))?;
    let office = &lab.office;
    let _servers = (office.accounting.serves_udp(53)?, office.accounting.serves_udp(54)?);
    let long = vec![7; 4000];
    for to in office.accounting.both() {
        assert!(office.dev.asks_udp(to, 53, &long).is_ok(), "an allowed datagram to {to}");
        assert!(office.dev.pings(to, 4000)?, "an allowed ping to {to}");
        assert!(is_silence(&office.dev.asks_udp(to, 54, &long)), "a forbidden datagram to {to}");
        assert!(!office.guest.pings(to, 4000)?, "a forbidden ping to {to}");
    }
    Ok(())
}

#[test]
fn audit_mode_passes_what_it_would_drop_and_counts_it() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(Zones::new().audit())?;
    let office = &lab.office;
    let _server = office.accounting.serves_tcp(5432)?;
    let before = lab.metrics()?;
    for to in office.accounting.both() {
        assert!(office.dev.reaches_tcp(to, 5432), "{to}");
    }
    let after = lab.metrics()?.since(&before);
    let pair = [("from_zone", "dev"), ("to_zone", "accounting"), ("verdict", "audit")];
    assert!(after.sum("segd_packets_total", &pair) >= 2.0, "the packets are counted as audited");
    assert_eq!(after.drops(), counted([]));
    Ok(())
}

#[test]
fn a_watched_pair_passes_while_the_others_are_enforced() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(Zones::new().watched("guest", "accounting"))?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let to = lab.office.accounting.v4();
    assert!(lab.office.guest.reaches_tcp(to, 5432), "the watched pair");
    assert!(is_silence(&lab.office.dev.connects(to, 5432)), "the other pair");
    Ok(())
}

#[test]
fn a_source_of_another_zone_is_spoofed_on_every_interface() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(Zones::new().rule("open", "[dev, guest, internet]", "accounting", "udp/53"))?;
    let office = &lab.office;
    let mut at = Port::open(&office.accounting.net, "eth0")?;
    let before = lab.metrics()?;
    let mut sent = 0;
    for liar in [&office.dev, &office.guest] {
        let port = Port::open(&liar.net, "eth0")?;
        for victim in [&office.dev, &office.guest].into_iter().filter(|victim| victim.place.name != liar.place.name) {
            for to in office.accounting.both() {
                port.send(&udp(53, 53).between(victim.like(to), to).data(b"I am somebody else").frame())?;
                sent += 1;
            }
        }
    }
    assert_eq!(at.hears(b"I am somebody else", SILENCE)?, None);
    let drops = lab.metrics()?.since(&before).drops();
    assert_eq!(drops.values().sum::<u64>(), sent);
    assert!(drops.keys().all(|what| what.ends_with("spoofed-source")), "{drops:?}");
    Ok(())
}

#[test]
fn a_priority_tag_changes_nothing() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(Zones::new().rule("dns", "dev", "accounting", "udp/53"))?;
    let office = &lab.office;
    let dev = Port::open(&office.dev.net, "eth0")?;
    let mut at = Port::open(&office.accounting.net, "eth0")?;
    let before = lab.metrics()?;
    for to in office.accounting.both() {
        let from = office.dev.like(to);
        dev.send(&udp(4000, 53).between(from, to).data(b"tagged, allowed").tag(DOT1Q, 0).frame())?;
        assert!(at.hears(b"tagged, allowed", Duration::from_secs(5))?.is_some(), "allowed to {to}");
        dev.send(&udp(4000, 54).between(from, to).data(b"tagged, forbidden").tag(DOT1Q, 0).frame())?;
        assert_eq!(at.hears(b"tagged, forbidden", SILENCE)?, None, "forbidden to {to}");
    }
    let drops = lab.metrics()?.since(&before).drops();
    assert_eq!(drops, counted([("dev > accounting: no-rule", 2)]));
    Ok(())
}

#[test]
fn a_reply_by_another_interface_belongs_to_its_connection() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(Zones::new().rule("ledger", "dev", "accounting", "tcp/5432"))?;
    let office = &lab.office;
    office.answer_by_another_way()?;
    wait_until_guarded(&lab, "lan21")?;
    let _server = office.accounting.serves_tcp(5432)?;
    assert!(office.dev.reaches_tcp(office.accounting.v4(), 5432));
    Ok(())
}

#[test]
fn every_packet_is_counted_exactly_once() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(Zones::new().rule("dns", "dev", "accounting", "udp/53"))?;
    let office = &lab.office;
    let dev = Port::open(&office.dev.net, "eth0")?;
    // What accounting would answer is no part of the count: it has no server, and its ICMP errors are held back.
    office
        .accounting
        .net
        .nft("table inet quiet { chain out { type filter hook output priority 0; policy drop; }; }")?;
    wake(&office.dev)?;
    let before = lab.metrics()?;
    for source in 0..50 {
        dev.send(&udp(4000 + source, 53).between(office.dev.v4(), office.accounting.v4()).frame())?;
        dev.send(&udp(4000 + source, 54).between(office.dev.v4(), office.accounting.v4()).frame())?;
    }
    let after = lab.metrics()?.since(&before);
    let packets = |verdict| {
        let pair = [("from_zone", "dev"), ("to_zone", "accounting"), ("verdict", verdict)];
        after.count("segd_packets_total", &pair)
    };
    assert_eq!((packets("allow"), packets("deny"), packets("audit")), (50, 50, 0));
    assert_eq!(after.drops(), counted([("dev > accounting: no-rule", 50)]));
    let pair = [("from_zone", "dev"), ("to_zone", "accounting")];
    assert_eq!(after.count("segd_connections_total", &pair), 50);
    assert_eq!(after.count("segd_rule_packets_total", &[("rule", "dns")]), 50);
    Ok(())
}

/// Lets the gateway learn where accounting is, so that no neighbour lookup falls into the count.
fn wake(from: &Host) -> Result<()> {
    let port = Port::open(&from.net, "eth0")?;
    port.send(&udp(1, 53).between(from.v4(), "10.20.0.10").data(b"wake").frame())?;
    std::thread::sleep(Duration::from_millis(50));
    Ok(())
}

fn wait_until_guarded(lab: &Lab, interface: &str) -> Result<()> {
    let guarded =
        || lab.metrics().is_ok_and(|metrics| metrics.sum("segd_interface_enforced", &[("interface", interface)]) > 0.0);
    anyhow::ensure!(
        segd_tests::lab::until(Duration::from_secs(5), guarded),
        "{interface} is not guarded after 5 s; the daemon said:\n{}",
        lab.daemon.log()
    );
    Ok(())
}
