//! What can go wrong between the daemon and the kernel. Each says what was tried on what, and ends with the mend.

use std::error::Error;
use std::io;
use std::iter;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

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
        let what = what.into();
        if is_out_of_memory(&source) {
            return Self::NoMemory { words: format!("{what}: {source}") };
        }
        Self::System { what, source }
    }

    pub(super) fn map(what: impl Into<String>, error: &MapError) -> Self {
        let (what, words) = (what.into(), full_words(error));
        if is_out_of_memory(error) {
            return Self::NoMemory { words: format!("{what}: {words}") };
        }
        Self::System { what, source: io::Error::other(words) }
    }

    /// The object does not load.
    pub(super) fn object(error: &EbpfError) -> Self {
        let words = full_words(error);
        if is_out_of_memory(error) { Self::NoMemory { words } } else { Self::Object { words } }
    }

    /// A program does not load.
    pub(super) fn program(program: &str, error: &ProgramError) -> Self {
        let words = full_words(error);
        if is_out_of_memory(error) {
            return Self::NoMemory { words: format!("cannot load the program {program}: {words}") };
        }
        Self::Verifier { program: program.to_owned(), words }
    }
}

/// Whether the kernel had no memory for it, or the daemon's control group none left.
fn is_out_of_memory(error: &(dyn Error + 'static)) -> bool {
    let is_memory = |error: &io::Error| error.raw_os_error() == Some(libc::ENOMEM);
    let causes = iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    causes.filter_map(|error| error.downcast_ref()).any(is_memory)
}

/// An error with what caused it.
pub(super) fn full_words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors tell their cause themselves.
        if !words.ends_with(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;

    use super::*;

    #[test]
    fn whatever_finds_no_memory_says_what_can_be_done_about_it() {
        let refusal = |code| io::Error::from_raw_os_error(code);
        let all = |code| {
            let program = ProgramError::from(SyscallError { call: "bpf_prog_load", io_error: refusal(code) });
            let map = || MapError::CreateError { name: "FLOWS".into(), io_error: refusal(code) };
            [
                DatapathError::system("map IMAGE into memory", refusal(code)),
                DatapathError::map("write INTERFACE", &map()),
                DatapathError::object(&EbpfError::MapError(map())),
                DatapathError::program("segd_xdp", &program),
            ]
        };
        for error in all(libc::ENOMEM) {
            assert!(matches!(error, DatapathError::NoMemory { .. }), "{error:?}");
            assert!(error.to_string().contains("limits: connections"), "{error}");
        }
        for error in all(libc::EPERM) {
            assert!(!matches!(error, DatapathError::NoMemory { .. }), "{error:?}");
            assert!(error.to_string().contains("Operation not permitted"), "{error}");
        }
    }
}
