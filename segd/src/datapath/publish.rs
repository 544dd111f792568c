//! Putting an image in force: new pages into free places, the root into a spare record, then one store.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{Ordering, fence};

use segd_common::control::{Control, ROOTS};
use segd_common::image::{PAGE_WORDS, Page};

use super::DatapathError;
use super::raw::{Mapping, wait_for_programs};
use super::set::MapSet;
use crate::compile::Image;

/// What stands where in the image map. It knows pages by their hash and asks the map for the rest: a second copy of a large
/// policy would weigh more than all else of the daemon.
pub(super) struct Placed {
    /// Pages that hold something, by the hash of their content.
    known: HashMap<u64, Vec<u32>>,
    hasher: RandomState,
    /// Pages that hold nothing. The last is taken first.
    free: Vec<u32>,
}

const EMPTY: Page = Page([0; PAGE_WORDS]);

impl Placed {
    /// Reads what an earlier daemon left: a page that is not all zero is in use. Page 0 is nobody's. Numbers that the set
    /// before this one used are taken last: while the programs change over, both write places of their own image into shared
    /// connections, and to the other one they had better be places of nothing.
    pub(super) fn read(set: &MapSet) -> Result<Self, DatapathError> {
        let image = set.image()?;
        let mut placed = Self { known: HashMap::new(), hasher: RandomState::new(), free: Vec::new() };
        for number in (1..image.len() as u32).rev() {
            match image.get(number as usize) {
                Some(page) if *page != EMPTY => placed.note(page, number),
                _ => placed.free.push(number),
            }
        }
        placed.free.sort_by_key(|number| (!set.used_before.contains(number), Reverse(*number)));
        Ok(placed)
    }

    fn note(&mut self, page: &Page, number: u32) {
        self.known.entry(self.hasher.hash_one(page)).or_default().push(number);
    }

    /// Where an equal page stands.
    fn find(&self, image: &Mapping<Page>, page: &Page) -> Option<u32> {
        let there = self.known.get(&self.hasher.hash_one(page))?;
        there.iter().copied().find(|number| image.get(*number as usize) == Some(page))
    }

    /// Clears the pages that `keep` does not want.
    fn clear(&mut self, image: &Mapping<Page>, keep: impl Fn(&u32) -> bool) {
        let free = &mut self.free;
        self.known.retain(|_, numbers| {
            numbers.retain(|number| {
                let keeps = keep(number);
                if !keeps {
                    image.write(*number as usize, EMPTY);
                    free.push(*number);
                }
                keeps
            });
            !numbers.is_empty()
        });
    }
}

/// Places an image, makes it the current one, and clears what only the one before it used.
pub(super) fn publish(set: &mut MapSet, placed: &mut Placed, image: &Image) -> Result<u32, DatapathError> {
    let pages = set.image()?;
    let mut used = HashSet::new();
    let mut added = HashSet::new();
    let root = image.place(|page| {
        let number = if let Some(number) = placed.find(&pages, page) {
            number
        } else {
            let number = placed.free.pop()?;
            pages.write(number as usize, *page);
            placed.note(page, number);
            added.insert(number);
            number
        };
        used.insert(number);
        Some(number)
    });
    let mut root = match root {
        Ok(root) => root,
        Err(no_room) => {
            placed.clear(&pages, |number| !added.contains(number));
            return Err(no_room.into());
        }
    };
    let mut control = set.control.read(0).ok_or(DatapathError::Missing("CONTROL"))?;
    let current = (control.selector & 0xff) as usize % ROOTS;
    let next = (current + 1) % ROOTS;
    root.generation = following(control.roots[current].generation.max(set.last_generation));
    control.roots[next] = root;
    set.control.write(0, control);
    // The root has to be whole before the selector names it.
    fence(Ordering::SeqCst);
    control.selector = Control::selector(next as u8, next as u8, 0);
    set.control.write(0, control);
    // In force from here on, whatever comes: pages are only cleared once nobody can still read them.
    match wait_for_programs() {
        Ok(()) => placed.clear(&pages, |number| used.contains(number)),
        Err(error) => tracing::warn!("old pages of the policy are kept: cannot wait for running programs: {error}"),
    }
    Ok(root.generation)
}

/// The generation behind one; 0 and the mark of an entry that is being written are left out.
const fn following(generation: u32) -> u32 {
    match generation.wrapping_add(1) {
        0 | u32::MAX => 1,
        next => next,
    }
}
