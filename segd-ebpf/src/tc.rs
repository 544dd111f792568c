//! TC ingress and egress.

use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::helpers::bpf_set_hash;
use aya_ebpf::programs::TcContext;
use segd_common::interface::Interface;
use segd_common::parse::Framing;
use segd_common::pipeline::{self, Express, Hook, Sighting, Work};

use crate::maps::{Maps, WHOLE_TC};
use crate::memo::Memo;
use crate::tell::say;
use crate::view::{Frame, Length};

/// `TCX_NEXT`: the verdict is left to whoever comes next. 0 would end the chain for everybody behind us.
pub const NEXT: i32 = -1;

/// Bytes that are made readable when headers lie outside the linear part of a packet.
const PULL: u32 = 512;

/// Which way a program stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Side {
    /// Packets come in.
    Ingress = 0,
    /// Packets leave.
    Egress = 1,
}

/// The short way; what it can't finish, the whole way does.
#[inline(always)]
pub fn express(ctx: &TcContext, side: Side) -> i32 {
    let Some(room) = Maps.room() else { return TC_ACT_SHOT };
    room.work.at = sighting(ctx, side);
    let way = pipeline::express(&Maps, &sight(ctx), &mut room.work);
    if matches!(way, Express::Decided) {
        return end(ctx, side, &room.work);
    }
    room.resumed = u32::from(matches!(way, Express::Judged));
    // SAFETY: the map holds a program of this type, or nothing: then we go on, and drop.
    unsafe { WHOLE_TC.tail_call(ctx, side as u32) };
    say!(ctx, "segd_ingress or segd_egress has nobody to call, and drops");
    TC_ACT_SHOT
}

/// The whole way, or what is left of it.
#[inline(always)]
pub fn whole(ctx: &TcContext, side: Side) -> i32 {
    let Some(room) = Maps.room() else { return TC_ACT_SHOT };
    let passes = if room.resumed == 0 {
        let frame = pull(ctx).with_spare(&raw mut room.spare);
        pipeline::run(&Maps, &frame, &mut room.work)
    } else {
        pipeline::resume(&Maps, &mut room.work)
    };
    if passes { end(ctx, side, &room.work) } else { TC_ACT_SHOT }
}

/// Behind XDP, which knows no packet yet: notes the source's zone for the way out, as XDP has found it.
#[inline(always)]
pub fn note_zone(ctx: &TcContext) -> i32 {
    // SAFETY: the kernel hands in a valid context.
    let (ifindex, meta, data) = unsafe {
        let skb = ctx.skb.skb;
        ((*skb).ifindex, (*skb).data_meta as usize, (*skb).data as usize)
    };
    if let Some(memo) = Memo::read(ifindex, meta, data) {
        note(ctx, memo.zone as u16);
        if memo.stamp != 0 {
            stamp(ctx, memo.stamp);
        }
        return NEXT;
    }
    let Some(room) = Maps.room() else { return TC_ACT_SHOT };
    let interface = Maps.interface(ifindex);
    let framing = framing(ctx, Hook::Ingress, interface);
    let frame = pull(ctx).with_spare(&raw mut room.spare);
    let zone = pipeline::source_zone(&Maps, &frame, framing, &mut room.work);
    note(ctx, zone);
    if interface.shortcut() != 0 {
        stamp(ctx, pipeline::stamp(&room.work.packet));
    }
    NEXT
}

#[inline(always)]
fn end(ctx: &TcContext, side: Side, work: &Work) -> i32 {
    if !work.outcome.passes() {
        return TC_ACT_SHOT;
    }
    if side as u32 == Side::Ingress as u32 {
        note(ctx, work.outcome.src_zone);
        if let Some(voucher) = pipeline::voucher(work) {
            stamp(ctx, voucher);
        }
    }
    NEXT
}

#[inline(always)]
fn sighting(ctx: &TcContext, side: Side) -> Sighting {
    // SAFETY: the kernel hands in a valid context.
    let (ifindex, segments, from, tag, hash) = unsafe {
        let skb = ctx.skb.skb;
        ((*skb).ifindex, (*skb).gso_segs, (*skb).ingress_ifindex, (*skb).tc_index, (*skb).hash)
    };
    let hook = match side {
        Side::Ingress => Hook::Ingress,
        Side::Egress if from == 0 => Hook::Local,
        Side::Egress => Hook::Forward,
    };
    let interface = Maps.interface(ifindex);
    let mut at = Maps.sighting_on(hook, interface, ifindex);
    at.framing = framing(ctx, hook, interface);
    at.frames = if segments > 1 { segments } else { 1 };
    at.shortcut = 0;
    if hook as u8 == Hook::Forward as u8 && tag != 0 {
        let origin = Maps.interface(from);
        if origin.slot != 0 {
            at.tagged = Some((tag - 1) as u16);
            at.shortcut = origin.shortcut();
            at.stamp = hash;
        }
    }
    at
}

/// The packet's view as it lies there.
#[inline(always)]
fn sight(ctx: &TcContext) -> Frame {
    // SAFETY: the kernel hands in a valid context.
    unsafe {
        let skb = ctx.skb.skb;
        Frame::new((*skb).data as usize, (*skb).data_end as usize, Length::Known((*skb).len))
    }
}

/// The packet's view, with its headers in the linear part.
#[inline(always)]
fn pull(ctx: &TcContext) -> Frame {
    // SAFETY: the kernel hands in a valid context; the pointers are read again after `pull_data` may have moved them.
    unsafe {
        let skb = ctx.skb.skb;
        let len = (*skb).len;
        let wanted = if len < PULL { len } else { PULL };
        if (*skb).data as usize + wanted as usize > (*skb).data_end as usize {
            if ctx.pull_data(wanted).is_err() {
                say!(ctx, "a packet's headers can't be made readable");
            }
        }
    }
    sight(ctx)
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

/// The kernel keeps a packet's hash from its way in to its way out; as one, the stamp serves whoever asks for it.
#[inline(always)]
fn stamp(ctx: &TcContext, stamp: u32) {
    // SAFETY: the kernel handed the packet in.
    unsafe { bpf_set_hash(ctx.skb.skb, stamp) };
}

/// `tc_index` stays with a packet from its way in to its way out, and nothing else in a current kernel uses it.
#[inline(always)]
fn note(ctx: &TcContext, zone: u16) {
    // SAFETY: the kernel hands in a valid context, and TC programs may write this field.
    unsafe { (*ctx.skb.skb).tc_index = u32::from(zone) + 1 };
}
