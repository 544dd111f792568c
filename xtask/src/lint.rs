//! Everything that can be said about the code without running it.

use anyhow::Result;

use crate::command::{cargo, root, run};
use crate::ebpf;
use crate::fuzz;

/// Formatting, clippy, the kernel object, the fuzz targets' pins.
pub(crate) fn run_all() -> Result<()> {
    fuzz::check_lock()?;
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    run(cargo(&["fmt", "--check"]).current_dir(root().join("segd-ebpf")))?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    ebpf::check()
}
