//! `segctl reload`: the daemon reads its zone files again, as on SIGHUP, but the answer is seen.

use std::process::ExitCode;

use segd::api::types::Applied;

use crate::cli::Session;
use crate::client::Call;
use crate::ssh::Insist;

/// Read the zone files again and put them in force; a bad file changes nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  segctl check /etc/segd/zones.yaml && segctl reload")]
pub(crate) struct Args {
    #[command(flatten)]
    insist: Insist,
}

/// Asks for it and says what is in force.
pub(crate) async fn run(args: &Args, session: &Session) -> anyhow::Result<ExitCode> {
    let applied: Applied = session.client.send(Call::post("/v1/reload").keeping(args.insist.connection())).await?.body;
    session.screen.show(&applied, |applied, page| super::apply::text(applied, "segctl rules", page))?;
    Ok(ExitCode::SUCCESS)
}
