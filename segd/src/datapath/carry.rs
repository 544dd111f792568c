//! Connections that move into a table of another size: copied while the old programs go on, and once more when none of them
//! runs any longer. A table of the same size is shared, and nothing is copied.

use std::cell::Cell;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use segd_common::addr::Addr;
use segd_common::control::Control;
use segd_common::count::{BlockedBucket, EventBudget, PairCounters, RuleCounters};
use segd_common::env::{Env, Pages};
use segd_common::event::Event;
use segd_common::flow::{self, Birth, Bucket, Flow, FlowKey, State, WAYS};
use segd_common::fragment::Datagram;
use segd_common::image::{Locator, Page};

use super::DatapathError;
use super::raw::Mapping;
use super::share::{layout, open, same};

/// A connection table where it stands.
pub(super) struct Table {
    pub(super) buckets: Mapping<Bucket>,
    pub(super) flows: Mapping<Flow>,
    pub(super) control: Control,
    pub(super) now: u64,
}

/// What became of the connections of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    /// Live ones that are in the new table now.
    pub(super) moved: u64,
    /// Live ones that found no room there.
    pub(super) lost: u64,
}

/// Brings the live connections of the set in `from` into the table of the one in `to`, unless they are one and the same. What
/// the new programs have touched already is theirs. `None`: the old table can't be read.
pub(super) fn connections(
    from: &Path,
    to: &Path,
    table: impl FnOnce() -> Result<Table, DatapathError>,
) -> Result<Option<Moved>, DatapathError> {
    if same(from, to, "FLOWS") {
        return Ok(Some(Moved::default()));
    }
    let Some(old) = readable(from) else { return Ok(None) };
    let (table, mut moved) = (table()?, Moved::default());
    // Sessions first: in a smaller table they have the first claim.
    for half_open in [false, true] {
        for number in 0..old.len() {
            let Some(entry) = old.get(number).filter(|entry| table.lives(entry)) else { continue };
            if (entry.state.get() == State::HalfOpen as u8) == half_open {
                if table.take_in(entry) { moved.moved += 1 } else { moved.lost += 1 }
            }
        }
    }
    Ok(Some(moved))
}

fn readable(maps: &Path) -> Option<Mapping<Flow>> {
    let (value, entries) = layout(maps, "FLOWS")?;
    let (bucket, buckets) = layout(maps, "BUCKETS")?;
    let fits = value == size_of::<Flow>() && bucket == size_of::<Bucket>() && entries == buckets.checked_mul(WAYS)?;
    let map = open(maps, "FLOWS").filter(|_| fits)?;
    Mapping::new(map.fd().as_fd(), entries as usize).ok()
}

impl Table {
    fn lives(&self, entry: &Flow) -> bool {
        let generation = entry.generation.get();
        generation != 0 && generation != flow::BUSY && entry.live(self.now, self.control.hz)
    }

    fn take_in(&self, old: &Flow) -> bool {
        let key = key_of(old);
        let hash = key.hash(self.control.seed);
        if let Some(found) = flow::find(self, &key, hash, self.control.bucket_mask) {
            bring_up(found.flow, old);
            return true;
        }
        let birth = birth_of(old, &key, hash, self.now);
        if !flow::create(self, &birth, self.control.bucket_mask, self.control.hz) {
            return false;
        }
        if let Some(found) = flow::find(self, &key, hash, self.control.bucket_mask) {
            overwrite(found.flow, old);
        }
        true
    }
}

fn key_of(flow: &Flow) -> FlowKey {
    let ports = flow.ports.get();
    FlowKey {
        src: Addr { hi: flow.src_hi.get(), lo: flow.src_lo.get() },
        dst: Addr { hi: flow.dst_hi.get(), lo: flow.dst_lo.get() },
        sport: (ports >> 16) as u16,
        dport: ports as u16,
        proto: flow.proto.get(),
    }
}

fn birth_of(old: &Flow, key: &FlowKey, hash: u64, now: u64) -> Birth {
    let birth = Birth::new();
    birth.set_key(key);
    birth.hash.set(hash);
    birth.generation.set(old.generation.get());
    birth.slot.set(Locator(old.slot.get()));
    birth.from.set(old.from.get());
    birth.to.set(old.to.get());
    birth.now.set(now);
    birth
}

/// An entry that is there. As long as it has the generation of the old table no new program has touched it, and the old
/// word holds; afterwards only an answer that an old program heard is still news, with what is to be known of it.
fn bring_up(entry: &Flow, old: &Flow) {
    if entry.generation.get() == old.generation.get() {
        overwrite(entry, old);
    } else if entry.state.get() == State::HalfOpen as u8 && old.state.get() == State::Established as u8 {
        entry.flags.set(entry.flags.get() | old.flags.get());
        entry.seq_to.set(old.seq_to.get());
        entry.state.set(State::Established as u8);
    }
}

/// Everything that is not its key. The generation is of the policy before, so the next packet asks the one in force.
fn overwrite(entry: &Flow, old: &Flow) {
    let Flow {
        src_hi: _,
        src_lo: _,
        dst_hi: _,
        dst_lo: _,
        ports: _,
        proto: _,
        // It lasts a second, and is renewed.
        lease: _,
        generation: _,
        state,
        flags,
        slot,
        seen,
        from,
        to,
        seq_from,
        seq_to,
        if_from,
        if_to,
    } = old;
    entry.state.set(state.get());
    entry.flags.set(flags.get());
    entry.slot.set(slot.get());
    entry.seen.set(seen.get());
    entry.from.set(from.get());
    entry.to.set(to.get());
    entry.seq_from.set(seq_from.get());
    entry.seq_to.set(seq_to.get());
    entry.if_from.set(if_from.get());
    entry.if_to.set(if_to.get());
}

