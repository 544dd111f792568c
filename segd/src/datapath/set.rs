//! The maps of one instance and the programs over them. Maps are pinned; a set that no longer fits is replaced by another one
//! beside it, and the programs in the links change over.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::maps::{Array, Map, MapData, PerCpuArray, PerCpuValues, RingBuf};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use jiff::Timestamp;
use segd_common::ABI;
use segd_common::control::Control;
use segd_common::env::Pages;
use segd_common::flow::{Bucket, Flow, WAYS};
use segd_common::image::{Page, Root};
use segd_common::interface::{INTERFACES, Interface};

use super::carry::Carry;
use super::raw::Mapping;
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
    RING,
];
/// The ring outlives its set: the daemon goes on reading it.
const RING: &str = "EVENTS";
/// Seconds for which connections that were open before the first start are adopted.
const ADOPTION_SECS: u64 = 60;
/// Events a second and CPU.
const EVENT_RATE: u32 = 2000;

/// Programs and maps, open.
pub(super) struct MapSet {
    pub(super) ebpf: Ebpf,
    pub(super) sizes: Sizes,
    /// An earlier daemon's maps were taken over.
    pub(super) adopted: bool,
    /// The last generation of the set before this one.
    pub(super) last_generation: u32,
    pub(super) control: Mapping<Control>,
    pub(super) image: Mapping<Page>,
    pub(super) buckets: Mapping<Bucket>,
    pub(super) flows: Mapping<Flow>,
    pub(super) pair_slots: Mapping<u64>,
}

impl Pages for Mapping<Page> {
    fn page(&self, number: u32) -> Option<&Page> {
        self.get(number as usize)
    }
}

/// Folder of the maps of this layout.
fn folder(dir: &Path) -> PathBuf {
    dir.join(format!("maps_{ABI}"))
}

impl MapSet {
    /// Opens the pinned set if it fits, else makes one.
    pub(super) fn open(dir: &Path, wanted: &Sizes) -> Result<Self, DatapathError> {
        let maps = folder(dir);
        let there = pinned_sizes(&maps, wanted).filter(|sizes| sizes.serve(wanted));
        let (sizes, adopted) = (there.unwrap_or(*wanted), there.is_some());
        let carry = if adopted { Carry::default() } else { Carry::read(&maps) };
        if !adopted {
            // The programs in the links keep the old maps until they are replaced.
            remove_maps(&maps)?;
        }
        make_folder(&maps)?;
        let ebpf = load(&maps, &sizes)?;
        let mut set = Self::map(ebpf, sizes, adopted)?;
        set.load_programs()?;
        set.configure()?;
        set.take_in(carry)?;
        Ok(set)
    }

    /// Puts what another set counted into this one.
    fn take_in(&mut self, carry: Carry) -> Result<(), DatapathError> {
        let Carry { pairs, unplaced, rules, interfaces, generation } = carry;
        self.last_generation = generation;
        let Sizes { zones, rules: room, .. } = self.sizes;
        let mut next = 0;
        for ((from, to), values) in pairs.into_iter().filter(|((from, to), _)| *from.max(to) < zones) {
            if next + 1 < self.sizes.pair_counters() {
                next += 1;
                self.set_per_cpu("PAIR_COUNTERS", next, values)?;
                self.pair_slots.write((from * zones + to) as usize, next.into());
            }
        }
        if let Some(values) = unplaced {
            self.set_per_cpu("PAIR_COUNTERS", 0, values)?;
        }
        if next > 0 {
            self.set_array("PAIR_NEXT", 0, next)?;
        }
        for (rule, values) in rules.into_iter().filter(|(rule, _)| *rule < room) {
            self.set_per_cpu("RULE_COUNTERS", rule, values)?;
        }
        interfaces.into_iter().try_for_each(|interface| self.tell_interface(interface))
    }

