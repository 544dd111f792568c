//! The generator, the drain, and the clock between them. It must count all of a packet's way: what the kernel does for it in
//! the generating thread, and what it left to its own thread on the same CPU.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::maps::{Array, PerCpuArray};
use aya::programs::xdp::XdpMode;
use aya::programs::{SchedClassifier, TcAttachType, Xdp};
use segd_tests::lab::Namespace;

use super::bed::{END, FAR, LAN};
use super::traffic::Sent;

/// `Series` of `segd-ebpf/src/gateway.rs`, in words.
const SERIES_WORDS: usize = 15;
/// What the generator's frames are known by.
const MARK: u16 = 0x5e9d;

/// The programs of both ends, shared by all beds.
pub(super) struct Ends {
    programs: Ebpf,
    /// Of every CPU; the first one, which has the most interrupts, comes last.
    clocks: Vec<Clock>,
}

impl Ends {
    /// Loads the object; `sources` are what floods come from.
    pub(super) fn load(object: &Path, sources: &[u32]) -> Result<Self> {
        let bytes = fs::read(object).with_context(|| format!("could not read {}", object.display()))?;
        let mut programs = Ebpf::load(&bytes).context("the gateway's measuring programs don't load")?;
        for name in ["emit", "drain", "pass"] {
            let program: &mut Xdp = programs.program_mut(name).context("no such program")?.try_into()?;
            program.load().with_context(|| format!("the verifier refused {name}"))?;
        }
        let next: &mut SchedClassifier = programs.program_mut("next").context("no such program")?.try_into()?;
        next.load().context("the verifier refused next")?;
        let mut map: Array<_, u32> = programs.map_mut("SOURCES").context("no map SOURCES")?.try_into()?;
        for (place, source) in (0..).zip(sources) {
            map.set(place, source, 0)?;
        }
        Ok(Self { programs, clocks: Clock::all()? })
    }

    /// Drops and counts what arrives at this end from now on.
    pub(super) fn drain(&mut self, net: &Namespace) -> Result<()> {
        let drain: &mut Xdp = self.programs.program_mut("drain").context("no program drain")?.try_into()?;
        net.run(|| drain.attach(END, XdpMode::Driver)).with_context(|| format!("no native XDP in {}", net.name()))?;
        Ok(())
    }

    /// Frames that the drains got so far.
    pub(super) fn drained(&self) -> Result<u64> {
        let map: PerCpuArray<_, u64> = self.programs.map("DRAINED").context("no map DRAINED")?.try_into()?;
        Ok(map.get(&0, 0)?.iter().sum())
    }

    /// Attaches programs that let everything pass to the gateway's interfaces, where segd's would be with this hook.
    pub(super) fn pass_all(&mut self, gateway: &Namespace, hook: &str) -> Result<()> {
        for interface in [LAN, FAR] {
            if hook == "xdp" {
                let pass: &mut Xdp = self.programs.program_mut("pass").context("no program pass")?.try_into()?;
                gateway.run(|| pass.attach(interface, XdpMode::Driver)).context("no native XDP at the gateway")?;
            }
            let next: &mut SchedClassifier =
                self.programs.program_mut("next").context("no program next")?.try_into()?;
            for side in [TcAttachType::Ingress, TcAttachType::Egress] {
                gateway.run(|| next.attach(interface, side)).context("no TCX at the gateway")?;
            }
        }
        Ok(())
    }

    /// How many CPUs can send at one time.
    pub(super) fn cpus(&self) -> u32 {
        self.clocks.len() as u32
    }

