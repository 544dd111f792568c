//! One file per verb: what it takes, what it asks the daemon, what it shows. No verb calls another one's `run`.

pub(crate) mod allow;
pub(crate) mod apply;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod confirm;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod extend;
pub(crate) mod flows;
pub(crate) mod history;
pub(crate) mod interfaces;
pub(crate) mod man;
pub(crate) mod matrix;
pub(crate) mod pairs;
pub(crate) mod quarantine;
pub(crate) mod reload;
pub(crate) mod report;
pub(crate) mod revoke;
pub(crate) mod rules;
pub(crate) mod selftest;
pub(crate) mod services;
pub(crate) mod status;
pub(crate) mod suggest;
pub(crate) mod top;
pub(crate) mod zones;

use std::path::Path;

use jiff::Timestamp;
use segd::api::types::PolicyText;

use crate::client::Call;
use crate::failure::Failure;
use crate::past;

/// A zone file as the daemon takes it: named by its full path, so that faults can be found from anywhere.
fn read_policy(file: &Path) -> Result<PolicyText, Failure> {
    let name = file.display().to_string();
    match segd::config::text_of(file, &name) {
        Ok(text) => Ok(PolicyText { name, text }),
        Err(fault) => Err(Failure::usage(format!("{}: {}", fault.file, fault.message), fault.mend)),
    }
}

/// Asks for a page, of everything or of what was seen since a point in time.
fn since(path: &str, since: Option<Timestamp>) -> Call {
    match since {
        Some(time) => Call::get(path).query(&[("since", &past::query(time))]),
        None => Call::get(path),
    }
}

/// A zone as a person types it, or `any`.
fn zone(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if starts && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err("a zone's name has small letters, digits, - and _; segctl zones lists them".into())
}

/// One zone or several, set apart by commas.
fn zones_list(text: &str) -> Result<String, String> {
    text.split(',').try_for_each(|name| zone(name).map(drop))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_zones_are_told_from_addresses_and_networks() {
        assert_eq!(zone("dev-2_a"), Ok("dev-2_a".into()));
        for text in ["", "Dev", "-dev", "10.0.0.0/8", "dev ops", "fd00::1"] {
            assert!(zone(text).is_err(), "{text}");
        }
        assert!(zones_list("dev,ops").is_ok());
        assert!(zones_list("dev,").is_err());
    }
}
