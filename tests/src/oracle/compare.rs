//! Plays a case on both sides, frame by frame.

use std::fmt;

use anyhow::Result;
use segd_common::reason::Reason;

use super::case::{Case, Step};
use super::ground::{Got, Ground, INTERFACES};
use crate::model::{Hook, Outcome, Sight, World};

/// The two disagree.
#[derive(Clone, Debug)]
pub struct Difference {
    /// At which step.
    pub step: usize,
    /// What the model says.
    pub want: Outcome,
    /// What the programs did.
    pub got: Got,
}

/// What was played.
#[derive(Clone, Copy, Debug, Default)]
pub struct Played {
    /// Frames.
    pub frames: u64,
    /// Parts of datagrams whose first part was forgotten: the table of these may.
    pub forgotten: u64,
    /// Frames that passed on their way out after they had been judged on their way in: those are counted there.
    pub forwarded: u64,
    /// Frames that passed.
    pub passed: u64,
    /// Outcomes by reason.
    pub reasons: [u64; Reason::COUNT],
}

impl Played {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        let Self { frames, forgotten, forwarded, passed, reasons } = other;
        self.frames += frames;
        self.forgotten += forgotten;
        self.passed += passed;
        self.forwarded += forwarded;
        self.reasons.iter_mut().zip(reasons).for_each(|(into, more)| *into += more);
    }
}

/// Plays a case from nothing on, up to the first difference.
pub fn play(ground: &mut Ground, case: &Case, played: &mut Played) -> Result<Option<Difference>> {
    ground.forget(case.adopting)?;
    let Some(first) = case.policies.first() else { return Ok(None) };
    ground.publish(first)?;
    let mut world = World::new(first.clone(), case.adopting);
    for (number, step) in case.steps.iter().enumerate() {
        match step {
            Step::Publish(policy) => {
                let Some(policy) = case.policies.get(*policy) else { continue };
                ground.publish(policy)?;
                world.publish(policy.clone());
            }
            Step::Frame { hook, interface, bytes } => {
                let at = Sight { hook: *hook, interface: *interface, name: INTERFACES[usize::from(*interface)] };
                let want = world.judge(at, bytes);
                let passed = ground.send(*hook, *interface, case.tc, bytes)?;
                played.frames += 1;
                played.passed += u64::from(passed);
                played.forwarded += u64::from(passed && *hook == Hook::Forward);
                played.reasons[want.why as usize] += 1;
                if passed == want.why.passes() && ground.counted(&want, *hook)? {
                    continue;
                }
                let got = ground.moved(passed)?;
                // The table of datagrams is small, and may forget one.
                if want.if_forgotten().is_some_and(|other| got.is(&other, *hook)) {
                    world.forget(at, &want);
                    played.forgotten += 1;
                    continue;
                }
                return Ok(Some(Difference { step: number, want, got }));
            }
        }
    }
    Ok(None)
}

impl Difference {
    /// Whether something passed that must not: the worst kind.
    #[must_use]
    pub const fn is_leak(&self) -> bool {
        self.got.passed && !self.want.why.passes()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, want, got } = self;
        let word = |passed| if passed { "passes" } else { "is dropped" };
        writeln!(
            f,
            "step {step}: by the model it {} ({}, {} → {}, rule {:?}, opens a connection: {})",
            word(want.why.passes()),
            want.why.name(),
            want.from.name(),
            want.to.name(),
            want.rule.filter(|_| want.why.passes()),
            want.opened
        )?;
        let counted = match got.counted {
            Some((reason, from, to)) => format!("{}, {} → {}", reason.name(), from.name(), to.name()),
            None => "counted nowhere".to_owned(),
        };
        write!(
            f,
            "         in the kernel it {} ({counted}, rule {:?}, opens a connection: {})",
            word(got.passed),
            got.rule,
            got.opened
        )
    }
}
