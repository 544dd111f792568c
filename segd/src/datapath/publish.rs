//! Putting an image in force: new pages into free places, the root into a spare record, then one store.

use std::cmp::Reverse;
use std::hash::BuildHasher as _;
use std::io;
use std::thread::{self, JoinHandle};

use hashbrown::{DefaultHashBuilder, HashTable};
use segd_common::control::{Control, ROOTS};
use segd_common::image::{PAGE_WORDS, Page, Root};

use super::DatapathError;
use super::raw::{Mapping, wait_for_programs};
use super::set::MapSet;
use crate::compile::{Image, Laid, NoRoom};

/// What stands where in the image map. It knows pages by their hash and asks the map for the rest: a second copy of a large
/// policy would weigh more than all else of the daemon.
pub(super) struct Placed {
    /// Pages that hold something.
    known: HashTable<Known>,
    hasher: DefaultHashBuilder,
    /// Pages that hold nothing. The last is taken first.
    free: Vec<u32>,
    /// Pages of the current image; none until this daemon has published one.
    current: Numbers,
    leaving: Option<Leaving>,
}

/// Pages that the latest image does not use, and that a program may still be reading. They are cleared within seconds, and before
/// anything else is written: whoever publishes does not wait for the programs, which takes the kernel longer than all the rest.
struct Leaving {
    /// All the others.
    used: Numbers,
    wait: io::Result<JoinHandle<io::Result<()>>>,
}

/// A page, found by the hash of its content.
struct Known {
    hash: u64,
    number: u32,
}

/// Numbers of pages.
#[derive(Clone, Default)]
struct Numbers(Vec<bool>);

impl Numbers {
    fn add(&mut self, number: u32) {
        let place = number as usize;
        if place >= self.0.len() {
            self.0.resize(place + 1, false);
        }
        self.0[place] = true;
    }

    fn has(&self, number: u32) -> bool {
        self.0.get(number as usize).is_some_and(|there| *there)
    }

    fn or(&self, more: &Self) -> Self {
        let place = |place: usize| self.has(place as u32) || more.has(place as u32);
        Self((0..self.0.len().max(more.0.len())).map(place).collect())
    }
}

const EMPTY: Page = Page([0; PAGE_WORDS]);

impl Placed {
    /// Reads what an earlier daemon left: a page that is not all zero is in use. Page 0 is nobody's. Numbers that the set
    /// before this one used are taken last: while the programs change over, both write places of their own image into shared
    /// connections, and to the other one they had better be places of nothing.
    pub(super) fn read(set: &MapSet) -> Result<Self, DatapathError> {
        let image = set.image()?;
        let mut placed = Self {
            known: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            free: Vec::new(),
            current: Numbers::default(),
            leaving: None,
        };
        for number in (1..image.len() as u32).rev() {
            match image.get(number as usize) {
                Some(page) if *page != EMPTY => placed.note(placed.hasher.hash_one(page), number),
                _ => placed.free.push(number),
            }
        }
        placed.free.sort_by_key(|number| (!set.used_before.contains(number), Reverse(*number)));
        Ok(placed)
    }

    fn note(&mut self, hash: u64, number: u32) {
        self.known.insert_unique(hash, Known { hash, number }, |known| known.hash);
    }

    /// The number of an equal page, or else of a free one that it is written to, and whether it was there. `None`: there is
    /// no room.
    fn place(&mut self, image: &Mapping<Page>, page: &Page) -> Option<(u32, bool)> {
        let hash = self.hasher.hash_one(page);
        let same = |known: &Known| known.hash == hash && image.get(known.number as usize) == Some(page);
        if let Some(known) = self.known.find(hash, same) {
            return Some((known.number, true));
        }
        let number = self.free.pop()?;
        image.write(number as usize, *page);
        self.note(hash, number);
        Some((number, false))
    }

    /// The image in force uses these pages alone.
    fn leave_but(&mut self, used: Numbers) {
        let wait = thread::Builder::new().name("segd-programs".to_owned()).spawn(wait_for_programs);
        self.leaving = Some(Leaving { used, wait });
    }

    /// Whether there is nothing to clear.
    pub(super) const fn is_settled(&self) -> bool {
        self.leaving.is_none()
    }

    /// Clears what nobody can still read.
    pub(super) fn settle(&mut self, image: &Mapping<Page>) {
        let Some(Leaving { used, wait }) = self.leaving.take() else { return };
        let waited = match wait {
            Ok(thread) => thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that waits panicked"))),
            // There was no thread to be had.
            Err(_) => wait_for_programs(),
        };
        match waited {
            Ok(()) => self.clear(image, |number| used.has(number)),
            Err(error) => tracing::warn!("old pages of the policy are kept: cannot wait for running programs: {error}"),
        }
    }

    /// Clears the pages that `keep` does not want.
    fn clear(&mut self, image: &Mapping<Page>, keep: impl Fn(u32) -> bool) {
        let free = &mut self.free;
        self.known.retain(|Known { number, .. }| {
            let keeps = keep(*number);
            if !keeps {
                image.write(*number as usize, EMPTY);
                free.push(*number);
            }
            keeps
        });
    }
}

/// What holds again if nobody confirms the image beside it in time.
#[derive(Clone, Copy)]
pub struct Fallback<'a> {
    /// The policy.
    pub image: &'a Image,
    /// Jiffies from which on it holds.
    pub deadline: u64,
}

