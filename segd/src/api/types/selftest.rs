//! Crafted frames through the loaded programs: `POST /v1/selftest`. Plain data only.

use serde::{Deserialize, Serialize};

use super::Verdict;

/// Body of `POST /v1/selftest`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelftestRequest {
    /// Also the policy's own tests that expect `allow`: each counts as a connection of its rule.
    pub allowed: bool,
}

/// Answer of `POST /v1/selftest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelftestReport {
    /// Whether every frame got what it had to, and there was one.
    pub passed: bool,
    /// The generation that was asked.
    pub generation: u32,
    /// Every frame.
    pub frames: Vec<SelftestFrame>,
    /// What could not be run, and why.
    pub skipped: Vec<String>,
}

/// One frame, what it had to get and what it got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelftestFrame {
    /// What it is.
    pub what: String,
    /// The interface that it was run for.
    pub interface: String,
    /// Its hook, and so the program.
    pub hook: String,
    /// What it had to get: what `explain` says, or for a frame that can't be trusted what the contract says.
    pub expected: Verdict,
    /// The counter that had to move.
    pub expected_reason: String,
    /// What the program answered.
    pub verdict: Verdict,
    /// The counters that moved; under traffic others may be among them.
    pub moved: Vec<String>,
    /// Whether both are as expected.
    pub right: bool,
}