    /// Sends `count` frames of each series out of this end, each from a CPU of its own, and gives the CPU nanoseconds of all
    /// that they caused.
    pub(super) fn send(&mut self, net: &Namespace, sent: &[Sent], count: u32) -> Result<f64> {
        ensure!(sent.len() <= self.clocks.len(), "there are {} CPUs for {} series", self.clocks.len(), sent.len());
        let name = std::ffi::CString::new(END)?;
        // SAFETY: a valid, terminated string.
        let ifindex = net.run(|| unsafe { libc::if_nametoindex(name.as_ptr()) });
        let mut series: Array<_, [u64; SERIES_WORDS]> =
            self.programs.map_mut("SERIES").context("no map SERIES")?.try_into()?;
        for (sent, clock) in sent.iter().zip(&self.clocks) {
            series.set(clock.cpu as u32, words(sent, ifindex), 0)?;
        }
        let emit: &Xdp = self.programs.program("emit").context("no program emit")?.try_into()?;
        let (program, together) = (emit.fd()?.as_fd(), &Barrier::new(sent.len()));
        let times = net.run(|| {
            std::thread::scope(|scope| {
                let one = |(sent, clock): (&Sent, &Clock)| {
                    clock.enter()?;
                    together.wait();
                    let began = clock.now()?;
                    let done = send_live(program, &sent.frame, count);
                    // What was left to the kernel's thread is done soon.
                    std::thread::sleep(Duration::from_millis(3));
                    done.and_then(|()| Ok(clock.now()? - began))
                };
                let threads: Vec<_> =
                    sent.iter().zip(&self.clocks).map(|lane| scope.spawn(move || one(lane))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
            })
        });
        let times: io::Result<Vec<f64>> = times;
        Ok(times.with_context(|| format!("could not send frames from {}", net.name()))?.iter().sum())
    }
}

fn words(sent: &Sent, ifindex: u32) -> [u64; SERIES_WORDS] {
    let (address_at, port_at) = if sent.reply { (30, 36) } else { (26, 34) };
    let mut frame = [0; 56];
    for (place, byte) in frame.iter_mut().zip(&sent.frame) {
        *place = *byte;
    }
    frame[18..20].copy_from_slice(&MARK.to_be_bytes());
    for (at, length) in [(address_at, 4), (port_at, 2), (24, 2), (50, 2)] {
        frame[at..at + length].fill(0);
    }
    let sum = |range: std::ops::Range<usize>| {
        frame[range].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum::<u32>()
    };
    // TCP's sum has a pseudo-header before it: both addresses, the protocol and the length.
    let (ip, tcp) = (sum(14..34), sum(26..54) + u32::from(frame[23]) + 20);
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let [state, step, add, shift, space, _, base, mask] = sent.steer.words();
    let mut words = [0; SERIES_WORDS];
    words[..8].copy_from_slice(&[
        state,
        step,
        add,
        shift,
        space,
        pair(base as u32, mask as u32),
        pair(ifindex, sent.reply.into()),
        pair(ip, tcp),
    ]);
    for (word, bytes) in words[8..].iter_mut().zip(frame.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    words
}

/// `BPF_PROG_TEST_RUN` and its flag for frames that are really sent (include/uapi/linux/bpf.h), since Linux 5.18.
const TEST_RUN: libc::c_int = 10;
const LIVE_FRAMES: u32 = 1 << 1;
/// As many as a driver's poll.
const BATCH: u32 = 64;

/// The part of `union bpf_attr` for it.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    answer: u32,
    data_in_size: u32,
    data_out_size: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_in_size: u32,
    context_out_size: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch: u32,
    pad: u32,
}

fn send_live(program: BorrowedFd<'_>, frame: &[u8], count: u32) -> io::Result<()> {
    let run = TestRun {
        program: program.as_raw_fd().cast_unsigned(),
        data_in_size: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat: count,
        flags: LIVE_FRAMES,
        batch: BATCH,
        ..TestRun::default()
    };
    // SAFETY: the attributes have this command's layout, and what they point to outlives the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, TEST_RUN, &raw const run, size_of::<TestRun>()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Time that one CPU spent on this thread and on the kernel's deferred network work.
#[derive(Debug)]
struct Clock {
    cpu: usize,
    /// `schedstat` of the kernel's thread; its first number is nanoseconds.
    deferred: PathBuf,
}

impl Clock {
    /// The last CPU's first.
    fn all() -> Result<Vec<Self>> {
        (0..std::thread::available_parallelism()?.get()).rev().map(Self::new).collect()
    }

    fn new(cpu: usize) -> Result<Self> {
        let name = format!("ksoftirqd/{cpu}");
        let mut all = fs::read_dir("/proc")?.filter_map(|entry| Some(entry.ok()?.path()));
        let thread = all.find(|path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name));
        let deferred = thread.with_context(|| format!("{name} is not to be seen in /proc"))?.join("schedstat");
        ensure!(deferred.exists(), "the kernel does not tell {name}'s time (CONFIG_SCHED_INFO)");
        Ok(Self { cpu, deferred })
    }

    /// Binds the calling thread to the CPU.
    fn enter(&self) -> io::Result<()> {
        // SAFETY: all zeros is an empty set, and the CPU exists.
        let done = unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(self.cpu, &mut set);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn now(&self) -> io::Result<f64> {
        let text = fs::read_to_string(&self.deferred)?;
        let deferred = text.split(' ').next().and_then(|word| word.parse::<f64>().ok());
        let deferred = deferred.ok_or_else(|| io::Error::other("schedstat has no time"))?;
        Ok(crate::ground::cpu_nanos() + deferred)
    }
}
