//! How many jiffies a second has (`CONFIG_HZ`), exactly. No file tells it on every machine, and a sample is never exact; the
//! kernel's coarse clock moves once a tick, and its resolution is the length of that tick.

use std::io;

use super::DatapathError;

const NANOS: u64 = 1_000_000_000;
/// What a kernel can be built with, over all architectures.
const RATES: std::ops::RangeInclusive<u64> = 24..=1200;

/// Jiffies of a second.
///
/// # Errors
/// The kernel refuses, or says what no kernel is built with: deadlines would be wrong, so nothing may be enforced by it.
pub(super) fn tick_rate() -> Result<u32, DatapathError> {
    let mut tick = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes into a live value of ours.
    if unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut tick) } != 0 {
        return Err(DatapathError::system("ask for the length of a tick", io::Error::last_os_error()));
    }
    let nanos = u64::try_from(tick.tv_nsec).ok().filter(|_| tick.tv_sec == 0).unwrap_or(0);
    rate_of(nanos).ok_or_else(|| {
        let why = io::Error::other(format!("{nanos} ns is no tick of a kernel; deadlines could not be kept"));
        DatapathError::system("read the length of a tick", why)
    })
}

/// The rate whose tick, rounded to nanoseconds as the kernel does (`TICK_NSEC`), is so long.
fn rate_of(nanos: u64) -> Option<u32> {
    let rate = (NANOS + nanos / 2).checked_div(nanos)?;
    let exact = RATES.contains(&rate) && (NANOS + rate / 2) / rate == nanos;
    u32::try_from(rate).ok().filter(|_| exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticks_length_gives_the_rate_that_the_kernel_was_built_with() {
        let ticks = [10_000_000, 4_000_000, 3_333_333, 1_000_000, 976_563];
        assert_eq!(ticks.map(rate_of), [100, 250, 300, 1000, 1024].map(Some));
    }

    #[test]
    fn what_is_no_tick_is_refused_and_not_rounded() {
        assert_eq!([0, 1, 3_333_330, 999_999_999, u64::MAX / 2].map(rate_of), [None; 5]);
    }

    /// Where the kernel shows what it was built with, that is the same number.
    #[test]
    fn this_kernel_ticks_as_its_own_configuration_says() {
        let rate = tick_rate().unwrap();
        assert!([100, 250, 300, 1000].contains(&rate), "{rate}");
        let Ok(config) = std::process::Command::new("zcat").arg("/proc/config.gz").output() else { return };
        let text = String::from_utf8_lossy(&config.stdout).into_owned();
        if let Some(said) = text.lines().find_map(|line| line.strip_prefix("CONFIG_HZ=")) {
            assert_eq!(said, rate.to_string());
        }
    }
}
