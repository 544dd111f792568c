//! What a machine begins with as long as no policy was ever in force on it: chosen where segd is installed, by a few words
//! and not by a zone file.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::policy::{Essential, Failsafe, Policy, Service};

/// The choice, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirstBoot {
    /// Nothing is enforced until a policy is.
    #[default]
    Open,
    /// Everything is dropped but the failsafe and the essentials.
    Failsafe,
}

impl fmt::Display for FirstBoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Failsafe => "failsafe",
        })
    }
}

impl FirstBoot {
    /// The policy that it stands for: no zone, no rule, and who may reach what all the same.
    #[must_use]
    pub fn policy(self, from: Vec<IpNet>, services: Vec<Service>) -> Option<Policy> {
        let failsafe = Failsafe { from, services };
        let closed = || Policy { failsafe, essentials: Essential::DEFAULT.into(), ..Policy::default() };
        (self == Self::Failsafe).then(closed)
    }
}
