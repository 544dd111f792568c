//! From folders and a machine to an engine that enforces. Everything that can be refused is refused before the kernel
//! is touched; what is enforced already stays enforced through every refusal.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::Engine;
use super::first_boot::FirstBoot;
use super::guarding::Machine;
use super::judge::{Judged, Written, compiled, judge};
use super::names::Names;
use super::refusal::Refusal;
use super::writer::{Core, Parts};
use crate::compile::{Clock, Facts, InterfaceFact, Registry};
use crate::config::{load, read_sources};
use crate::datapath::{Datapath, DatapathError, Events, Sizes};
use crate::interfaces::{Guard, Instance, InstanceError};
use crate::policy::Policy;
use crate::seen::{Seen, Told};
use crate::state::file;
use crate::state::lock::{Lock, LockError};
use crate::state::quarantine::Quarantine;
use crate::state::{LastGood, StateDir, StateError};

/// Where one instance lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// The hand-written zone file.
    pub config: PathBuf,
    /// What is kept over restarts.
    pub state: PathBuf,
    /// Pins of programs, maps and links; on a bpffs.
    pub bpffs: PathBuf,
}

/// The daemon could not start. What was enforced before still is.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The zone files are refused.
    #[error("{0}")]
    Policy(Refusal),
    /// The process may not do what a daemon has to.
    #[error("segd needs {0}; start it as root, or give its service these capabilities")]
    NotPermitted(String),
    /// The folder of the pins is not usable.
    #[error("cannot make {path}: {source}; is a bpffs mounted there? (mount -t bpf bpf /sys/fs/bpf)")]
    Pins {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Pins live on a bpffs only.
    #[error(
        "{0} is not on a bpffs, which pins need; mount one (mount -t bpf bpf /sys/fs/bpf), or name a folder on one with --bpffs"
    )]
    NoBpffs(PathBuf),
    /// Another daemon is at work.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Enforcement is to be taken off while a daemon keeps it up.
    #[error(
        "{folder} belongs to a segd at work{}, which would put everything back; stop it first (systemctl stop segd{}), \
         then unload; until then everything stays enforced",
        pid.map_or_else(String::new, |pid| format!(" (process {pid})")),
        pid.map_or_else(String::new, |pid| format!(", or kill {pid}"))
    )]
    AtWork {
        /// What it holds.
        folder: PathBuf,
        /// Which process, if the kernel tells.
        pid: Option<u32>,
    },
    /// The state folder is not usable.
    #[error(transparent)]
    State(#[from] StateError),
    /// The kernel side could not be opened.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
    /// The folder's name gives no name for the nftables table.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// It opened, and could not be put in force.
    #[error("{0}")]
    Failed(Refusal),
}

/// An engine at work, and what keeps it so.
pub struct Started {
    /// The engine.
    pub engine: Engine,
    /// What the kernel reports.
    pub events: Events,
    /// Whether an earlier daemon's kernel state was taken over.
    pub adopted: bool,
    /// Held as long as the daemon lives.
    pub locks: [Lock; 2],
}

/// Reads and checks the zone file of an instance, every fault at once. If a policy was on trial when the last daemon
/// ended, its zone file makes way for the old one first.
pub fn read_policy(folders: &Folders) -> Result<CheckedPolicy, StartError> {
    let taken_back = take_back(folders)?;
    let config = &folders.config;
    // `load` also finds what is wrong around the files, which their texts alone don't tell.
    let notes = load(config).map_err(|faults| StartError::Policy(faults.into()))?.warnings;
    let sources = read_sources(config).map_err(|faults| StartError::Policy(faults.into()))?;
    let written = Written::read(sources).map_err(StartError::Policy)?;
    for note in &notes {
        tracing::warn!("{}", note.render(false));
    }
    Ok(CheckedPolicy { written, taken_back })
}

/// Puts the old zone file back. Nobody can confirm any more: the daemon that asked for it is gone.
fn take_back(folders: &Folders) -> Result<bool, StartError> {
    if !folders.state.exists() {
        return Ok(false);
    }
    let state = StateDir::open(&folders.state)?;
    let Some(marker) = state.load_pending()? else { return Ok(false) };
    may_start()?;
    // A daemon at work has its trial in hand.
    let _lock = Lock::take(&folders.state)?;
    let back = marker.restore().and_then(|()| state.clear_pending());
    back.map_err(|error| StartError::Failed(error.into()))?;
    tracing::warn!(
        "a policy was on trial until {:.0}, and segd ended before it was confirmed; {} is the old one again",
        marker.confirm_by,
        marker.config.display()
    );
    Ok(true)
}

