//! The loaded programs under a policy, with nobody else's packet: frames go in by test runs, and counters tell what became
//! of each. Everything is loaded and published by the daemon's own code.
//!
//! Of the kernel side it knows what a reader of counters has to know, and nothing of connections: state is only ever cleared.

use std::collections::HashMap;
use std::io;
use std::mem::offset_of;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use segd::compile::{Facts, Image, InterfaceFact, Registry, compile};
use segd::config::{Source, load_sources};
use segd::datapath::{Datapath, Sizes};
use segd_common::ABI;
use segd_common::control::Control;
use segd_common::count::{PairCounters, REASONS, RuleCounters};
use segd_common::interface::Interface;
use segd_common::reason::Reason;

use super::bpf::{ArrayMap, test_run};
use crate::lab::Scratch;
use crate::model::{Hook, Outcome, Policy, Who};

/// The guarded interfaces; their slots count from 1.
pub const INTERFACES: [&str; 3] = ["lan0", "lan1", "wan0"];
/// What a test run says a frame came from: loopback.
const IFINDEX: u32 = 1;
/// More than any policy of chance has.
const SIZES: Sizes =
    Sizes { zones: 16, rules: 32, pages: 1 << 14, buckets: 1 << 12, connections: 1 << 14, half_open: 1 << 14 };
/// Maps that are no memory of packets, or that are compared by what is added to them.
const KEPT: [&str; 8] =
    ["CONTROL", "IMAGE", "INTERFACE", "EVENTS", "PAIR_SLOTS", "PAIR_NEXT", "PAIR_COUNTERS", "RULE_COUNTERS"];
const CONNECTIONS: usize = offset_of!(PairCounters, connections) / 8;

/// What one frame did, as the counters tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Got {
    /// What the program returned.
    pub passed: bool,
    /// The one reason that was counted, and between which zones; `None`: none was.
    pub counted: Option<(Reason, Who, Who)>,
    /// The rule that was counted.
    pub rule: Option<u16>,
    /// A connection was counted.
    pub opened: bool,
}

impl Got {
    /// Whether it is what the model says.
    #[must_use]
    pub fn is(&self, want: &Outcome, hook: Hook) -> bool {
        let passes = want.why.passes();
        // What passes its second hook was counted at its first.
        let counted = (hook != Hook::Forward || !passes).then_some((want.why as usize, want.from, want.to));
        let rule = want.rule.filter(|_| counted.is_some() && passes);
        let opened = want.opened && counted.is_some();
        let got = self.counted.map(|(reason, from, to)| (reason as usize, from, to));
        (self.passed, got, self.rule, self.opened) == (passes, counted, rule, opened)
    }
}

/// Programs, maps, and what was counted so far.
pub struct Ground {
    programs: [OwnedFd; 3],
    pair_slots: ArrayMap,
    pair_counters: ArrayMap,
    rule_counters: ArrayMap,
    interface: ArrayMap,
    control: ArrayMap,
    memory: Vec<ArrayMap>,
    keys: Vec<u32>,
    zeroes: Vec<u64>,
    interface_now: Option<u8>,
    counts: Counts,
    registry: Registry,
    zones: HashMap<Who, u16>,
    datapath: Datapath,
    /// Falls last: everything above is pinned in it.
    _scratch: Scratch,
}

#[derive(Default)]
struct Counts {
    slots: HashMap<(u16, u16), u32>,
    pairs: HashMap<u32, Vec<u64>>,
    rules: HashMap<u32, u64>,
    buffer: Vec<u64>,
}

