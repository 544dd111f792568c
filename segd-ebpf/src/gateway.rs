//! The two ends of a gateway that `cargo xtask bench` measures: a generator of live frames, and a drain that counts what
//! came through; and programs that do nothing, for what stands between them. Built only for it: never part of the product. It
//! must touch only frames of its own.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use core::arch::asm;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_redirect};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::{TcContext, XdpContext};

/// More than any machine that measures.
const CPUS: u32 = 512;
/// Entries of [`SOURCES`]; a power of two.
const SOURCE_COUNT: u32 = 1 << 16;
/// Ethernet, IPv4 and TCP, without options and data.
const FRAME: usize = 54;
/// Words that hold a frame.
const FRAME_WORDS: usize = FRAME.div_ceil(8);
const IDENTIFICATION: usize = 18;
const IP_CHECKSUM: usize = 24;
const TCP_CHECKSUM: usize = 50;

/// What the generator sends next. Written by the bench before each run, in this order.
#[repr(C)]
struct Series {
    /// Where the series of keys stands; the generator writes it.
    state: u64,
    /// The series: `state * step + add`, of which the bits from `shift` on, cut by `space`, are the key.
    step: u64,
    add: u64,
    shift: u64,
    space: u64,
    /// The address that the key's bits under `mask` are joined with.
    base: u32,
    /// 0: the address is taken from [`SOURCES`], at the key's low bits.
    mask: u32,
    /// Where frames go.
    ifindex: u32,
    /// 0: address and port are the source's; else the destination's.
    reply: u32,
    /// Sums of the frame's 16-bit words, without what is written into it: of the IP header and of TCP.
    ip_sum: u32,
    tcp_sum: u32,
    /// What everything else is.
    frame: [u64; FRAME_WORDS],
}

const SERIES_WORDS: usize = size_of::<Series>() / 8;

/// By CPU: each one runs a generator of its own.
#[map]
static SERIES: Array<[u64; SERIES_WORDS]> = Array::with_max_entries(CPUS, 0);
/// Addresses to choose from.
#[map]
static SOURCES: Array<u32> = Array::with_max_entries(SOURCE_COUNT, 0);
/// Frames that the drain got, by CPU.
#[map]
static DRAINED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Writes the whole next frame, because what a gateway changed in a page is still there when the page comes back.
#[xdp(frags)]
pub fn emit(ctx: XdpContext) -> u32 {
    write(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

/// Counts the generator's frames, and drops everything.
#[xdp(frags)]
pub fn drain(ctx: XdpContext) -> u32 {
    if let Some(start) = start(&ctx)
        // SAFETY: the frame is long enough for it, and the place is even.
        && unsafe { ((start + IDENTIFICATION) as *const u16).read() } == MARK.to_be()
        && let Some(count) = DRAINED.get_ptr_mut(0)
    {
        // SAFETY: this CPU's own, and no program interrupts another one of its kind.
        unsafe { *count += 1 };
    }
    xdp_action::XDP_DROP
}

/// Lets everything pass: what a hook costs by itself.
#[xdp(frags)]
pub fn pass(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// The same for TC: `TCX_NEXT`.
#[classifier]
pub fn next(_: TcContext) -> i32 {
    -1
}

/// The IPv4 identification that all frames of the bench carry.
const MARK: u16 = 0x5e9d;

/// One store into the frame, at any alignment, which the compiler would make of single bytes.
macro_rules! store {
    ($size:literal, $place:expr, $value:expr) => {
        // SAFETY: the place lies inside the frame, which is long enough; the verifier checks it again.
        unsafe {
            asm!(concat!("*(", $size, " *)(r2 + 0) = r1"), in("r1") $value, in("r2") $place, options(nostack))
        }
    };
}

#[inline(always)]
fn write(ctx: &XdpContext) -> Option<u32> {
    let start = start(ctx)?;
    // SAFETY: a plain helper call.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    // SAFETY: the value has the type's size and alignment, and only this CPU uses it.
    let series = unsafe { &mut *SERIES.get_ptr_mut(cpu)?.cast::<Series>() };
    series.state = series.state.wrapping_mul(series.step).wrapping_add(series.add);
    let key = (series.state >> (series.shift & 63)) as u32 & series.space as u32;
    let address = match series.mask {
        0 => *SOURCES.get(key & (SOURCE_COUNT - 1))?,
        mask => series.base | key & mask,
    };
    let port = (key >> 16).wrapping_add(1024) & 0xffff;
    let words = (address >> 16) + (address & 0xffff);
    let [first, second, third, fourth, fifth, sixth, last] = series.frame;
    store!("u64", start, first);
    store!("u64", start + 8, second);
    store!("u64", start + 16, third);
    store!("u64", start + 24, fourth);
    store!("u64", start + 32, fifth);
    store!("u64", start + 40, sixth);
    store!("u32", start + 48, last);
    store!("u16", start + 52, last >> 32);
    store!("u16", start + IP_CHECKSUM, u64::from(checksum(series.ip_sum + words)));
    store!("u16", start + TCP_CHECKSUM, u64::from(checksum(series.tcp_sum + words + port)));
    let (address, port) = (u64::from(address.to_be()), u64::from((port as u16).to_be()));
    if series.reply == 0 {
        store!("u32", start + 26, address);
        store!("u16", start + 34, port);
    } else {
        store!("u32", start + 30, address);
        store!("u16", start + 36, port);
    }
    // SAFETY: a plain helper call.
    Some(unsafe { bpf_redirect(series.ifindex, 0) } as u32)
}

/// The internet checksum, in network order, of words that were added up.
#[inline(always)]
const fn checksum(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + sum;
    (!sum as u16).to_be()
}

/// Where the frame begins, if it is long enough.
#[inline(always)]
fn start(ctx: &XdpContext) -> Option<usize> {
    // SAFETY: the kernel hands in a valid context.
    let (start, end) = unsafe { ((*ctx.ctx).data as usize, (*ctx.ctx).data_end as usize) };
    let mut last = start + FRAME;
    // SAFETY: nothing is run; the compiler only forgets where the value came from, and can't move the comparison.
    unsafe { asm!("", inout("r2") last, options(nomem, nostack, pure, preserves_flags)) };
    if last > end { None } else { Some(start) }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers we use are open to GPL programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
