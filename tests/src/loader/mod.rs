//! Mutated zone files for the real loader: it reads them from the disk, checks and compiles them, and must either take
//! the whole of what was written or say what is wrong, with file and line, in bounded time and memory.
//!
//! `texts` are valid zone files, `mutate` spoils them, `judge` runs the loader and looks at what came out, `memory`
//! counts, `shrink` makes a finding small. Nothing here may know how the loader works.

mod judge;
mod memory;
mod mutate;
mod run;
mod shrink;
mod texts;

pub use judge::{Judge, Judged, Measured};
pub use memory::Counting;
pub use run::{Finding, Tally, drawn, play};
pub use texts::{File, Files};
