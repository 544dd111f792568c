//! The kernel side of one instance: programs, maps, links. The only room that names aya.
//!
//! Everything is found by its pin below one folder of a bpffs, so that the next daemon takes over what is there. Nothing in
//! this room knows of YAML or of rules: it places images, attaches programs and reads counters.

mod attached;
mod carry;
mod counted;
mod counters;
mod error;
mod events;
mod filters;
#[cfg(all(test, segd_ebpf))]
mod filters_tests;
mod flows;
mod folders;
mod held;
mod kernel;
mod ledger;
mod links;
mod object;
mod pin;
mod probe;
mod publish;
mod raw;
mod route;
mod seat;
mod selector;
mod set;
mod share;
mod sizes;
mod tick;
#[cfg(feature = "kernel-log")]
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use segd_common::interface::Interface;
use sha2::{Digest, Sha256};

pub use attached::Enforced;
pub use counters::{Counters, PairCounters, RuleCounters};
pub use error::DatapathError;
pub use events::{Event, Events};
pub use flows::{Flow, Occupancy};
pub use kernel::Attachment;
pub use probe::Probed;
pub use publish::{Fallback, Published};
pub use sizes::Sizes;

pub use crate::interfaces::Hook;

use crate::compile::{self, Answer, Clock, Freed, Image, Laid, Question};
use crate::interfaces::Link;
use crate::policy::Forward;
use attached::Attached;
use folders::Folders;
use publish::Placed;
use raw::wait_for_programs;
use set::MapSet;

/// How far the moments that are told of what was counted may be off the wall clock.
const STEADY: SignedDuration = SignedDuration::from_millis(100);

/// The kernel side of one instance. All calls block for microseconds to milliseconds.
pub struct Datapath {
    folders: Folders,
    set: MapSet,
    moving: Moving,
    adopted: bool,
    placed: Placed,
    attached: Attached,
    slots: BTreeMap<u32, u16>,
    /// Flags and link address of each interface, as the programs know them.
    told: BTreeMap<u32, (u16, [u8; 6])>,
    clock: Arc<Mutex<Clock>>,
    /// By which what was counted is told.
    told_by: Mutex<Clock>,
}

/// One set of maps takes the place of another.
enum Moving {
    /// Nothing is under way.
    No,
    /// The set has no policy yet; what is enforced is the one behind it, if there is one.
    Making(Option<Box<(MapSet, Placed)>>),
    /// It is in force, and what is attached may still run the programs of the one before.
    Leaving,
}

impl Datapath {
    /// Takes over what an earlier daemon left below `dir`, or loads everything anew, with the counters and connections that
    /// are there. Attached programs are replaced in place, and not before the new ones have a policy: no packet goes by
    /// unjudged, and none is dropped for the change.
    ///
    /// # Errors
    /// The kernel is too old, no kernel programs in this build, no bpffs, no privilege, or the verifier's words.
    pub fn open(dir: &Path, sizes: &Sizes) -> Result<Self, DatapathError> {
        Self::open_by(dir, sizes, Attachment::of_this_kernel()?)
    }

    /// The same, with TC programs attached by what the caller says. Tests of filters run on kernels with links too.
    fn open_by(dir: &Path, sizes: &Sizes, tc: Attachment) -> Result<Self, DatapathError> {
        let folders = Folders::new(dir);
        folders.settle()?;
        let (set, adopted) = match MapSet::adopt(&folders, sizes)? {
            Some(set) => (set, true),
            None => (MapSet::beside(&folders, sizes)?, false),
        };
        let clock = set.sample_clock()?;
        let (told_by, clock) = (Mutex::new(clock), Arc::new(Mutex::new(clock)));
        let known = set.interfaces()?.into_iter().filter(|entry| entry.slot != Interface::SELFTEST);
        let slots = known.map(|entry| (entry.ifindex, entry.slot)).collect();
        let (placed, attached) = (Placed::read(&set)?, Attached::new(dir, tc));
        let moving = if adopted { Moving::Leaving } else { Moving::Making(None) };
        let told = BTreeMap::new();
        let mut datapath = Self { folders, set, moving, adopted, placed, attached, slots, told, clock, told_by };
        if adopted {
            if let Err(error) = datapath.leave() {
                tracing::error!("{error}; the old programs go on there, and it is tried again");
            }
            datapath.make_room(sizes)?;
        }
        Ok(datapath)
    }

    /// Whether an earlier daemon's state was taken over.
    #[must_use]
    pub const fn adopted(&self) -> bool {
        self.adopted
    }

