//! Connections: one entry each, the table that they stand in, and how packets move them on.

mod advance;
mod birth;
mod entry;
mod key;
mod table;

pub use advance::advance;
pub use birth::Birth;
pub use entry::{BUSY, Direction, Flow, State, flag, service, state_name};
pub use key::FlowKey;
pub(crate) use key::mix;
pub use table::{Bucket, Found, WAYS, create, find, seek};
pub(crate) use table::{Glance, glance};
