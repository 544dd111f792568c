//! The compiler: a checked policy and the facts of this machine in, an [`Image`] out. Pure: it opens nothing, asks no
//! clock and knows of no map. The same input gives the same image, page by page.

mod addresses;
mod clock;
mod compare;
mod cuts;
mod facts;
mod first;
mod image;
mod laid;
mod marks;
mod matrix;
mod pages;
mod pairs;
mod plan;
mod question;
mod registry;
mod seen;
mod services;
mod slots;
mod strength;

#[cfg(test)]
mod tests;

pub use clock::Clock;
pub use compare::{Change, compare};
pub use cuts::{Cut, Whom};

pub use facts::{Facts, InterfaceFact};
pub use image::{HostPages, Image, NoRoom};
pub use laid::{Laid, NotLaid};
pub use question::{Answer, Question, answer, single};
pub use registry::{BrokenRegistry, Freed, Registry};
pub use seen::names as names_interface;

use segd_common::image::{Locator, Ref, Root};
use segd_common::packet::Essential as Shape;

use crate::policy::{Essential, Mode, Policy, ZoneName};
use pages::PageStore;
use plan::Plan;
use slots::Slots;

/// Zones that a policy may have, the reserved ones included.
pub const MAX_ZONES: u32 = 4096;
/// Rules that a policy may have.
pub const MAX_RULES: u32 = 1_000_000;

/// Why a checked policy could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The numbers of zones have run out.
    #[error("no number is left for zone {0}: there may be {MAX_ZONES} zones; join zones that have the same rules")]
    TooManyZones(ZoneName),
    /// The numbers of rules have run out.
    #[error(
        "no number is left for rule {0}: there may be {MAX_RULES} rules; join rules that differ in their zones only"
    )]
    TooManyRules(String),
    /// The marks of cut-off hosts have run out.
    #[error("more than 255 quarantines end at different times; release some, or give several one end")]
    TooManyCuts,
    /// The policy was not checked.
    #[error("{place}: zone {zone} is not defined; define it under zones, or correct its name")]
    UnknownZone {
        /// What was named.
        zone: ZoneName,
        /// By whom.
        place: crate::policy::Place,
    },
}

/// Compiles `policy` for the machine that `facts` describe. New zones and rules get their numbers from `registry`; on an
/// error it may have given out some of them.
///
/// # Errors
/// Too many zones or rules, or a zone that the policy does not define.
pub fn compile(policy: &Policy, facts: &Facts, registry: &mut Registry) -> Result<Image, CompileError> {
    registry.enter(policy)?;
    let mut marks = marks::gather(policy, facts, registry)?;
    let ends = cuts::mark(&mut marks, facts, registry)?;
    let plan = Plan::make(policy, facts, registry)?;
    let mut store = PageStore::default();
    let (v4, v6) = addresses::lay(&mut store, &marks);
    let slots = Slots::lay(&mut store, &plan, &facts.clock);
    let quarantine = ends.lay(&mut store, &facts.clock);
    let (pairs, failsafe) = pairs::lay(&mut store, &plan, &slots, quarantine);
    let seen = seen::lay(&mut store, policy, facts, registry);
    let flags = if policy.mode == Mode::Audit { Root::AUDIT } else { 0 } | if plan.wide() { Root::WIDE } else { 0 };
    let root = Root { generation: 0, v4, v6, pairs, seen, failsafe, flags, essentials: essentials(policy) };
    Ok(Image::new(store, root, plan, marks))
}

/// The shapes of packets that pass under every policy, a bit each.
fn essentials(policy: &Policy) -> u32 {
    let shapes = policy.essentials.iter().flat_map(|essential| match essential {
        Essential::Arp => &[Shape::Arp][..],
        Essential::Ndp => &[Shape::Ndp, Shape::NdpRouter],
        Essential::DhcpClient => &[Shape::DhcpRequest, Shape::DhcpReply],
        Essential::Mld => &[Shape::Mld],
    });
    shapes.fold(0, |bits, shape| bits | 1 << *shape as u32)
}

/// A reference whose leaves are locators.
const fn leaf_of(at: Locator) -> Ref {
    Ref::leaf(at.0)
}
