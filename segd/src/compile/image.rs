//! The image as a plain value: it answers questions where it is, and can be placed into any array of pages.

use std::sync::Arc;

use segd_common::env::Pages;
use segd_common::image::{Page, Root};

use super::laid::Laid;
use super::marks::Marks;
use super::pages::PageStore;
use super::plan::Plan;
use super::question::{Answer, Question, answer};

/// A compiled policy. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Image {
    laid: Laid,
    plan: Arc<Plan>,
    marks: Arc<Marks>,
}

/// Pages in memory; the first has number 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPages(pub Vec<Page>);

impl Pages for HostPages {
    fn page(&self, number: u32) -> Option<&Page> {
        self.0.get((number as usize).checked_sub(1)?)
    }
}

/// The image found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the policy's image needs {needed} pages, and there was room for {placed} of them; use fewer zones, networks or rules"
)]
pub struct NoRoom {
    /// Pages of the image.
    pub needed: u32,
    /// Pages that found room.
    pub placed: u32,
}

impl Image {
    pub(super) fn new(store: PageStore, root: Root, plan: Plan, marks: Marks) -> Self {
        Self { laid: Laid::new(store, root), plan: Arc::new(plan), marks: Arc::new(marks) }
    }

    /// What of it the kernel needs.
    #[must_use]
    pub const fn laid(&self) -> &Laid {
        &self.laid
    }

    /// How many pages it takes at the most; pages that are already there are shared.
    #[must_use]
    pub fn page_count(&self) -> u32 {
        self.laid.page_count()
    }

    /// The pages as they are in memory, for the packet path's own functions.
    #[must_use]
    pub fn pages(&self) -> &HostPages {
        self.laid.pages()
    }

    /// The root over [`Image::pages`]; its generation is 0.
    #[must_use]
    pub const fn root(&self) -> &Root {
        self.laid.root()
    }

    /// What becomes of a new connection at `now` (jiffies).
    #[must_use]
    pub fn answer(&self, question: &Question, now: u64) -> Answer {
        answer(self.pages(), self.root(), question, now)
    }

    /// Whether sources of the zone with this number may be seen on the interface with this slot.
    #[must_use]
    pub fn may_be_seen(&self, zone: u16, slot: u16) -> bool {
        self.root().may_be_seen(self.pages(), zone, slot)
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }
}