impl Pages for Table {
    fn page(&self, _number: u32) -> Option<&Page> {
        None
    }
}

/// The table alone: what else a packet would ask is not there.
impl Env for Table {
    fn now(&self) -> u64 {
        self.now
    }
    fn control(&self) -> Option<&Control> {
        Some(&self.control)
    }
    fn bucket(&self, number: u32) -> Option<&Bucket> {
        self.buckets.get(number as usize)
    }
    fn flow(&self, number: u32) -> Option<&Flow> {
        self.flows.get(number as usize)
    }
    fn below(&self, value: u32, bound: u32) -> u32 {
        value & bound.wrapping_sub(1)
    }
    fn meet(&self) {}
    fn swap_tags(&self, tags: &Cell<u64>, old: u64, new: u64) -> bool {
        // SAFETY: an aligned word of a map's value, which the kernel's programs change by the same operation.
        let word = unsafe { AtomicU64::from_ptr(tags.as_ptr()) };
        word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
    fn swap_generation(&self, generation: &Cell<u32>, old: u32, new: u32) -> bool {
        // SAFETY: as above.
        let word = unsafe { AtomicU32::from_ptr(generation.as_ptr()) };
        word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
    fn datagram(&self, _number: u32) -> Option<&Datagram> {
        None
    }
    fn blocked(&self, _number: u32) -> Option<&BlockedBucket> {
        None
    }
    fn pair_slot(&self, _pair: u32) -> Option<&Cell<u32>> {
        None
    }
    fn claim_pair_slot(&self, _slot: &Cell<u32>) -> u32 {
        0
    }
    fn pair_counters(&self, _slot: u32) -> Option<&PairCounters> {
        None
    }
    fn rule_counters(&self, _rule: u32) -> Option<&RuleCounters> {
        None
    }
    fn event_budget(&self) -> Option<&EventBudget> {
        None
    }
    fn emit(&self, _event: &Event) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use segd_common::flow::flag;

    use super::*;

    const BEFORE: u32 = 6;
    const NOW: u32 = 7;

    /// An entry of this generation and state; what else is in it differs from generation to generation.
    fn entry(generation: u32, state: State) -> Flow {
        let word = || Cell::new(u64::from(generation));
        let half = || Cell::new(generation as u16);
        Flow {
            src_hi: word(),
            src_lo: word(),
            dst_hi: word(),
            dst_lo: word(),
            ports: Cell::new(generation),
            proto: Cell::new(6),
            state: Cell::new(state as u8),
            flags: Cell::new(0),
            lease: Cell::new(0),
            generation: Cell::new(generation),
            slot: Cell::new(generation),
            seen: Cell::new(generation),
            from: half(),
            to: half(),
            seq_from: half(),
            seq_to: half(),
            if_from: half(),
            if_to: half(),
        }
    }

    /// Everything that may be carried over: state, flags, slot, seen, zones, numbers, interfaces.
    fn carried(flow: &Flow) -> ([u8; 2], [u32; 2], [u16; 6]) {
        let halves = [&flow.from, &flow.to, &flow.seq_from, &flow.seq_to, &flow.if_from, &flow.if_to];
        ([flow.state.get(), flow.flags.get()], [flow.slot.get(), flow.seen.get()], halves.map(Cell::get))
    }

    #[test]
    fn what_no_new_program_has_touched_is_as_the_old_ones_left_it() {
        let (there, old) = (entry(BEFORE, State::HalfOpen), entry(BEFORE, State::Closing));
        old.flags.set(flag::FIN_FROM | flag::TRANSLATED);
        old.slot.set(9);
        old.seq_from.set(77);
        old.if_to.set(3);
        bring_up(&there, &old);
        assert_eq!(carried(&there), carried(&old));
        assert_eq!(there.generation.get(), BEFORE, "the policy in force is asked");
    }

    #[test]
    fn an_answer_that_only_old_programs_heard_is_carried_over_with_its_number_and_its_doubt() {
        let (there, old) = (entry(NOW, State::HalfOpen), entry(BEFORE, State::Established));
        there.flags.set(flag::TRANSLATED);
        old.flags.set(flag::UNPROVEN);
        bring_up(&there, &old);
        let mine = NOW as u16;
        let expected = (
            [State::Established as u8, flag::TRANSLATED | flag::UNPROVEN],
            [NOW, NOW],
            [mine, mine, mine, BEFORE as u16, mine, mine],
        );
        assert_eq!(carried(&there), expected, "the rest is what the new programs wrote");
    }

    #[test]
    fn what_new_programs_have_seen_is_not_taken_back() {
        for (now, before) in [
            (State::Established, State::HalfOpen),
            (State::Established, State::Established),
            (State::Closing, State::Established),
            (State::HalfOpen, State::HalfOpen),
            (State::HalfOpen, State::Closing),
        ] {
            let (there, old) = (entry(NOW, now), entry(BEFORE, before));
            old.flags.set(flag::UNPROVEN);
            let expected = carried(&there);
            bring_up(&there, &old);
            assert_eq!(carried(&there), expected, "{now:?} there, {before:?} before");
        }
    }
}
