//! A policy in force in the kernel with the measuring programs over its maps, and no packet of anybody else. It attaches
//! nothing, and leaves nothing behind.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use aya::maps::{Array, MapData};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use jiff::Timestamp;
use segd::compile::{Clock, Facts, InterfaceFact, Registry, compile};
use segd::config::{Source, load_sources};
use segd::datapath::{Datapath, Sizes};
use segd::policy::Policy;
use segd_common::control::Control;
use segd_common::reason::Reason;
use segd_tests::lab::Scratch;

use crate::policy::Written;
use crate::steer::Steer;

const PROGRAMS: [&str; 5] = ["empty", "generate", "insert", "judge", WHOLE];
/// What `judge` calls.
const WHOLE: &str = "whole";
/// `Control::adopt_until`, in words of the map's value.
const ADOPT_UNTIL: usize = std::mem::offset_of!(Control, adopt_until) / 8;
/// What `BPF_PROG_TEST_RUN` says a frame came from: loopback.
const IFINDEX: u32 = 1;
const SLOT: u64 = 1;

/// One policy, one connection table.
pub(crate) struct Ground {
    programs: Ebpf,
    /// Keeps what it published.
    datapath: Datapath,
    registry: Registry,
    /// Falls last: everything above is pinned in it.
    _scratch: Scratch,
}

/// How long it took to put a policy in force.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Published {
    /// From the text to a checked policy.
    pub(crate) read: Duration,
    /// From there to an image.
    pub(crate) compile: Duration,
    /// From there to the kernel, a grace period included.
    pub(crate) publish: Duration,
    /// Pages of 1 KiB.
    pub(crate) pages: u32,
}

impl Ground {
    /// Puts a policy in force and loads the object at `programs` beside it.
    pub(crate) fn new(policy: &Written, programs: &Path) -> Result<(Self, Published)> {
        let scratch = Scratch::new()?;
        let pins = scratch.bpffs().join("segd");
        let (checked, read) = checked(&policy.zones)?;
        let mut registry = Registry::default();
        // Tells how large the maps have to be.
        let rehearsed = compile(&checked, &facts(Clock::detached(Timestamp::now()))?, &mut registry)?;
        let mut datapath = Datapath::open(&pins, &Sizes::for_policy(&checked, &rehearsed, &registry))?;
        drop(rehearsed);
        let published = Published { read, ..publish(&mut datapath, &mut registry, &checked)? };
        let mut programs = load(programs, &pins)?;
        settle(&pins)?;
        let mut sources: Array<_, u32> = map(&mut programs, "SOURCES")?;
        for (place, source) in (0..).zip(&policy.sources) {
            sources.set(place, source, 0)?;
        }
        Ok((Self { programs, datapath, registry, _scratch: scratch }, published))
    }

    /// Puts another policy in force.
    pub(crate) fn change(&mut self, zones: &str) -> Result<Published> {
        let (checked, read) = checked(zones)?;
        Ok(Published { read, ..publish(&mut self.datapath, &mut self.registry, &checked)? })
    }

    /// Runs a program over `frame`, and gives CPU nanoseconds a packet.
    pub(crate) fn run(&mut self, program: &str, frame: &[u8], steer: Steer, repeat: u32) -> Result<f64> {
        let mut map: Array<_, [u64; 8]> = map(&mut self.programs, "STEER")?;
        map.set(0, steer.words(), 0)?;
        let xdp: &Xdp = self.programs.program(program).context("no such program")?.try_into()?;
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        let began = cpu_nanos();
        xdp.test_run(options).with_context(|| format!("could not run {program}"))?;
        Ok((cpu_nanos() - began) / f64::from(repeat))
    }

    /// Connections whose responder has answered.
    pub(crate) fn established(&self) -> u64 {
        self.datapath.occupancy().established
    }

    /// Packets so far, by reason.
    pub(crate) fn packets(&self) -> Result<[u64; Reason::COUNT]> {
        let counters = self.datapath.counters()?;
        let sum = |reason: usize| counters.pairs.iter().map(|pair| pair.packets[reason]).sum();
        Ok(std::array::from_fn(sum))
    }
}

