//! The oracle: policies and packets of chance go to the loaded programs and to [`crate::model`], and both have to agree on
//! verdict, reason, zones, rule and connections, frame by frame.

mod bpf;
mod case;
mod compare;
mod conserve;
mod explain;
mod ground;
mod policies;
mod random;
mod shrink;
mod traffic;

pub use case::{Case, Step};
pub use compare::{Difference, Played, play};
pub use conserve::{Conserved, Flow, conserve};
pub use explain::ask;
pub use ground::{Got, Ground, INTERFACES, Totals};
pub use policies::policy;
pub use random::Random;
pub use shrink::shrink;
pub use traffic::{Style, case};
