//! The maps of one instance and the programs over them. Maps are pinned; a set that no longer fits is replaced by another one
//! beside it, and the programs in the links change over.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use aya::maps::{Array, Map, MapData, PerCpuArray, PerCpuValues, ProgramArray, RingBuf};
use aya::programs::{Program, ProgramError, ProgramFd, SchedClassifier, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use jiff::Timestamp;
use segd_common::control::Control;
use segd_common::env::Pages;
use segd_common::flow::{Bucket, Flow, WAYS};
use segd_common::image::{Page, Root};
use segd_common::interface::{INTERFACES, Interface};

use super::carry::{self, Moved, Table};
use super::folders::Folders;
use super::held::pin_in_its_folder;
use super::ledger::Ledger;
use super::raw::Mapping;
use super::share::{self, is_whole, pinned_sizes};
use super::tick::tick_rate;
use super::{DatapathError, Sizes, object::object};
use crate::compile::Clock;

/// Maps that outlive the daemon. The rest is made anew with the programs.
const PINNED: [&str; 13] = [
    "CONTROL",
    "IMAGE",
    "BUCKETS",
    "FLOWS",
    "DATAGRAM",
    "BLOCKED",
    "INTERFACE",
    "PAIR_SLOTS",
    "PAIR_NEXT",
    "PAIR_COUNTERS",
    "RULE_COUNTERS",
    "EVENT_BUDGET",
    "EVENTS",
];
/// The programs that take the whole way, called by those that are attached. The kernel empties such a map when nobody holds
/// it any more, so each load pins its own: programs of two builds must never call each other.
const WHOLE_XDP: &str = "WHOLE_XDP";
const WHOLE_TC: &str = "WHOLE_TC";
/// Seconds for which connections that were open before the first start are adopted.
const ADOPTION_SECS: u64 = 60;
/// Events a second and CPU.
const EVENT_RATE: u32 = 2000;

/// What is attached on the way in, and what it calls.
pub(super) const XDP: &str = "segd_xdp";
/// What the attached XDP program calls, in the order of the map.
const XDP_CALLED: [&str; 2] = ["segd_xdp_whole", "segd_xdp_shortcut"];
/// What the attached TC programs call, in the order of the map.
const TC_WHOLE: [&str; 2] = ["segd_ingress_whole", "segd_egress_whole"];

/// Programs and maps, open.
pub(super) struct MapSet {
    pub(super) ebpf: Ebpf,
    /// Where this load pins what its programs call.
    pub(super) called: PathBuf,
    pub(super) sizes: Sizes,
    /// The last generation of the set before this one.
    pub(super) last_generation: u32,
    /// Pages of the image that the set before this one used.
    pub(super) used_before: HashSet<u32>,
    /// What was counted in maps that are gone.
    pub(super) ledger: Ledger,
    /// The ring of events, once its reader has taken it.
    ring: Option<OwnedFd>,
    #[cfg(feature = "kernel-log")]
    words: Option<super::words::Words>,
    pub(super) control: Mapping<Control>,
    pub(super) pair_slots: Mapping<u64>,
}

impl Pages for Mapping<Page> {
    fn page(&self, number: u32) -> Option<&Page> {
        self.get(number as usize)
    }
}

impl MapSet {
    /// Takes over the set in force, if it is there, whole, and has a policy.
    pub(super) fn adopt(folders: &Folders, wanted: &Sizes) -> Result<Option<Self>, DatapathError> {
        let maps = folders.current();
        let Some(sizes) = pinned_sizes(&maps, wanted).filter(|sizes| is_whole(&maps, sizes)) else { return Ok(None) };
        let mut set = Self::load(folders, &maps, sizes)?;
        set.configure(None)?;
        Ok(Some(set).filter(|set| set.last_published() != 0))
    }

    /// Makes a set of at least these sizes beside the one in force, and shares with it whatever keeps its layout.
    pub(super) fn beside(folders: &Folders, wanted: &Sizes) -> Result<Self, DatapathError> {
        Self::made_beside(folders, wanted).inspect_err(|_| {
            // The maps that were made would hold their memory for as long as they are pinned.
            let _ = folders.abandon();
        })
    }

    fn made_beside(folders: &Folders, wanted: &Sizes) -> Result<Self, DatapathError> {
        let (current, next) = (folders.current(), folders.begin()?);
        if !current.exists() {
            folders.begin_before()?.map_or(Ok(()), |other| share::link_counters(&other, &folders.before()))?;
        }
        let there = pinned_sizes(&current, wanted);
        let sizes = there.map_or(*wanted, |there| there.grown_to(wanted));
        let sizes = share::room_for_counters(&folders.before(), &sizes);
        share::link(&current, &next, &sizes)?;
        let before = Before::read(&current);
        let mut set = Self::load(folders, &next, sizes)?;
        match set.follow(folders, before) {
            Ok(()) => Ok(set),
            Err(error) => {
                set.give_up(folders);
                Err(error)
            }
        }
    }

    /// Takes over what the set in force knows.
    fn follow(&mut self, folders: &Folders, before: Before) -> Result<(), DatapathError> {
        let (current, next) = (folders.current(), folders.next());
        self.configure(before.control.as_ref())?;
        if let Some(control) = &before.control {
            self.last_generation = control.roots.iter().map(|root| root.generation).max().unwrap_or(0);
        }
        self.used_before = before.used;
        self.take_from(&current, &next)?;
        self.take_counts(&folders.before(), &next)
    }

    /// Lets everything go that was pinned for a set that never came into force: pins hold its memory.
    pub(super) fn give_up(&self, folders: &Folders) {
        for removed in [folders.abandon(), Folders::uncall(&self.called)] {
            if let Err(error) = removed {
                tracing::warn!("{error}; the next start removes it");
            }
        }
    }

    /// What the set in `from` counted; the last word once nobody uses it any more.
    pub(super) fn take_counts(&mut self, from: &Path, own: &Path) -> Result<(), DatapathError> {
        if !from.exists() {
            return Ok(());
        }
        let ledger = Ledger::left_by(from, own);
        if ledger != self.ledger {
            ledger.write(own)?;
            self.ledger = ledger;
        }
        Ok(())
    }

    /// What the set in `from` counted and which connections it has; the last word once nobody uses it any more.
    pub(super) fn take_from(&mut self, from: &Path, own: &Path) -> Result<(), DatapathError> {
        if !from.exists() {
            return Ok(());
        }
        self.take_counts(from, own)?;
        let control = self.control.read(0).ok_or(DatapathError::Missing("CONTROL"))?;
        let moved = carry::connections(from, own, || {
            Ok(Table { buckets: self.buckets()?, flows: self.flows()?, control, now: self.jiffies()? })
        })?;
        match moved {
            Some(Moved { lost: 0, .. }) => {}
            Some(Moved { moved, lost }) => {
                tracing::warn!("{lost} of {} open connections find no room in the smaller table", moved + lost);
            }
            None => {
                tracing::warn!("the connections of the maps before can't be read; for a minute they are adopted");
                let adopt_until = self.jiffies()? + ADOPTION_SECS * u64::from(control.hz);
                self.control.write(0, Control { adopt_until, ..control });
            }
        }
        Ok(())
    }

    fn load(folders: &Folders, maps: &Path, sizes: Sizes) -> Result<Self, DatapathError> {
        let called = folders.call(random()?)?;
        Self::load_calling(called.clone(), maps, sizes).inspect_err(|_| {
            // Nobody runs what they would have called.
            let _ = Folders::uncall(&called);
        })
    }

    fn load_calling(called: PathBuf, maps: &Path, sizes: Sizes) -> Result<Self, DatapathError> {
        let ebpf = load(maps, &called, &sizes)?;
        Ledger::make(maps, sizes.pair_counters(), sizes.rules)?;
        let mut set = Self::map(ebpf, called, sizes)?;
        set.ledger = Ledger::read(maps);
        set.load_programs()?;
        #[cfg(feature = "kernel-log")]
        {
            set.words = Some(super::words::Words::of(&mut set.ebpf)?);
        }
        Ok(set)
    }

    fn last_published(&self) -> u32 {
        self.control.read(0).and_then(|control| control.roots.iter().map(|root| root.generation).max()).unwrap_or(0)
    }

    /// Writes one value for every CPU.
    pub(super) fn set_per_cpu<T: aya::Pod>(
        &mut self,
        name: &'static str,
        index: u32,
        value: T,
    ) -> Result<(), DatapathError> {
        let cpus = aya::util::nr_cpus().map_err(|(what, source)| DatapathError::system(what, source))?;
        let values = PerCpuValues::try_from(vec![value; cpus])
            .map_err(|source| DatapathError::system(format!("write {name}"), source))?;
        let map = self.ebpf.map_mut(name).ok_or(DatapathError::Missing(name))?;
        let mut map: PerCpuArray<_, T> =
            PerCpuArray::try_from(map).map_err(|error| DatapathError::map(format!("open {name}"), &error))?;
        map.set(index, values, 0).map_err(|error| DatapathError::map(format!("write {name}"), &error))
    }

    fn set_array<T: aya::Pod>(&mut self, name: &'static str, index: u32, value: T) -> Result<(), DatapathError> {
        let map = self.ebpf.map_mut(name).ok_or(DatapathError::Missing(name))?;
        let mut map: Array<_, T> =
            Array::try_from(map).map_err(|error| DatapathError::map(format!("open {name}"), &error))?;
        map.set(index, value, 0).map_err(|error| DatapathError::map(format!("write {name}"), &error))
    }

    fn map(ebpf: Ebpf, called: PathBuf, sizes: Sizes) -> Result<Self, DatapathError> {
        Ok(Self {
            control: mapping(&ebpf, "CONTROL", 1)?,
            pair_slots: mapping(&ebpf, "PAIR_SLOTS", sizes.pairs() as usize)?,
            ebpf,
            called,
            sizes,
            last_generation: 0,
            used_before: HashSet::new(),
            ledger: Ledger::default(),
            ring: None,
            #[cfg(feature = "kernel-log")]
            words: None,
        })
    }

    fn load_programs(&mut self) -> Result<(), DatapathError> {
        let attached = ["segd_ingress", "segd_egress", "segd_note", "segd_clock"];
        // Of several that are refused it is always the first of these that is told.
        let names = [XDP].into_iter().chain(XDP_CALLED).chain(attached).chain(TC_WHOLE);
        // The kernel checks a program on the CPU of the thread that loads it, which for the largest takes most of a second.
        thread::scope(|scope| {
            let mut loading = HashMap::new();
            for (name, program) in self.ebpf.programs_mut() {
                let thread = thread::Builder::new().spawn_scoped(scope, move || load_program(program));
                let thread = thread.map_err(|error| DatapathError::system("start a thread", error))?;
                loading.insert(name, thread);
            }
            for name in names {
                let loading = loading.remove(name).ok_or(DatapathError::Missing(name))?;
                loading
                    .join()
                    .unwrap_or_else(|panic| resume_unwind(panic))
                    .map_err(|error| DatapathError::program(name, &error))?;
            }
            Ok::<_, DatapathError>(())
        })?;
        for (index, name) in (0..).zip(XDP_CALLED) {
            let called = self.xdp(name)?.fd().map_err(|error| DatapathError::program(name, &error))?.try_clone();
            self.set_program(
                WHOLE_XDP,
                index,
                &called.map_err(|error| DatapathError::system("duplicate a program", error))?,
            )?;
        }
        for (index, name) in (0..).zip(TC_WHOLE) {
            let whole = self.classifier(name)?.fd().map_err(|error| DatapathError::program(name, &error))?.try_clone();
            self.set_program(
                WHOLE_TC,
                index,
                &whole.map_err(|error| DatapathError::system("duplicate a program", error))?,
            )?;
        }
        Ok(())
    }

    /// Names a program that is called. Those that are attached go over to it with their next packet.
    fn set_program(&mut self, name: &'static str, index: u32, program: &ProgramFd) -> Result<(), DatapathError> {
        let map = self.ebpf.map_mut(name).ok_or(DatapathError::Missing(name))?;
        let mut map: ProgramArray<_> =
            ProgramArray::try_from(map).map_err(|error| DatapathError::map(format!("open {name}"), &error))?;
        map.set(index, program, 0).map_err(|error| DatapathError::map(format!("write {name}"), &error))
    }

    /// Fills in what the programs read beside the policy. Seed and time of adoption are those of the set before, whose
    /// connections stand in the places that the seed gave them.
    fn configure(&mut self, before: Option<&Control>) -> Result<(), DatapathError> {
        let mut control = self.control.read(0).ok_or(DatapathError::Missing("CONTROL"))?;
        control.bucket_mask = self.sizes.buckets - 1;
        control.zones = self.sizes.zones;
        control.event_rate = EVENT_RATE;
        let (known, hz) = (control.hz, tick_rate()?);
        if known != 0 && known != hz {
            // A running kernel's rate never changes: whoever wrote the other one was wrong, and so are its deadlines.
            tracing::warn!("the kernel ticks {hz} times a second, not {known} as the pinned maps say; corrected");
        }
        control.hz = hz;
        if let Some(before) = before {
            (control.seed, control.adopt_until) = (before.seed, before.adopt_until);
        } else if known == 0 {
            control.seed = random()?;
            control.adopt_until = self.jiffies()? + ADOPTION_SECS * u64::from(control.hz);
        }
        self.control.write(0, control);
        Ok(())
    }

    /// The pages of the image.
    pub(super) fn image(&self) -> Result<Mapping<Page>, DatapathError> {
        mapping(&self.ebpf, "IMAGE", self.sizes.pages as usize)
    }

    /// The tags of the connection table.
    pub(super) fn buckets(&self) -> Result<Mapping<Bucket>, DatapathError> {
        mapping(&self.ebpf, "BUCKETS", self.sizes.buckets as usize)
    }

    /// The connection table, whole.
    fn flows(&self) -> Result<Mapping<Flow>, DatapathError> {
        mapping(&self.ebpf, "FLOWS", (self.sizes.buckets * WAYS) as usize)
    }

    /// A part of the connection table: `count` buckets from `first` on, a multiple of eight.
    pub(super) fn flows_of(&self, first: usize, count: usize) -> Result<Mapping<Flow>, DatapathError> {
        let ways = WAYS as usize;
        Mapping::window(array_fd(&self.ebpf, "FLOWS")?, first * ways, count * ways)
            .map_err(|source| DatapathError::system("map FLOWS into memory", source))
    }

    /// Jiffies, now: runs a program that writes them down.
    pub(super) fn jiffies(&self) -> Result<u64, DatapathError> {
        let system = |what: &str, error: String| DatapathError::system(what, io::Error::other(error));
        let program = self.ebpf.program("segd_clock").ok_or(DatapathError::Missing("segd_clock"))?;
        let program: &SchedClassifier = program.try_into().map_err(|_| DatapathError::Missing("segd_clock"))?;
        let frame = [0; 64];
        let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::new() };
        program.test_run(options).map_err(|error| system("run segd_clock", error.to_string()))?;
        let map = self.ebpf.map("CLOCK").ok_or(DatapathError::Missing("CLOCK"))?;
        let clock: Array<_, u64> = Array::try_from(map).map_err(|error| DatapathError::map("open CLOCK", &error))?;
        clock.get(&0, 0).map_err(|error| DatapathError::map("read CLOCK", &error))
    }

    /// Both clocks, read together.
    pub(super) fn sample_clock(&self) -> Result<Clock, DatapathError> {
        let hz = self.control.read(0).ok_or(DatapathError::Missing("CONTROL"))?.hz;
        Ok(Clock { hz, jiffies: self.jiffies()?, at: Timestamp::now() })
    }

    /// The policy that holds at `now`.
    pub(super) fn root(&self, now: u64) -> Root {
        self.control.read(0).and_then(|control| control.root(now).copied()).unwrap_or_default()
    }

    pub(super) fn xdp(&mut self, name: &'static str) -> Result<&mut Xdp, DatapathError> {
        let program = self.ebpf.program_mut(name).ok_or(DatapathError::Missing(name))?;
        program.try_into().map_err(|_| DatapathError::Missing(name))
    }

    pub(super) fn classifier(&mut self, name: &'static str) -> Result<&mut SchedClassifier, DatapathError> {
        let program = self.ebpf.program_mut(name).ok_or(DatapathError::Missing(name))?;
        program.try_into().map_err(|_| DatapathError::Missing(name))
    }

    pub(super) fn program(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.ebpf.program(name)?.fd().ok().map(AsFd::as_fd)
    }

    pub(super) fn array(&self, name: &'static str) -> Result<BorrowedFd<'_>, DatapathError> {
        array_fd(&self.ebpf, name)
    }

    pub(super) fn per_cpu<T: aya::Pod>(&self, name: &'static str) -> Result<PerCpuArray<&MapData, T>, DatapathError> {
        let map = self.ebpf.map(name).ok_or(DatapathError::Missing(name))?;
        PerCpuArray::try_from(map).map_err(|error| DatapathError::map(format!("open {name}"), &error))
    }

    /// Makes pins anew that somebody has removed, and gives their places. `maps`: where the maps are pinned.
    pub(super) fn pin_again(&mut self, maps: &Path) -> Result<Vec<PathBuf>, DatapathError> {
        let (whole, called) = ([WHOLE_XDP, WHOLE_TC], self.called.clone());
        let places = PINNED.iter().map(|name| (*name, maps)).chain(whole.iter().map(|name| (*name, called.as_path())));
        let lost: Vec<(&str, PathBuf)> =
            places.map(|(name, folder)| (name, folder.join(name))).filter(|(_, path)| !path.exists()).collect();
        for (name, path) in &lost {
            let failed = |why: String| DatapathError::Pin { what: "make anew", path: path.clone(), why };
            let map = self.map_fd(name).ok_or(DatapathError::Missing("a map that was pinned"))?;
            let map = map.try_clone_to_owned().map_err(|why| failed(why.to_string()))?;
            pin_in_its_folder(&map, path).map_err(|why| failed(why.to_string()))?;
        }
        let mut made: Vec<PathBuf> = lost.into_iter().map(|(_, path)| path).collect();
        let ledgers = Ledger::places(maps).into_iter().filter(|path| !path.exists()).collect::<Vec<_>>();
        if !ledgers.is_empty() {
            Ledger::make(maps, self.sizes.pair_counters(), self.sizes.rules)?;
            self.ledger.write(maps)?;
            made.extend(ledgers);
        }
        Ok(made)
    }

    fn map_fd(&self, name: &str) -> Option<BorrowedFd<'_>> {
        match (self.ebpf.map(name), &self.ring) {
            (Some(Map::Array(data) | Map::PerCpuArray(data) | Map::ProgramArray(data) | Map::RingBuf(data)), _) => {
                Some(data.fd().as_fd())
            }
            (None, Some(ring)) if name == "EVENTS" => Some(ring.as_fd()),
            _ => None,
        }
    }

    pub(super) fn take_ring(&mut self) -> Result<RingBuf<MapData>, DatapathError> {
        let map = self.ebpf.take_map("EVENTS").ok_or(DatapathError::Missing("EVENTS"))?;
        if let Map::RingBuf(data) = &map {
            let ring = data.fd().as_fd().try_clone_to_owned();
            self.ring = Some(ring.map_err(|error| DatapathError::system("duplicate EVENTS", error))?);
        }
        RingBuf::try_from(map).map_err(|error| DatapathError::map("open EVENTS", &error))
    }

    fn interface_map(&self) -> Result<Array<&MapData, u64>, DatapathError> {
        let map = self.ebpf.map("INTERFACE").ok_or(DatapathError::Missing("INTERFACE"))?;
        Array::try_from(map).map_err(|error| DatapathError::map("open INTERFACE", &error))
    }

    /// The interfaces that the programs know.
    pub(super) fn interfaces(&self) -> Result<Vec<Interface>, DatapathError> {
        let map = self.interface_map()?;
        let read = |place| map.get(&place, 0).map_err(|error| DatapathError::map("read INTERFACE", &error));
        let all: Result<Vec<u64>, _> = (0..INTERFACES).map(read).collect();
        Ok(all?.into_iter().map(unpack).filter(|interface| interface.ifindex != 0).collect())
    }

    /// What the programs know of one of them.
    pub(super) fn interface(&self, ifindex: u32) -> Result<Option<Interface>, DatapathError> {
        let map = self.interface_map()?;
        for place in Interface::places(ifindex) {
            let there = map.get(&place, 0).map(unpack).map_err(|error| DatapathError::map("read INTERFACE", &error))?;
            if there.ifindex == ifindex {
                return Ok(Some(there));
            }
        }
        Ok(None)
    }

    /// Tells the programs of an interface, in the first place that is free or its own. `address`: its link address, zeros if it
    /// has none.
    pub(super) fn tell_interface(&mut self, interface: Interface, address: [u8; 6]) -> Result<(), DatapathError> {
        let map = self.interface_map()?;
        let there = |place: &u32| map.get(place, 0).map(unpack).unwrap_or_default().ifindex;
        let place = Interface::places(interface.ifindex)
            .find(|place| there(place) == interface.ifindex)
            .or_else(|| Interface::places(interface.ifindex).find(|place| there(place) == 0))
            .ok_or(DatapathError::TooManyInterfaces(interface.ifindex))?;
        let mut word = [0; 8];
        word[..6].copy_from_slice(&address);
        self.set_array("LINK_ADDRESS", place, u64::from_le_bytes(word))?;
        self.write_interface(place, pack(interface))
    }

    /// The programs no longer know the interface.
    pub(super) fn forget_interface(&mut self, ifindex: u32) -> Result<(), DatapathError> {
        for place in Interface::places(ifindex) {
            let there = self.interface_map()?.get(&place, 0).map(unpack).unwrap_or_default();
            if there.ifindex == ifindex {
                self.write_interface(place, 0)?;
            }
        }
        Ok(())
    }

    fn write_interface(&mut self, place: u32, value: u64) -> Result<(), DatapathError> {
        self.set_array("INTERFACE", place, value)
    }
}

