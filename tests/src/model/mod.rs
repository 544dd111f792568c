//! A second implementation of what the product promises: plain, slow, in one piece, and written from the contract and the
//! list of hostile frames alone. It shares no code with the packet path, the compiler or the zone file's parser; where the
//! two disagree, one of them is wrong.
//!
//! It must never be made faster or smarter at the price of being plain, and it must never call the product.

pub mod address;
pub mod connection;
pub mod datagram;
mod essential;
mod extensions;
pub mod frame;
mod icmp;
pub mod policy;
mod transport;
pub mod why;
mod world;
mod yaml;

pub use address::Network;
pub use essential::Shape;
pub use policy::{Failsafe, Mode, Pair, Policy, Rule, Service, Who, Zone};
pub use why::Why;
pub use world::{Hook, Outcome, Sight, World};
