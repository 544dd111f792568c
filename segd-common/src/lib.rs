//! The only place where kernel and user meet.
//!
//! The frame parser, the decision function and every layout that both sides read live here. The crate is `no_std`
//! and holds no `unsafe`: the same code runs in the kernel programs, in the daemon's `explain` and in unit tests on a
//! laptop. Maps, clocks and packets come in through two traits, [`view::View`] and [`env::Env`].
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]
#![expect(
    clippy::inline_always,
    reason = "what is on the packet's way has to end up in one kernel function: the verifier follows packet pointers \
              through it, and inlining is no hint"
)]
#![expect(
    clippy::trivially_copy_pass_by_ref,
    clippy::unused_self,
    reason = "the verifier's budget hangs on the shape of these functions: two words that stages hand on stay a reference, \
              and stages stay methods"
)]

#[cfg(test)]
extern crate std;

pub mod addr;
pub mod clock;
pub mod control;
pub mod count;
pub mod env;
pub mod event;
pub mod flow;
pub mod fragment;
pub mod image;
pub mod interface;
pub mod packet;
pub mod parse;
pub mod pipeline;
pub mod policy;
pub mod reason;
pub mod view;

/// Number of the layouts in this crate. Pinned maps that carry another one are never adopted.
pub const ABI: u32 = 3;