/// An interface as one word of the map: the layout of [`Interface`] on a little-endian machine.
fn pack(interface: Interface) -> u64 {
    let Interface { ifindex, slot, flags } = interface;
    u64::from(ifindex) | u64::from(slot) << 32 | u64::from(flags) << 48
}

fn unpack(word: u64) -> Interface {
    Interface { ifindex: word as u32, slot: (word >> 32) as u16, flags: (word >> 48) as u16 }
}

fn load_program(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

fn load(maps: &Path, called: &Path, sizes: &Sizes) -> Result<Ebpf, DatapathError> {
    let mut loader = EbpfLoader::new();
    for name in PINNED {
        loader.map_pin_path(name, maps.join(name));
    }
    for name in [WHOLE_XDP, WHOLE_TC] {
        loader.map_pin_path(name, called.join(name));
    }
    let object = object()?;
    loader
        .map_max_entries("IMAGE", sizes.pages)
        .map_max_entries("BUCKETS", sizes.buckets)
        .map_max_entries("FLOWS", sizes.buckets * WAYS)
        .map_max_entries("PAIR_SLOTS", sizes.pairs())
        .map_max_entries("PAIR_COUNTERS", sizes.pair_counters())
        .map_max_entries("RULE_COUNTERS", sizes.rules)
        .load(object)
        .map_err(|error| DatapathError::object(&error))
}

fn array_fd<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<BorrowedFd<'a>, DatapathError> {
    let Some(Map::Array(map) | Map::PerCpuArray(map)) = ebpf.map(name) else {
        return Err(DatapathError::Missing(name));
    };
    Ok(map.fd().as_fd())
}