/// The policy of a zone file, and how long it took to read and check.
pub(crate) fn checked(zones: &str) -> Result<(Policy, Duration)> {
    let source = Source { name: "bench.yaml".to_owned(), text: zones.to_owned() };
    let began = Instant::now();
    let loaded = load_sources(vec![source]).map_err(|faults| anyhow!("{}", faults.render(false)))?;
    Ok((loaded.policy, began.elapsed()))
}

fn publish(datapath: &mut Datapath, registry: &mut Registry, policy: &Policy) -> Result<Published> {
    let facts = facts(datapath.clock())?;
    let began = Instant::now();
    let image = compile(policy, &facts, registry)?;
    let compile = began.elapsed();
    let began = Instant::now();
    datapath.publish(&image)?;
    let publish = began.elapsed();
    Ok(Published { read: Duration::ZERO, compile, publish, pages: image.page_count() })
}

fn facts(clock: Clock) -> Result<Facts> {
    let interface = InterfaceFact { name: "lan1".to_owned(), above: vec![], ifindex: IFINDEX, slot: SLOT as u16 };
    let (host, now) = (vec!["192.0.2.1".parse()?], Timestamp::now());
    Ok(Facts { host, interfaces: vec![interface], cuts: Vec::new(), now, clock })
}

/// Loads the measuring programs over the maps that are pinned below `pins`.
fn load(object: &Path, pins: &Path) -> Result<Ebpf> {
    let bytes = std::fs::read(object).with_context(|| format!("could not read {}", object.display()))?;
    let names: Vec<_> = pinned(pins)?;
    let mut loader = EbpfLoader::new();
    for path in &names {
        let name = path.file_name().and_then(|name| name.to_str()).context("a pin without a name")?;
        loader.map_pin_path(name, path);
    }
    let mut ebpf = loader.load(&bytes).context("the measuring programs don't load")?;
    for name in PROGRAMS {
        let program: &mut Xdp = ebpf.program_mut(name).context("no such program")?.try_into()?;
        program.load().with_context(|| format!("the verifier refused {name}"))?;
    }
    let whole: &Xdp = ebpf.program(WHOLE).context("no such program")?.try_into()?;
    let whole = whole.fd()?.try_clone()?;
    let called = ebpf.map_mut("WHOLE_XDP").context("no map WHOLE_XDP")?;
    aya::maps::ProgramArray::try_from(called)?.set(0, &whole, 0)?;
    Ok(ebpf)
}

fn pinned(pins: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut maps = Vec::new();
    for folder in std::fs::read_dir(pins)? {
        let folder = folder?;
        if folder.file_name().to_string_lossy().starts_with("maps_") {
            for entry in std::fs::read_dir(folder.path())? {
                maps.push(entry?.path());
            }
        }
    }
    ensure!(!maps.is_empty(), "nothing is pinned below {}", pins.display());
    Ok(maps)
}

/// Makes the test's interface a guarded one, with the first minute behind it.
fn settle(pins: &Path) -> Result<()> {
    end_adoption(pins)?;
    let mut interfaces = open(pins, "INTERFACE")?;
    let mut interfaces: Array<_, u64> = (&mut interfaces).try_into()?;
    interfaces.set(IFINDEX, u64::from(IFINDEX) | SLOT << 32, 0)?;
    Ok(())
}

/// Leaves the first minute behind, in which unknown connections are adopted.
pub(crate) fn end_adoption(pins: &Path) -> Result<()> {
    let mut control = open(pins, "CONTROL")?;
    let mut control: Array<_, [u64; size_of::<Control>() / 8]> = (&mut control).try_into()?;
    let mut words = control.get(&0, 0)?;
    words[ADOPT_UNTIL] = 0;
    control.set(0, words, 0)?;
    Ok(())
}

fn open(pins: &Path, name: &str) -> Result<aya::maps::Map> {
    let maps = pinned(pins)?;
    let path = maps.iter().find(|path| path.ends_with(name)).with_context(|| format!("{name} is not pinned"))?;
    Ok(aya::maps::Map::Array(MapData::from_pin(path)?))
}

fn map<'a, T: aya::Pod>(programs: &'a mut Ebpf, name: &str) -> Result<Array<&'a mut MapData, T>> {
    Ok(programs.map_mut(name).with_context(|| format!("no map {name}"))?.try_into()?)
}

/// What this thread has used of a CPU: others' work on a busy machine is not in it.
pub(crate) fn cpu_nanos() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists, and the structure is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned() as u32).as_secs_f64() * 1e9
}
