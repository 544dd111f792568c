//! The kernel side of one instance: programs, maps, links. The only room that names aya.
//!
//! Everything is found by its pin below one folder of a bpffs, so that the next daemon takes over what is there. Nothing in
//! this room knows of YAML or of rules: it places images, attaches programs and reads counters.

mod carry;
mod counters;
mod error;
mod events;
mod flows;
mod links;
mod object;
mod probe;
mod publish;
mod raw;
mod selector;
mod set;
mod sizes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use segd_common::interface::Interface;

pub use counters::{Counters, PairCounters, RuleCounters};
pub use error::DatapathError;
pub use events::{Event, Events};
pub use flows::{Flow, Occupancy};
pub use links::Enforced;
pub use probe::Probed;
pub use publish::{Fallback, Published};
pub use sizes::Sizes;

pub use crate::interfaces::Hook;

use crate::compile::{self, Answer, Clock, Image, Question};
use crate::interfaces::Link;
use publish::Placed;
use set::MapSet;

/// The kernel side of one instance. All calls block for microseconds to milliseconds.
pub struct Datapath {
    dir: PathBuf,
    set: MapSet,
    /// The links still run the programs of another set of maps: they change over once this one has a policy.
    behind: bool,
    placed: Placed,
    links: links::Links,
    slots: BTreeMap<u32, u16>,
    clock: Arc<Mutex<Clock>>,
}

impl Datapath {
    /// Takes over what an earlier daemon left below `dir`, or loads everything anew, with the counters that are there.
    /// Attached programs are replaced in their links, and not before the new ones have a policy: no packet goes by unjudged,
    /// and none is dropped for the change.
    ///
    /// # Errors
    /// No kernel programs in this build, no bpffs, no privilege, or the verifier's words.
    pub fn open(dir: &Path, sizes: &Sizes) -> Result<Self, DatapathError> {
        let mut set = MapSet::open(dir, sizes)?;
        let clock = Arc::new(Mutex::new(set.sample_clock()?));
        let placed = Placed::read(&set);
        let mut links = links::Links::new(dir);
        let behind = set.root(set.jiffies()?).generation == 0;
        if !behind {
            links.take_over(&mut set)?;
        }
        let slots = set.interfaces()?.into_iter().map(|entry| (entry.ifindex, entry.slot)).collect();
        Ok(Self { dir: dir.into(), set, behind, placed, links, slots, clock })
    }

    /// Whether an earlier daemon's state was taken over.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.set.adopted
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

    /// Puts an image in force by one store, and frees what the one before it no longer needs.
    ///
    /// # Errors
    /// The image finds no room; the old one stays in force.
    pub fn publish(&mut self, image: &Image) -> Result<u32, DatapathError> {
        self.publish_with(image, None).map(|published| published.generation)
    }

    /// Puts an image in force until a deadline, by the same one store. Past it the programs take the fallback, whoever is
    /// still alive; [`Datapath::confirm`] keeps them from it.
    ///
    /// # Errors
    /// The images find no room together; the old one stays in force.
    pub fn publish_until(&mut self, image: &Image, fallback: Fallback<'_>) -> Result<Published, DatapathError> {
        self.publish_with(image, Some(fallback))
    }

    /// Lets the image in force hold for good.
    ///
    /// # Errors
    /// The map of the control value is not there.
    pub fn confirm(&mut self) -> Result<(), DatapathError> {
        publish::confirm(&mut self.set, &mut self.placed)
    }

    fn publish_with(&mut self, image: &Image, fallback: Option<Fallback<'_>>) -> Result<Published, DatapathError> {
        let published = publish::publish(&mut self.set, &mut self.placed, image, fallback)?;
        if self.behind {
            match self.links.take_over(&mut self.set) {
                Ok(()) => self.behind = false,
                Err(error) => tracing::error!("{error}; the old programs go on there, and the next reload tries again"),
            }
        }
        Ok(published)
    }

    /// Makes larger maps if those that are there do not serve. What is attached goes on with the old ones until the next
    /// image is published; connections are adopted by the new ones.
    ///
    /// # Errors
    /// As for [`Datapath::open`]; then the old maps stay.
    pub fn make_room(&mut self, sizes: &Sizes) -> Result<(), DatapathError> {
        if self.set.sizes.serve(sizes) {
            return Ok(());
        }
        tracing::info!("the policy outgrows its maps; larger ones are made, and connections that are open are adopted");
        self.set = MapSet::open(&self.dir, sizes)?;
        self.placed = Placed::read(&self.set);
        self.behind = true;
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

    /// Guards an interface: tells the programs of it, then attaches them. What another hook held before is let go last.
    ///
    /// # Errors
    /// A foreign XDP program is there, the device can't do it, or the kernel is too old.
    pub fn attach(&mut self, link: &Link, hook: Hook) -> Result<(), DatapathError> {
        let slot = self.interface_slot(link.index, &link.name);
        let flags = if link.ethernet { 0 } else { Interface::LAYER3 };
        self.set.tell_interface(Interface { ifindex: link.index, slot, flags })?;
        self.links.attach(&mut self.set, link, hook)
    }

    /// Lets an interface go.
    ///
    /// # Errors
    /// The pins can't be removed.
    pub fn detach(&mut self, ifindex: u32) -> Result<(), DatapathError> {
        self.links.detach(ifindex)?;
        self.set.forget_interface(ifindex)?;
        self.slots.remove(&ifindex);
        Ok(())
    }

    /// Every interface that has links, and whether the kernel says that they are in place.
    #[must_use]
    pub fn enforced(&self) -> Vec<Enforced> {
        self.links.enforced()
    }

    /// All counters, summed over the CPUs.
    ///
    /// # Errors
    /// The kernel refuses to read a map.
    pub fn counters(&self) -> Result<Counters, DatapathError> {
        counters::read(&self.set, &self.clock())
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

    /// What becomes of a new connection: the packet path's own decision, over the image that it reads.
    #[must_use]
    pub fn answer(&self, question: &Question) -> Answer {
        let now = self.clock().jiffies;
        compile::answer(&self.set.image, &self.set.root(now), question, now)
    }

    /// Runs a frame through the loaded program of a hook, as if it came in by this interface. It is counted like any other.
    ///
    /// # Errors
    /// The kernel does not run it.
    pub fn probe(&self, frame: &[u8], ifindex: u32, hook: Hook) -> Result<Probed, DatapathError> {
        probe::run(&self.set, frame, ifindex, hook)
    }

    /// The ring of events. There is one reader.
    ///
    /// # Errors
    /// It was taken before, or the kernel refuses.
    pub fn events(&mut self) -> Result<Events, DatapathError> {
        Events::new(self.set.take_ring()?, Arc::clone(&self.clock))
    }

    /// Takes enforcement off: links first, then maps. Returns what was taken off.
    ///
    /// # Errors
    /// A pin can't be removed.
    pub fn unload(dir: &Path) -> Result<Vec<String>, DatapathError> {
        let mut gone = links::Links::new(dir).remove_all()?;
        gone.extend(MapSet::remove(dir)?);
        Ok(gone)
    }
}