    fn set_per_cpu<T: aya::Pod>(
        &mut self,
        name: &'static str,
        index: u32,
        values: PerCpuValues<T>,
    ) -> Result<(), DatapathError> {
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

    fn map(mut ebpf: Ebpf, sizes: Sizes, adopted: bool) -> Result<Self, DatapathError> {
        let entries = sizes.buckets as usize;
        Ok(Self {
            control: mapping(&mut ebpf, "CONTROL", 1)?,
            image: mapping(&mut ebpf, "IMAGE", sizes.pages as usize)?,
            buckets: mapping(&mut ebpf, "BUCKETS", entries)?,
            flows: mapping(&mut ebpf, "FLOWS", entries * WAYS as usize)?,
            pair_slots: mapping(&mut ebpf, "PAIR_SLOTS", sizes.pairs() as usize)?,
            ebpf,
            sizes,
            adopted,
            last_generation: 0,
        })
    }

    fn load_programs(&mut self) -> Result<(), DatapathError> {
        refused("segd_xdp", self.xdp()?.load())?;
        for name in ["segd_ingress", "segd_egress", "segd_note", "segd_clock"] {
            refused(name, self.classifier(name)?.load())?;
        }
        Ok(())
    }

    /// Fills in what the programs read beside the policy. A set that was taken over keeps its seed and its time.
    fn configure(&mut self) -> Result<(), DatapathError> {
        let mut control = self.control.read(0).ok_or(DatapathError::Missing("CONTROL"))?;
        control.bucket_mask = self.sizes.buckets - 1;
        control.zones = self.sizes.zones;
        control.event_rate = EVENT_RATE;
        if control.hz == 0 {
            control.hz = self.measure_hz()?;
            control.seed = random()?;
            control.adopt_until = self.jiffies()? + ADOPTION_SECS * u64::from(control.hz);
        }
        self.control.write(0, control);
        Ok(())
    }

    /// The kernel tells nobody its tick rate; it is one of four.
    fn measure_hz(&self) -> Result<u32, DatapathError> {
        let (start, began) = (self.jiffies()?, std::time::Instant::now());
        std::thread::sleep(Duration::from_millis(100));
        let (ticks, nanos) = (self.jiffies()? - start, began.elapsed().as_nanos().max(1));
        let rate = u128::from(ticks) * 1_000_000_000 / nanos;
        let distance = |hz: &u32| rate.abs_diff(u128::from(*hz));
        Ok([100, 250, 300, 1000].into_iter().min_by_key(distance).unwrap_or(250))
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

    pub(super) fn xdp(&mut self) -> Result<&mut Xdp, DatapathError> {
        let program = self.ebpf.program_mut("segd_xdp").ok_or(DatapathError::Missing("segd_xdp"))?;
        program.try_into().map_err(|_| DatapathError::Missing("segd_xdp"))
    }

    pub(super) fn classifier(&mut self, name: &'static str) -> Result<&mut SchedClassifier, DatapathError> {
        let program = self.ebpf.program_mut(name).ok_or(DatapathError::Missing(name))?;
        program.try_into().map_err(|_| DatapathError::Missing(name))
    }

    pub(super) fn per_cpu<T: aya::Pod>(&self, name: &'static str) -> Result<PerCpuArray<&MapData, T>, DatapathError> {
        let map = self.ebpf.map(name).ok_or(DatapathError::Missing(name))?;
        PerCpuArray::try_from(map).map_err(|error| DatapathError::map(format!("open {name}"), &error))
    }

    pub(super) fn take_ring(&mut self) -> Result<RingBuf<MapData>, DatapathError> {
        let map = self.ebpf.take_map("EVENTS").ok_or(DatapathError::Missing("EVENTS"))?;
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

    /// Tells the programs of an interface, in the first place that is free or its own.
    pub(super) fn tell_interface(&mut self, interface: Interface) -> Result<(), DatapathError> {
        let map = self.interface_map()?;
        let there = |place: &u32| map.get(place, 0).map(unpack).unwrap_or_default().ifindex;
        let place = Interface::places(interface.ifindex)
            .find(|place| there(place) == interface.ifindex)
            .or_else(|| Interface::places(interface.ifindex).find(|place| there(place) == 0))
            .ok_or(DatapathError::TooManyInterfaces(interface.ifindex))?;
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

    /// Removes the pins of every set below `dir`.
    pub(super) fn remove(dir: &Path) -> Result<Vec<String>, DatapathError> {
        let mut gone = Vec::new();
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("maps_") {
                remove_folder(&entry.path())?;
                gone.push(name);
            }
        }
        Ok(gone)
    }
}

/// An interface as one word of the map: the layout of [`Interface`] on a little-endian machine.
fn pack(interface: Interface) -> u64 {
    let Interface { ifindex, slot, flags } = interface;
    u64::from(ifindex) | u64::from(slot) << 32 | u64::from(flags) << 48
}

pub(super) fn unpack(word: u64) -> Interface {
    Interface { ifindex: word as u32, slot: (word >> 32) as u16, flags: (word >> 48) as u16 }
}

fn refused(program: &'static str, answer: Result<(), aya::programs::ProgramError>) -> Result<(), DatapathError> {
    answer.map_err(|error| DatapathError::Verifier { program, words: full_words(&error) })
}

/// An error with what caused it.
pub(super) fn full_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

fn load(maps: &Path, sizes: &Sizes) -> Result<Ebpf, DatapathError> {
    let mut loader = EbpfLoader::new();
    for name in PINNED {
        loader.map_pin_path(name, maps.join(name));
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
        .map_err(|source| DatapathError::Object { source: Box::new(source) })
}

/// The sizes of a set that is there, if all of it is and its values have this build's layout. aya would take an incompatible
/// pinned map without a word, so it is looked at first.
fn pinned_sizes(maps: &Path, wanted: &Sizes) -> Option<Sizes> {
    let info = |name: &str| {
        let map = MapData::from_pin(maps.join(name)).ok()?;
        let info = map.info().ok()?;
        Some((info.value_size(), info.max_entries()))
    };
    if PINNED.iter().any(|name| info(name).is_none()) {
        return None;
    }
    let entries =
        |name: &str, size: usize| info(name).filter(|(value, _)| *value as usize == size).map(|(_, entries)| entries);
    let pairs = entries("PAIR_SLOTS", 8)?;
    let sizes = Sizes {
        zones: pairs.isqrt(),
        rules: entries("RULE_COUNTERS", size_of::<segd_common::count::RuleCounters>())?,
        pages: entries("IMAGE", size_of::<Page>())?,
        buckets: entries("BUCKETS", size_of::<Bucket>())?,
        ..*wanted
    };
    entries("CONTROL", size_of::<Control>())?;
    let fits = entries("FLOWS", size_of::<Flow>())? == sizes.buckets * WAYS
        && entries("PAIR_COUNTERS", size_of::<segd_common::count::PairCounters>())? == sizes.pair_counters();
    fits.then_some(sizes)
}

fn mapping<T>(ebpf: &mut Ebpf, name: &'static str, len: usize) -> Result<Mapping<T>, DatapathError> {
    let Some(Map::Array(map)) = ebpf.map(name) else { return Err(DatapathError::Missing(name)) };
    Mapping::new(map.fd().as_fd(), len)
        .map_err(|source| DatapathError::system(format!("map {name} into memory"), source))
}

/// Removes the pins of a set, but for the ring's.
fn remove_maps(maps: &Path) -> Result<(), DatapathError> {
    for name in PINNED.into_iter().filter(|name| *name != RING) {
        match fs::remove_file(maps.join(name)) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => {
                return Err(DatapathError::Pin { what: "remove", path: maps.join(name), why: why.to_string() });
            }
            _ => {}
        }
    }
    Ok(())
}

fn make_folder(path: &Path) -> Result<(), DatapathError> {
    fs::create_dir_all(path).map_err(|why| DatapathError::Pin {
        what: "make the folder of",
        path: path.into(),
        why: why.to_string(),
    })
}

fn remove_folder(path: &Path) -> Result<(), DatapathError> {
    match fs::remove_dir_all(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => {
            Err(DatapathError::Pin { what: "remove", path: path.into(), why: why.to_string() })
        }
        _ => Ok(()),
    }
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
