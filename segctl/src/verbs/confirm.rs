//! `segctl confirm` and `segctl rollback`: the two ends of a trial that `segctl apply --confirm` began.

use std::process::ExitCode;

use segd::api::types::{Applied, WhyRequest};

use crate::cli::Session;
use crate::client::Call;
use crate::failure::Failure;
use crate::ssh::Insist;

/// Keep the policy that apply --confirm put on trial
#[derive(Debug, clap::Args)]
#[command(after_help = "Type it over a connection that you opened after the apply: that you can is the proof.\n\n\
                        Examples:\n  segctl apply new-zones.yaml --confirm 60s\n  segctl confirm")]
pub(crate) struct ConfirmArgs {
    /// Why, for the history
    #[arg(long, value_name = "R")]
    reason: Option<String>,
}

/// Take the policy on trial back at once; without one, the last apply
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without a trial it puts zones.yaml.previous back in force; typed twice, it is where it was.\n\n\
                        Examples:\n  segctl rollback\n  segctl rollback --reason 'Printing broke'"
)]
pub(crate) struct RollbackArgs {
    /// Why, for the history
    #[arg(long, value_name = "R")]
    reason: Option<String>,
    #[command(flatten)]
    insist: Insist,
}

/// Keeps it.
pub(crate) async fn confirm(args: ConfirmArgs, session: &Session) -> anyhow::Result<ExitCode> {
    let applied: Applied = session.client.send(because("/v1/confirm", args.reason)?).await?.body;
    session.screen.show(&applied, |applied, _| {
        format!("generation {} is confirmed and stays\n  to look at it: segctl status", applied.generation)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Takes it back.
pub(crate) async fn rollback(args: RollbackArgs, session: &Session) -> anyhow::Result<ExitCode> {
    // A trial always ends in the policy before it; without one this is an apply like any other.
    let call = because("/v1/rollback", args.reason)?.keeping(args.insist.connection());
    let applied: Applied = session.client.send(call).await?.body;
    session.screen.show(&applied, |applied, _| {
        format!(
            "the old policy is in force again, as generation {}\n  to see what was done: segctl history",
            applied.generation
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn because(path: &str, reason: Option<String>) -> Result<Call, Failure> {
    Call::post(path).json(&WhyRequest { reason })
}
