//! The image as a plain value: it answers questions where it is, and can be placed into any array of pages.

use std::sync::Arc;

use segd_common::env::Pages;
use segd_common::image::{Page, Root};

use super::marks::Marks;
use super::pages::{Kind, Moves, PageStore, relocated};
use super::plan::Plan;
use super::question::{Answer, Question, answer};

/// Page numbers that fit into a locator.
const PAGE_LIMIT: u32 = 1 << 25;

/// A compiled policy. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Image {
    pages: Arc<HostPages>,
    kinds: Arc<[Kind]>,
    root: Root,
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
        let (pages, kinds) = store.into_pages();
        Self {
            pages: Arc::new(HostPages(pages)),
            kinds: kinds.into(),
            root,
            plan: Arc::new(plan),
            marks: Arc::new(marks),
        }
    }

    /// How many pages it takes at the most; pages that are already there are shared.
    #[must_use]
    pub fn page_count(&self) -> u32 {
        self.kinds.len() as u32
    }

    /// The pages as they are in memory, for the packet path's own functions.
    #[must_use]
    pub fn pages(&self) -> &HostPages {
        &self.pages
    }

    /// The root over [`Image::pages`]; its generation is 0.
    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// What becomes of a new connection at `now` (jiffies).
    #[must_use]
    pub fn answer(&self, question: &Question, now: u64) -> Answer {
        answer(&*self.pages, &self.root, question, now)
    }

    /// Places the image elsewhere. `room` is called once for each page, children before parents, with the page as it will
    /// stand there; it returns that page's number, which is the number of an equal page where there is one, and is never 0.
    /// The root's generation is left 0 for the caller.
    ///
    /// # Errors
    /// `room` had none.
    pub fn place(&self, mut room: impl FnMut(&Page) -> Option<u32>) -> Result<Root, NoRoom> {
        let mut numbers = vec![0];
        for (page, kind) in self.pages.0.iter().zip(self.kinds.iter()) {
            let moved = relocated(page, *kind, &Moves(&numbers));
            let number = room(&moved).filter(|number| (1..PAGE_LIMIT).contains(number));
            numbers.push(number.ok_or(NoRoom { needed: self.page_count(), placed: numbers.len() as u32 - 1 })?);
        }
        Ok(self.moved_root(&Moves(&numbers)))
    }

    fn moved_root(&self, moves: &Moves<'_>) -> Root {
        let Root { generation, v4, v6, pairs, seen, failsafe, flags, essentials } = self.root;
        Root {
            generation,
            v4: moves.value(v4),
            v6: moves.value(v6),
            pairs: moves.located(pairs),
            seen: moves.value(seen),
            failsafe: moves.locator(failsafe),
            flags,
            essentials,
        }
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }
}
