//! Conservation: what goes into a hook comes out of its counters, frame by frame and byte by byte, and under verdicts that
//! say what happened. It knows nothing of policy: no model says what the verdict should have been.

use std::fmt;

use anyhow::Result;
use segd_common::reason::{Reason, Verdict};

use super::case::{Case, Step};
use super::ground::{Ground, Totals};
use crate::model::Hook;

/// Frames between two looks at the counters, at most. In between they are played hook by hook.
const STRETCH: usize = 1000;

/// The programs that frames are put into.
const PROGRAMS: [&str; 3] = ["XDP", "TC ingress", "TC egress"];

/// What went into one hook, and what came out of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Frames that went in.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that the program let pass.
    pub passed: u64,
    /// Of them, those that were forwarded: they were counted on their way in.
    pub forwarded: u64,
    /// Bytes of these.
    pub forwarded_bytes: u64,
    /// What the counters say, over all pairs of zones.
    pub counted: Totals,
}

impl Flow {
    fn add(&mut self, other: &Self) {
        let Self { frames, bytes, passed, forwarded, forwarded_bytes, counted } = other;
        self.frames += frames;
        self.bytes += bytes;
        self.passed += passed;
        self.forwarded += forwarded;
        self.forwarded_bytes += forwarded_bytes;
        self.counted = self.counted.plus(counted);
    }

    /// Frames and bytes that the counters have, and how many of the frames were counted as let through.
    #[must_use]
    pub fn sums(&self) -> [u64; 3] {
        let passing = Reason::ALL.into_iter().filter(|reason| reason.verdict() != Verdict::Deny);
        let passed = passing.map(|reason| self.counted.packets[reason as usize]).sum();
        [self.counted.packets.iter().sum(), self.counted.bytes.iter().sum(), passed]
    }

    /// Whether nothing was lost and nothing made up.
    #[must_use]
    pub fn is_conserved(&self) -> bool {
        let once = |all: u64, again: u64| all - again;
        self.sums()
            == [
                once(self.frames, self.forwarded),
                once(self.bytes, self.forwarded_bytes),
                once(self.passed, self.forwarded),
            ]
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [packets, bytes, passed] = self.sums();
        write!(
            f,
            "in: {} frames, {} bytes, {} passed, of which counted on their way in: {} frames, {} bytes; \
             counted: {packets} frames, {bytes} bytes, {passed} passed",
            self.frames, self.bytes, self.passed, self.forwarded, self.forwarded_bytes
        )
    }
}

/// All hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conserved(pub [Flow; 3]);

impl Conserved {
    /// Over all hooks.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.0.iter().map(|flow| flow.frames).sum()
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(into, more)| into.add(more));
    }
}

impl fmt::Display for Conserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PROGRAMS.iter().zip(&self.0).try_for_each(|(name, flow)| writeln!(f, "{name}: {flow}"))
    }
}

/// Plays a case from nothing on. `Some`: at this hook something was lost or made up.
pub fn conserve(ground: &mut Ground, case: &Case, all: &mut Conserved) -> Result<Option<String>> {
    ground.forget(case.adopting)?;
    let Some(first) = case.policies.first() else { return Ok(None) };
    ground.publish(first)?;
    for stretch in case.steps.chunks(STRETCH) {
        for (program, name) in PROGRAMS.iter().enumerate() {
            let flow = through(ground, case, stretch, program)?;
            all.0[program].add(&flow);
            if !flow.is_conserved() {
                return Ok(Some(format!("{name}: {flow}\n{:?}", flow.counted)));
            }
        }
        let published = stretch.iter().rev().find_map(|step| match step {
            Step::Publish(number) => case.policies.get(*number),
            Step::Frame { .. } => None,
        });
        published.map_or(Ok(()), |policy| ground.publish(policy))?;
    }
    Ok(None)
}

/// The frames of a stretch that go to one program, between two looks at the counters.
fn through(ground: &mut Ground, case: &Case, stretch: &[Step], program: usize) -> Result<Flow> {
    let before = ground.totals()?;
    let mut flow = Flow::default();
    for step in stretch {
        let Step::Frame { hook, interface, bytes } = step else { continue };
        let goes_to = if *hook == Hook::Ingress { usize::from(case.tc) } else { 2 };
        if goes_to != program {
            continue;
        }
        let passed = ground.send(*hook, *interface, case.tc, bytes)?;
        let again = u64::from(passed && *hook == Hook::Forward);
        flow.frames += 1;
        flow.bytes += bytes.len() as u64;
        flow.passed += u64::from(passed);
        flow.forwarded += again;
        flow.forwarded_bytes += again * bytes.len() as u64;
    }
    flow.counted = ground.totals()?.minus(&before);
    Ok(flow)
}
