//! The two clocks: what people write and what the kernel counts. It never asks either of them.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

const NANOS: i128 = 1_000_000_000;

/// One moment in both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// Jiffies of a second.
    pub hz: u32,
    /// What the kernel's counter said.
    pub jiffies: u64,
    /// What the wall clock said at that moment.
    pub at: Timestamp,
}

impl Clock {
    /// A clock for work that no kernel sees, such as checking a file: a jiffy is a millisecond since 1970.
    #[must_use]
    pub fn detached(at: Timestamp) -> Self {
        Self { hz: 1000, jiffies: u64::try_from(at.as_millisecond()).unwrap_or(1).max(1), at }
    }

    /// The jiffies at which `end` is reached, never later than it. Whatever has passed is 1, so that an old deadline is the
    /// same number in every image; 0 would be "never".
    #[must_use]
    pub fn deadline(&self, end: Timestamp) -> u64 {
        let nanos = end.as_nanosecond() - self.at.as_nanosecond();
        if nanos <= 0 {
            return 1;
        }
        let ahead = nanos * i128::from(self.hz) / NANOS;
        self.jiffies.saturating_add(u64::try_from(ahead).unwrap_or(u64::MAX)).max(1)
    }

    /// The wall clock's time at which the kernel counts `jiffies`, as far as it can be told.
    #[must_use]
    pub fn time(&self, jiffies: u64) -> Timestamp {
        let ticks = i128::from(jiffies) - i128::from(self.jiffies);
        let nanos = self.at.as_nanosecond() + ticks * NANOS / i128::from(self.hz.max(1));
        let end = if ticks < 0 { Timestamp::MIN } else { Timestamp::MAX };
        Timestamp::from_nanosecond(nanos).unwrap_or(end)
    }

    /// Whether the wall clock was set since `earlier` was taken: then deadlines have to be compiled again.
    #[must_use]
    pub fn drifted_from(&self, earlier: &Self) -> bool {
        self.off_by(earlier) > SignedDuration::from_secs(1)
    }

    /// How far the wall clock is from what it would be, had it gone with the kernel's since `earlier`.
    #[must_use]
    pub fn off_by(&self, earlier: &Self) -> SignedDuration {
        self.at.duration_since(earlier.time(self.jiffies)).abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock { hz: 250, jiffies: 1_000_000, at: "2026-11-01T12:00:00Z".parse().unwrap() }
    }

    fn after(seconds: i64) -> Timestamp {
        clock().at + SignedDuration::from_secs(seconds)
    }

    #[test]
    fn a_deadline_comes_in_jiffies_and_back() {
        assert_eq!(clock().deadline(after(60)), 1_000_000 + 60 * 250);
        assert_eq!(clock().time(1_000_000 + 60 * 250), after(60));
        assert_eq!(clock().time(1_000_000 - 250), after(-1));
    }

    #[test]
    fn what_has_passed_is_one_and_never_zero() {
        for end in [after(0), after(-1), after(-1_000_000_000), Timestamp::MIN] {
            assert_eq!(clock().deadline(end), 1, "{end}");
        }
    }

    #[test]
    fn a_deadline_is_never_late_and_ends_of_time_are_no_trouble() {
        let end = clock().at + SignedDuration::from_millis(7);
        assert_eq!(clock().deadline(end), 1_000_001);
        assert!(clock().deadline(Timestamp::MAX) > 1_000_000);
        assert_eq!(clock().time(u64::MAX), Timestamp::MAX);
        assert_eq!(Clock { jiffies: u64::MAX, ..clock() }.deadline(after(9)), u64::MAX);
    }

    #[test]
    fn a_wall_clock_that_was_set_is_noticed() {
        let later = Clock { jiffies: 1_002_500, at: after(10), ..clock() };
        assert!(!later.drifted_from(&clock()));
        assert!(Clock { at: after(15), ..later }.drifted_from(&clock()));
        assert!(Clock { at: after(5), ..later }.drifted_from(&clock()));
        assert_eq!(Clock { at: after(5), ..later }.off_by(&clock()), SignedDuration::from_secs(5));
    }
}
