//! Putting an image in force: new pages into free places, the root into a spare record, then one store.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{Ordering, fence};

use segd_common::control::{Control, ROOTS};
use segd_common::image::{PAGE_WORDS, Page};

use super::DatapathError;
use super::raw::wait_for_programs;
use super::set::MapSet;
use crate::compile::Image;

/// What stands where in the image map.
pub(super) struct Placed {
    /// Pages that hold something, by their content.
    known: HashMap<Page, u32>,
    /// Pages that hold nothing. The last is taken first.
    free: Vec<u32>,
}

const EMPTY: Page = Page([0; PAGE_WORDS]);

impl Placed {
    /// Reads what an earlier daemon left: a page that is not all zero is in use. Page 0 is nobody's. Numbers that the set
    /// before this one used are taken last: while the programs change over, both write places of their own image into shared
    /// connections, and to the other one they had better be places of nothing.
    pub(super) fn read(set: &MapSet) -> Self {
        let (mut known, mut free) = (HashMap::new(), Vec::new());
        for number in (1..set.image.len() as u32).rev() {
            match set.image.read(number as usize) {
                Some(page) if page != EMPTY => drop(known.insert(page, number)),
                _ => free.push(number),
            }
        }
        free.sort_by_key(|number| (!set.used_before.contains(number), std::cmp::Reverse(*number)));
        Self { known, free }
    }
}

/// Places an image, makes it the current one, and clears what only the one before it used.
pub(super) fn publish(set: &mut MapSet, placed: &mut Placed, image: &Image) -> Result<u32, DatapathError> {
    let mut used = HashSet::new();
    let mut added = Vec::new();
    let root = image.place(|page| {
        let number = if let Some(number) = placed.known.get(page) {
            *number
        } else {
            let number = placed.free.pop()?;
            set.image.write(number as usize, *page);
            placed.known.insert(*page, number);
            added.push(*page);
            number
        };
        used.insert(number);
        Some(number)
    });
    let mut root = match root {
        Ok(root) => root,
        Err(no_room) => {
            give_back(set, placed, &added);
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
        Ok(()) => clear_unused(set, placed, &used),
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

fn give_back(set: &MapSet, placed: &mut Placed, pages: &[Page]) {
    for page in pages {
        if let Some(number) = placed.known.remove(page) {
            set.image.write(number as usize, EMPTY);
            placed.free.push(number);
        }
    }
}

fn clear_unused(set: &MapSet, placed: &mut Placed, used: &HashSet<u32>) {
    let free = &mut placed.free;
    placed.known.retain(|_, number| {
        let keep = used.contains(number);
        if !keep {
            set.image.write(*number as usize, EMPTY);
            free.push(*number);
        }
        keep
    });
}
