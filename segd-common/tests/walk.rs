//! Walks along tries whose runs of bytes are skip records: what they compare, what they step over, and where they end.

use proptest::prelude::*;
use segd_common::env::Pages;
use segd_common::image::{Key, Locator, PAGE_WORDS, Page, Ref, skip, walk};

struct Store(Vec<Page>);

impl Pages for Store {
    fn page(&self, number: u32) -> Option<&Page> {
        self.0.get(number as usize)
    }
}

const OTHER: u32 = 7;

const fn key(bits: u128) -> Key {
    Key { hi: (bits >> 64) as u64, lo: bits as u64 }
}

/// Page 1 holds a skip over the first `count` bytes of `expect`, page 2 the table behind it: each byte is its own answer.
fn store(count: u32, expect: u128) -> Store {
    let mut pages = vec![Page([0; PAGE_WORDS]); 3];
    let record = &mut pages[1].0;
    record[skip::COUNT] = count;
    for (place, word) in record[skip::EXPECT..skip::OTHERWISE].iter_mut().enumerate() {
        *word = (expect >> (96 - 32 * place)) as u32;
    }
    record[skip::OTHERWISE] = Ref::leaf(OTHER).0;
    record[skip::NEXT] = Ref::table(2).0;
    for (byte, entry) in pages[2].0.iter_mut().enumerate() {
        *entry = Ref::leaf(1000 + byte as u32).0;
    }
    Store(pages)
}

const START: Ref = Ref::skip(Locator::at(1, 0));

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_skip_goes_on_behind_its_bytes_if_they_are_all_the_keys(
        count in 1..16u32, expect in any::<u128>(), rest in any::<u128>(), flipped in 0..128u32,
    ) {
        let store = store(count, expect);
        let mask = u128::MAX << (128 - count * 8);
        let asked = (expect & mask) | (rest & !mask);
        let next = (asked >> (120 - count * 8)) as u8;
        prop_assert_eq!(walk(&store, START, key(asked)), Some(1000 + u32::from(next)));
        let differs = asked ^ (1 << (127 - flipped));
        let next = (differs >> (120 - count * 8)) as u8;
        let answer = if flipped < count * 8 { OTHER } else { 1000 + u32::from(next) };
        prop_assert_eq!(walk(&store, START, key(differs)), Some(answer));
    }
}

#[test]
fn a_trie_without_end_or_with_a_page_missing_has_no_answer() {
    let mut page = Page([0; PAGE_WORDS]);
    page.0.fill(Ref::table(0).0);
    assert_eq!(walk(&Store(vec![page]), Ref::table(0), key(5)), None);
    assert_eq!(walk(&Store(vec![page]), Ref::table(1), key(5)), None);
    assert_eq!(walk(&Store(vec![page]), START, key(5)), None);
}

#[test]
fn a_leaf_is_its_own_answer_and_sixteen_tables_are_a_whole_address() {
    assert_eq!(walk(&Store(Vec::new()), Ref::leaf(9), key(0)), Some(9));
    let pages = (1..=16).map(|next| {
        let end = if next == 16 { Ref::leaf(9) } else { Ref::table(next) };
        Page([end.0; PAGE_WORDS])
    });
    assert_eq!(walk(&Store(pages.collect()), Ref::table(0), key(0)), Some(9));
}