impl Ground {
    /// Loads everything. The calling thread stays on the CPU that it is on: counters are read on that one.
    pub fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        let pins = scratch.bpffs().join("segd");
        let mut datapath = Datapath::open(&pins, &SIZES)?;
        let mut registry = Registry::default();
        // A set of maps has its place when it has a policy.
        let image = name_everything(&mut registry, &datapath)?;
        datapath.publish(&image)?;
        let maps = pins.join(format!("maps_{ABI}"));
        let open = |name: &str| ArrayMap::open(&maps.join(name)).with_context(|| format!("could not open {name}"));
        let program = |name: &str| {
            let fd = datapath.program(name).with_context(|| format!("{name} is not loaded"))?;
            fd.try_clone_to_owned().context("could not keep a program")
        };
        let memory: Vec<ArrayMap> = memory(&maps)?;
        let entries = memory.iter().map(ArrayMap::entries).max().unwrap_or(0);
        let words = memory.iter().map(|map| map.words() * map.entries() as usize).max().unwrap_or(0);
        Ok(Self {
            programs: [program("segd_xdp")?, program("segd_ingress")?, program("segd_egress")?],
            pair_slots: open("PAIR_SLOTS")?,
            pair_counters: open("PAIR_COUNTERS")?,
            rule_counters: open("RULE_COUNTERS")?,
            interface: open("INTERFACE")?,
            control: open("CONTROL")?,
            memory,
            keys: (0..entries).collect(),
            zeroes: vec![0; words],
            interface_now: None,
            counts: Counts::default(),
            zones: zone_numbers(&registry),
            registry,
            datapath,
            _scratch: scratch,
        })
    }

    /// The daemon's side, for questions.
    #[must_use]
    pub const fn datapath(&self) -> &Datapath {
        &self.datapath
    }

    /// The zone with this number.
    #[must_use]
    pub fn zone(&self, number: u16) -> Option<Who> {
        self.zones.iter().find(|(_, known)| **known == number).map(|(who, _)| *who)
    }

    /// The number in the id of the rule that the image knows by this number.
    #[must_use]
    pub fn rule(&self, number: u32) -> Option<u16> {
        self.registry.rule_id(number).and_then(|id| id.strip_prefix('r')).and_then(|rest| rest.parse().ok())
    }

    /// Forgets every packet, and says whether connections that are open are adopted from now on.
    pub fn forget(&mut self, adopting: bool) -> Result<()> {
        for map in &self.memory {
            map.clear(&self.keys, &self.zeroes).context("could not clear a map")?;
        }
        let mut control = vec![0; self.control.words()];
        self.control.read(0, &mut control)?;
        control[offset_of!(Control, adopt_until) / 8] = if adopting { u64::MAX } else { 0 };
        self.control.write(0, &control)?;
        Ok(())
    }

    /// Puts a policy in force, from its text on.
    pub fn publish(&mut self, policy: &Policy) -> Result<()> {
        let now = Timestamp::now();
        let text = policy.to_yaml(now);
        let image = {
            let source = Source { name: "chance.yaml".to_owned(), text: text.clone() };
            let loaded = load_sources(vec![source])
                .map_err(|faults| anyhow!("a policy of chance was refused:\n{}\n{text}", faults.render(false)))?;
            compile(&loaded.policy, &facts(&policy.host, &self.datapath, now), &mut self.registry)?
        };
        self.datapath.publish(&image)?;
        Ok(())
    }

    /// Sends one frame, and says whether it did exactly what was expected. If not, [`Ground::moved`] tells what it did.
    pub fn send(&mut self, hook: Hook, interface: u8, tc: bool, frame: &[u8]) -> Result<bool> {
        self.stand_on(interface)?;
        let context = sk_buff(hook, frame.len());
        let (program, context) = match hook {
            Hook::Ingress if tc => (&self.programs[1], Some(&context)),
            Hook::Ingress => (&self.programs[0], None),
            Hook::Local | Hook::Forward => (&self.programs[2], Some(&context)),
        };
        let answer = test_run(program.as_fd(), frame, context)
            .with_context(|| format!("could not run a program over {} bytes at {hook:?}: {frame:02x?}", frame.len()))?;
        Ok(match answer {
            // XDP_PASS from XDP; TCX_NEXT from TC.
            2 if context.is_none() => true,
            1 if context.is_none() => false,
            u32::MAX => true,
            2 => false,
            other => return Err(anyhow!("a program returned {other}")),
        })
    }

    fn stand_on(&mut self, interface: u8) -> Result<()> {
        if self.interface_now != Some(interface) {
            let place = Interface::places(IFINDEX).next().context("an interface has a place")?;
            let slot = u64::from(interface) + 1;
            self.interface.write(place, &[u64::from(IFINDEX) | slot << 32])?;
            self.interface_now = Some(interface);
        }
        Ok(())
    }

    /// Whether exactly what was expected was counted since the last call: looks only there.
    pub fn counted(&mut self, expected: &Outcome, hook: Hook) -> Result<bool> {
        if hook == Hook::Forward && expected.why.passes() {
            return Ok(true);
        }
        let (from, to) = (self.zones[&expected.from], self.zones[&expected.to]);
        let Some(slot) = self.slot(from, to)? else { return Ok(false) };
        let words = self.pair(slot)?;
        let known = self.counts.pairs.entry(slot).or_insert_with(|| vec![0; CONNECTIONS + 1]);
        let reason = expected.why as usize;
        let right = words.iter().enumerate().all(|(word, count)| {
            let by = u64::from(word == reason || (word == CONNECTIONS && expected.opened));
            // Bytes and blocked connections are not looked at.
            (REASONS..CONNECTIONS).contains(&word) || *count == known[word] + by
        });
        if !right {
            self.counts.buffer = words;
            return Ok(false);
        }
        let rule = expected.rule.filter(|_| expected.why.passes());
        let rule = rule.and_then(|rule| self.registry.rule_number(&format!("r{rule}")));
        if let Some(number) = rule {
            let packets = self.rule_packets(number)?;
            let known = self.counts.rules.entry(number).or_insert(0);
            if packets != *known + 1 {
                return Ok(false);
            }
            *known = packets;
        }
        if let Some(known) = self.counts.pairs.get_mut(&slot) {
            self.counts.buffer = std::mem::replace(known, words);
        }
        Ok(true)
    }

    fn slot(&mut self, from: u16, to: u16) -> Result<Option<u32>> {
        if let Some(slot) = self.counts.slots.get(&(from, to)) {
            return Ok(Some(*slot));
        }
        let mut word = [0];
        self.pair_slots.read(u32::from(from) * SIZES.zones + u32::from(to), &mut word)?;
        let slot = word[0] as u32;
        if slot == 0 {
            return Ok(None);
        }
        self.counts.slots.insert((from, to), slot);
        Ok(Some(slot))
    }

    /// All counters of a pair, summed over the CPUs.
    fn pair(&mut self, slot: u32) -> io::Result<Vec<u64>> {
        let words = CONNECTIONS + 1;
        let mut all = vec![0; self.pair_counters.words()];
        self.pair_counters.read(slot, &mut all)?;
        let mut sum = std::mem::take(&mut self.counts.buffer);
        sum.clear();
        sum.resize(words, 0);
        for cpu in all.chunks(words) {
            sum.iter_mut().zip(cpu).for_each(|(sum, value)| *sum += value);
        }
        Ok(sum)
    }

    fn rule_packets(&self, number: u32) -> io::Result<u64> {
        const WORDS: usize = size_of::<RuleCounters>() / 8;
        let mut all = vec![0; self.rule_counters.words()];
        self.rule_counters.read(number, &mut all)?;
        Ok(all.chunks(WORDS).map(|cpu| cpu[offset_of!(RuleCounters, packets) / 8]).sum())
    }

    /// Everything that was counted since the last time, and takes note of it.
    pub fn moved(&mut self, passed: bool) -> Result<Got> {
        let mut got = Got { passed, counted: None, rule: None, opened: false };
        let zones: Vec<(Who, u16)> = self.zones.iter().map(|(who, number)| (*who, *number)).collect();
        for (from, from_number) in &zones {
            for (to, to_number) in &zones {
                let Some(slot) = self.slot(*from_number, *to_number)? else { continue };
                let words = self.pair(slot)?;
                let known = self.counts.pairs.entry(slot).or_insert_with(|| vec![0; CONNECTIONS + 1]);
                for reason in Reason::ALL {
                    if words[reason as usize] != known[reason as usize] {
                        got.counted = Some((reason, *from, *to));
                        got.opened = words[CONNECTIONS] != known[CONNECTIONS];
                    }
                }
                *known = words;
            }
        }
        for number in 0..SIZES.rules {
            let packets = self.rule_packets(number)?;
            if self.counts.rules.insert(number, packets).unwrap_or(0) != packets {
                got.rule = self.rule(number);
            }
        }
        Ok(got)
    }

    /// Packets so far, by reason, over all pairs.
    pub fn packets(&self) -> Result<[u64; Reason::COUNT]> {
        Ok(self.totals()?.packets)
    }

    /// Packets and bytes so far, by reason, over all pairs, as the daemon reads them.
    pub fn totals(&self) -> Result<Totals> {
        let counters = self.datapath.counters()?;
        let mut totals = Totals::default();
        for pair in &counters.pairs {
            totals = totals.plus(&Totals { packets: pair.packets, bytes: pair.bytes });
        }
        Ok(totals)
    }
}

