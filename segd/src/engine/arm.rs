//! The last good policy in force before anybody reads a zone file: at boot, before the network comes up. The daemon
//! then takes over what is there.

use std::fs;
use std::path::Path;

use super::guarding::{Guards, Machine, Wishes};
use super::judge::{Written, compiled};
use super::start::{StartError, instance, is_pinned, may_start, on_bpffs, rehearse};
use super::writer::gather;
use crate::compile::Laid;
use crate::config::Source;
use crate::datapath::{Datapath, Sizes};
use crate::interfaces::Guard;
use crate::policy::{InterfaceSelector, Policy};
use crate::state::StateDir;
use crate::state::image::Header;
use crate::state::lock::Lock;

/// What [`arm`] found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Armed {
    /// A policy is in force.
    Now {
        /// Which generation.
        generation: u32,
        /// Interfaces that are enforced.
        enforced: usize,
        /// Interfaces that are not, and why.
        open: Vec<(String, String)>,
        /// It is what was chosen for a machine that never had one.
        is_first: bool,
    },
    /// One was in force already; nothing was changed.
    Already,
    /// No policy was ever in force on this machine, or it was forgotten.
    Nothing,
}

/// What is put in force.
struct Ready {
    selectors: Vec<InterfaceSelector>,
    by_interface: bool,
    image: Laid,
    datapath: Datapath,
}

/// Puts the policy that was last in force in force again, on `machine`; `first` where none ever was.
///
/// # Errors
/// It can't be; then the machine is as it was.
pub fn arm(state: &Path, bpffs: &Path, machine: &Machine, first: Option<Policy>) -> Result<Armed, StartError> {
    may_start()?;
    if !state.exists() && first.is_none() {
        return Ok(Armed::Nothing);
    }
    let state = StateDir::open(state)?;
    on_bpffs(bpffs)?;
    fs::create_dir_all(bpffs).map_err(|source| StartError::Pins { path: bpffs.to_owned(), source })?;
    let _locks = [Lock::take(bpffs)?, Lock::take(state.path())?];
    if is_pinned(bpffs) {
        return Ok(Armed::Already);
    }
    let build = Datapath::build()?;
    let mut is_first = false;
    let ready = match state.load_image() {
        Ok(Some((header, image))) if header.build == build => kept(bpffs, machine, header, &image)?,
        other => {
            match other {
                Ok(None) => {}
                Ok(Some(_)) => {
                    tracing::warn!("the compiled policy is of another build of segd; its text is compiled anew");
                }
                Err(error) => tracing::warn!("{error}; the policy's text is compiled anew"),
            }
            let last = match last_policy(&state) {
                Err(error) if first.is_some() => {
                    tracing::error!("{error}; until then what was chosen for a machine without a policy holds");
                    None
                }
                last => last?,
            };
            is_first = last.is_none();
            let Some(policy) = last.or(first) else { return Ok(Armed::Nothing) };
            anew(policy, &state, bpffs, machine)?
        }
    };
    let Ready { selectors, by_interface, image, mut datapath } = ready;
    let generation = datapath.publish_laid(&image)?;
    let mut guards = Guards::default();
    let mut sync = |ports_are_closed| {
        let wishes = Wishes { selectors: &selectors, ports_are_closed, by_interface };
        guards.sync(&mut datapath, machine, &wishes);
        guards.admission(machine, &selectors)
    };
    let mut guard = Guard::install(instance(bpffs)?, &sync(false));
    // Only now is it known whether a new port of a bridge is closed until it is guarded.
    let admission = sync(guard.covers_bridges());
    if let Err(error) = guard.update(&admission) {
        tracing::warn!("{error}");
    }
    let (open, enforced): (Vec<_>, Vec<_>) = guards.0.into_values().partition(|guarded| guarded.fault.is_some());
    let open = open.into_iter().map(|guarded| (guarded.name, guarded.fault.unwrap_or_default())).collect();
    Ok(Armed::Now { generation, enforced: enforced.len(), open, is_first })
}

/// The image that was kept, for the clock and the interfaces of this boot.
fn kept(bpffs: &Path, machine: &Machine, header: Header, image: &Laid) -> Result<Ready, StartError> {
    let Header { build: _, clock, sizes, interfaces, selectors, by_interface } = header;
    let mut datapath = Datapath::open(bpffs, &sizes)?;
    // An interface that the image does not know gets a number that nothing else ever had: sources of zones that are
    // bound to other interfaces are not let in by it.
    let mut fresh = interfaces.iter().map(|(_, slot)| *slot).max().unwrap_or(0);
    for link in machine.links.values() {
        let slot = interfaces.iter().find(|(name, _)| *name == link.name).map(|(_, slot)| *slot);
        datapath.keep_slot(
            link.index,
            slot.unwrap_or_else(|| {
                fresh = fresh.saturating_add(1);
                fresh
            }),
        );
    }
    let image = image.by_clock(&clock, &datapath.clock());
    let selectors = selectors.iter().filter_map(|selector| selector.try_into().ok()).collect();
    Ok(Ready { selectors, by_interface, image, datapath })
}

/// What the text of the last policy says. The files on the disk may be a policy that nobody put in force yet, so they are
/// not asked.
fn last_policy(state: &StateDir) -> Result<Option<Policy>, StartError> {
    let Some(last) = state.load_last_good()? else { return Ok(None) };
    let sources = last.files.into_iter().map(|file| Source { name: file.name, text: file.text }).collect();
    Ok(Some(Written::read(sources).map_err(StartError::Policy)?.policy))
}

/// A policy compiled, with the numbers that are kept.
fn anew(policy: Policy, state: &StateDir, bpffs: &Path, machine: &Machine) -> Result<Ready, StartError> {
    let (registry, quarantine) = (state.load_registry(false)?, state.load_quarantine()?);
    let sizes: Sizes = rehearse(&policy, machine, &registry, &quarantine, compiled)?;
    let mut datapath = Datapath::open(bpffs, &sizes)?;
    let facts = gather(&mut datapath, machine, &policy, &quarantine);
    let judged = compiled(&policy, &facts, &registry).map_err(StartError::Policy)?;
    state.save_registry(&judged.registry).map_err(|error| StartError::Failed(error.into()))?;
    let by_interface = policy.binds_sources();
    Ok(Ready { selectors: policy.interfaces, by_interface, image: judged.image.laid().clone(), datapath })
}
