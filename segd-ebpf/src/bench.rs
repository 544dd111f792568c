//! The programs that `cargo xtask bench` measures the packet path with. Built only for it: never part of the product, and
//! nothing here may be needed to enforce anything.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![allow(internal_features, reason = "the target has no `Atomic*::compare_exchange`; its intrinsics work")]

#[expect(dead_code, reason = "a part of what the product's programs do is measured")]
mod maps;
#[allow(dead_code, reason = "no program of the bench notes anything")]
mod memo;
#[expect(dead_code, reason = "only the room that it takes is needed")]
mod shortcut;
mod tell;
mod view;
mod xdp;

use core::arch::asm;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap};
use aya_ebpf::programs::XdpContext;

/// Entries of [`SOURCES`]; a power of two.
const SOURCE_COUNT: u32 = 1 << 16;

/// What the generator does to the next packet. Written by the bench before each run, in this order.
#[repr(C)]
struct Steer {
    /// Where the series of keys stands; the programs write it.
    state: u64,
    /// The series: `state * step + add`, of which the bits from `shift` on, cut by `space`, are the key.
    step: u64,
    add: u64,
    shift: u64,
    space: u64,
    /// Where in the frame: low byte of the address, next byte of the port.
    places: u64,
    /// The address that the key's bits under `mask` are joined with.
    base: u64,
    /// 0: the address is taken from [`SOURCES`], at the key's low bits.
    mask: u64,
}

#[map]
static STEER: Array<[u64; 8]> = Array::with_max_entries(1, 0);
/// Addresses to choose from.
#[map]
static SOURCES: Array<u32> = Array::with_max_entries(SOURCE_COUNT, 0);
/// What the classic layout keeps connections in; full of keys, an insertion evicts.
#[map]
static CLASSIC: LruHashMap<[u64; 5], [u64; 3]> = LruHashMap::with_max_entries(1 << 18, 0);

/// Nothing: what everything is a multiple of.
#[aya_ebpf::macros::xdp(frags)]
#[inline(always)]
pub fn empty(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// The generator alone: what is taken off the others' time.
#[aya_ebpf::macros::xdp(frags)]
#[inline(always)]
pub fn generate(ctx: XdpContext) -> u32 {
    // SAFETY: the kernel hands in a valid context.
    let (start, end) = unsafe { ((*ctx.ctx).data, (*ctx.ctx).data_end) };
    match vary(start as usize, end as usize) {
        Some(_) => xdp_action::XDP_PASS,
        None => xdp_action::XDP_ABORTED,
    }
}

/// The generator, and an insertion into a full LRU hash: what a new connection costs elsewhere.
#[aya_ebpf::macros::xdp(frags)]
#[inline(always)]
pub fn insert(ctx: XdpContext) -> u32 {
    // SAFETY: the kernel hands in a valid context.
    let (start, end) = unsafe { ((*ctx.ctx).data, (*ctx.ctx).data_end) };
    let Some(key) = vary(start as usize, end as usize) else { return xdp_action::XDP_ABORTED };
    match CLASSIC.insert(&[u64::from(key), 0, 0, 0, 0], &[0; 3], 0) {
        Ok(()) => xdp_action::XDP_PASS,
        Err(_) => xdp_action::XDP_ABORTED,
    }
}

/// The generator, and then what `segd_xdp` is.
#[aya_ebpf::macros::xdp(frags)]
#[inline(always)]
pub fn judge(ctx: XdpContext) -> u32 {
    // SAFETY: the kernel hands in a valid context.
    let (start, end) = unsafe { ((*ctx.ctx).data, (*ctx.ctx).data_end) };
    if vary(start as usize, end as usize).is_none() {
        return xdp_action::XDP_ABORTED;
    }
    xdp::express(&ctx)
}

/// Called by [`judge`].
#[aya_ebpf::macros::xdp(frags)]
#[inline(always)]
pub fn whole(ctx: XdpContext) -> u32 {
    xdp::whole(&ctx)
}

/// Writes the next key into the frame's address and port, and gives it.
#[inline(always)]
fn vary(start: usize, end: usize) -> Option<u32> {
    // SAFETY: the value has the type's size and alignment, and runs of the bench are never concurrent.
    let steer = unsafe { &mut *STEER.get_ptr_mut(0)?.cast::<Steer>() };
    steer.state = steer.state.wrapping_mul(steer.step).wrapping_add(steer.add);
    let key = (steer.state >> (steer.shift & 63)) as u32 & steer.space as u32;
    let address = match steer.mask as u32 {
        0 => *SOURCES.get(key & (SOURCE_COUNT - 1))?,
        mask => steer.base as u32 | key & mask,
    };
    let port = (key >> 16).wrapping_add(1024) as u16;
    let place = place(start, end, steer.places & 0x3f, 4)?;
    // SAFETY: the four bytes were found to lie inside the frame; the verifier checks it again.
    unsafe { asm!("*(u32 *)(r2 + 0) = r1", in("r1") u64::from(address.to_be()), in("r2") place, options(nostack)) };
    let place = self::place(start, end, steer.places >> 8 & 0x3f, 2)?;
    // SAFETY: as above, two bytes.
    unsafe { asm!("*(u16 *)(r2 + 0) = r1", in("r1") u64::from(port.to_be()), in("r2") place, options(nostack)) };
    Some(key)
}

#[inline(always)]
fn place(start: usize, end: usize, off: u64, size: usize) -> Option<usize> {
    let place = view::barrier(start + off as usize);
    if place + size > end { None } else { Some(place) }
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