/// Packets and bytes by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets.
    pub packets: [u64; Reason::COUNT],
    /// Bytes of their frames.
    pub bytes: [u64; Reason::COUNT],
}

impl Totals {
    /// Both together.
    #[must_use]
    pub fn plus(&self, more: &Self) -> Self {
        self.with(more, u64::wrapping_add)
    }

    /// What came since `earlier`.
    #[must_use]
    pub fn minus(&self, earlier: &Self) -> Self {
        self.with(earlier, u64::wrapping_sub)
    }

    fn with(&self, other: &Self, does: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            packets: std::array::from_fn(|reason| does(self.packets[reason], other.packets[reason])),
            bytes: std::array::from_fn(|reason| does(self.bytes[reason], other.bytes[reason])),
        }
    }
}

/// Every pinned map that remembers packets.
fn memory(maps: &PathBuf) -> Result<Vec<ArrayMap>> {
    let mut memory = Vec::new();
    for entry in std::fs::read_dir(maps).with_context(|| format!("nothing is pinned in {}", maps.display()))? {
        let entry = entry?;
        if !KEPT.contains(&&*entry.file_name().to_string_lossy()) {
            memory.push(ArrayMap::open(&entry.path()).context("could not open a map")?);
        }
    }
    Ok(memory)
}

