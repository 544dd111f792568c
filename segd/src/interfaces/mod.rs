//! The machine's network interfaces: what they are, how each is best guarded, news of them as they come and go,
//! and the nftables table that stops traffic through those nobody guards yet.
//!
//! This room speaks netlink and runs `nft`; it never loads or attaches a kernel program.

mod address;
mod features;
mod guard;
mod hook;
mod link;
mod machine;
mod ruleset;
mod selection;
mod shortcut;
mod stack;
mod watcher;

#[cfg(test)]
pub(crate) mod ground;
#[cfg(test)]
mod guard_tests;
#[cfg(test)]
mod watcher_tests;

pub use features::takes_redirects;
pub use guard::{Guard, GuardError};
pub use hook::{Hook, HookDecision, HookError, UnknownHook, choose_hook};
pub use link::{Kind, Link};
pub use ruleset::{Admission, Instance, InstanceError};
pub use selection::{Guarding, guarded};
pub use shortcut::{ForwardDecision, choose_forward, tracks_strictly};
pub use stack::{lower, names_above};
pub use watcher::{Change, WatchError, Watcher};
