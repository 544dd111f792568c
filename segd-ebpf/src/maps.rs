//! The maps, and the pipeline's environment over them. Sizes marked "at load" are set by the daemon.

use core::cell::Cell;
use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};

use aya_ebpf::helpers::bpf_jiffies64;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, ProgramArray, RingBuf};
use segd_common::control::Control;
use segd_common::count::{BLOCKED_BUCKETS, BlockedBucket, EventBudget, PairCounters, RuleCounters};
use segd_common::env::{Env, Pages};
use segd_common::event::Event;
use segd_common::flow::{self, Birth, Bucket, Flow, FlowKey};
use segd_common::fragment::{DATAGRAMS, Datagram};
use segd_common::image::{self, Key, Page, Ref};
use segd_common::interface::{INTERFACES, Interface};
use segd_common::pipeline::{Hook, Sighting, Work};

use crate::shortcut::Route;

/// The daemon reads and writes it through `mmap`.
const MMAPABLE: u32 = aya_ebpf::bindings::BPF_F_MMAPABLE;
const RING_BYTES: u32 = 1 << 20;

/// Map values are declared as words: cells are no `Sync`, and the shared types say what the words mean.

const fn words<T>() -> usize {
    size_of::<T>() / 8
}

#[map]
static CONTROL: Array<[u64; words::<Control>()]> = Array::with_max_entries(1, MMAPABLE);
/// At load.
#[map]
static IMAGE: Array<[u64; words::<Page>()]> = Array::with_max_entries(1024, MMAPABLE);
/// At load.
#[map]
static BUCKETS: Array<[u64; words::<Bucket>()]> = Array::with_max_entries(1024, MMAPABLE);
/// At load.
#[map]
static FLOWS: Array<[u64; words::<Flow>()]> = Array::with_max_entries(8192, MMAPABLE);
#[map]
static DATAGRAM: Array<[u64; words::<Datagram>()]> = Array::with_max_entries(DATAGRAMS, 0);
#[map]
static BLOCKED: Array<[u64; words::<BlockedBucket>()]> = Array::with_max_entries(BLOCKED_BUCKETS, 0);
#[map]
static INTERFACE: Array<[u64; words::<Interface>()]> = Array::with_max_entries(INTERFACES, 0);
/// At load: zones × zones.
#[map]
static PAIR_SLOTS: Array<u64> = Array::with_max_entries(256, MMAPABLE);
/// Link addresses of guarded interfaces, at the places of `INTERFACE`: six bytes as they stand in frames, then two zeros.
#[map]
static LINK_ADDRESS: Array<u64> = Array::with_max_entries(INTERFACES, 0);
/// The next free slot of `PAIR_COUNTERS`; the first is for pairs that found no room.
#[map]
static PAIR_NEXT: Array<u32> = Array::with_max_entries(1, 0);
/// At load.
#[map]
static PAIR_COUNTERS: PerCpuArray<[u64; words::<PairCounters>()]> = PerCpuArray::with_max_entries(257, 0);
/// At load.
#[map]
static RULE_COUNTERS: PerCpuArray<[u64; words::<RuleCounters>()]> = PerCpuArray::with_max_entries(1024, 0);
#[map]
static EVENT_BUDGET: PerCpuArray<[u64; words::<EventBudget>()]> = PerCpuArray::with_max_entries(1, 0);
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// Jiffies, as [`crate::segd_clock`] last read them.
#[map]
static CLOCK: Array<u64> = Array::with_max_entries(1, 0);
/// Room for one packet at work.
#[map]
static ROOM: PerCpuArray<[u64; words::<Room>()]> = PerCpuArray::with_max_entries(1, 0);

/// What is called for XDP: the program that takes the whole way, then the one that redirects.
#[map]
pub static WHOLE_XDP: ProgramArray = ProgramArray::with_max_entries(2, 0);
/// The same for TC, by [`crate::tc::Side`].
#[map]
pub static WHOLE_TC: ProgramArray = ProgramArray::with_max_entries(2, 0);

