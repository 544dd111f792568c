//! XDP ingress, in the driver or, generic, in the stack.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::bpf_xdp_adjust_meta;
use aya_ebpf::programs::XdpContext;
use segd_common::pipeline::{self, Express, Hook, Work};

use crate::maps::{Maps, WHOLE_XDP};
use crate::memo::Memo;
use crate::tell::say;
use crate::view::{Frame, Length};

/// Places in [`WHOLE_XDP`].
const WHOLE: u32 = 0;
const SHORTCUT: u32 = 1;

/// The short way; what it can't finish, the whole way does.
#[inline(always)]
pub fn express(ctx: &XdpContext) -> u32 {
    let Some(room) = Maps.room() else { return xdp_action::XDP_DROP };
    let (frame, ifindex) = sight(ctx);
    room.work.at = Maps.sighting(Hook::Ingress, ifindex);
    let way = pipeline::express(&Maps, &frame, &mut room.work);
    if matches!(way, Express::Decided) {
        if room.work.outcome.direct != 0 {
            // SAFETY: the map holds a program of this type, or nothing: then the kernel forwards it.
            unsafe { WHOLE_XDP.tail_call(ctx, SHORTCUT) };
        }
        return end(ctx, ifindex, &room.work);
    }
    room.resumed = u32::from(matches!(way, Express::Judged));
    // SAFETY: the map holds a program of this type, or nothing: then we go on, and drop.
    unsafe { WHOLE_XDP.tail_call(ctx, WHOLE) };
    say!(ctx, "segd_xdp has nobody to call, and drops");
    xdp_action::XDP_DROP
}

/// The whole way, or what is left of it.
#[inline(always)]
pub fn whole(ctx: &XdpContext) -> u32 {
    let Some(room) = Maps.room() else { return xdp_action::XDP_DROP };
    let (frame, ifindex) = sight(ctx);
    if room.resumed == 0 {
        let frame = frame.with_spare(&raw mut room.spare);
        pipeline::run(&Maps, &frame, &mut room.work);
    } else {
        pipeline::resume(&Maps, &mut room.work);
    }
    end(ctx, ifindex, &room.work)
}

#[inline(always)]
pub fn sight(ctx: &XdpContext) -> (Frame, u32) {
    // SAFETY: the kernel hands in a valid context.
    unsafe {
        let md = ctx.ctx;
        let frame = Frame::new((*md).data as usize, (*md).data_end as usize, Length::Linear(md));
        (frame, (*md).ingress_ifindex)
    }
}

#[inline(always)]
fn end(ctx: &XdpContext, ifindex: u32, work: &Work) -> u32 {
    if !work.outcome.passes() {
        return xdp_action::XDP_DROP;
    }
    // A driver without room in front of its frames says nothing of them: then the note finds out by itself.
    // SAFETY: the kernel handed the context in.
    unsafe {
        if bpf_xdp_adjust_meta(ctx.ctx, -(size_of::<Memo>() as i32)) == 0 {
            Memo::of(ifindex, work).write((*ctx.ctx).data_meta as usize, (*ctx.ctx).data as usize);
        }
    }
    xdp_action::XDP_PASS
}
