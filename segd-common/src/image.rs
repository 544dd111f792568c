//! The policy image: everything that the packet path reads of the policy, in pages of one array map.
//!
//! There are two things in it. A **table** is a page of 256 [`Ref`]s, one for each value of a byte; tables make tries, and
//! tries answer every question: address to zone, zone pair to rule set, port to slot, zone and interface to "may be seen
//! there". A **record** is eight words, 32 to a page. A page is never changed while a published root reaches it.

use crate::addr::Addr;
use crate::env::Pages;
use crate::reason::Reason;

/// Words of a page.
pub const PAGE_WORDS: usize = 256;
/// Words of a record.
pub const RECORD_WORDS: usize = 8;
/// Records of a page.
pub const PAGE_RECORDS: u32 = 32;

/// One page: a table, or 32 records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct Page(pub [u32; PAGE_WORDS]);

const _: () = assert!(size_of::<Page>() == 1024);

/// What a table's entry, or a root, points to. Two bits of kind, thirty of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct Ref(pub u32);

const KIND_TABLE: u32 = 1;
const KIND_SKIP: u32 = 2;
const VALUE_MASK: u32 = 0x3fff_ffff;

impl Ref {
    /// The answer itself.
    #[must_use]
    pub const fn leaf(value: u32) -> Self {
        Self(value & VALUE_MASK)
    }

    /// The table that the next byte of the key indexes.
    #[must_use]
    pub const fn table(page: u32) -> Self {
        Self(KIND_TABLE << 30 | (page & VALUE_MASK))
    }

    /// A skip record: the next bytes of the key all have to be the ones that it holds.
    #[must_use]
    pub const fn skip(record: Locator) -> Self {
        Self(KIND_SKIP << 30 | (record.0 & VALUE_MASK))
    }

    /// The answer, if this is one.
    #[inline(always)]
    #[must_use]
    pub const fn as_leaf(self) -> Option<u32> {
        if self.0 >> 30 == 0 { Some(self.0) } else { None }
    }

    /// The page of the table, if this is one.
    #[inline(always)]
    #[must_use]
    pub const fn as_table(self) -> Option<u32> {
        if self.0 >> 30 == KIND_TABLE { Some(self.0 & VALUE_MASK) } else { None }
    }

    /// The skip record, if this is one.
    #[must_use]
    pub const fn as_skip(self) -> Option<Locator> {
        if self.0 >> 30 == KIND_SKIP { Some(Locator(self.0 & VALUE_MASK)) } else { None }
    }
}

/// Where a record stands: page and place in it. 0 is no record; page 0 is never used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct Locator(pub u32);

impl Locator {
    /// No record.
    pub const NONE: Self = Self(0);

    /// The record at place `index` (below 32) of `page`.
    #[must_use]
    pub const fn at(page: u32, index: u32) -> Self {
        Self(page * PAGE_RECORDS + index)
    }

    /// The page.
    #[inline(always)]
    #[must_use]
    pub const fn page(self) -> u32 {
        self.0 / PAGE_RECORDS
    }

    /// The record's first word in its page.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> usize {
        ((self.0 % PAGE_RECORDS) as usize) * RECORD_WORDS
    }
}

/// The record's eight words, of which the caller takes what it needs.
#[inline(always)]
fn record<P: Pages>(pages: &P, at: Locator) -> Option<&[u32; RECORD_WORDS]> {
    let page = pages.page(at.page())?;
    page.0.get(at.word()..at.word() + RECORD_WORDS)?.try_into().ok()
}

/// Words of a skip record.
pub mod skip {
    /// Bytes that are compared, 1 to 15.
    pub const COUNT: usize = 0;
    /// What they are, left-aligned: high half, then low half, each high word first.
    pub const EXPECT: usize = 1;
    /// Where it goes on when they differ, with the same bytes still to come.
    pub const OTHERWISE: usize = 5;
    /// Where it goes on when they are equal.
    pub const NEXT: usize = 6;
}

/// What a trie is asked: up to 128 bits, left-aligned.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// First 64 bits.
    pub hi: u64,
    /// The rest.
    pub lo: u64,
}

