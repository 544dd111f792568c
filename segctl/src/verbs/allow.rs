//! `segctl allow`: adds a rule, puts it in force, and says its name.

use std::process::ExitCode;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use segd::api::types::{AllowRequest, Names, RuleChanged};
use segd::config::says_something;
use segd::policy::{Mode, Service};

use crate::cli::Session;
use crate::client::Call;
use crate::complete;
use crate::failure::Failure;
use crate::screen::{Format, page, say};
use crate::words::{left, moment};

const EXAMPLES: &str = "\
Examples:
  segctl allow dev accounting tcp/5432 --reason 'Nightly run' --approved-by cfo@example.com
  segctl allow dev,ops internet web --reason 'Updates' --approved-by cto@example.com --ticket SEC-150
  segctl allow ops dev tcp/22 --reason 'Disk swap' --approved-by cto@example.com --expires 8h";

/// Add a rule, put it in force and print its id
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Zone of the initiators, several with commas, or any
    #[arg(value_name = "FROM", value_parser = super::zones_list, add = complete::zone_list())]
    from: String,
    /// Zone of the responders, several with commas, or any
    #[arg(value_name = "TO", value_parser = super::zones_list, add = complete::zone_list())]
    to: String,
    /// tcp/443, udp/5000-5010, icmp/echo-request, any, or a service's name
    #[arg(value_name = "SERVICE", required = true, add = complete::service())]
    services: Vec<String>,
    /// Why the rule is needed; kept with the rule
    #[arg(long, value_name = "R")]
    reason: String,
    /// Who approved it; kept with the rule
    #[arg(long, value_name = "A")]
    approved_by: String,
    /// Ticket of the change
    #[arg(long, value_name = "T")]
    ticket: Option<String>,
    /// How long it allows: 8h, 30d, 2027-06-30 (to the end of that day, UTC) or 2027-06-30T12:00:00Z
    #[arg(long, value_name = "8h|DATE")]
    expires: Option<String>,
    /// The rule's name; left out, the daemon makes one from the zones and the service
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Let it pass, but report it as would-be dropped
    #[arg(long)]
    audit: bool,
}

impl Args {
    /// As checked: whatever can be told without the daemon is told before it is asked.
    fn checked(self, now: Timestamp) -> Result<AllowRequest, Failure> {
        self.services.iter().try_for_each(|service| check_service(service))?;
        Ok(AllowRequest {
            id: self.id,
            from: names(&self.from),
            to: names(&self.to),
            services: self.services,
            reason: spoken(self.reason, "--reason")?,
            approved_by: spoken(self.approved_by, "--approved-by")?,
            ticket: self.ticket,
            expires: self.expires.map(|text| expiry("--expires", &text, now)).transpose()?,
            mode: if self.audit { Mode::Audit } else { Mode::Enforce },
        })
    }
}

