//! Jiffies as several CPUs see them, kept in 32 bits.

/// How far ahead of the one who asks a stamp may be, in jiffies: a minute at 1000 Hz. Stamps before the clock's last round
/// look no older than that for as long.
const AHEAD: u32 = 1 << 16;

/// Jiffies between `then` and `now`, 2^32 - 2^16 at the most. 0 if `then` is later: another CPU stamped it after this one read
/// the clock, or the daemon read it before a long walk through a table. Without that it would be older than anything.
#[inline(always)]
#[must_use]
pub const fn since(now: u64, then: u32) -> u32 {
    (now as u32).wrapping_add(AHEAD).wrapping_sub(then).saturating_sub(AHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_that_another_cpu_has_just_made_is_not_an_age_old() {
        assert_eq!(since(1000, 1000), 0);
        assert_eq!(since(1000, 990), 10);
        assert_eq!(since(1000, 1001), 0, "one tick ahead");
        assert_eq!(since(1000, 1000 + AHEAD), 0, "as far ahead as a walk through a table takes");
        assert_eq!(since(u64::from(u32::MAX) + 6, u32::MAX), 6, "round the corner");
        assert_eq!(since(u64::from(u32::MAX - AHEAD), 0), u32::MAX - AHEAD, "the oldest there is");
    }
}
