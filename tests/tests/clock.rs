//! The wall clock is set under a running daemon. Only in a guest: whoever runs this elsewhere would set his own.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::{SignedDuration, Timestamp};
use segd_tests::lab::{Lab, Zones, is_silence, until};
use segd_tests::needs_root;

const SOON: Duration = Duration::from_secs(15);

/// Sets the clock this far ahead of what it says.
fn set_clock(ahead: SignedDuration) -> io::Result<()> {
    let to = Timestamp::now() + ahead;
    let time = libc::timespec { tv_sec: to.as_second(), tv_nsec: to.subsec_nanosecond().into() };
    // SAFETY: the structure outlives the call.
    let done = unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[test]
#[ignore = "sets the machine's clock: `cargo xtask vm` does that in a guest"]
fn expiry_follows_a_clock_that_is_set_ahead_and_back() -> Result<()> {
    needs_root!();
    ensure!(Path::new("/plan").exists(), "this is no guest of cargo xtask vm, and its clock stays as it is");
    let hour = SignedDuration::from_hours(1);
    let zones = Zones::new()
        .rule("lasting", "dev", "accounting", "tcp/5432")
        .rule("brief", "dev", "accounting", "tcp/8000")
        .until(Timestamp::now() + hour);
    let lab = Lab::enforcing(&zones)?;
    let _servers = (lab.office.accounting.serves_tcp(5432)?, lab.office.accounting.serves_tcp(8000)?);
    let to = lab.office.accounting.v4();
    let (mut lasting, mut brief) = (lab.office.dev.connects(to, 5432)?, lab.office.dev.connects(to, 8000)?);
    let reason = || -> Result<String> {
        Ok(lab.daemon.json(&["explain", "10.30.0.5", "10.20.0.10", "tcp/8000"])?["reason"].to_string())
    };
    brief.says("an hour is left\n")?;

    set_clock(hour * 2)?;
    assert!(until(SOON, || reason().is_ok_and(|reason| reason == "\"expired\"")), "it is over: {:?}", reason());
    assert!(brief.says("still there?\n").is_err(), "its open session is cut");
    assert!(is_silence(&lab.office.dev.connects(to, 8000)));
    lasting.says("no end was set\n")?;

    set_clock(-hour * 2)?;
    assert!(until(SOON, || reason().is_ok_and(|reason| reason == "\"rule\"")), "it was a mistake: {:?}", reason());
    assert!(lab.office.dev.reaches_tcp(to, 8000));
    lasting.says("still no end\n")?;
    Ok(())
}
