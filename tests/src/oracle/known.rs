//! Differences that are known and not yet mended. Each says what the programs do instead; a test keeps each to its shape,
//! and fails when it is gone, so that its line here goes with it.

use segd_common::reason::Reason;

use super::ground::Got;
use crate::model::{Outcome, Who, Why};

/// A known difference.
#[derive(Clone, Copy)]
pub struct Known {
    /// What the programs do, in words.
    pub what: &'static str,
    /// Something passes that must not. Nothing that comes behind it can be compared, so the case ends there.
    pub leak: bool,
    is: fn(&Circumstances<'_>) -> bool,
}

/// What is known of a difference.
pub(super) struct Circumstances<'a> {
    /// What the model says.
    pub(super) want: &'a Outcome,
    /// What the programs did.
    pub(super) got: &'a Got,
    /// Connections that are open are being adopted.
    pub(super) adopting: bool,
    /// The policy is not the first one.
    pub(super) republished: bool,
    /// An address of this machine is in the failsafe list.
    pub(super) own_failsafe: bool,
}

impl Circumstances<'_> {
    fn is_own_failsafe(&self) -> bool {
        let by_failsafe = matches!(self.counted(), Some(Reason::Failsafe | Reason::Reply | Reason::Related));
        self.own_failsafe && self.want.from == Who::Host && self.got.passed && self.got.rule.is_none() && by_failsafe
    }

    const fn counted(&self) -> Option<Reason> {
        match self.got.counted {
            Some((reason, ..)) => Some(reason),
            None => None,
        }
    }
}

/// All of them.
pub const KNOWN: [Known; 6] = [
    Known {
        what: "a header that goes on behind the first 512 bytes is told to be truncated, not too deep",
        leak: false,
        is: |case| case.want.why == Why::TooDeep && case.counted() == Some(Reason::Truncated),
    },
    Known {
        what: "while connections are adopted, an echo reply that a rule lets pass as such opens one, whose service is read back wrong",
        leak: false,
        is: |case| case.adopting && matches!(case.want.protocol, Some(1 | 58)),
    },
    Known {
        what: "what is essential rides on a connection between the same ends that is not, and is counted as its packet",
        leak: false,
        is: |case| case.want.why == Why::Essential && case.got.passed,
    },
    Known {
        what: "after a change of policy the other side of a live connection is not asked again for its interface",
        leak: true,
        is: |case| {
            let rides = matches!(
                case.counted(),
                Some(Reason::Reply | Reason::Rule | Reason::IntraZone | Reason::Failsafe | Reason::Audit)
            );
            case.republished && case.want.why == Why::SpoofedSource && rides
        },
    },
    Known {
        what: "this machine's own address in the failsafe list: its connections are the failsafe's from the first answer on",
        leak: false,
        is: |case| case.is_own_failsafe(),
    },
    Known {
        what: "and are not cut when the rule that opened them goes",
        leak: true,
        is: |case| case.is_own_failsafe(),
    },
];

/// Which known difference this is.
#[must_use]
pub(super) fn known(case: &Circumstances<'_>) -> Option<(usize, &'static Known)> {
    let leaks = case.got.passed && !case.want.why.passes();
    KNOWN.iter().enumerate().find(|(_, known)| known.leak == leaks && (known.is)(case))
}