/// A policy that has no faults; its tests are still to be run.
pub struct CheckedPolicy {
    written: Written,
    /// A policy on trial was taken back for it.
    taken_back: bool,
}

impl Engine {
    /// Puts `policy` in force on `machine`, over whatever an earlier daemon left in the kernel.
    /// `first_boot` is what the next boot begins with where no policy is left, for status to tell.
    pub fn start(
        folders: &Folders,
        policy: CheckedPolicy,
        machine: Machine,
        first_boot: FirstBoot,
    ) -> Result<Started, StartError> {
        let CheckedPolicy { written, taken_back } = policy;
        may_start()?;
        let state = StateDir::open(&folders.state)?;
        on_bpffs(&folders.bpffs)?;
        fs::create_dir_all(&folders.bpffs)
            .map_err(|source| StartError::Pins { path: folders.bpffs.clone(), source })?;
        let locks = [Lock::take(&folders.bpffs)?, Lock::take(&folders.state)?];
        let zone_files = file::folder(&folders.config);
        for folder in [state.path(), zone_files, &zone_files.join("zones.d")] {
            file::sweep(folder);
        }
        let registry = state.load_registry(is_pinned(&folders.bpffs))?;
        let quarantine = state.load_quarantine()?;
        let last = last_good(&state);
        let judge = if last.as_ref().is_some_and(|last| last.digest == written.digest) { compiled } else { judge };
        let sizes = rehearse(&written.policy, &machine, &registry, &quarantine, judge)?;
        let mut datapath = Datapath::open(&folders.bpffs, &sizes)?;
        let adopted = datapath.adopted();
        let events = datapath.events()?;
        let names = Names { registry: registry.clone(), ..Names::default() };
        let seen = Seen::open(state.path(), &Told::of(&datapath.counters()?, &names));
        let parts = Parts {
            config: folders.config.clone(),
            state,
            registry,
            quarantine,
            last,
            kernel: Box::new(datapath),
            machine,
        };
        let mut core = Core::start(parts, written).map_err(StartError::Failed)?;
        core.first_boot = first_boot;
        if taken_back {
            core.note_taken_back();
        }
        core.fallback = Some(Guard::install(instance(&folders.bpffs)?, &core.admission()));
        // Only now is it known whether a new port of a bridge is closed until it is guarded.
        core.guard_interfaces();
        Ok(Started { engine: Self::new(core, seen), events, adopted, locks })
    }
}

/// Compiles the policy before the kernel is touched, tests it if `judge` does, and finds out how much room it needs there.
pub(super) fn rehearse(
    policy: &Policy,
    machine: &Machine,
    registry: &Registry,
    quarantine: &Quarantine,
    judge: fn(&Policy, &Facts, &Registry) -> Result<Judged, Refusal>,
) -> Result<Sizes, StartError> {
    let fact = |(slot, link): (u16, &crate::interfaces::Link)| InterfaceFact {
        name: link.name.clone(),
        above: machine.names_above(link),
        ifindex: link.index,
        slot,
    };
    let interfaces = (1..).zip(machine.guarded(&policy.interfaces)).map(fact).collect();
    let host = machine.addresses.iter().copied().collect();
    let facts = Facts {
        host,
        interfaces,
        cuts: quarantine.cuts(),
        now: Timestamp::now(),
        clock: Clock::detached(Timestamp::now()),
    };
    judge(policy, &facts, registry).map(|judged| judged.sizes).map_err(StartError::Policy)
}

/// The policy that was last in force. The files on the disk are what counts here: one that can't be read is as good as none.
fn last_good(state: &StateDir) -> Option<LastGood> {
    state.load_last_good().inspect_err(|error| tracing::warn!("{error}")).ok().flatten()
}

/// What an unload did.
#[derive(Debug, Default)]
pub struct Unloaded {
    /// What was taken off.
    pub taken: Vec<String>,
    /// The state folder that was emptied.
    pub forgotten: Option<PathBuf>,
}

