//! What a shell may complete a word to: names that only the running daemon knows. A daemon that does not answer at once has none;
//! somebody at a prompt must never wait for it.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap_complete::CompletionCandidate;
use clap_complete::engine::ArgValueCompleter;
use segd::api::types::{QuarantineView, RuleView, ServiceView, ZoneView};
use serde::de::DeserializeOwned;

use crate::client::Client;

/// Set by the shell's script when it asks; `segctl completions` writes that script.
pub(crate) const ASKED_BY: &str = "SEGCTL_COMPLETE";
/// As long as nobody minds.
const PATIENCE: Duration = Duration::from_millis(500);

/// A name, and what it is.
type Known = (String, Option<String>);

/// Zones, and `any`.
pub(crate) fn zone() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| candidates(typed, "", zones()))
}

/// One zone or several, set apart by commas.
pub(crate) fn zone_list() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let text = typed.to_string_lossy();
        let (before, last) = text.rsplit_once(',').map_or(("", &*text), |(before, last)| (before, last));
        let taken: Vec<&str> = before.split(',').collect();
        let left = zones().into_iter().filter(|(name, _)| !taken.contains(&name.as_str())).collect();
        let before = if before.is_empty() { String::new() } else { format!("{before},") };
        candidates(OsStr::new(last), &before, left)
    })
}

/// Rules by id.
pub(crate) fn rule() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let rules: Vec<RuleView> = ask("/v1/rules");
        candidates(typed, "", rules.into_iter().map(|rule| (rule.id, rule.reason)).collect())
    })
}

/// Services that have a name.
pub(crate) fn service() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let services: Vec<ServiceView> = ask("/v1/services");
        candidates(
            typed,
            "",
            services.into_iter().map(|service| (service.name, Some(service.members.join(", ")))).collect(),
        )
    })
}

/// Who is cut off.
pub(crate) fn quarantined() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let all: Vec<QuarantineView> = ask("/v1/quarantine");
        candidates(typed, "", all.into_iter().map(|one| (one.target, Some(one.reason))).collect())
    })
}

fn zones() -> Vec<Known> {
    let zones: Vec<ZoneView> = ask("/v1/zones");
    let mut all: Vec<Known> = zones.into_iter().map(|zone| (zone.name, zone.description)).collect();
    if !all.is_empty() {
        all.push(("any".to_owned(), Some("every zone".to_owned())));
    }
    all
}

fn candidates(typed: &OsStr, before: &str, known: Vec<Known>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let fitting = known.into_iter().filter(|(name, _)| name.starts_with(&*typed));
    fitting.map(|(name, help)| CompletionCandidate::new(format!("{before}{name}")).help(help.map(Into::into))).collect()
}

/// The daemon's answer, or nothing.
fn ask<T: DeserializeOwned>(path: &str) -> Vec<T> {
    let socket = std::env::var_os("SEGD_SOCKET").map_or_else(|| segd::api::DEFAULT_SOCKET.into(), PathBuf::from);
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    let asked = async { tokio::time::timeout(PATIENCE, Client::new(&socket).get(path)).await };
    runtime.block_on(asked).ok().and_then(Result::ok).unwrap_or_default()
}
