//! From what was written to the checked policy: names are resolved, values are parsed, and whatever makes no sense is
//! said with its place and its mend. Must never stop at the first fault, and never let one become a second one.

mod names;
mod rules;
mod sections;
mod services;
mod tests;
mod zones;

use std::collections::HashSet;

use jiff::Timestamp;

use crate::policy::Policy;

use super::findings::Findings;
use super::written::Written;
use names::Names;
pub use rules::{LONGEST, says_something};

/// What could not be read. A name that may be defined there is not called unknown.
#[derive(Default)]
pub(super) struct Unread {
    /// A whole file is missing from the picture, so it may define anything.
    pub(super) everything: bool,
    /// The words of texts that are no YAML.
    pub(super) words: HashSet<String>,
}

impl Unread {
    fn may_define(&self, name: &str) -> bool {
        self.everything || self.words.contains(name)
    }
}

/// Checks everything that was read. `now` decides which rules have expired.
pub(super) fn check(written: &Written, unread: &Unread, now: Timestamp, findings: &mut Findings<'_>) -> Policy {
    let zones = zones::check(&written.zones, findings);
    let services = services::check(&written.services, findings);
    let names = Names::new(&written.zones, &services, unread);
    Policy {
        mode: written.mode.as_ref().map(|mode| mode.value).unwrap_or_default(),
        interfaces: sections::interfaces(&written.interfaces, findings),
        zones,
        rules: rules::rules(&written.rules, &names, now, findings),
        pairs: rules::pairs(&written.pairs, &names, findings),
        failsafe: sections::failsafe(written.failsafe.as_ref(), &names, findings),
        essentials: sections::essentials(written.essentials.as_ref(), findings),
        limits: sections::limits(written.limits.as_ref(), findings),
        tests: tests::check(&written.tests, &names, findings),
        services,
    }
}
