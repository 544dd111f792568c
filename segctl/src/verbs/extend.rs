//! `segctl extend`: a rule gets another end; its connections go on.

use std::process::ExitCode;

use jiff::Timestamp;
use segd::api::types::{ExtendRequest, RuleChanged};

use crate::cli::Session;
use crate::client::Call;
use crate::complete;
use crate::failure::Failure;

/// Give a rule another end
#[derive(Debug, clap::Args)]
#[command(after_help = "Only rules that segctl allow made: a hand-written one is changed where it stands.\n\n\
                        Examples:\n  segctl extend disk-swap --expires 8h --reason 'Takes longer'\n  \
                        segctl extend dev-reads-ledger --expires 2027-06-30")]
pub(crate) struct Args {
    /// The rule, as segctl rules lists it
    #[arg(value_name = "ID", add = complete::rule())]
    id: String,
    /// When it ends: 8h from now, 2027-06-30 (the end of that day in UTC), or a moment
    #[arg(long, value_name = "WHEN")]
    expires: String,
    /// Why, for the history
    #[arg(long, value_name = "R")]
    reason: Option<String>,
}

impl Args {
    fn checked(self, now: Timestamp) -> Result<Call, Failure> {
        let path = super::revoke::rule_path(&self.id)?;
        let expires = super::allow::expiry("--expires", &self.expires, now)?;
        Call::patch(path).json(&ExtendRequest { expires, reason: self.reason })
    }
}

/// Asks for it and says what is in force.
pub(crate) async fn run(args: Args, session: &Session) -> anyhow::Result<ExitCode> {
    let changed: RuleChanged = session.client.send(args.checked(Timestamp::now())?).await?.body;
    session.screen.show(&changed, |changed, _| text(changed))?;
    Ok(ExitCode::SUCCESS)
}

fn text(changed: &RuleChanged) -> String {
    let RuleChanged { id, generation } = changed;
    format!("{id} has its new end from generation {generation} on\n  to see how long that is: segctl rules")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_makes_no_sense_is_told_before_the_daemon_is_asked() {
        let now = "2026-11-23T20:00:00Z".parse().unwrap();
        let args = |id: &str, expires: &str| Args { id: id.into(), expires: expires.into(), reason: None };
        assert!(args("disk-swap", "8h").checked(now).is_ok());
        assert_eq!(args("disk-swap", "yesterday").checked(now).unwrap_err().status(), 2);
        assert_eq!(args("../status", "8h").checked(now).unwrap_err().status(), 2);
        assert!(
            text(&RuleChanged { id: "x".into(), generation: 4 }).starts_with("x has its new end from generation 4")
        );
    }
}
