//! Pages of `docs/` that tests hold to what they say: their commands are typed as they stand there.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::lab::{Lab, binary};

/// Where the control socket is unless it is told.
const SOCKET: &str = "/run/segd/segd.sock";

/// A page by its file name.
pub fn page(name: &str) -> Result<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    fs::read_to_string(&page).with_context(|| format!("could not read {}", page.display()))
}

/// Fenced blocks of one language, in their order.
#[must_use]
pub fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    page.split(fence.as_str()).skip(1).filter_map(|block| block.split("```").next()).collect()
}

/// Types a line as an admin would, in the folder of the zone file; the socket is the lab's.
pub fn types(lab: &Lab, line: &str) -> Result<String> {
    let folder = binary("segctl")?.parent().context("a folder")?.to_owned();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let socket = lab.daemon.socket();
    let out = Command::new("sh")
        .args(["-c", &line.replace(SOCKET, &socket.to_string_lossy())])
        .env("PATH", path)
        .env("SEGD_SOCKET", socket)
        .current_dir(lab.daemon.config().parent().context("a folder")?)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    ensure!(out.status.success(), "{line}: {}\n{said}{}", out.status, String::from_utf8_lossy(&out.stderr));
    Ok(said)
}
