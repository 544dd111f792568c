//! What came of a scenario, and the line that tells it.

use std::fmt;
use std::time::Duration;

use indicatif::HumanCount;

use super::stream::Carried;

/// Counts of both ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// How often it was done.
    pub rounds: u64,
    /// Forbidden packets of the flood.
    pub flooded: u64,
    /// Those that a round sent beside it.
    pub sent: u64,
    /// How many of them came through.
    pub leaked: u64,
    /// How long it took.
    pub took: Duration,
    /// Allowed datagrams.
    pub datagrams: Carried,
    /// An allowed TCP session.
    pub session: Carried,
}

impl Figures {
    /// Forbidden packets of the flood a second.
    #[must_use]
    pub fn rate(&self) -> u64 {
        let millis = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX).max(1);
        self.flooded.saturating_mul(1000) / millis
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, flooded, sent, leaked, took, datagrams, session } = self;
        write!(
            f,
            "{} rounds in {} s; forbidden {} ({} a second), leaked {}; datagrams {datagrams}; TCP {session}",
            HumanCount(*rounds),
            took.as_secs(),
            HumanCount(flooded + sent),
            HumanCount(self.rate()),
            HumanCount(*leaked),
        )
    }
}
