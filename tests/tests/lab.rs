//! The lab itself: what a test says about the product is worth as much as what is proved here.

use anyhow::Result;
use segd_tests::lab::{
    Daemon, FORWARD_8443, ForeignProgram, MASQUERADE, Office, PATIENCE, Port, Zones, is_silence, until,
};
use segd_tests::needs_root;
use segd_tests::packet::udp;

#[test]
fn without_a_daemon_every_host_reaches_every_other_in_both_families() -> Result<()> {
    needs_root!();
    let office = Office::new()?;
    let _tcp = office.accounting.serves_tcp(5432)?;
    let _udp = office.accounting.serves_udp(53)?;
    for to in office.accounting.both() {
        for from in [&office.dev, &office.guest, &office.internet] {
            assert!(from.reaches_tcp(to, 5432), "{} to {to}", from.place.name);
            assert!(from.reaches_udp(to, 53), "{} to {to}", from.place.name);
            assert!(from.pings(to, 56)? && from.pings(to, 4000)?, "{} to {to}", from.place.name);
        }
        assert!(!office.dev.reaches_tcp(to, 5433), "nobody serves that port");
        assert!(!office.dev.reaches_udp(to, 54), "nobody serves that port");
    }
    Ok(())
}

#[test]
fn a_raw_frame_arrives_as_it_was_built() -> Result<()> {
    needs_root!();
    let office = Office::new()?;
    let from = Port::open(&office.dev.net, "eth0")?;
    let mut at = Port::open(&office.gateway, "lan30")?;
    let frame = udp(1, 2).between(office.dev.v4(), office.accounting.v4()).data(b"as it was built").frame();
    from.send(&frame)?;
    assert_eq!(at.hears(b"as it was built", std::time::Duration::from_secs(5))?, Some(frame));
    Ok(())
}

#[test]
fn translated_and_asymmetric_ways_lead_through_without_a_daemon() -> Result<()> {
    needs_root!();
    let office = Office::new()?;
    let _servers =
        (office.internet.serves_tcp(443)?, office.internet.serves_udp(53)?, office.accounting.serves_tcp(443)?);
    office.internet.net.ip("route del default")?;
    assert!(!office.dev.reaches_tcp(office.internet.v4(), 443), "no way back without translation");
    office.gateway.nft(MASQUERADE)?;
    assert!(office.dev.reaches_tcp(office.internet.v4(), 443), "tcp");
    assert!(office.dev.reaches_udp(office.internet.v4(), 53), "udp");
    assert!(office.dev.pings(office.internet.v4(), 56)?, "ping");
    assert!(is_refused(&office.internet.connects(office.gateway_address(), 8443)), "not forwarded yet");
    office.gateway.nft("flush ruleset")?;
    office.gateway.nft(FORWARD_8443)?;
    office.internet.net.ip("route add default via 198.51.100.1")?;
    assert!(office.internet.reaches_tcp(office.gateway_address(), 8443), "forwarded");
    office.answer_by_another_way()?;
    let mut second = Port::open(&office.gateway, "lan21")?;
    assert!(office.dev.reaches_tcp(office.accounting.v4(), 443), "by another way");
    let answer = second.hears(&[10, 20, 0, 10, 10, 30, 0, 5], std::time::Duration::from_secs(5))?;
    assert!(answer.is_some(), "the answer really came by the second cable");
    Ok(())
}

fn is_refused<T>(outcome: &std::io::Result<T>) -> bool {
    matches!(outcome, Err(err) if err.kind() == std::io::ErrorKind::ConnectionRefused)
}

#[test]
fn silence_is_told_apart_from_a_refusal() -> Result<()> {
    needs_root!();
    let office = Office::new()?;
    let to = office.accounting.v4();
    assert!(!is_silence(&office.dev.connects(to, 5432)), "a refusal");
    assert!(!is_silence(&office.dev.asks_udp(to, 53, b"?")), "a refusal");
    office.gateway.nft("table inet t { chain f { type filter hook forward priority 0; policy drop; }; }")?;
    let (connected, asked) = (office.dev.connects(to, 5432), office.dev.asks_udp(to, 53, b"?"));
    assert!(is_silence(&connected) && is_silence(&asked), "drops: {connected:?}, {asked:?}");
    assert!(!office.dev.pings(to, 56)?, "a drop");
    Ok(())
}

#[test]
fn a_foreign_program_stays_as_long_as_its_value() -> Result<()> {
    needs_root!();
    let office = Office::new()?;
    let shows_program = || office.gateway.ip("-j link show dev lan30").map(|link| link.contains("\"prog\""));
    let foreign = ForeignProgram::attach(&office.gateway, "lan30")?;
    assert!(shows_program()?);
    drop(foreign);
    assert!(!shows_program()?);
    Ok(())
}

#[test]
fn a_lab_that_panics_leaves_no_directory() -> Result<()> {
    needs_root!();
    let daemon = Daemon::new("version: 1\n")?;
    let path = daemon.config();
    let panicked = std::thread::spawn(move || {
        let _daemon = daemon;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert!(until(std::time::Duration::from_secs(1), || !path.exists()), "{} is still there", path.display());
    Ok(())
}

#[test]
fn zone_files_that_tests_tell_are_valid() -> Result<()> {
    let brief = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let zones =
        Zones::new().audit().hook("lan30", "xdp").rule("open", "[dev, guest]", "any", "tcp/1, icmp/echo-request");
    let zones = zones.rule("brief", "dev", "host", "udp/53").until(brief).watched("guest", "internet").to_string();
    let file = std::env::temp_dir().join(format!("segd-zones-{}.yaml", std::process::id()));
    std::fs::write(&file, &zones)?;
    let loaded = segd::config::load(&file);
    std::fs::remove_file(&file)?;
    assert!(loaded.is_ok(), "{zones}\n{:?}", loaded.err());
    Ok(())
}

#[test]
fn a_signal_is_no_answer() -> Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    needs_root!();
    let office = Office::new()?;
    office.gateway.nft("table inet t { chain f { type filter hook forward priority 0; policy drop; }; }")?;
    // SAFETY: the handler does nothing, and nothing else here has a use for the signal.
    unsafe { libc::signal(libc::SIGUSR1, nothing as *const () as libc::sighandler_t) };
    let (sender, asking) = std::sync::mpsc::channel();
    let asked = std::thread::scope(|scope| {
        let (dev, to) = (&office.dev, office.accounting.v4());
        let asked = scope.spawn(move || {
            // SAFETY: the thread's own number.
            sender.send(unsafe { libc::pthread_self() }).map(|()| dev.asks_udp(to, 53, b"?"))
        });
        let thread = asking.recv()?;
        std::thread::sleep(PATIENCE / 4);
        // SAFETY: the thread waits for longer than has passed, and isn't joined yet.
        unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
        anyhow::Ok(asked.join().map_err(|_| anyhow::anyhow!("it panicked"))??)
    })?;
    assert!(is_silence(&asked), "{asked:?}");
    Ok(())
}