fn facts(host: &[IpAddr], datapath: &Datapath, now: Timestamp) -> Facts {
    let interfaces = (1..).zip(INTERFACES).map(|(slot, name)| InterfaceFact {
        name: name.to_owned(),
        above: Vec::new(),
        ifindex: u32::from(slot),
        slot,
    });
    Facts { host: host.to_vec(), interfaces: interfaces.collect(), cuts: Vec::new(), now, clock: datapath.clock() }
}

/// Most zones and rules that a policy of chance has.
pub(super) const ZONES: u16 = 8;
pub(super) const RULES: u16 = 16;

/// Gives every zone and rule that may come its number, so that none changes under a comparison.
fn name_everything(registry: &mut Registry, datapath: &Datapath) -> Result<Image> {
    let zone = |zone| format!("  z{zone}: {{ networks: [10.{zone}.0.0/16] }}\n");
    let rule =
        |rule| format!("  - {{ id: r{rule}, from: z0, to: z1, services: [any], reason: none, approved_by: nobody }}\n");
    let zones: Vec<String> = (0..ZONES).map(zone).collect();
    let rules: Vec<String> = (0..RULES).map(rule).collect();
    let text = format!("version: 1\nzones:\n{}rules:\n{}", zones.concat(), rules.concat());
    let loaded = load_sources(vec![Source { name: "names.yaml".to_owned(), text }])
        .map_err(|faults| anyhow!("{}", faults.render(false)))?;
    Ok(compile(&loaded.policy, &facts(&[], datapath, Timestamp::now()), registry)?)
}

fn zone_numbers(registry: &Registry) -> HashMap<Who, u16> {
    let all = [Who::Unzoned, Who::Host].into_iter().chain((0..ZONES).map(Who::Zone));
    all.filter_map(|who| registry.zone_id(&who.name()).map(|number| (who, number))).collect()
}

/// Of `struct __sk_buff` the words that a test run takes.
fn sk_buff(hook: Hook, len: usize) -> [u32; 48] {
    const INGRESS_IFINDEX: usize = 9;
    const WIRE_LEN: usize = 40;
    let mut words = [0; 48];
    if hook == Hook::Forward {
        words[INGRESS_IFINDEX] = 2;
    }
    // On its way in a packet's length is told without its link header; a test run does not take a shorter one than the
    // frame's, and another one is enough.
    words[WIRE_LEN] = len as u32 + 1;
    words
}
