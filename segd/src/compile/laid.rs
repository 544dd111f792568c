//! The part of an image that the kernel needs: its pages, and where they begin. It goes onto the disk and back, so that
//! the last policy can be put in force without anybody reading a zone file.

use std::sync::Arc;

use segd_common::image::{Locator, PAGE_WORDS, Page, RECORD_WORDS, Ref, Root, skip, slot};

use super::Clock;
use super::image::{HostPages, NoRoom};
use super::pages::{Kind, Moves, PageStore, relocated};

/// Page numbers that fit into a locator.
const PAGE_LIMIT: u32 = 1 << 25;

/// A compiled policy as it can be placed. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Laid {
    pages: Arc<HostPages>,
    kinds: Arc<[Kind]>,
    root: Root,
}

/// Bytes that are no laid image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no compiled policy of this build")]
pub struct NotLaid;

/// Words of a root as they are written down.
const ROOT_WORDS: usize = 8;
const ROOT_BYTES: usize = ROOT_WORDS * size_of::<u32>();
const PAGE_BYTES: usize = 1 + size_of::<Page>();

impl Laid {
    pub(super) fn new(store: PageStore, root: Root) -> Self {
        let (pages, kinds) = store.into_pages();
        Self { pages: Arc::new(HostPages(pages)), kinds: kinds.into(), root }
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

    /// The root over [`Laid::pages`]; its generation is 0.
    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root
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

    /// The same policy for a kernel that counts otherwise, as one does that was booted since: what ended at a time of the
    /// wall clock by `then` ends at that time by `now`.
    #[must_use]
    pub fn by_clock(&self, then: &Clock, now: &Clock) -> Self {
        let mut pages = self.pages.0.clone();
        for (page, _) in pages.iter_mut().zip(self.kinds.iter()).filter(|(_, kind)| **kind == Kind::Slots) {
            page.0.chunks_exact_mut(RECORD_WORDS).for_each(|record| shift(record, then, now));
        }
        Self { pages: Arc::new(HostPages(pages)), ..self.clone() }
    }

    /// As bytes, in parts: the root, then each page behind the number of its kind. A large image is never copied whole.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn bytes<E>(&self, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let Root { generation, v4, v6, pairs, seen, failsafe, flags, essentials } = self.root;
        let words = [generation, v4.0, v6.0, pairs.0, seen.0, failsafe.0, flags, essentials];
        let mut part = Vec::with_capacity(PAGE_BYTES);
        part.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        take(&part)?;
        for (Page(words), kind) in self.pages.0.iter().zip(self.kinds.iter()) {
            part.clear();
            part.push(kind.number());
            part.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            take(&part)?;
        }
        Ok(())
    }

    /// Out of the bytes of [`Laid::bytes`]. Every reference is looked at: none leads out of the image.
    ///
    /// # Errors
    /// They are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotLaid> {
        let (head, rest) = bytes.split_at_checked(ROOT_BYTES).ok_or(NotLaid)?;
        let mut head = words(head);
        let mut word = || head.next().ok_or(NotLaid);
        let root = Root {
            generation: word()?,
            v4: Ref(word()?),
            v6: Ref(word()?),
            pairs: Ref(word()?),
            seen: Ref(word()?),
            failsafe: Locator(word()?),
            flags: word()?,
            essentials: word()?,
        };
        let chunks = rest.chunks_exact(PAGE_BYTES);
        if !chunks.remainder().is_empty() {
            return Err(NotLaid);
        }
        let (mut pages, mut kinds) = (Vec::new(), Vec::new());
        for chunk in chunks {
            let (kind, text) = chunk.split_first().ok_or(NotLaid)?;
            let mut page = Page([0; PAGE_WORDS]);
            page.0.iter_mut().zip(words(text)).for_each(|(place, word)| *place = word);
            kinds.push(Kind::of(*kind).ok_or(NotLaid)?);
            pages.push(page);
        }
        let laid = Self { pages: Arc::new(HostPages(pages)), kinds: kinds.into(), root };
        if laid.is_sound() { Ok(laid) } else { Err(NotLaid) }
    }

    /// Whether each page leads to pages before it only.
    fn is_sound(&self) -> bool {
        let before = |page: u32, number: u32| page < number;
        let locator = |at: Locator, number| at == Locator::NONE || before(at.page(), number);
        let value = |at: Ref, number| match (at.as_table(), at.as_skip()) {
            (Some(page), _) => before(page, number),
            (_, Some(record)) => locator(record, number),
            _ => true,
        };
        let located = |at: Ref, number| match at.as_leaf() {
            Some(leaf) => locator(Locator(leaf), number),
            None => value(at, number),
        };
        let sound = |(number, (Page(words), kind)): (u32, (&Page, &Kind))| {
            let mut records = words.chunks_exact(RECORD_WORDS);
            match kind {
                Kind::Values => words.iter().all(|word| value(Ref(*word), number)),
                Kind::Locators => words.iter().all(|word| located(Ref(*word), number)),
                // What relocation leaves as it is has to be a leaf.
                Kind::Skips => records.all(|record| {
                    Ref(record[skip::OTHERWISE]).as_leaf().is_some() && value(Ref(record[skip::NEXT]), number)
                }),
                Kind::LocatorSkips => records.all(|record| {
                    [skip::OTHERWISE, skip::NEXT].into_iter().all(|word| located(Ref(record[word]), number))
                }),
                Kind::Slots => records.all(|record| locator(Locator(record[slot::THEN]), number)),
                Kind::RuleSets => records.all(|record| {
                    use segd_common::image::rule_set::{DEFAULT, OTHER};
                    record[..=OTHER].iter().all(|word| located(Ref(*word), number))
                        && locator(Locator(record[DEFAULT]), number)
                }),
            }
        };
        let Root { generation: _, v4, v6, pairs, seen, failsafe, flags: _, essentials: _ } = self.root;
        let end = self.page_count() + 1;
        (1..).zip(self.pages.0.iter().zip(self.kinds.iter())).all(sound)
            && [v4, v6, seen].into_iter().all(|at| value(at, end))
            && located(pairs, end)
            && locator(failsafe, end)
    }
}

/// Little-endian words.
fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word))
}

/// 0 is "never" in every clock, and what has ended stays so.
fn shift(record: &mut [u32], then: &Clock, now: &Clock) {
    let deadline = u64::from(record[slot::DEADLINE]) | u64::from(record[slot::DEADLINE + 1]) << 32;
    if deadline > 1 {
        let moved = now.deadline(then.time(deadline));
        record[slot::DEADLINE] = moved as u32;
        record[slot::DEADLINE + 1] = (moved >> 32) as u32;
    }
}
