//! Faults and failed tests of a policy, as people read them.

use segd::api::types::{FaultView, TestView};

use crate::words::Tone;

/// One fault as people read it: place, what, the line with its mark, the mend.
pub(crate) fn fault(fault: &FaultView) -> String {
    told(Tone::Bad, "error", fault)
}

/// One warning, likewise.
pub(crate) fn warning(fault: &FaultView) -> String {
    told(Tone::Warn, "warning", fault)
}

fn told(tone: Tone, word: &str, fault: &FaultView) -> String {
    let FaultView { place, what, mend, picture } = fault;
    let word = tone.paint(word);
    if picture.is_empty() { format!("{word}: {place}: {what}\n  mend: {mend}") } else { format!("{word}: {picture}") }
}

/// One test that failed.
pub(crate) fn failed_test(test: &TestView) -> String {
    let TestView { place, claim, found, .. } = test;
    format!("{}: {place}: {claim}\n  found instead: {found}", Tone::Bad.paint("test failed"))
}