/// What a program needs beyond its stack.
#[repr(C, align(8))]
pub struct Room {
    /// The packet, and what becomes of it.
    pub work: Work,
    /// The connection that is looked for.
    pub wanted: FlowKey,
    /// A word through which the verifier does not follow values.
    pub spare: u32,
    /// 1: the short way has judged the packet in `work`, and only the rest is to be done.
    pub resumed: u32,
    /// What the kernel's routes say of it.
    pub route: Route,
}

/// Global functions are verified once, for whatever arguments; what does not fit into registers stands in the [`Room`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn segd_walk(start: u32, hi: u64, lo: u64) -> i64 {
    image::walk(&Maps, Ref(start), Key { hi, lo }).map_or(-1, i64::from)
}

/// Looks for `wanted`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn segd_seek(hash: u64, mask: u32) -> u64 {
    Maps.room().map_or(0, |room| flow::seek(&Maps, &room.wanted, hash, mask))
}

/// Writes `work.birth` down.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn segd_create(mask: u32, hz: u32) -> u32 {
    Maps.room().map_or(0, |room| u32::from(flow::create(&Maps, &room.work.birth, mask, hz)))
}

/// The maps of these programs.
pub struct Maps;

macro_rules! entry {
    ($map:ident, $index:expr, $type:ty) => {
        // SAFETY: the map's value has the size and alignment of the shared type, whose fields are plain words or cells of
        // them; the kernel keeps the value alive as long as the program runs.
        $map.get_ptr($index).map(|pointer| unsafe { &*pointer.cast::<$type>() })
    };
}

impl Maps {
    /// Writes the time down for the daemon, which has no other way to read the packet path's clock.
    pub fn tell_time(&self) {
        let _ = CLOCK.set(0, self.now(), 0);
    }

    /// Room for the packet at work. One program runs on a CPU at a time: TC and XDP programs run with bottom halves off and
    /// none of ours calls another.
    #[inline(always)]
    pub fn room(&self) -> Option<&'static mut Room> {
        // SAFETY: as for every entry; and nobody else has this CPU's room, see above.
        ROOM.get_ptr_mut(0).map(|pointer| unsafe { &mut *pointer.cast::<Room>() })
    }

    /// What is known of a frame before it is looked at.
    #[inline(always)]
    pub fn sighting(&self, hook: Hook, ifindex: u32) -> Sighting {
        self.sighting_on(hook, self.interface(ifindex), ifindex)
    }

    /// The same, given what the daemon says of the interface.
    #[inline(always)]
    pub fn sighting_on(&self, hook: Hook, interface: Interface, ifindex: u32) -> Sighting {
        let shortcut = interface.shortcut();
        let mut at = Sighting { hook, interface: interface.slot, ifindex, shortcut, ..Sighting::NOWHERE };
        at.framing.layer3 = interface.flags & Interface::LAYER3 != 0;
        at
    }

    /// What the daemon says of an interface; all zero if it says nothing.
    #[inline(always)]
    pub fn interface(&self, ifindex: u32) -> Interface {
        self.interface_at(ifindex).0
    }

    /// The same, and where it stands.
    #[inline(always)]
    fn interface_at(&self, ifindex: u32) -> (Interface, u32) {
        for place in Interface::places(ifindex) {
            if let Some(interface) = entry!(INTERFACE, place, Interface) {
                if interface.ifindex == ifindex {
                    return (*interface, place);
                }
            }
        }
        (Interface { ifindex: 0, slot: 0, flags: 0 }, 0)
    }

    /// The link address of an interface that takes shortcuts, as it stands in frames.
    #[inline(always)]
    pub fn link_address(&self, ifindex: u32) -> Option<u64> {
        let (interface, place) = self.interface_at(ifindex);
        if interface.shortcut() == 0 { None } else { LINK_ADDRESS.get(place).copied() }
    }
}

impl Pages for Maps {
    #[inline(always)]
    fn page(&self, number: u32) -> Option<&Page> {
        entry!(IMAGE, number, Page)
    }
    #[inline(always)]
    fn walk(&self, start: Ref, key: Key) -> Option<u32> {
        let leaf = segd_walk(start.0, key.hi, key.lo);
        if leaf < 0 { None } else { Some(leaf as u32) }
    }
}

