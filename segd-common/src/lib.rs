//! The only place where kernel and user meet.
//!
//! The frame parser, the decision function and every layout that both sides read live here. The crate is
//! `no_std` and holds no `unsafe` outside [`pod`]: the same code runs in the kernel programs, in the daemon's
//! `explain` and in unit tests on a laptop.
#![no_std]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

#[cfg(test)]
extern crate std;

pub mod reason;