impl Key {
    /// A key of up to 64 bits, left-aligned by the caller.
    #[inline(always)]
    #[must_use]
    pub const fn short(bits: u64) -> Self {
        Self { hi: bits, lo: 0 }
    }

    /// The key of an address: 32 bits for IPv4, 128 for IPv6.
    #[inline(always)]
    #[must_use]
    pub const fn address(address: Addr) -> Self {
        if address.is_v4() { Self::short(address.lo << 32) } else { Self { hi: address.hi, lo: address.lo } }
    }

    #[inline(always)]
    fn drop_byte(&mut self) {
        self.hi = self.hi << 8 | self.lo >> 56;
        self.lo <<= 8;
    }

    /// `count` is 1 to 15: no shift below reaches the width of its word.
    #[inline(always)]
    fn drop_bytes(&mut self, count: u32) {
        let bits = (count & 7) * 8;
        if count & 8 != 0 {
            self.hi = self.lo;
            self.lo = 0;
        }
        if bits != 0 {
            self.hi = self.hi << bits | self.lo >> (64 - bits);
            self.lo <<= bits;
        }
    }

    /// Whether the first `count` bytes (1 to 15) are those of `other`.
    #[inline(always)]
    fn starts_with(&self, other: &Self, count: u32) -> bool {
        let bits = (count & 7) * 8;
        let (hi, lo) = (self.hi ^ other.hi, self.lo ^ other.lo);
        if count & 8 == 0 { hi >> (64 - bits) == 0 } else { hi == 0 && (bits == 0 || lo >> (64 - bits) == 0) }
    }
}

/// A trie over 16 bytes takes a table or a skip for each, and the leaf.
const MAX_STEPS: u32 = 17;

/// Follows `key` from `start` to its leaf. `None`: a page is missing, which no published image has; callers deny.
#[inline(always)]
pub fn walk<P: Pages>(pages: &P, start: Ref, mut key: Key) -> Option<u32> {
    let mut at = start;
    for _ in 0..MAX_STEPS {
        if let Some(page) = at.as_table() {
            let byte = (key.hi >> 56) as usize;
            at = Ref(*pages.page(page)?.0.get(byte & 0xff)?);
            key.drop_byte();
        } else if let Some(leaf) = at.as_leaf() {
            return Some(leaf);
        } else {
            at = step_over(pages, at, &mut key)?;
        }
    }
    at.as_leaf()
}

/// Tables that [`walk_near`] goes through before it leaves the rest to [`Pages::walk`].
const NEAR_STEPS: u32 = 4;

/// [`walk`], its first steps in line: they are all that most keys need.
#[inline(always)]
pub(crate) fn walk_near<P: Pages>(pages: &P, start: Ref, mut key: Key) -> Option<u32> {
    let mut at = start;
    for _ in 0..NEAR_STEPS {
        let Some(page) = at.as_table() else { break };
        let byte = (key.hi >> 56) as usize;
        at = Ref(*pages.page(page)?.0.get(byte & 0xff)?);
        key.drop_byte();
    }
    match at.as_leaf() {
        Some(leaf) => Some(leaf),
        None => pages.walk(at, key),
    }
}

#[inline(always)]
fn step_over<P: Pages>(pages: &P, at: Ref, key: &mut Key) -> Option<Ref> {
    let [count, e0, e1, e2, e3, otherwise, next, _] = record(pages, at.as_skip()?)?;
    let expect = Key { hi: u64::from(*e0) << 32 | u64::from(*e1), lo: u64::from(*e2) << 32 | u64::from(*e3) };
    let count = *count & 15;
    if count == 0 || !key.starts_with(&expect, count) {
        return Some(Ref(*otherwise));
    }
    key.drop_bytes(count);
    Some(Ref(*next))
}

/// What the address trie says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub u32);

impl Place {
    /// In the failsafe list.
    pub const FAILSAFE: u32 = 1 << 16;
    /// Never a source on the wire.
    pub const BAD_SOURCE: u32 = 1 << 17;
    /// Never a destination on the wire.
    pub const BAD_DESTINATION: u32 = 1 << 18;
    /// Means something on one link only.
    pub const LINK_LOCAL: u32 = 1 << 19;
    /// Multicast, or the limited broadcast.
    pub const MULTICAST: u32 = 1 << 20;

