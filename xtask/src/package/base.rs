//! A bare Debian to try the package on, from the mirror that this machine's apt is set to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use crate::command::step;

/// The oldest release that the package is for.
const SUITE: &str = "bookworm";
/// What a gateway has, and the least that a booted system needs.
const PACKAGES: &str = "systemd,systemd-sysv,udev,dbus,nftables,iproute2,procps,iputils-ping";
/// It is made anew when it is older.
const FRESH: Duration = Duration::from_hours(7 * 24);

/// The folder that it lies in; never booted itself, only copied.
pub(super) fn fetch() -> Result<PathBuf> {
    let base = super::folder().join("base");
    if is_fresh(&base) {
        return Ok(base);
    }
    if base.exists() {
        fs::remove_dir_all(&base)?;
    }
    let half = base.with_extension("half");
    if half.exists() {
        fs::remove_dir_all(&half)?;
    }
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--variant=minbase", &format!("--include={PACKAGES}"), SUITE]).arg(&half);
    step(&format!("getting a bare Debian {SUITE} (a minute)"), &mut mmdebstrap)?;
    fs::rename(&half, &base)?;
    Ok(base)
}

fn is_fresh(base: &Path) -> bool {
    let made =
        fs::metadata(base.join("etc/debian_version")).and_then(|_| fs::metadata(base)).and_then(|at| at.modified());
    made.is_ok_and(|at| SystemTime::now().duration_since(at).unwrap_or_default() < FRESH)
}