    /// The wall clock and the kernel's, read together. The last reading stands if the kernel refuses one.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(jiffies) = self.set.jiffies() {
            *clock = Clock { hz: clock.hz, jiffies, at: Timestamp::now() };
        }
        *clock
    }

    /// The generation that the packet path enforces now; 0: none yet.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.set.root(self.clock().jiffies).generation
    }

    /// Puts an image in force by one store; what the one before it no longer needs is free for the next.
    ///
    /// # Errors
    /// The image finds no room; the old one stays in force.
    pub fn publish(&mut self, image: &Image) -> Result<u32, DatapathError> {
        self.publish_laid(image.laid())
    }

    /// The same for an image that was kept.
    ///
    /// # Errors
    /// As for [`Datapath::publish`].
    pub fn publish_laid(&mut self, image: &Laid) -> Result<u32, DatapathError> {
        self.publish_with(image, None).map(|published| published.generation)
    }

    /// Puts an image in force until a deadline, by the same one store. Past it the programs take the fallback, whoever is
    /// still alive; [`Datapath::confirm`] keeps them from it.
    ///
    /// # Errors
    /// The images find no room together; the old one stays in force.
    pub fn publish_until(&mut self, image: &Image, fallback: Fallback<'_>) -> Result<Published, DatapathError> {
        self.publish_with(image.laid(), Some(fallback))
    }

    /// Lets the image in force hold for good.
    ///
    /// # Errors
    /// The map of the control value is not there.
    pub fn confirm(&mut self) -> Result<(), DatapathError> {
        publish::confirm(&mut self.set, &mut self.placed)
    }

    fn publish_with(&mut self, image: &Laid, fallback: Option<Fallback<'_>>) -> Result<Published, DatapathError> {
        let published = self.place(image, fallback).inspect_err(|_| self.step_back())?;
        if matches!(self.moving, Moving::Leaving)
            && let Err(error) = self.leave()
        {
            tracing::error!("{error}; the old programs go on there, and it is tried again");
        }
        Ok(published)
    }

    /// Publishes into the set, and puts that in force if it was not yet.
    fn place(&mut self, image: &Laid, fallback: Option<Fallback<'_>>) -> Result<Published, DatapathError> {
        let published = publish::publish(&mut self.set, &mut self.placed, image, fallback)?;
        if matches!(self.moving, Moving::Making(_)) {
            self.folders.commit()?;
            self.moving = Moving::Leaving;
        }
        Ok(published)
    }

    /// Gives up the set that was being made; the one before it, which was enforced all along, is ours again.
    fn step_back(&mut self) {
        match std::mem::replace(&mut self.moving, Moving::No) {
            Moving::Making(Some(before)) => {
                self.set.give_up(&self.folders);
                (self.set, self.placed) = *before;
                self.told.clear();
            }
            other => self.moving = other,
        }
    }

    /// Puts the set's programs wherever one is attached, then takes the last of what the set before it counted.
    fn leave(&mut self) -> Result<(), DatapathError> {
        self.attached.take_over(&mut self.set)?;
        self.folders.only_call(&self.set.called)?;
        let (current, old, before) = (self.folders.current(), self.folders.old(), self.folders.before());
        if old.exists() || before.exists() {
            wait_for_programs().map_err(|source| DatapathError::system("wait for running programs", source))?;
            self.set.take_from(&old, &current)?;
            self.set.take_counts(&before, &current)?;
        }
        self.folders.only_this_layout()?;
        self.folders.leave()?;
        self.moving = Moving::No;
        Ok(())
    }

    /// Makes larger maps if those that are there do not serve. What is attached goes on with the old ones until the next
    /// image is published; what can be shared is, and the rest is carried over.
    ///
    /// # Errors
    /// As for [`Datapath::open`]; then the old maps stay.
    pub fn make_room(&mut self, sizes: &Sizes) -> Result<(), DatapathError> {
        if self.set.sizes.serve(sizes) {
            (self.set.sizes.connections, self.set.sizes.half_open) = (sizes.connections, sizes.half_open);
            return Ok(());
        }
        if matches!(self.moving, Moving::Leaving) {
            // Three sets at a time are one too many.
            self.leave()?;
        }
        tracing::info!("the policy outgrows its maps; larger ones are made, and connections that are open are kept");
        let behind = matches!(self.moving, Moving::No);
        let set = MapSet::beside(&self.folders, sizes)?;
        let placed = Placed::read(&set).inspect_err(|_| set.give_up(&self.folders))?;
        let before = (std::mem::replace(&mut self.set, set), std::mem::replace(&mut self.placed, placed));
        // Link addresses are this load's own.
        self.told.clear();
        if behind {
            self.moving = Moving::Making(Some(Box::new(before)));
        }
        Ok(())
    }

    /// The number by which images and connections know an interface. It stays until the interface is detached.
    pub fn interface_slot(&mut self, ifindex: u32, _name: &str) -> u16 {
        if let Some(slot) = self.slots.get(&ifindex) {
            return *slot;
        }
        let free = (1..u16::MAX).find(|slot| !self.slots.values().any(|taken| taken == slot)).unwrap_or(0);
        self.slots.insert(ifindex, free);
        free
    }

    /// Gives an interface the number that an image that was kept knows it by.
    pub fn keep_slot(&mut self, ifindex: u32, slot: u16) {
        self.slots.insert(ifindex, slot);
    }

    /// What tells the kernel programs of this build from those of every other.
    ///
    /// # Errors
    /// This build has none.
    pub fn build() -> Result<String, DatapathError> {
        let digest = Sha256::digest(object::object()?);
        Ok(digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
    }

    /// Tells new programs of an interface before they have a policy. With that they take the places of an earlier build's, and
    /// nothing passes an interface that they don't know. Those that were taken over know theirs.
    ///
    /// # Errors
    /// The kernel refuses to write a map.
    pub fn introduce(&mut self, link: &Link) -> Result<(), DatapathError> {
        if self.adopted { Ok(()) } else { self.tell(link) }
    }

    /// Guards an interface: tells the programs of it, then attaches them. What another hook held before is let go last.
    ///
    /// # Errors
    /// A foreign XDP program is there, the device can't do it, or the kernel is too old.
    pub fn attach(&mut self, link: &Link, hook: Hook) -> Result<(), DatapathError> {
        self.tell(link)?;
        self.attached.attach(&mut self.set, link, hook)
    }

    fn tell(&mut self, link: &Link) -> Result<(), DatapathError> {
        self.tell_with(link, 0)
    }

    fn tell_with(&mut self, link: &Link, flags: u16) -> Result<(), DatapathError> {
        let slot = self.interface_slot(link.index, &link.name);
        let flags = flags | if link.ethernet { 0 } else { Interface::LAYER3 };
        let address = link.address.unwrap_or_default();
        self.told.remove(&link.index);
        self.set.tell_interface(Interface { ifindex: link.index, slot, flags }, address)?;
        self.told.insert(link.index, (flags, address));
        Ok(())
    }

    /// Says who forwards what comes in by a guarded interface, and whether XDP may send to it. Does nothing if that is known.
    ///
    /// # Errors
    /// The kernel refuses to write a map.
    pub fn steer(&mut self, link: &Link, forward: Forward, target: bool) -> Result<(), DatapathError> {
        let shortcut = if forward == Forward::Shortcut { Interface::SHORTCUT } else { 0 };
        let flags = shortcut | if target { Interface::TARGET } else { 0 };
        let known = self.told.get(&link.index).map(|(flags, address)| (flags & !Interface::LAYER3, *address));
        // What no interface was ever asked for is not written anew at each start.
        if known == Some((flags, link.address.unwrap_or_default())) || (known.is_none() && flags == 0 && !self.adopted)
        {
            return Ok(());
        }
        self.tell_with(link, flags)
    }

    /// Takes the programs off an interface of which others see everything. It stays known: what is forwarded came in by it.
    ///
    /// # Errors
    /// The pins can't be removed.
    pub fn cover(&mut self, link: &Link) -> Result<(), DatapathError> {
        self.tell(link)?;
        self.attached.detach(link.index)
    }

    /// Lets an interface go.
    ///
    /// # Errors
    /// The pins can't be removed.
    pub fn detach(&mut self, ifindex: u32) -> Result<(), DatapathError> {
        self.attached.detach(ifindex)?;
        self.told.remove(&ifindex);
        self.set.forget_interface(ifindex)?;
        self.slots.remove(&ifindex);
        Ok(())
    }

    /// Mends what can be mended without a new policy. Makes pins anew that somebody has removed: without them the next daemon would
    /// find nothing, and once this one is gone nothing would be attached. Puts programs where the kernel had refused them, and
    /// clears what the policy before has left: a next daemon would take it for something that is used. Gives the places of the
    /// pins, and what could not be done.
    pub fn mend(&mut self) -> (Vec<PathBuf>, Option<DatapathError>) {
        let (mut made, mut failed) = self.attached.pin_again();
        // To have the image in memory costs milliseconds if it is large: not for nothing.
        if !self.placed.is_settled() {
            match self.set.image() {
                Ok(pages) => self.placed.settle(&pages),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let more = match self.moving {
            // While one set takes the place of another, their folders change names.
            Moving::Leaving => self.leave().map(|()| Vec::new()),
            Moving::No => self.set.pin_again(&self.folders.current()),
            Moving::Making(_) => Ok(Vec::new()),
        };
        match more {
            Ok(more) => made.extend(more),
            Err(error) => failed = failed.or(Some(error)),
        }
        (made, failed)
    }

    /// Every interface that something is attached to, and whether the kernel says that all of it is in place.
    #[must_use]
    pub fn enforced(&self) -> Vec<Enforced> {
        self.attached.enforced()
    }

    /// All counters, summed over the CPUs.
    ///
    /// # Errors
    /// The kernel refuses to read a map.
    pub fn counters(&self) -> Result<Counters, DatapathError> {
        counters::read(&self.set, &self.steady_clock())
    }

    /// A clock by which one tick is the same moment at every reading: two readings of the clocks differ by up to a tick. It
    /// follows the wall clock when that was set, or has drifted away by more than a person would see.
    fn steady_clock(&self) -> Clock {
        let (now, mut steady) = (self.clock(), self.told_by.lock().unwrap_or_else(PoisonError::into_inner));
        if now.off_by(&steady) > STEADY {
            *steady = now;
        }
        *steady
    }

    /// The live connections.
    #[must_use]
    pub fn flows(&self) -> Vec<Flow> {
        flows::read(&self.set, self.clock().jiffies)
    }

    /// How full the connection table is.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        flows::occupancy(&self.set, self.clock().jiffies)
    }

    /// What becomes of new connections, in the order of the questions: the packet path's own decision, over the image that it
    /// reads.
    ///
    /// # Errors
    /// The image can't be read.
    pub fn answers(&self, questions: &[Question]) -> Result<Vec<Answer>, DatapathError> {
        let now = self.clock().jiffies;
        let (image, root) = (self.set.image()?, self.set.root(now));
        Ok(questions.iter().map(|question| compile::answer(&image, &root, question, now)).collect())
    }

    /// Whether the packet path may yet go back to a policy before the one in force, with that one's numbers.
    #[must_use]
    pub fn may_go_back(&self) -> bool {
        !matches!(self.moving, Moving::No) || self.set.control.read(0).is_none_or(|control| control.selector >> 16 != 0)
    }

    /// The zones that live connections name, whatever policy judged them last.
    #[must_use]
    pub fn zones_in_flows(&self) -> BTreeSet<u16> {
        flows::zones(&self.set, self.clock().jiffies)
    }

    /// Sets the counters of numbers that nobody has any more to zero. Whoever gets one begins with nothing.
    ///
    /// # Errors
    /// The kernel refuses to write a map; some of them may be zero then.
    pub fn clear(&mut self, freed: &Freed) -> Result<(), DatapathError> {
        counters::clear(&mut self.set, freed)?;
        self.set.ledger.write(&self.folders.current())
    }

    /// A loaded program, for test runs: they tell what a frame gets without sending it. Its pinned maps are below the folder
    /// of this instance.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.set.program(name)
    }

    /// Runs a frame through the loaded program of a hook, as if it came in by this interface. It is counted like any other.
    ///
    /// # Errors
    /// The kernel does not run it.
    pub fn probe(&self, frame: &[u8], ifindex: u32, hook: Hook) -> Result<Probed, DatapathError> {
        probe::run(&self.set, frame, ifindex, hook)
    }

    /// Runs a frame through the loaded program of a hook, and leaves no trace of it in any figure. Gives whether it may go on;
    /// `None` while loopback, by which such frames come in, is guarded itself.
    ///
    /// # Errors
    /// The kernel does not run it.
    pub fn probe_uncounted(&mut self, frame: &[u8], hook: Hook) -> Result<Option<bool>, DatapathError> {
        probe::run_uncounted(&mut self.set, frame, hook)
    }

    /// The ring of events. There is one reader.
    ///
    /// # Errors
    /// It was taken before, or the kernel refuses.
    pub fn events(&mut self) -> Result<Events, DatapathError> {
        Events::new(self.set.take_ring()?, Arc::clone(&self.clock))
    }

    /// Whether a folder of this name below an instance's holds what is in force: a set of maps, or what attaches programs. A set
    /// that was being made is none of it, nor is what a load pinned for its programs or what others put on that bpffs: the
    /// kernel itself has files in the topmost folder of one (`bpf_preload`).
    #[must_use]
    pub fn is_in_force(name: &OsStr) -> bool {
        Folders::is_in_force(name) || Attached::is_in_force(name)
    }

    /// Takes enforcement off: what is attached first, then maps. Returns what was taken off.
    ///
    /// # Errors
    /// A pin can't be removed.
    pub fn unload(dir: &Path) -> Result<Vec<String>, DatapathError> {
        let mut gone = Attached::remove_all(dir)?;
        gone.extend(Folders::remove_all(dir)?);
        Ok(gone)
    }
}
