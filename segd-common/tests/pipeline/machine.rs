//! Maps in memory: what the kernel programs bind to maps is vectors here, and the clock is the test's. The fuzzed sequences
//! of frames run on these maps too.

use std::cell::{Cell, RefCell};
use std::iter::repeat_with;

use segd_common::addr::Addr;
use segd_common::control::{Control, ROOTS};
use segd_common::count::{BLOCKED_BUCKETS, BlockedBucket, EventBudget, PairCounters, RuleCounters};
use segd_common::env::{Env, Pages};
use segd_common::event::Event;
use segd_common::flow::{Bucket, Flow};
use segd_common::fragment::{DATAGRAMS, Datagram};
use segd_common::image::{Page, Root};
use segd_common::packet::Packet;

/// Jiffies of a second.
pub(crate) const HZ: u32 = 250;
/// Zones that are counted.
pub(crate) const ZONES: u32 = 16;
/// Rules that are counted.
pub(crate) const RULES: u32 = 32;

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) now: Cell<u64>,
    pub(crate) control: Option<Control>,
    pub(crate) pages: Vec<Page>,
    pub(crate) buckets: Vec<Bucket>,
    pub(crate) flows: Vec<Flow>,
    pub(crate) datagrams: Vec<Datagram>,
    pub(crate) blocked: Vec<BlockedBucket>,
    pub(crate) pair_slots: Vec<Cell<u32>>,
    pub(crate) next_pair: Cell<u32>,
    pub(crate) pairs: Vec<PairCounters>,
    pub(crate) rules: Vec<RuleCounters>,
    pub(crate) budget: EventBudget,
    pub(crate) events: RefCell<Vec<Event>>,
    /// Events that the ring has room for.
    pub(crate) ring: usize,
    /// What the packet before left in the room to work in.
    pub(crate) before: Cell<Packet>,
    /// Every frame goes the whole way.
    pub(crate) whole_way: Cell<bool>,
}

fn many<T>(count: u32, new: impl FnMut() -> T) -> Vec<T> {
    repeat_with(new).take(count as usize).collect()
}

impl Machine {
    /// `buckets`: a power of two.
    pub(crate) fn new(buckets: u32) -> Self {
        let control = Control {
            selector: 0,
            seed: 0x5eed,
            adopt_until: 0,
            bucket_mask: buckets - 1,
            hz: HZ,
            zones: ZONES,
            event_rate: 1000,
            roots: [Root::default(); ROOTS],
        };
        Self {
            now: Cell::new(100_000),
            control: Some(control),
            pages: Vec::new(),
            buckets: many(buckets, Bucket::default),
            flows: many(buckets * 8, flow),
            datagrams: many(DATAGRAMS, datagram),
            blocked: many(BLOCKED_BUCKETS, || BlockedBucket(Default::default())),
            pair_slots: many(ZONES * ZONES, Cell::default),
            next_pair: Cell::new(0),
            pairs: many(ZONES * ZONES + 1, pair),
            rules: many(RULES, rule),
            budget: EventBudget { tokens: Cell::new(0), refilled: Cell::new(0), lost: Cell::new(0) },
            events: RefCell::default(),
            ring: usize::MAX,
            before: Cell::new(Packet::EMPTY),
            whole_way: Cell::new(false),
        }
    }

    pub(crate) fn control(&mut self) -> &mut Control {
        self.control.as_mut().expect("nobody took it")
    }

    pub(crate) fn pass_secs(&self, seconds: u32) {
        self.pass(u64::from(seconds * HZ));
    }

    pub(crate) fn pass(&self, jiffies: u64) {
        self.now.set(self.now.get() + jiffies);
    }

    /// Connections by the number of their state, the never used ones left out.
    pub(crate) fn states(&self) -> Vec<u8> {
        self.flows.iter().filter(|flow| flow.generation.get() != 0).map(|flow| flow.state.get()).collect()
    }

    /// The connection that an initiator of this address has.
    pub(crate) fn flow_from(&self, address: &str) -> &Flow {
        let Addr { hi, lo } = Addr::from(address.parse::<std::net::IpAddr>().expect("an address"));
        let mut mine = self.flows.iter().filter(|flow| (flow.src_hi.get(), flow.src_lo.get()) == (hi, lo));
        mine.next().expect("it has one")
    }
}