fn mapping<T>(ebpf: &Ebpf, name: &'static str, len: usize) -> Result<Mapping<T>, DatapathError> {
    Mapping::new(array_fd(ebpf, name)?, len)
        .map_err(|source| DatapathError::system(format!("map {name} into memory"), source))
}

/// What a set that is to be left says of itself.
#[derive(Default)]
struct Before {
    control: Option<Control>,
    /// Pages of its image that hold something.
    used: HashSet<u32>,
}

impl Before {
    fn read(maps: &Path) -> Self {
        let control = mapped::<Control>(maps, "CONTROL").and_then(|control| control.read(0));
        let image = mapped::<Page>(maps, "IMAGE");
        let used = image.iter().flat_map(|image| {
            let holds =
                |number: &usize| image.get(*number).is_some_and(|Page(words)| words.iter().any(|word| *word != 0));
            (0..image.len()).filter(holds).map(|number| number as u32)
        });
        Self { used: used.collect(), control: control.filter(|control| control.hz != 0) }
    }
}

/// A pinned map in memory, if its values have this layout.
fn mapped<T>(maps: &Path, name: &str) -> Option<Mapping<T>> {
    let (_, entries) = share::layout(maps, name).filter(|(value, _)| *value == size_of::<T>())?;
    Mapping::new(share::open(maps, name)?.fd().as_fd(), entries as usize).ok()
}

fn random() -> Result<u64, DatapathError> {
    let mut bytes = [0; 8];
    // SAFETY: the buffer is ours and as long as we say.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == 8 {
        Ok(u64::from_ne_bytes(bytes))
    } else {
        Err(DatapathError::system("getrandom", io::Error::last_os_error()))
    }
}