impl Env for Maps {
    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: takes nothing, and the verifier turns it into one load.
        unsafe { bpf_jiffies64() }
    }
    #[inline(always)]
    fn control(&self) -> Option<&Control> {
        entry!(CONTROL, 0, Control)
    }
    #[inline(always)]
    fn bucket(&self, number: u32) -> Option<&Bucket> {
        entry!(BUCKETS, number, Bucket)
    }
    #[inline(always)]
    fn flow(&self, number: u32) -> Option<&Flow> {
        entry!(FLOWS, number, Flow)
    }
    #[inline(always)]
    fn seek(&self, key: &FlowKey, hash: u64, mask: u32) -> u64 {
        let Some(room) = self.room() else { return 0 };
        room.wanted = *key;
        segd_seek(hash, mask)
    }
    #[inline(always)]
    fn create(&self, _birth: &Birth, mask: u32, hz: u32) -> bool {
        segd_create(mask, hz) != 0
    }
    #[inline(always)]
    fn below(&self, value: u32, bound: u32) -> u32 {
        crate::view::barrier(value as usize) as u32 & (bound - 1)
    }
    #[inline(always)]
    fn meet(&self) {
        // SAFETY: an empty template changes nothing; the compiler must only believe that it may have.
        unsafe { core::arch::asm!("", options(nostack, preserves_flags)) };
    }
    #[inline(always)]
    fn swap_tags(&self, tags: &Cell<u64>, old: u64, new: u64) -> bool {
        // SAFETY: an aligned word of a map's value, which other CPUs change by the same operation.
        unsafe { atomic_cxchg::<_, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(tags.as_ptr(), old, new).1 }
    }
    #[inline(always)]
    fn swap_generation(&self, generation: &Cell<u32>, old: u32, new: u32) -> bool {
        // SAFETY: an aligned word of a map's value, which other CPUs change by the same operation.
        unsafe {
            atomic_cxchg::<_, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(generation.as_ptr(), old, new).1
        }
    }
    #[inline(always)]
    fn datagram(&self, number: u32) -> Option<&Datagram> {
        entry!(DATAGRAM, number, Datagram)
    }
    #[inline(always)]
    fn blocked(&self, number: u32) -> Option<&BlockedBucket> {
        entry!(BLOCKED, number, BlockedBucket)
    }
    #[inline(always)]
    fn pair_slot(&self, pair: u32) -> Option<&Cell<u32>> {
        entry!(PAIR_SLOTS, pair, Cell<u32>)
    }
    #[inline(always)]
    fn claim_pair_slot(&self, slot: &Cell<u32>) -> u32 {
        let Some(next) = PAIR_NEXT.get_ptr_mut(0) else { return 0 };
        // SAFETY: aligned words of maps' values, which other CPUs change by atomic operations only.
        let mine = unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::SeqCst }>(next, 1) } + 1;
        if PAIR_COUNTERS.get_ptr(mine).is_none() {
            return 0;
        }
        // SAFETY: as above.
        let (theirs, first) = unsafe {
            atomic_cxchg::<u32, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(slot.as_ptr(), 0, mine)
        };
        if first { mine } else { theirs }
    }
    #[inline(always)]
    fn pair_counters(&self, slot: u32) -> Option<&PairCounters> {
        entry!(PAIR_COUNTERS, slot, PairCounters)
    }
    #[inline(always)]
    fn rule_counters(&self, rule: u32) -> Option<&RuleCounters> {
        entry!(RULE_COUNTERS, rule, RuleCounters)
    }
    #[inline(always)]
    fn event_budget(&self) -> Option<&EventBudget> {
        entry!(EVENT_BUDGET, 0, EventBudget)
    }
    #[inline(always)]
    fn emit(&self, event: &Event) -> bool {
        match EVENTS.reserve::<[u64; words::<Event>()]>(0) {
            Some(mut entry) => {
                // SAFETY: the reserved entry has the event's size and alignment.
                unsafe { entry.as_mut_ptr().cast::<Event>().write(*event) };
                entry.submit(0);
                true
            }
            None => false,
        }
    }
}
