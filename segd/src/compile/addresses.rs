//! The address tries: longest prefix, one byte a step, runs of single children as skip records. It knows prefixes and
//! places, and nothing of who asks.

use hashbrown::HashMap;
use segd_common::image::{Locator, PAGE_WORDS, Page, Ref, skip};

use super::marks::{Marks, Prefix};
use super::pages::{Kind, PageStore, Record, lone_leaf};

/// Bytes that one skip record holds at the most.
const LONGEST_SKIP: u32 = 15;

/// Lays the tries of both families; returns where they begin.
pub(super) fn lay(store: &mut PageStore, marks: &Marks) -> (Ref, Ref) {
    let mut nodes = Nodes::default();
    let v4 = nodes.build(0, &marks.v4, 0);
    let v6 = nodes.build(0, &marks.v6, 0);
    let at = nodes.lay(store);
    (at.of(v4), at.of(v6))
}

/// The tries before they have pages: references are to places in these lists. Equal nodes are one.
#[derive(Default)]
struct Nodes {
    tables: Vec<Node<Page>>,
    skips: Vec<Node<Record>>,
    known_tables: HashMap<Page, u32>,
    known_skips: HashMap<Record, u32>,
}

/// A node, and how many nodes are below it at the most. Nodes of one height don't point to each other: that is why the
/// records of a page are of one height, and pages never point in a circle.
struct Node<T> {
    words: T,
    height: u32,
    /// Where it was first met; orders records.
    place: u128,
}

impl Nodes {
    /// The trie below a node at `depth` bytes. `marks` are those with its prefix, sorted; `place` holds above them.
    fn build(&mut self, depth: u32, marks: &[Prefix], place: u32) -> Ref {
        let (own, marks) = marks.split_at(marks.partition_point(|mark| u32::from(mark.len) <= depth * 8));
        let place = own.iter().fold(place, |place, prefix| prefix.mark.on(place));
        let ([first, ..], [.., last]) = (marks, marks) else { return Ref::leaf(place) };
        let shortest = marks.iter().map(|mark| u32::from(mark.len) / 8).min().unwrap_or(depth);
        let common = (first.bits ^ last.bits).leading_zeros() / 8;
        let count = (common.min(shortest) - depth).min(LONGEST_SKIP);
        if count >= 2 { self.build_skip(depth, count, marks, place) } else { self.build_table(depth, marks, place) }
    }

    fn build_skip(&mut self, depth: u32, count: u32, marks: &[Prefix], place: u32) -> Ref {
        let next = self.build(depth + count, marks, place);
        if next == Ref::leaf(place) {
            return next;
        }
        let bits = marks[0].bits;
        let expect = (bits << (depth * 8)) >> (128 - count * 8) << (128 - count * 8);
        let word = |index: u32| (expect >> (96 - index * 32)) as u32;
        let mut record = [count, word(0), word(1), word(2), word(3), 0, 0, 0];
        record[skip::OTHERWISE] = Ref::leaf(place).0;
        record[skip::NEXT] = next.0;
        let height = self.height(next) + 1;
        let Self { skips, known_skips, .. } = self;
        let index = *known_skips.entry(record).or_insert_with(|| {
            skips.push(Node { words: record, height, place: bits });
            skips.len() as u32 - 1
        });
        Ref::skip(Locator(index))
    }

    fn build_table(&mut self, depth: u32, marks: &[Prefix], place: u32) -> Ref {
        let mut entries = spread(depth, marks, place).map(Ref::leaf);
        let end = (depth + 1) * 8;
        let mut rest = marks;
        while let Some(start) = rest.iter().position(|mark| u32::from(mark.len) > end) {
            let byte = rest[start].byte(depth);
            let count = rest[start..].iter().take_while(|mark| mark.byte(depth) == byte).count();
            let (child, after) = rest[start..].split_at(count);
            let above = entries[byte].as_leaf().unwrap_or(place);
            entries[byte] = self.build(depth + 1, child, above);
            rest = after;
        }
        if let Some(leaf) = lone_leaf(&entries) {
            return leaf;
        }
        let height = entries.iter().map(|entry| self.height(*entry)).max().unwrap_or(0) + 1;
        let page = Page(entries.map(|entry| entry.0));
        let Self { tables, known_tables, .. } = self;
        let index = *known_tables.entry(page).or_insert_with(|| {
            tables.push(Node { words: page, height, place: marks[0].bits });
            tables.len() as u32 - 1
        });
        Ref::table(index)
    }

    fn height(&self, node: Ref) -> u32 {
        match (node.as_table(), node.as_skip()) {
            (Some(table), _) => self.tables[table as usize].height,
            (_, Some(skip)) => self.skips[skip.0 as usize].height,
            _ => 0,
        }
    }

    /// Lays the nodes, the lowest first.
    fn lay(self, store: &mut PageStore) -> Laid {
        let mut laid = Laid { tables: vec![0; self.tables.len()], skips: vec![Locator::NONE; self.skips.len()] };
        let heights = self.tables.iter().map(|node| node.height).chain(self.skips.iter().map(|node| node.height));
        for height in 1..=heights.max().unwrap_or(0) {
            for (index, node) in self.tables.iter().enumerate().filter(|(_, node)| node.height == height) {
                let page = Page(node.words.0.map(|word| laid.of(Ref(word)).0));
                laid.tables[index] = store.add(Kind::Values, &page);
            }
            let mut skips: Vec<usize> =
                (0..self.skips.len()).filter(|index| self.skips[*index].height == height).collect();
            skips.sort_by_key(|index| (self.skips[*index].place, self.skips[*index].words[skip::COUNT]));
            let record = |index: &usize| {
                let Node { words, place, .. } = &self.skips[*index];
                let mut record = *words;
                record[skip::NEXT] = laid.of(Ref(record[skip::NEXT])).0;
                (record, (*place >> 64) as u64 ^ *place as u64)
            };
            let records: Vec<(Record, u64)> = skips.iter().map(record).collect();
            for (index, at) in skips.into_iter().zip(store.pack(Kind::Skips, &records)) {
                laid.skips[index] = at;
            }
        }
        laid
    }
}

/// What the prefixes that end inside this byte make of its values, the longest last.
fn spread(depth: u32, marks: &[Prefix], place: u32) -> [u32; PAGE_WORDS] {
    let end = (depth + 1) * 8;
    let mut places = [place; PAGE_WORDS];
    let mut short: Vec<&Prefix> = marks.iter().filter(|mark| u32::from(mark.len) <= end).collect();
    short.sort_by_key(|prefix| (prefix.len, prefix.mark));
    for prefix in short {
        let first = prefix.byte(depth);
        let count = 1 << (end - u32::from(prefix.len));
        places[first..first + count].iter_mut().for_each(|place| *place = prefix.mark.on(*place));
    }
    places
}

/// Where each node went.
struct Laid {
    tables: Vec<u32>,
    skips: Vec<Locator>,
}

impl Laid {
    fn of(&self, node: Ref) -> Ref {
        match (node.as_table(), node.as_skip()) {
            (Some(table), _) => Ref::table(self.tables[table as usize]),
            (_, Some(skip)) => Ref::skip(self.skips[skip.0 as usize]),
            _ => node,
        }
    }
}
