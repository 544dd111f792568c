//! The lab itself: what a test says about the product is worth as much as what is proved here.

use anyhow::Result;
use segd_tests::lab::{Daemon, Office, Port, Zones, until};
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
    assert_eq!(at.hears(b"as it was built", std::time::Duration::from_secs(2))?, Some(frame));
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
