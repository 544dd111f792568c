//! The short way: what nearly every packet needs, in one function without a detour. It calls the same stages as the whole way
//! and decides nothing by itself; whatever it is not made for goes the whole way, as if nobody had looked at it before.

use super::outcome::Next;
use super::{Context, Hook, Outcome, Work};
use crate::env::{Env, Inline};
use crate::flow::{Glance, glance};
use crate::packet::Packet;
use crate::parse;
use crate::view::View;

/// How far the short way has led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Express {
    /// To the end: the packet is decided and counted, and `work.outcome` says how.
    Decided,
    /// The policy has spoken, and the rest is for [`super::resume`].
    Judged,
    /// Nowhere: [`super::run`] does all of it.
    Whole,
}

/// Takes a packet the short way. `work.at` is the caller's to fill in.
#[inline(always)]
pub fn express<V: View, E: Env>(env: &E, view: &V, work: &mut Work) -> Express {
    env.meet();
    let Work { at, packet, ends, outcome, .. } = work;
    if at.interface == 0 || parse::plain(view, at.framing, packet).is_none() {
        return Express::Whole;
    }
    at.bytes = view.frame_len();
    *outcome = Outcome::CLOSED;
    env.meet();
    let Some(context) = Context::new(env, at) else { return Express::Whole };
    packet.hash = packet.key.hash(context.control.seed);
    if context.was_judged(packet) {
        *outcome = Outcome::JUDGED;
        return Express::Decided;
    }
    let found = match context.look(packet) {
        Glance::Found(found) => Some(found),
        Glance::Nothing => None,
        Glance::Unclear => return Express::Whole,
    };
    context.judge_found(&Inline(env), packet, found, ends, outcome);
    env.meet();
    if outcome.next as u8 != Next::Done as u8 || context.may_adopt(packet, outcome) {
        return Express::Judged;
    }
    *outcome = context.soften(*outcome);
    context.account(packet, outcome);
    Express::Decided
}

impl<'a, E: Env> Context<'a, E> {
    /// Whether it was judged on its way in, with the ends that it has now. Where the shortcut is taken its connection wants to
    /// see it all the same.
    #[inline(always)]
    fn was_judged(&self, packet: &Packet) -> bool {
        self.at.hook as u8 == Hook::Forward as u8
            && self.at.shortcut == 0
            && self.at.tagged.is_some()
            && self.at.stamp == super::vouched(packet.hash)
    }

    /// The packet's connection, as far as a quick look tells.
    #[inline(always)]
    fn look(&self, packet: &Packet) -> Glance<'a> {
        if self.skips_state(packet) {
            return Glance::Nothing;
        }
        glance(self.env, &packet.key, packet.hash, self.control.bucket_mask)
    }
}