/// Asks for the rule, and says what is in force and what may be typed next.
pub(crate) async fn run(args: Args, session: &Session) -> anyhow::Result<ExitCode> {
    let request = args.checked(Timestamp::now())?;
    let changed: RuleChanged = session.client.send(Call::post("/v1/rules").json(&request)?).await?.body;
    session.screen.show(&changed, |changed, _| changed.id.clone())?;
    if session.screen.format == Format::Table {
        say(&text(&changed, &request))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What people want to know beside the id, which stands alone on standard output: `id=$(segctl allow …)` works.
fn text(changed: &RuleChanged, request: &AllowRequest) -> String {
    let page = page();
    let ends = request
        .expires
        .map_or_else(String::new, |time| format!(", until {} ({} left)", moment(time, &page), left(Some(time), &page)));
    let verb = if request.mode == Mode::Audit { "watched (audit)" } else { "allowed" };
    format!(
        "  {from} → {to} {services} is {verb}{ends}; generation {generation} is in force\n  \
         to take it back: segctl revoke {id} --reason …",
        id = changed.id,
        from = request.from,
        to = request.to,
        services = request.services.join(" "),
        generation = changed.generation,
    )
}

fn names(text: &str) -> Names {
    text.split(',').map(str::to_owned).collect::<Vec<_>>().into()
}

/// Only what has the form of a literal is judged here: the names of services are known to the daemon alone.
fn check_service(text: &str) -> Result<(), Failure> {
    if !text.contains('/') {
        return Ok(());
    }
    match text.parse::<Service>() {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::usage(error.fault, error.mend)),
    }
}

/// Text that a person will read later must not be empty.
pub(super) fn spoken(text: String, option: &str) -> Result<String, Failure> {
    if !says_something(&text) {
        return Err(Failure::usage(format!("{option} is empty"), "write a sentence that an auditor will understand"));
    }
    Ok(text)
}

/// A span from now, a moment, or the end of a day in UTC.
pub(super) fn expiry(option: &str, text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let form = || {
        Failure::usage(
            format!("{option} {text}: neither a span nor a date before the year 10000"),
            "write 8h, 30d, 2027-06-30 or 2027-06-30T12:00:00Z",
        )
    };
    let end = moment_of(text, now).map_err(|_| form())?;
    if end <= now {
        return Err(Failure::usage(format!("{option} {text} lies in the past"), "name a time to come, such as 8h"));
    }
    Ok(end)
}

/// A bare date would also be taken out of a longer text, so the moment with its offset is tried first.
fn moment_of(text: &str, now: Timestamp) -> Result<Timestamp, jiff::Error> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let end = match text.parse::<Date>() {
        Ok(date) if text.len() == "2027-06-30".len() => date.tomorrow()?.to_zoned_datetime(TimeZone::UTC)?,
        _ => now.to_zoned_datetime(TimeZone::UTC).checked_add(text.parse::<Span>()?)?,
    };
    Ok(end.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Args {
        Args {
            from: "dev".into(),
            to: "accounting,internet".into(),
            services: vec!["tcp/22".into(), "web".into()],
            reason: "Disk swap".into(),
            approved_by: "ops-lead@example.com".into(),
            ticket: None,
            expires: Some("8h".into()),
            id: None,
            audit: true,
        }
    }

    fn now() -> Timestamp {
        "2026-11-23T20:00:00Z".parse().unwrap()
    }

    #[test]
    fn what_is_typed_becomes_the_request_of_the_api() {
        let request = serde_json::to_value(args().checked(now()).unwrap()).unwrap();
        assert_eq!(
            request,
            serde_json::json!({
                "id": null, "from": "dev", "to": ["accounting", "internet"], "services": ["tcp/22", "web"],
                "reason": "Disk swap", "approved_by": "ops-lead@example.com", "ticket": null,
                "expires": "2026-11-24T04:00:00Z", "mode": "audit"
            })
        );
    }

    #[test]
    fn an_expiry_is_a_span_a_moment_or_the_end_of_a_day() {
        for (text, end) in [
            ("8h", "2026-11-24T04:00:00Z"),
            ("30d", "2026-12-23T20:00:00Z"),
            ("1w 2d", "2026-12-02T20:00:00Z"),
            ("PT90m", "2026-11-23T21:30:00Z"),
            ("2027-06-30", "2027-07-01T00:00:00Z"),
            ("2027-06-30T12:00:00Z", "2027-06-30T12:00:00Z"),
            ("2027-06-30T12:00:00+02:00", "2027-06-30T10:00:00Z"),
        ] {
            assert_eq!(expiry("--expires", text, now()).unwrap().to_string(), end, "{text}");
        }
    }

    #[test]
    fn an_expiry_that_is_unclear_or_past_is_refused_with_the_mend() {
        for text in ["", "soon", "8", "2027-13-01", "2027-06-30T12:00:00", "-8h", "0h", "2026-11-22", "9999999d"] {
            let failure = expiry("--expires", text, now()).unwrap_err();
            assert_eq!(failure.status(), 2, "{text}");
            assert!(failure.to_string().contains("8h"), "{failure}");
        }
        assert!(expiry("--expires", "2026-11-23", now()).is_ok(), "today ends later than now");
    }

    #[test]
    fn faults_are_told_before_the_daemon_is_asked() {
        let broken = Args { services: vec!["tcp/70000".into()], ..args() };
        assert!(broken.checked(now()).unwrap_err().to_string().contains("65535"));
        let silent = Args { reason: "  ".into(), ..args() };
        assert!(silent.checked(now()).unwrap_err().to_string().starts_with("--reason is empty"));
    }
}
