//! Points in time as people type them: a span back from now, or a moment.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

const FORMS: &str = "write 1h, 7d, 2027-06-30 or 2027-06-30T12:00:00Z";

/// A span back from now, a moment, or the beginning of a day in UTC.
pub(crate) fn past(text: &str) -> Result<Timestamp, String> {
    before(text, Timestamp::now())
}

fn before(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let time = moment_of(text, now).map_err(|_| format!("neither a span nor a date; {FORMS}"))?;
    if time >= now { Err(format!("does not lie in the past; {FORMS}")) } else { Ok(time) }
}

/// A bare date would also be taken out of a longer text, so the moment with its offset is tried first.
fn moment_of(text: &str, now: Timestamp) -> Result<Timestamp, jiff::Error> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let time = match text.parse::<Date>() {
        Ok(date) if text.len() == "2027-06-30".len() => date.to_zoned_datetime(TimeZone::UTC)?,
        _ => now.to_zoned_datetime(TimeZone::UTC).checked_sub(text.parse::<Span>()?)?,
    };
    Ok(time.timestamp())
}

/// A span from now on.
pub(crate) fn ahead(text: &str) -> Result<Timestamp, String> {
    let now = Timestamp::now();
    let span = text.parse::<Span>().and_then(|span| now.to_zoned_datetime(TimeZone::UTC).checked_add(span));
    match span {
        Ok(time) if time.timestamp() > now => Ok(time.timestamp()),
        _ => Err("no span of time to come; write 30d, 8h or 1w".to_owned()),
    }
}

/// As the daemon takes it.
pub(crate) fn query(time: Timestamp) -> String {
    time.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_a_moment_and_a_day_lead_back() {
        let now = "2026-11-23T20:00:00Z".parse().unwrap();
        for (text, time) in [
            ("1h", "2026-11-23T19:00:00Z"),
            ("7d", "2026-11-16T20:00:00Z"),
            ("90m", "2026-11-23T18:30:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("2026-11-20T12:00:00+02:00", "2026-11-20T10:00:00Z"),
        ] {
            assert_eq!(before(text, now).unwrap().to_string(), time, "{text}");
        }
        for text in ["", "soon", "8", "-1h", "2027-01-01", "0s"] {
            let refused = before(text, now).unwrap_err();
            assert!(refused.contains("write 1h, 7d"), "{text}: {refused}");
        }
    }

    #[test]
    fn a_span_ahead_lies_ahead() {
        assert!(ahead("30d").unwrap() > Timestamp::now());
        assert!(ahead("-1h").is_err() && ahead("").is_err());
    }
}