/// The generations that were given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Of the image that holds now.
    pub generation: u32,
    /// Of the one that holds past the deadline; it is the higher one, so that generations only grow.
    pub fallback: Option<u32>,
}

/// Places an image and makes it the current one; what only the ones before it used leaves. With a fallback, that one is placed
/// beside it, and the programs themselves take it past the deadline.
pub(super) fn publish(
    set: &mut MapSet,
    placed: &mut Placed,
    image: &Laid,
    fallback: Option<Fallback<'_>>,
) -> Result<Published, DatapathError> {
    let pages = set.image()?;
    placed.settle(&pages);
    let mut room = Room { pages: &pages, placed, added: Numbers::default() };
    let laid = room
        .lay(image)
        .and_then(|own| Ok((own, fallback.map(|fallback| room.lay(fallback.image.laid())).transpose()?)));
    let (own, other) = match laid {
        Ok(laid) => laid,
        Err(no_room) => {
            let added = room.added;
            placed.clear(&pages, |number| !added.has(number));
            return Err(no_room.into());
        }
    };
    let control = set.control.read(0).ok_or(DatapathError::Missing("CONTROL"))?;
    let generation = following(newest(&control, set.last_generation));
    let (next, spare) = spare_places(control.selector);
    set.control.write_root(next, Root { generation, ..own.root });
    let mut used = None;
    let (selector, fallback) = match (other, fallback) {
        (Some(other), Some(Fallback { deadline, .. })) => {
            let behind = following(generation);
            set.control.write_root(spare, Root { generation: behind, ..other.root });
            used = Some(own.used.or(&other.used));
            (Control::selector(next as u8, spare as u8, deadline.clamp(1, LAST_DEADLINE)), Some(behind))
        }
        _ => (Control::selector(next as u8, next as u8, 0), None),
    };
    set.control.select(selector);
    placed.current = own.used;
    placed.leave_but(used.unwrap_or_else(|| placed.current.clone()));
    Ok(Published { generation, fallback })
}

/// Makes the current image hold whatever the deadline was; what only its fallback used leaves.
pub(super) fn confirm(set: &mut MapSet, placed: &mut Placed) -> Result<(), DatapathError> {
    let control = set.control.read(0).ok_or(DatapathError::Missing("CONTROL"))?;
    let current = (control.selector & 0xff) as u8;
    set.control.select(Control::selector(current, current, 0));
    placed.settle(&set.image()?);
    placed.leave_but(placed.current.clone());
    Ok(())
}

/// The selector has 48 bits for a deadline: thousands of years of jiffies.
const LAST_DEADLINE: u64 = (1 << 48) - 1;

/// Two places for roots that no packet can be looking at: neither the current one nor what it falls back to.
fn spare_places(selector: u64) -> (usize, usize) {
    let taken = [(selector & 0xff) as usize % ROOTS, (selector >> 8 & 0xff) as usize % ROOTS];
    let mut free = (0..ROOTS).map(|step| (taken[0] + 1 + step) % ROOTS).filter(|place| !taken.contains(place));
    // There are four places, and at the most two are taken.
    (free.next().unwrap_or(0), free.next().unwrap_or(0))
}

/// The last generation that was given out: a connection may still carry it.
fn newest(control: &Control, carried: u32) -> u32 {
    control.roots.iter().map(|root| root.generation).fold(carried, u32::max)
}

/// An image in its place: where it begins, and the pages that it uses.
struct Place {
    root: Root,
    used: Numbers,
}

/// The map while images are laid into it.
struct Room<'a> {
    pages: &'a Mapping<Page>,
    placed: &'a mut Placed,
    /// Pages that were not there before.
    added: Numbers,
}

impl Room<'_> {
    fn lay(&mut self, image: &Laid) -> Result<Place, NoRoom> {
        let mut used = Numbers::default();
        let root = image.place(|page| {
            let (number, there) = self.placed.place(self.pages, page)?;
            if !there {
                self.added.add(number);
            }
            used.add(number);
            Some(number)
        })?;
        Ok(Place { root, used })
    }
}

/// The generation behind one; 0 and the mark of an entry that is being written are left out.
const fn following(generation: u32) -> u32 {
    match generation.wrapping_add(1) {
        0 | u32::MAX => 1,
        next => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_root_never_takes_a_place_that_packets_look_at() {
        for current in 0..ROOTS as u8 {
            for previous in 0..ROOTS as u8 {
                let (next, spare) = spare_places(Control::selector(current, previous, 7));
                let places = [current as usize, previous as usize];
                assert!(next != spare && !places.contains(&next) && !places.contains(&spare), "{current} {previous}");
            }
        }
    }

    #[test]
    fn a_generation_is_never_given_out_twice() {
        let root = |generation| Root { generation, ..Root::default() };
        let roots = [root(3), root(9), root(8), root(2)];
        let control = Control {
            selector: Control::selector(2, 1, 50),
            seed: 0,
            adopt_until: 0,
            bucket_mask: 0,
            hz: 100,
            zones: 0,
            event_rate: 0,
            roots,
        };
        assert_eq!(control.root(49).map(|root| root.generation), Some(8));
        assert_eq!(control.root(50).map(|root| root.generation), Some(9), "past the deadline the fallback holds");
        assert_eq!(following(newest(&control, 0)), 10, "not 9, though 8 is the current one");
        assert_eq!(following(newest(&control, 20)), 21);
    }
}