/// Takes enforcement off: programs, maps and the nftables tables of an instance, and what is kept in `state` if that is named.
/// Refused while a daemon is at work on either folder.
pub fn unload(bpffs: &Path, state: Option<&Path>) -> Result<Unloaded, StartError> {
    may_start()?;
    let _locks = [lock_idle(bpffs)?, state.map_or(Ok(None), lock_idle)?];
    let mut unloaded = Unloaded::default();
    if bpffs.exists() {
        unloaded.taken = Datapath::unload(bpffs)?;
        // The folder itself goes as well, unless somebody else put something into it.
        let _ = fs::remove_dir(bpffs);
    }
    // Also without a pin: a bpffs that was unmounted takes the pins along and leaves the tables.
    if let Err(error) = Guard::remove(&instance(bpffs)?) {
        tracing::warn!("{error}");
    }
    if let Some(dir) = state.filter(|dir| dir.exists()) {
        StateDir::open(dir)?.forget().map_err(|source| StateError::Forget { path: dir.to_owned(), source })?;
        unloaded.forgotten = Some(dir.to_owned());
    }
    Ok(unloaded)
}

/// The folder's lock, if there is a folder and no daemon has it: one at work would put everything back.
fn lock_idle(folder: &Path) -> Result<Option<Lock>, StartError> {
    if !folder.exists() {
        return Ok(None);
    }
    Lock::take(folder).map(Some).map_err(|error| match error {
        LockError::Taken { folder, pid } => StartError::AtWork { folder, pid },
        error @ LockError::Failed { .. } => error.into(),
    })
}

/// Looks at the folder, or where it is going to be made.
pub(super) fn on_bpffs(folder: &Path) -> Result<(), StartError> {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let there = absolute.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let failed = |source| StartError::Pins { path: folder.to_owned(), source };
    let path = CString::new(there.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
    // SAFETY: all zero is a value of this plain type.
    let mut kind: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a terminated string, and a live value that the kernel fills in.
    if unsafe { libc::statfs(path.as_ptr(), &raw mut kind) } != 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    if kind.f_type.to_ne_bytes() == BPF_FS_MAGIC { Ok(()) } else { Err(StartError::NoBpffs(folder.to_owned())) }
}

/// Whether something is in force there.
pub(super) fn is_pinned(bpffs: &Path) -> bool {
    let in_force = |entry: fs::DirEntry| Datapath::is_in_force(&entry.file_name());
    fs::read_dir(bpffs).is_ok_and(|entries| entries.flatten().any(in_force))
}

/// The instance's nftables tables are named after its folder of pins, which no two daemons share.
pub(super) fn instance(bpffs: &Path) -> Result<Instance, InstanceError> {
    let absolute = std::path::absolute(bpffs).unwrap_or_else(|_| bpffs.to_owned());
    let word: String = absolute
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .collect();
    let word = word.trim_matches('_');
    word[word.len().saturating_sub(48)..].parse()
}

/// What `statfs` says of a bpffs (include/uapi/linux/magic.h). As bytes: C libraries differ on the number's sign.
const BPF_FS_MAGIC: [u8; 8] = 0xcafe_4a11_u64.to_ne_bytes();

/// Capability numbers of `linux/capability.h`.
/// Without `CAP_PERFMON` the verifier refuses the programs: they keep parts of pointers to packets.
const CAPABILITIES: [(u8, &str); 3] = [(12, "CAP_NET_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];

pub(super) fn may_start() -> Result<(), StartError> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    // Where /proc does not tell, the kernel's own refusal will.
    let Some(effective) = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) else { return Ok(()) };
    let missing: Vec<&str> =
        CAPABILITIES.iter().filter(|(bit, _)| effective >> bit & 1 == 0).map(|(_, name)| *name).collect();
    if missing.is_empty() { Ok(()) } else { Err(StartError::NotPermitted(missing.join(" and "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_in_force_is_taken_for_it() {
        let pinned = |name: &str| {
            let bpffs = tempfile::tempdir().unwrap();
            fs::create_dir(bpffs.path().join(name)).unwrap();
            is_pinned(bpffs.path())
        };
        for ours in ["maps_7", "maps_7_old", "links", "filters"] {
            assert!(pinned(ours), "{ours}");
        }
        for other in ["maps_7_next", "maps_7_before", "called_0123456789abcdef", "maps.debug", "progs.debug", "tc"] {
            assert!(!pinned(other), "{other}");
        }
        assert!(!is_pinned(Path::new("/nowhere")));
    }
}
