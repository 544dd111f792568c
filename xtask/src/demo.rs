//! Builds the programs and starts the demo, which lives beside the lab that it is made of.

use anyhow::{Result, bail};

use crate::command::{cargo, run};
use crate::setup;

/// Shows the product at work; `keep` leaves it standing.
pub(crate) fn run_demo(keep: bool) -> Result<()> {
    // SAFETY: a plain system call.
    if unsafe { libc::geteuid() } != 0 {
        bail!(
            "the demo makes network namespaces and loads kernel programs, and needs root for that: \
             `sudo -E env \"PATH=$PATH\" cargo xtask demo`"
        );
    }
    setup::install()?;
    run(&mut cargo(&["build", "--quiet", "--locked", "-p", "segd", "-p", "segctl", "-p", "segd-tests", "--bins"]))?;
    let mut demo = cargo(&["run", "--quiet", "--locked", "-p", "segd-tests", "--bin", "segd-demo", "--"]);
    if keep {
        demo.arg("--keep");
    }
    run(&mut demo)
}
