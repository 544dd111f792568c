//! What the tests and the demo share: the packet builder and the lab.
//!
//! `model` says what must become of a packet, `oracle` asks the loaded programs and compares, `delivery` plays captures at
//! machines with and without a guard. `abuse` is the table of what must not be possible. `docs` types what the pages of docs/
//! say. `fuzz` is what fuzzers drive, `loader` plays mutated zone files to the loader, `soak` is what goes on for long under
//! load. `packet` builds frames, `rows` is the table of odd ones, `lab` builds networks with the real daemon in their middle.
//! Nothing of the product may depend on this crate.

pub mod abuse;
pub mod delivery;
pub mod docs;
pub mod fuzz;
pub mod lab;
pub mod loader;
pub mod model;
pub mod oracle;
pub mod packet;
pub mod rows;
pub mod soak;
