//! Builds the player of captures and starts it; it lives beside the tests.

use std::path::PathBuf;

use anyhow::Result;

use crate::command::{cargo, run};
use crate::setup;

/// What a person asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A folder with captures: .pcap, .pcapng, .cap, in any depth
    #[arg(long, value_name = "DIR")]
    captures: PathBuf,
    /// Mutants of each frame, beside every truncation of it
    #[arg(long, value_name = "N", default_value = "200")]
    mutants: String,
    /// Draw the same mutants again
    #[arg(long)]
    seed: Option<u64>,
    /// Only this hook: tc, xdp or xdp-generic; all three otherwise
    #[arg(long)]
    hook: Option<String>,
    /// Where the frames of bypasses are kept, if there are any
    #[arg(long, value_name = "FILE", default_value = "bypasses.pcap")]
    keep: PathBuf,
}

/// Plays them; a forbidden packet that was delivered is shown, kept, and a failure.
pub(crate) fn run_delivery(options: &Options) -> Result<()> {
    setup::install()?;
    run(&mut cargo(&["build", "--workspace", "--locked"]))?;
    let mut delivery = cargo(&["run", "--quiet", "--locked", "-p", "segd-tests", "--bin", "segd-delivery", "--"]);
    delivery.arg("--captures").arg(&options.captures).args(["--mutants", &options.mutants]);
    delivery.arg("--keep").arg(&options.keep);
    if let Some(seed) = options.seed {
        delivery.args(["--seed", &seed.to_string()]);
    }
    if let Some(hook) = &options.hook {
        delivery.args(["--hook", hook]);
    }
    run(&mut delivery)
}
