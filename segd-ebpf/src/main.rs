//! The kernel programs: XDP ingress, TC ingress, TC egress, and the note that ties a forwarded packet's way out to its way
//! in. Each is a thin shell around the shared pipeline; nothing is decided here.
//!
//! Every hook has two programs. The first takes the short way; it is attached, and calls the second for what is left. Two
//! programs, because each has a stack and a verifier's budget of its own.
//!
//! Their bodies have to be in line. aya wraps each in a function of the kernel's signature, and a body as large as ours the
//! compiler leaves out of line: the kernel would call it for each packet, for a fifth of what an established one costs.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![allow(internal_features, reason = "the target has no `Atomic*::compare_exchange`; its intrinsics work")]

mod maps;
mod memo;
mod shortcut;
mod tc;
mod tell;
mod view;
mod xdp;

use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};

use maps::Maps;
use tc::{NEXT, Side};

/// Ingress in the driver or, generic, in the stack.
#[xdp(frags)]
#[inline(always)]
pub fn segd_xdp(ctx: XdpContext) -> u32 {
    xdp::express(&ctx)
}

/// Never attached: called by [`segd_xdp`].
#[xdp(frags)]
#[inline(always)]
pub fn segd_xdp_whole(ctx: XdpContext) -> u32 {
    xdp::whole(&ctx)
}

/// Never attached: called by [`segd_xdp`] for what may be redirected.
#[xdp(frags)]
#[inline(always)]
pub fn segd_xdp_shortcut(ctx: XdpContext) -> u32 {
    shortcut::redirect(&ctx)
}

/// Ingress where XDP harms or can't run. Notes the source's zone for the way out.
#[classifier]
#[inline(always)]
pub fn segd_ingress(ctx: TcContext) -> i32 {
    tc::express(&ctx, Side::Ingress)
}

/// Never attached: called by [`segd_ingress`].
#[classifier]
#[inline(always)]
pub fn segd_ingress_whole(ctx: TcContext) -> i32 {
    tc::whole(&ctx, Side::Ingress)
}

/// Egress: what this machine starts, and what it forwards after address translation.
#[classifier]
#[inline(always)]
pub fn segd_egress(ctx: TcContext) -> i32 {
    tc::express(&ctx, Side::Egress)
}

/// Never attached: called by [`segd_egress`].
#[classifier]
#[inline(always)]
pub fn segd_egress_whole(ctx: TcContext) -> i32 {
    tc::whole(&ctx, Side::Egress)
}

/// Behind [`segd_xdp`]: notes what that has found out where it lasts until the way out. XDP's own notes don't.
#[classifier]
#[inline(always)]
pub fn segd_note(ctx: TcContext) -> i32 {
    tc::note_zone(&ctx)
}

/// Never attached: the daemon runs it to read the clock that deadlines are kept in.
#[classifier]
#[inline(always)]
pub fn segd_clock(_ctx: TcContext) -> i32 {
    Maps.tell_time();
    NEXT
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