    /// Above the flags: the number of the mark of a cut-off host.
    pub const CUT_SHIFT: u32 = 21;
    /// Different marks that there may be.
    pub const CUTS: u32 = 255;

    /// The number of its mark, if the address is cut off; 0: it is not.
    #[inline(always)]
    #[must_use]
    pub const fn cut(self) -> u16 {
        (self.0 >> Self::CUT_SHIFT) as u16 & 0xff
    }

    /// The zone's number.
    #[inline(always)]
    #[must_use]
    pub const fn zone(self) -> u16 {
        self.0 as u16
    }

    /// Whether all these flags are set.
    #[inline(always)]
    #[must_use]
    pub const fn is(self, flags: u32) -> bool {
        self.0 & flags == flags
    }
}

/// Numbers of the zones that are always there.
pub mod zone {
    /// Whatever matches nothing.
    pub const UNZONED: u16 = 0;
    /// Every address of this machine.
    pub const HOST: u16 = 1;
    /// No address is in it: its row of the pair trie leads from the mark of a cut-off host to a slot that says until when.
    pub const QUARANTINE: u16 = 2;
    /// The first number of a zone that a file names.
    pub const FIRST_NAMED: u16 = 3;
}

/// One policy: where its tries begin. Four of them stand in [`crate::control::Control`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Root {
    /// Stamp of every flow that was judged by it; 0 is no policy.
    pub generation: u32,
    /// IPv4 address to [`Place`].
    pub v4: Ref,
    /// IPv6 address to [`Place`].
    pub v6: Ref,
    /// Initiator's zone and responder's zone to rule set locator.
    pub pairs: Ref,
    /// Zone and interface slot to 1, if sources of the zone may be seen there.
    pub seen: Ref,
    /// Rule set of the failsafe list.
    pub failsafe: Locator,
    /// [`Root::AUDIT`], [`Root::WIDE`].
    pub flags: u32,
    /// Bit n: the [`crate::packet::Essential`] with number n passes.
    pub essentials: u32,
}

const _: () = assert!(size_of::<Root>() == 32);

impl Root {
    /// Nothing is dropped, everything is reported.
    pub const AUDIT: u32 = 1;
    /// There are zones above number 255: the pair trie takes two bytes of each.
    pub const WIDE: u32 = 2;

    /// The address's zone and flags. A missing page gives an address of no zone that no rule can name.
    #[inline(always)]
    #[must_use]
    pub fn place<P: Pages>(&self, pages: &P, address: Addr) -> Place {
        let start = if address.is_v4() { self.v4 } else { self.v6 };
        Place(pages.walk(start, Key::address(address)).unwrap_or(Place::BAD_SOURCE | Place::BAD_DESTINATION))
    }

    /// The rule set of a pair; [`Locator::NONE`]: there is none.
    #[inline(always)]
    #[must_use]
    pub fn rule_set<P: Pages>(&self, pages: &P, from: u16, to: u16) -> Locator {
        let (from, to) = (u64::from(from), u64::from(to));
        let key = if self.flags & Self::WIDE != 0 { from << 48 | to << 32 } else { from << 56 | to << 48 };
        Locator(pages.walk(self.pairs, Key::short(key)).unwrap_or(0))
    }

    /// Whether sources of `zone` may be seen on the interface with this slot.
    #[inline(always)]
    #[must_use]
    pub fn may_be_seen<P: Pages>(&self, pages: &P, zone: u16, interface: u16) -> bool {
        let key = u64::from(zone) << 48 | u64::from(interface) << 32;
        pages.walk(self.seen, Key::short(key)) == Some(1)
    }
}

