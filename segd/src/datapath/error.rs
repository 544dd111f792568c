//! What can go wrong between the daemon and the kernel. Each says what was tried on what, and ends with the mend.

use std::io;
use std::path::PathBuf;

use crate::compile::NoRoom;
use crate::interfaces::Hook;

/// The kernel side refused.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// Built without a BPF tool chain.
    #[error(
        "this segd was built without its kernel programs; `cargo xtask setup` gets the tool chain, then build again"
    )]
    NoObject,
    /// The kernel lacks what the programs need.
    #[error(
        "this machine runs Linux {release}, and segd needs 6.1 or newer: boot a newer kernel (Debian 12 and later have \
         one); nothing was touched"
    )]
    OldKernel {
        /// What it calls itself.
        release: String,
    },
    /// The object does not load.
    #[error(
        "cannot load the kernel programs: {words}; segd needs Linux 6.1 or newer, CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"
    )]
    Object {
        /// What aya and the kernel say.
        words: String,
    },
    /// The kernel has no memory for the maps.
    #[error(
        "{words}; let the policy ask for less (limits: connections), or give segd more than it may hold now \
         (systemctl show segd -p MemoryMax)"
    )]
    NoMemory {
        /// What aya and the kernel say.
        words: String,
    },
    /// The verifier refused a program.
    #[error("the kernel refuses the program {program}: {words}; what was enforced before still is")]
    Verifier {
        /// Which one.
        program: String,
        /// The kernel's words, the verifier's log included.
        words: String,
    },
    /// A program or a map is not where it ought to be.
    #[error("the kernel programs lack {0}; this build is broken, build segd again")]
    Missing(&'static str),
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried on what.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// A pin can't be made, read or removed.
    #[error("cannot {what} the pin {}: {why}; is a bpffs mounted there? (mount -t bpf bpf /sys/fs/bpf)", path.display())]
    Pin {
        /// What was tried.
        what: &'static str,
        /// The pin.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The image finds no room.
    #[error("{0}, or restart segd, which makes room by the policy's size")]
    NoRoom(#[from] NoRoom),
    /// A program can't be attached.
    #[error("cannot attach to {interface} by {hook}: {why}")]
    Attach {
        /// Name of the interface.
        interface: String,
        /// Which hook.
        hook: Hook,
        /// Why not, and the mend.
        why: String,
    },
    /// More interfaces than the kernel's table takes.
    #[error("no place for interface {0} in the kernel's table; guard fewer interfaces")]
    TooManyInterfaces(u32),
}

impl DatapathError {
    pub(super) fn system(what: impl Into<String>, source: io::Error) -> Self {
        Self::System { what: what.into(), source }
    }

    pub(super) fn map(what: impl Into<String>, error: &aya::maps::MapError) -> Self {
        Self::System { what: what.into(), source: io::Error::other(error.to_string()) }
    }
}
