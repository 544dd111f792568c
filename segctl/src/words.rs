//! How numbers, times and verdicts are said to people: short, one spelling, readable at 80 columns.
//! Nothing here prints, and nothing here knows of the daemon.

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// What the answers are shown on, taken once at the edge so that the same values always give the same text.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// Columns; none: nobody wraps, the output is not a terminal.
    pub(crate) width: Option<u16>,
    /// Against what "ago" and "left" are counted.
    pub(crate) now: Timestamp,
    /// In which clock times are told.
    pub(crate) clock: TimeZone,
}

impl Page {
    /// How wide a column may get that has `width` characters on a terminal of 80: more on a wider one, and anything
    /// in a pipe, where a wrapped cell would only be in grep's way.
    pub(crate) fn room(&self, width: usize) -> usize {
        self.width.map_or(usize::MAX, |columns| width + usize::from(columns).saturating_sub(80) / 3)
    }

    /// A terminal of 80 columns, in UTC, at a fixed moment.
    #[cfg(test)]
    pub(crate) fn sample() -> Self {
        Self { width: Some(80), now: "2026-11-23T20:00:00Z".parse().unwrap(), clock: TimeZone::UTC }
    }
}

/// What a word stands for, and so its colour: denied red, allowed green, audited yellow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Allowed, enforced, passed.
    Good,
    /// Only watched, or soon to be looked after.
    Warn,
    /// Denied, open, failed.
    Bad,
    /// Said beside.
    Quiet,
    /// A heading.
    Head,
}

impl Tone {
    /// Its colour on a terminal; the screen takes it away again where colours are not wanted.
    pub(crate) const fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Warn => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Quiet => Style::new().dimmed(),
            Self::Head => Style::new().bold(),
        }
    }

    /// The text in this tone.
    pub(crate) fn paint(self, text: &str) -> String {
        let style = self.style();
        format!("{style}{text}{style:#}")
    }
}

/// A count in at most six characters: `9999`, `12.3k`, `4.5M`.
pub(crate) fn count(number: u64) -> String {
    scaled(number, 10_000, 1000, &["", "k", "M", "G", "T", "P", "E"])
}

/// An amount of bytes: `812B`, `1.5K`, `20.0M`, in powers of 1024.
pub(crate) fn bytes(number: u64) -> String {
    if number == 0 { "0".into() } else { scaled(number, 1024, 1024, &["B", "K", "M", "G", "T", "P", "E"]) }
}

/// Integers only, so that no number is rounded up into one that was never counted.
fn scaled(number: u64, exact_below: u64, base: u64, units: &[&str]) -> String {
    if number < exact_below {
        return format!("{number}{}", units[0]);
    }
    let (mut whole, mut rest, mut unit) = (number, 0, 0);
    while whole >= base && unit + 1 < units.len() {
        (whole, rest, unit) = (whole / base, whole % base, unit + 1);
    }
    format!("{whole}.{}{}", rest * 10 / base, units[unit])
}

/// A duration by its two largest parts: `3d 4h`, `12m 5s`, `0s`; a year has 365 days.
pub(crate) fn span(duration: SignedDuration) -> String {
    let secs = duration.as_secs().max(0);
    let days = secs / 86_400;
    let parts =
        [(days / 365, 'y'), (days % 365, 'd'), (secs / 3600 % 24, 'h'), (secs / 60 % 60, 'm'), (secs % 60, 's')];
    let Some(first) = parts.iter().position(|(amount, _)| *amount > 0) else { return "0s".into() };
    let told: Vec<String> = parts[first..]
        .iter()
        .take(2)
        .filter(|(amount, _)| *amount > 0)
        .map(|(amount, unit)| format!("{amount}{unit}"))
        .collect();
    told.join(" ")
}

/// How long ago: `3m 2s ago`, `never`.
pub(crate) fn ago(time: Option<Timestamp>, page: &Page) -> String {
    time.map_or_else(|| "never".into(), |time| format!("{} ago", span(page.now.duration_since(time))))
}

/// How long a rule still lives: `8h`, `expired`, or `no end`.
pub(crate) fn left(expires: Option<Timestamp>, page: &Page) -> String {
    match expires {
        None => "no end".into(),
        Some(time) if time <= page.now => "expired".into(),
        Some(time) => span(time.duration_since(page.now)),
    }
}

/// A moment as people read it: `2026-11-23 20:00:00`.
pub(crate) fn moment(time: Timestamp, page: &Page) -> String {
    time.to_zoned_datetime(page.clock.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The time of today, or the day and the time.
pub(crate) fn clock(time: Timestamp, page: &Page) -> String {
    let (then, now) = (time.to_zoned_datetime(page.clock.clone()), page.now.to_zoned_datetime(page.clock.clone()));
    let form = if then.date() == now.date() { "%H:%M:%S" } else { "%m-%d %H:%M:%S" };
    then.strftime(form).to_string()
}

/// `1 rule`, `2 rules`.
pub(crate) fn number_of(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_exact_while_they_are_short() {
        let told: Vec<String> = [0, 9_999, 10_000, 12_345, 999_999, 4_560_000, u64::MAX].map(count).to_vec();
        assert_eq!(told, ["0", "9999", "10.0k", "12.3k", "999.9k", "4.5M", "18.4E"]);
    }

    #[test]
    fn bytes_go_by_powers_of_1024() {
        assert_eq!([0, 812, 1536, 20 << 20].map(bytes), ["0", "812B", "1.5K", "20.0M"]);
    }

    #[test]
    fn durations_are_told_by_their_two_largest_parts() {
        let told = [0, 59, 125, 3600, 3601, 90_000, 8 * 86_400, 26_516 * 86_400]
            .map(|secs| span(SignedDuration::from_secs(secs)));
        assert_eq!(told, ["0s", "59s", "2m 5s", "1h", "1h", "1d 1h", "8d", "72y 236d"]);
    }

    #[test]
    fn a_rule_that_never_was_hit_and_one_that_ran_out_are_named() {
        let page = Page::sample();
        assert_eq!(ago(None, &page), "never");
        assert_eq!(left(None, &page), "no end");
        assert_eq!(left(Some(page.now), &page), "expired");
        assert_eq!(left("2026-11-24T04:00:00Z".parse().ok(), &page), "8h");
    }

    #[test]
    fn today_needs_no_date() {
        let page = Page::sample();
        assert_eq!(clock("2026-11-23T08:01:02Z".parse().unwrap(), &page), "08:01:02");
        assert_eq!(clock("2026-11-22T08:01:02Z".parse().unwrap(), &page), "11-22 08:01:02");
    }
}
