//! The store that the compiler lays pages in: equal pages are one, and a page only points to pages laid before it. Page
//! numbers in it are those of the host; [`relocated`] turns a page's into others.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};
use segd_common::image::{Locator, PAGE_RECORDS, PAGE_WORDS, Page, RECORD_WORDS, Ref, rule_set, skip, slot};

/// What the words of a page are, so that references in it can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A table whose leaves are values.
    Values,
    /// A table whose leaves are locators.
    Locators,
    /// Skip records whose leaves are values.
    Skips,
    /// Rule sets.
    RuleSets,
    /// Slots.
    Slots,
    /// Skip records whose leaves are locators.
    LocatorSkips,
}

impl Kind {
    /// All of them; a kind's place is the number by which it is written down.
    const ALL: [Self; 6] = [Self::Values, Self::Locators, Self::Skips, Self::RuleSets, Self::Slots, Self::LocatorSkips];

    pub(super) fn number(self) -> u8 {
        Self::ALL.iter().position(|kind| *kind == self).unwrap_or(Self::ALL.len()) as u8
    }

    pub(super) fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// The words of a record.
pub(super) type Record = [u32; RECORD_WORDS];

/// Pages in the order in which they were laid; the first has number 1.
#[derive(Default)]
pub(super) struct PageStore {
    pages: Vec<Page>,
    kinds: Vec<Kind>,
    /// Places in `pages`, found by what stands there: a copy of each page as its key would double the whole.
    known: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl PageStore {
    /// The number of this page.
    pub(super) fn add(&mut self, kind: Kind, page: &Page) -> u32 {
        let Self { pages, kinds, known, hasher } = self;
        let same = |place: &u32| kinds[*place as usize] == kind && pages[*place as usize] == *page;
        let wanted = hasher.hash_one((kind, page));
        if let Some(place) = known.find(wanted, same) {
            return place + 1;
        }
        let place = pages.len() as u32;
        pages.push(*page);
        kinds.push(kind);
        let hash = |place: &u32| hasher.hash_one((kinds[*place as usize], &pages[*place as usize]));
        known.insert_unique(wanted, place, hash);
        place + 1
    }

    /// A table, or its leaf if that is all there is in it.
    pub(super) fn table(&mut self, kind: Kind, entries: &[Ref; PAGE_WORDS]) -> Ref {
        match lone_leaf(entries) {
            Some(leaf) => leaf,
            None => Ref::table(self.add(kind, &Page(entries.map(|entry| entry.0)))),
        }
    }

    /// Packs records, given in a stable order, each with a number that belongs to it for good. Where a page ends is
    /// decided by those numbers, so that a record more or less changes one page and not all that follow.
    pub(super) fn pack(&mut self, kind: Kind, records: &[(Record, u64)]) -> Vec<Locator> {
        let mut locators = Vec::with_capacity(records.len());
        let mut rest = records;
        while !rest.is_empty() {
            let limit = rest.len().min(PAGE_RECORDS as usize);
            let end = rest[..limit].iter().position(|(_, stable)| ends_page(*stable)).map_or(limit, |last| last + 1);
            let (chunk, after) = rest.split_at(end);
            let mut page = Page([0; PAGE_WORDS]);
            for (place, (record, _)) in page.0.chunks_exact_mut(RECORD_WORDS).zip(chunk) {
                place.copy_from_slice(record);
            }
            let number = self.add(kind, &page);
            locators.extend((0..end as u32).map(|index| Locator::at(number, index)));
            rest = after;
        }
        locators
    }

    /// Everything, in the order in which it was laid.
    pub(super) fn into_pages(self) -> (Vec<Page>, Vec<Kind>) {
        (self.pages, self.kinds)
    }
}

/// The leaf that every entry is.
pub(super) fn lone_leaf(entries: &[Ref; PAGE_WORDS]) -> Option<Ref> {
    let first = entries[0];
    (first.as_leaf().is_some() && entries.iter().all(|entry| *entry == first)).then_some(first)
}

/// One number in 24, whatever the numbers look like (splitmix64's finish).
fn ends_page(stable: u64) -> bool {
    let mut mixed = stable.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ mixed >> 31).is_multiple_of(24)
}

/// Host page numbers to those of another place: entry n is the number of page n there, entry 0 is unused.
pub(super) struct Moves<'a>(pub(super) &'a [u32]);

impl Moves<'_> {
    pub(super) fn locator(&self, at: Locator) -> Locator {
        if at == Locator::NONE { at } else { Locator::at(self.0[at.page() as usize], at.0 % PAGE_RECORDS) }
    }

    /// A reference whose leaves are values.
    pub(super) fn value(&self, at: Ref) -> Ref {
        match (at.as_table(), at.as_skip()) {
            (Some(page), _) => Ref::table(self.0[page as usize]),
            (_, Some(record)) => Ref::skip(self.locator(record)),
            _ => at,
        }
    }

    /// A reference whose leaves are locators.
    pub(super) fn located(&self, at: Ref) -> Ref {
        match at.as_leaf() {
            Some(leaf) => Ref::leaf(self.locator(Locator(leaf)).0),
            None => self.value(at),
        }
    }
}

/// The page with its references moved.
pub(super) fn relocated(page: &Page, kind: Kind, moves: &Moves<'_>) -> Page {
    let mut page = *page;
    match kind {
        Kind::Values => page.0.iter_mut().for_each(|word| *word = moves.value(Ref(*word)).0),
        Kind::Locators => page.0.iter_mut().for_each(|word| *word = moves.located(Ref(*word)).0),
        Kind::Skips => each_record(&mut page, |record| record[skip::NEXT] = moves.value(Ref(record[skip::NEXT])).0),
        Kind::LocatorSkips => each_record(&mut page, |record| {
            for word in [skip::OTHERWISE, skip::NEXT] {
                record[word] = moves.located(Ref(record[word])).0;
            }
        }),
        Kind::Slots => {
            each_record(&mut page, |record| record[slot::THEN] = moves.locator(Locator(record[slot::THEN])).0);
        }
        Kind::RuleSets => each_record(&mut page, |record| {
            record[..=rule_set::OTHER].iter_mut().for_each(|word| *word = moves.located(Ref(*word)).0);
            record[rule_set::DEFAULT] = moves.locator(Locator(record[rule_set::DEFAULT])).0;
        }),
    }
    page
}

fn each_record(page: &mut Page, change: impl Fn(&mut [u32])) {
    page.0.chunks_exact_mut(RECORD_WORDS).for_each(change);
}
