//! `segctl revoke`: takes a rule away; the connections that it carried are cut at their next packet.

use std::process::ExitCode;

use segd::api::types::RuleChanged;

use crate::cli::Session;
use crate::client::Call;
use crate::complete;
use crate::failure::Failure;
use crate::ssh::Insist;

/// Take a rule away; its connections are cut at their next packet
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  segctl revoke dev-reads-ledger --reason 'Project has ended, SEC-151'")]
pub(crate) struct Args {
    /// The rule, as segctl rules lists it
    #[arg(value_name = "ID", add = complete::rule())]
    id: String,
    /// Why it goes
    #[arg(long, value_name = "R")]
    reason: String,
    #[command(flatten)]
    insist: Insist,
}

impl Args {
    /// As checked.
    fn checked(self) -> Result<Call, Failure> {
        let path = rule_path(&self.id)?;
        let reason = super::allow::spoken(self.reason, "--reason")?;
        Ok(Call::delete(path).query(&[("reason", &reason)]).keeping(self.insist.connection()))
    }
}

/// The page of a rule. The id becomes part of a path, so nothing but an id may stand there.
pub(super) fn rule_path(id: &str) -> Result<String, Failure> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if id.is_empty() || !id.chars().all(plain) {
        let mend = "ids have small letters, digits and -; segctl rules lists them";
        return Err(Failure::usage(format!("'{id}' is no rule's id"), mend));
    }
    Ok(format!("/v1/rules/{id}"))
}

/// Asks for it and says what is in force.
pub(crate) async fn run(args: Args, session: &Session) -> anyhow::Result<ExitCode> {
    let changed: RuleChanged = session.client.send(args.checked()?).await?.body;
    session.screen.show(&changed, |changed, _| text(changed))?;
    Ok(ExitCode::SUCCESS)
}

fn text(changed: &RuleChanged) -> String {
    format!(
        "{} is revoked; generation {} is in force, and the rule's connections are cut at their next packet\n  \
         to see what is blocked now: segctl flows -f --blocked",
        changed.id, changed.generation
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_name_another_page() {
        for id in ["", "../status", "a?b", "A"] {
            let failure = Args { id: id.into(), reason: "x".into(), insist: Insist::default() }.checked().unwrap_err();
            assert!(failure.to_string().ends_with("segctl rules lists them"), "{id}");
        }
    }

    #[test]
    fn the_generation_and_the_next_step_are_told() {
        assert_eq!(
            text(&RuleChanged { id: "dev-x".into(), generation: 13 }),
            "dev-x is revoked; generation 13 is in force, and the rule's connections are cut at their next packet\n  \
             to see what is blocked now: segctl flows -f --blocked"
        );
    }
}
