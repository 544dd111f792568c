//! The zone file as it was written: the merged content of all files, each value with its place and nothing resolved.
//! Must never decide what a value means; that is `check`.

use crate::policy::{Forward, HookChoice, IntraZone, Mode};

use super::fields::At;
use super::findings::Spot;

/// All files together, in their order.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) mode: Option<At<Mode>>,
    pub(super) interfaces: Vec<WrittenInterface>,
    pub(super) zones: Vec<WrittenZone>,
    pub(super) services: Vec<WrittenService>,
    pub(super) rules: Vec<WrittenRule>,
    pub(super) pairs: Vec<WrittenPair>,
    pub(super) failsafe: Option<At<WrittenFailsafe>>,
    pub(super) essentials: Option<At<Vec<At<String>>>>,
    pub(super) limits: Option<At<WrittenLimits>>,
    pub(super) tests: Vec<At<WrittenTest>>,
}

#[derive(Debug)]
pub(super) struct WrittenInterface {
    pub(super) name: At<String>,
    pub(super) hook: HookChoice,
    pub(super) forward: Forward,
}

#[derive(Debug)]
pub(super) struct WrittenZone {
    pub(super) name: At<String>,
    pub(super) description: Option<String>,
    pub(super) networks: Vec<At<String>>,
    pub(super) interfaces: Vec<At<String>>,
    pub(super) intra_zone: IntraZone,
}

#[derive(Debug)]
pub(super) struct WrittenService {
    pub(super) name: At<String>,
    pub(super) elements: Vec<At<String>>,
}

/// `None` where a fault has already been said about what is missing.
#[derive(Debug)]
pub(super) struct WrittenRule {
    pub(super) spot: Spot,
    pub(super) id: Option<At<String>>,
    pub(super) from: Option<At<Vec<At<String>>>>,
    pub(super) to: Option<At<Vec<At<String>>>>,
    pub(super) services: Option<At<Vec<At<String>>>>,
    pub(super) reason: Option<At<String>>,
    pub(super) approved_by: Option<At<String>>,
    pub(super) ticket: Option<At<String>>,
    pub(super) expires: Option<At<String>>,
    pub(super) mode: Mode,
    pub(super) log: bool,
}

#[derive(Debug)]
pub(super) struct WrittenPair {
    pub(super) spot: Spot,
    pub(super) from: At<String>,
    pub(super) to: At<String>,
    pub(super) mode: Mode,
}

#[derive(Debug)]
pub(super) struct WrittenFailsafe {
    pub(super) from: Vec<At<String>>,
    pub(super) services: Vec<At<String>>,
}

#[derive(Debug)]
pub(super) struct WrittenLimits {
    pub(super) connections: Option<At<u64>>,
    pub(super) half_open: Option<At<u64>>,
}

#[derive(Debug)]
pub(super) enum WrittenTest {
    Connection { from: At<String>, to: At<String>, service: At<String>, expect_allow: bool },
    Reach { zone: At<String>, only_from: Vec<At<String>> },
}
