//! What the tests and the demo share: the packet builder and the lab.
//!
//! `packet` builds frames, `rows` is the table of odd ones, `lab` builds networks with the real daemon in their middle.
//! Nothing of the product may depend on this crate.

pub mod lab;
pub mod packet;
pub mod rows;