/// Words of a rule set: for each class of protocols the trie from service to slot, and what holds for the rest.
pub mod rule_set {
    /// Destination port.
    pub const TCP: usize = 0;
    /// Destination port.
    pub const UDP: usize = 1;
    /// Destination port.
    pub const SCTP: usize = 2;
    /// `ICMPv4` type.
    pub const ICMP: usize = 3;
    /// `ICMPv6` type.
    pub const ICMPV6: usize = 4;
    /// Protocol number.
    pub const OTHER: usize = 5;
    /// Locator of the slot for what no rule names; 0: deny.
    pub const DEFAULT: usize = 6;
    /// [`AUDIT`].
    pub const FLAGS: usize = 7;
    /// The pair is only watched.
    pub const AUDIT: u32 = 1;
}

/// A rule set, as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleSet {
    /// Trie for the asked protocol.
    services: Ref,
    /// Whether its keys are ports, of two bytes, and not types or numbers, of one.
    ports: bool,
    /// Slot for the rest.
    default: Locator,
    /// The pair is only watched.
    pub audit: bool,
}

impl RuleSet {
    /// The rule set at `at`, for one protocol.
    #[inline(always)]
    #[must_use]
    pub fn read<P: Pages>(pages: &P, at: Locator, protocol: u8) -> Option<Self> {
        use crate::packet::proto;
        if at == Locator::NONE {
            return None;
        }
        let [tcp, udp, sctp, icmp, icmpv6, other, default, flags] = record(pages, at)?;
        let (services, ports) = match protocol {
            proto::TCP => (tcp, true),
            proto::UDP => (udp, true),
            proto::SCTP => (sctp, true),
            proto::ICMP => (icmp, false),
            proto::ICMPV6 => (icmpv6, false),
            _ => (other, false),
        };
        let audit = flags & rule_set::AUDIT != 0;
        Some(Self { services: Ref(*services), ports, default: Locator(*default), audit })
    }

    /// The slot that rules give to a service; [`Locator::NONE`]: none names it.
    #[inline(always)]
    #[must_use]
    pub fn named<P: Pages>(&self, pages: &P, service: u16) -> Locator {
        let key = u64::from(service) << if self.ports { 48 } else { 56 };
        Locator(pages.walk(self.services, Key::short(key)).unwrap_or(0))
    }

    /// The slot for what no rule names.
    #[inline(always)]
    #[must_use]
    pub const fn default_slot(&self) -> Locator {
        self.default
    }
}

/// Words of a slot record.
pub mod slot {
    /// Number of the [`crate::reason::Reason`], and [`LOG`].
    pub const FLAGS: usize = 0;
    /// Rule number, or [`NO_RULE`].
    pub const RULE: usize = 1;
    /// Jiffies at which it ends, low word then high word; 0: never.
    pub const DEADLINE: usize = 2;
    /// Locator of the slot that holds when this one has ended; 0: none.
    pub const THEN: usize = 4;
    /// An event for each connection.
    pub const LOG: u32 = 1 << 8;
    /// Set in every slot: a cleared page holds none.
    pub const VALID: u32 = 1 << 9;
    /// Not the work of a rule.
    pub const NO_RULE: u32 = u32::MAX;
}

/// Why something is allowed, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// `rule`, `intra-zone`, `failsafe` or `audit`.
    pub reason: Reason,
    /// An event for each connection.
    pub log: bool,
    /// Rule number, or [`slot::NO_RULE`].
    pub rule: u32,
    /// Jiffies; 0: no end.
    pub deadline: u64,
    /// What holds afterwards.
    pub then: Locator,
}

impl Slot {
    /// The slot at `at`.
    #[inline(always)]
    #[must_use]
    pub fn read<P: Pages>(pages: &P, at: Locator) -> Option<Self> {
        if at == Locator::NONE {
            return None;
        }
        let [flags, rule, low, high, then, ..] = record(pages, at)?;
        if flags & slot::VALID == 0 {
            return None;
        }
        Some(Self {
            reason: Reason::from_number(*flags as u8)?,
            log: flags & slot::LOG != 0,
            rule: *rule,
            deadline: u64::from(*high) << 32 | u64::from(*low),
            then: Locator(*then),
        })
    }

    /// Whether it has run out.
    #[inline(always)]
    #[must_use]
    pub const fn expired(&self, now: u64) -> bool {
        self.deadline != 0 && now >= self.deadline
    }
}
