//! Zone files in, a checked policy out, or every fault at once.
//!
//! Two steps: as written (`tree` → `read` → `written`: known keys, right shapes, a place for each value) and as checked
//! (`check` → `policy::Policy`: names resolved, values parsed). All files are read into one `Written`, so a fault in one
//! never hides those of another. `dropin` edits the one file that belongs to `segctl`. Nothing here publishes anything.

mod check;
pub mod dropin;
mod fault;
mod fields;
mod findings;
mod load;
mod read;
mod text;
mod tree;
mod written;

pub use check::{LONGEST, says_something};
pub use fault::{Fault, Faults};
pub use findings::Source;
pub(crate) use findings::nearest;
pub use load::{Loaded, load, load_sources, load_sources_at, read_sources};
pub use text::text_of;
