//! The kernel programs: XDP ingress, TC ingress, TC egress, and the note that ties a forwarded packet's way out to its way
//! in. Each is a thin shell around the shared pipeline; nothing is decided here.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![allow(internal_features, reason = "the target has no `Atomic*::compare_exchange`; its intrinsics work")]

mod maps;
mod view;

use aya_ebpf::bindings::{TC_ACT_SHOT, xdp_action};
use aya_ebpf::helpers::bpf_xdp_get_buff_len;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use segd_common::interface::Interface;
use segd_common::parse::Framing;
use segd_common::pipeline::{self, Hook, Sighting};

use maps::{Maps, Room};
use view::Frame;

/// `TCX_NEXT`: the verdict is left to whoever comes next. 0 would end the chain for everybody behind us.
const NEXT: i32 = -1;

/// Bytes that are made readable when headers lie outside the linear part of a packet.
const PULL: u32 = 512;

/// Ingress in the driver or, generic, in the stack.
#[xdp(frags)]
pub fn segd_xdp(ctx: XdpContext) -> u32 {
    // SAFETY: the kernel hands in a valid context.
    let (ifindex, start, end) = unsafe { ((*ctx.ctx).ingress_ifindex, (*ctx.ctx).data, (*ctx.ctx).data_end) };
    let Some(room) = Maps.room() else { return xdp_action::XDP_DROP };
    // Jumbo frames, and generic XDP's super-packets, go on in pages that can't be read here.
    // SAFETY: as above.
    let len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as u32;
    let frame = Frame::new(start as usize, end as usize, len, &raw mut room.spare);
    room.work.at = sighting(Hook::Ingress, Maps.interface(ifindex), ifindex);
    if pipeline::run(&Maps, &frame, &mut room.work) { xdp_action::XDP_PASS } else { xdp_action::XDP_DROP }
}

/// Ingress where XDP harms or can't run. Notes the source's zone for the way out.
#[classifier]
pub fn segd_ingress(ctx: TcContext) -> i32 {
    let Some(room) = Maps.room() else { return TC_ACT_SHOT };
    if !judge(&ctx, Hook::Ingress, room) {
        return TC_ACT_SHOT;
    }
    note(&ctx, room.work.outcome.src_zone);
    NEXT
}

/// Egress: what this machine starts, and what it forwards after address translation.
#[classifier]
pub fn segd_egress(ctx: TcContext) -> i32 {
    // SAFETY: the kernel hands in a valid context.
    let from = unsafe { (*ctx.skb.skb).ingress_ifindex };
    let hook = if from == 0 { Hook::Local } else { Hook::Forward };
    let Some(room) = Maps.room() else { return TC_ACT_SHOT };
    if judge(&ctx, hook, room) { NEXT } else { TC_ACT_SHOT }
}

/// Behind [`segd_xdp`], which can't write to a packet's metadata: notes the source's zone for the way out.
#[classifier]
pub fn segd_note(ctx: TcContext) -> i32 {
    let Some(room) = Maps.room() else { return TC_ACT_SHOT };
    // SAFETY: the kernel hands in a valid context.
    let interface = Maps.interface(unsafe { (*ctx.skb.skb).ifindex });
    let framing = framing(&ctx, Hook::Ingress, interface);
    let frame = sight(&ctx, &raw mut room.spare);
    let zone = pipeline::source_zone(&Maps, &frame, framing, &mut room.work);
    note(&ctx, zone);
    NEXT
}

/// Never attached: the daemon runs it to read the clock that deadlines are kept in.
#[classifier]
pub fn segd_clock(_ctx: TcContext) -> i32 {
    Maps.tell_time();
    NEXT
}

#[inline(always)]
fn judge(ctx: &TcContext, hook: Hook, room: &mut Room) -> bool {
    // SAFETY: the kernel hands in a valid context.
    let (ifindex, segments, from, tag) = unsafe {
        let skb = ctx.skb.skb;
        ((*skb).ifindex, (*skb).gso_segs, (*skb).ingress_ifindex, (*skb).tc_index)
    };
    let interface = Maps.interface(ifindex);
    room.work.at = sighting(hook, interface, ifindex);
    room.work.at.framing = framing(ctx, hook, interface);
    room.work.at.frames = if segments > 1 { segments } else { 1 };
    if hook as u8 == Hook::Forward as u8 && tag != 0 && Maps.interface(from).slot != 0 {
        room.work.at.tagged = Some((tag - 1) as u16);
    }
    let frame = sight(ctx, &raw mut room.spare);
    pipeline::run(&Maps, &frame, &mut room.work)
}

/// The packet's view, with its headers in the linear part.
#[inline(always)]
fn sight(ctx: &TcContext, spare: *mut u32) -> Frame {
    // SAFETY: the kernel hands in a valid context; the pointers are read again after `pull_data` may have moved them.
    unsafe {
        let skb = ctx.skb.skb;
        let len = (*skb).len;
        let wanted = if len < PULL { len } else { PULL };
        if (*skb).data as usize + wanted as usize > (*skb).data_end as usize {
            let _ = ctx.pull_data(wanted);
        }
        Frame::new((*skb).data as usize, (*skb).data_end as usize, len, spare)
    }
}

#[inline(always)]
fn framing(ctx: &TcContext, hook: Hook, interface: Interface) -> Framing {
    // SAFETY: the kernel hands in a valid context.
    let (segments, len, wire_len, tag) = unsafe {
        let skb = ctx.skb.skb;
        ((*skb).gso_segs, (*skb).len, (*skb).wire_len, (*skb).vlan_present)
    };
    // On its way in a packet's link header is put back in front of it before we see it, and `wire_len` is its length
    // without. When generic XDP had to copy a packet, Linux (6.18) forgets how long that header is and puts nothing back.
    let headless = hook as u8 == Hook::Ingress as u8 && wire_len == len;
    Framing {
        layer3: headless || interface.flags & Interface::LAYER3 != 0,
        oversized: segments > 1 && len > 0xffff,
        stripped: tag != 0,
    }
}

#[inline(always)]
fn sighting(hook: Hook, interface: Interface, ifindex: u32) -> Sighting {
    let layer3 = interface.flags & Interface::LAYER3 != 0;
    let framing = Framing { layer3, oversized: false, stripped: false };
    Sighting { hook, framing, interface: interface.slot, ifindex, tagged: None, frames: 1 }
}

/// `tc_index` stays with a packet from its way in to its way out, and nothing else in a current kernel uses it.
#[inline(always)]
fn note(ctx: &TcContext, zone: u16) {
    // SAFETY: the kernel hands in a valid context, and TC programs may write this field.
    unsafe { (*ctx.skb.skb).tc_index = u32::from(zone) + 1 };
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