fn flow() -> Flow {
    Flow {
        src_hi: Cell::default(),
        src_lo: Cell::default(),
        dst_hi: Cell::default(),
        dst_lo: Cell::default(),
        ports: Cell::default(),
        proto: Cell::default(),
        state: Cell::default(),
        flags: Cell::default(),
        lease: Cell::default(),
        generation: Cell::default(),
        slot: Cell::default(),
        seen: Cell::default(),
        from: Cell::default(),
        to: Cell::default(),
        seq_from: Cell::default(),
        seq_to: Cell::default(),
        if_from: Cell::default(),
        if_to: Cell::default(),
    }
}

fn datagram() -> Datagram {
    Datagram {
        src_hi: Cell::default(),
        src_lo: Cell::default(),
        dst_hi: Cell::default(),
        dst_lo: Cell::default(),
        id: Cell::default(),
        generation: Cell::default(),
        born: Cell::default(),
        slot: Cell::default(),
        rule: Cell::default(),
        from: Cell::default(),
        to: Cell::default(),
        src_zone: Cell::default(),
        interface: Cell::default(),
        reason: Cell::default(),
        would: Cell::default(),
        dead: Cell::default(),
        last: Cell::default(),
        ports: Cell::default(),
        top: Cell::default(),
        count: Cell::default(),
        gaps: Default::default(),
        recent: Default::default(),
    }
}

fn pair() -> PairCounters {
    PairCounters {
        packets: Default::default(),
        bytes: Default::default(),
        blocked: Default::default(),
        connections: Cell::default(),
    }
}

fn rule() -> RuleCounters {
    RuleCounters {
        packets: Cell::default(),
        bytes: Cell::default(),
        connections: Cell::default(),
        last_hit: Cell::default(),
    }
}

impl Pages for Machine {
    fn page(&self, number: u32) -> Option<&Page> {
        self.pages.get(number as usize)
    }
}

impl Env for Machine {
    fn now(&self) -> u64 {
        self.now.get()
    }
    fn control(&self) -> Option<&Control> {
        self.control.as_ref()
    }
    fn bucket(&self, number: u32) -> Option<&Bucket> {
        self.buckets.get(number as usize)
    }
    fn flow(&self, number: u32) -> Option<&Flow> {
        self.flows.get(number as usize)
    }
    fn below(&self, value: u32, bound: u32) -> u32 {
        assert!(value < bound && bound.is_power_of_two());
        value
    }
    fn meet(&self) {}
    fn swap_tags(&self, tags: &Cell<u64>, old: u64, new: u64) -> bool {
        tags.get() == old && tags.replace(new) == old
    }
    fn swap_generation(&self, generation: &Cell<u32>, old: u32, new: u32) -> bool {
        generation.get() == old && generation.replace(new) == old
    }
    fn datagram(&self, number: u32) -> Option<&Datagram> {
        self.datagrams.get(number as usize)
    }
    fn blocked(&self, number: u32) -> Option<&BlockedBucket> {
        self.blocked.get(number as usize)
    }
    fn pair_slot(&self, pair: u32) -> Option<&Cell<u32>> {
        self.pair_slots.get(pair as usize)
    }
    fn claim_pair_slot(&self, slot: &Cell<u32>) -> u32 {
        self.next_pair.set(self.next_pair.get() + 1);
        slot.set(self.next_pair.get());
        slot.get()
    }
    fn pair_counters(&self, slot: u32) -> Option<&PairCounters> {
        self.pairs.get(slot as usize)
    }
    fn rule_counters(&self, rule: u32) -> Option<&RuleCounters> {
        self.rules.get(rule as usize)
    }
    fn event_budget(&self) -> Option<&EventBudget> {
        Some(&self.budget)
    }
    fn emit(&self, event: &Event) -> bool {
        let room = self.events.borrow().len() < self.ring;
        if room {
            self.events.borrow_mut().push(*event);
        }
        room
    }
}
