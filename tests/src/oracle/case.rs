//! One case: policies, and what happens under them in which order. It can be played again, cut down, and shown.

use std::fmt;

use jiff::Timestamp;

use super::ground::INTERFACES;
use crate::model::{Hook, Policy};

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A frame comes.
    Frame {
        /// Where.
        hook: Hook,
        /// Number of the interface.
        interface: u8,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Another policy is put in force.
    Publish(usize),
}

/// Everything that happens, from nothing on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The first is in force from the beginning.
    pub policies: Vec<Policy>,
    /// Within the first minute after the first start.
    pub adopting: bool,
    /// Frames on their way in go to TC, not to XDP.
    pub tc: bool,
    /// In order.
    pub steps: Vec<Step>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = Timestamp::now();
        for (number, policy) in self.policies.iter().enumerate() {
            writeln!(f, "# policy {number}; this machine has {:?}", policy.host)?;
            write!(f, "{}", policy.to_yaml(now))?;
        }
        if self.adopting {
            writeln!(f, "# connections that were open before are adopted")?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            match step {
                Step::Publish(policy) => writeln!(f, "# step {number}: policy {policy} is put in force")?,
                Step::Frame { hook, interface, bytes } => {
                    let by = match (hook, self.tc) {
                        (Hook::Ingress, true) => "in by TC",
                        (Hook::Ingress, false) => "in by XDP",
                        (Hook::Local, _) => "out, from this machine",
                        (Hook::Forward, _) => "out, forwarded",
                    };
                    writeln!(f, "# step {number}: {by}, {}:", INTERFACES[usize::from(*interface)])?;
                    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                    writeln!(f)?;
                }
            }
        }
        Ok(())
    }
}
