//! A policy on its way: read, checked, compiled and tested, and not yet in force. Pure but for the clock.

use jiff::Timestamp;

use super::claims::{self, Compiled};
use super::refusal::{Refusal, fault_views};
use crate::api::types::{CheckReport, TestView};
use crate::compile::{Clock, Facts, Image, Registry, compile};
use crate::config::{Fault, Source, load_sources};
use crate::datapath::Sizes;
use crate::policy::Policy;

/// A policy as it was written, and what it means.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// The files, `zones.yaml` first.
    pub(super) sources: Vec<Source>,
    /// What they mean.
    pub(super) policy: Policy,
    /// What does not stop them.
    pub(super) warnings: Vec<Fault>,
    /// SHA-256 over names and texts, in hex.
    pub(super) digest: String,
}

/// A policy that passed every check, and can be published.
pub(super) struct Judged {
    pub(super) image: Image,
    /// The registry with the numbers that the image uses.
    pub(super) registry: Registry,
    /// How many tests were run; all passed.
    pub(super) tests: usize,
    /// The room that it needs in the kernel.
    pub(super) sizes: Sizes,
}

impl Judged {
    fn new(policy: &Policy, image: Image, registry: Registry, tests: usize) -> Self {
        let sizes = Sizes::for_policy(policy, &image, &registry);
        Self { image, registry, tests, sizes }
    }
}

impl Written {
    /// Checks the texts.
    pub(super) fn read(sources: Vec<Source>) -> Result<Self, Refusal> {
        let loaded = load_sources(sources.clone())?;
        Ok(Self { sources, policy: loaded.policy, warnings: loaded.warnings, digest: loaded.digest })
    }
}

/// Compiles `policy` for `facts` and runs its tests.
pub(super) fn judge(policy: &Policy, facts: &Facts, registry: &Registry) -> Result<Judged, Refusal> {
    let (judged, failed) = judge_known(policy, facts, registry)?;
    if failed.is_empty() { Ok(judged) } else { Err(Refusal::Tests(failed)) }
}

/// The same for a policy that was in force before: which of its tests fail by now is told, and stops nothing. Rules expire, and a
/// clock may be wrong at boot.
pub(super) fn judge_known(
    policy: &Policy,
    facts: &Facts,
    registry: &Registry,
) -> Result<(Judged, Vec<TestView>), Refusal> {
    let (image, registry, tests) = compile_and_test(policy, facts, registry)?;
    let ran = tests.len();
    let failed = tests.into_iter().filter(|test| !test.passed).collect();
    Ok((Judged::new(policy, image, registry, ran), failed))
}

/// Compiles `policy` for `facts` without asking its tests: it was good, and only the machine changed.
pub(super) fn compiled(policy: &Policy, facts: &Facts, registry: &Registry) -> Result<Judged, Refusal> {
    compile_and_test(policy, facts, registry).map(|(image, registry, _)| Judged::new(policy, image, registry, 0))
}

fn compile_and_test(
    policy: &Policy,
    facts: &Facts,
    registry: &Registry,
) -> Result<(Image, Registry, Vec<TestView>), Refusal> {
    let mut registry = registry.clone();
    let image = compile(policy, facts, &mut registry)
        .map_err(|error| Refusal::Failed(format!("cannot compile the policy: {error}")))?;
    // A policy is not at fault for somebody being cut off: its tests speak of it alone.
    let alone = if facts.cuts.is_empty() {
        None
    } else {
        let facts = Facts { cuts: Vec::new(), ..facts.clone() };
        let image = compile(policy, &facts, &mut registry)
            .map_err(|error| Refusal::Failed(format!("cannot compile the policy: {error}")))?;
        Some(image)
    };
    let compiled = Compiled {
        policy,
        image: alone.as_ref().unwrap_or(&image),
        registry: &registry,
        now: facts.now,
        now_jiffies: facts.clock.jiffies,
    };
    let tests = claims::run(compiled);
    Ok((image, registry, tests))
}

/// Faults, warnings and tests of a set of files. Needs no privileges and changes nothing: what the machine's own
/// addresses are is not asked, so that the answer is the same everywhere.
#[must_use]
pub fn check(sources: Vec<Source>) -> CheckReport {
    report(
        sources,
        &Facts {
            host: Vec::new(),
            interfaces: Vec::new(),
            cuts: Vec::new(),
            now: Timestamp::now(),
            clock: Clock::detached(Timestamp::now()),
        },
    )
}

/// The same for a machine whose facts are known.
pub(super) fn report(sources: Vec<Source>, facts: &Facts) -> CheckReport {
    let written = match Written::read(sources) {
        Ok(written) => written,
        Err(Refusal::Faults(faults)) => {
            return CheckReport { faults: fault_views(&faults.faults), ..CheckReport::default() };
        }
        Err(refusal) => return whole(&refusal),
    };
    let warnings = fault_views(&written.warnings);
    match compile_and_test(&written.policy, facts, &Registry::default()) {
        Ok((_, _, tests)) => CheckReport { faults: Vec::new(), warnings, tests },
        Err(refusal) => CheckReport { warnings, ..whole(&refusal) },
    }
}

/// A fault that has no place in a file.
fn whole(refusal: &Refusal) -> CheckReport {
    let fault = Fault { message: refusal.to_string(), ..Fault::default() };
    CheckReport { faults: fault_views(&[fault]), ..CheckReport::default() }
}
