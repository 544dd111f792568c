//! What the engine asks of the kernel, as a trait: the daemon gives it the real thing, tests a kernel of paper.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::compile::{Answer, Clock, Freed, Image, Question};
use crate::datapath::{
    Counters, Datapath, DatapathError, Enforced, Fallback, Flow, Occupancy, Probed, Published, Sizes,
};
use crate::interfaces::{Hook, Link};
use crate::policy::Forward;

/// The kernel side of one instance. See [`Datapath`] for what each call promises.
pub(super) trait Kernel: Send {
    fn clock(&self) -> Clock;
    fn generation(&self) -> u32;
    fn make_room(&mut self, sizes: &Sizes) -> Result<(), DatapathError>;
    fn publish(&mut self, image: &Image) -> Result<u32, DatapathError>;
    fn publish_until(&mut self, image: &Image, fallback: Fallback<'_>) -> Result<Published, DatapathError>;
    fn confirm(&mut self) -> Result<(), DatapathError>;
    fn probe(&self, frame: &[u8], ifindex: u32, hook: Hook) -> Result<Probed, DatapathError>;
    fn probe_uncounted(&mut self, frame: &[u8], hook: Hook) -> Result<Option<bool>, DatapathError>;
    fn interface_slot(&mut self, ifindex: u32, name: &str) -> u16;
    fn introduce(&mut self, link: &Link) -> Result<(), DatapathError>;
    fn attach(&mut self, link: &Link, hook: Hook) -> Result<(), DatapathError>;
    fn cover(&mut self, link: &Link) -> Result<(), DatapathError>;
    fn steer(&mut self, link: &Link, forward: Forward, target: bool) -> Result<(), DatapathError>;
    fn detach(&mut self, ifindex: u32) -> Result<(), DatapathError>;
    fn mend(&mut self) -> (Vec<PathBuf>, Option<DatapathError>);
    fn enforced(&self) -> Vec<Enforced>;
    fn counters(&self) -> Result<Counters, DatapathError>;
    fn flows(&self) -> Vec<Flow>;
    fn occupancy(&self) -> Occupancy;
    fn answers(&self, questions: &[Question]) -> Result<Vec<Answer>, DatapathError>;
    fn may_go_back(&self) -> bool;
    fn zones_in_flows(&self) -> BTreeSet<u16>;
    fn clear(&mut self, freed: &Freed) -> Result<(), DatapathError>;
}

impl Kernel for Datapath {
    fn clock(&self) -> Clock {
        Self::clock(self)
    }

    fn generation(&self) -> u32 {
        Self::generation(self)
    }

    fn make_room(&mut self, sizes: &Sizes) -> Result<(), DatapathError> {
        Self::make_room(self, sizes)
    }

    fn publish(&mut self, image: &Image) -> Result<u32, DatapathError> {
        Self::publish(self, image)
    }

    fn publish_until(&mut self, image: &Image, fallback: Fallback<'_>) -> Result<Published, DatapathError> {
        Self::publish_until(self, image, fallback)
    }

    fn confirm(&mut self) -> Result<(), DatapathError> {
        Self::confirm(self)
    }

    fn probe(&self, frame: &[u8], ifindex: u32, hook: Hook) -> Result<Probed, DatapathError> {
        Self::probe(self, frame, ifindex, hook)
    }

    fn probe_uncounted(&mut self, frame: &[u8], hook: Hook) -> Result<Option<bool>, DatapathError> {
        Self::probe_uncounted(self, frame, hook)
    }

    fn interface_slot(&mut self, ifindex: u32, name: &str) -> u16 {
        Self::interface_slot(self, ifindex, name)
    }

    fn introduce(&mut self, link: &Link) -> Result<(), DatapathError> {
        Self::introduce(self, link)
    }

    fn attach(&mut self, link: &Link, hook: Hook) -> Result<(), DatapathError> {
        Self::attach(self, link, hook)
    }

    fn cover(&mut self, link: &Link) -> Result<(), DatapathError> {
        Self::cover(self, link)
    }

    fn steer(&mut self, link: &Link, forward: Forward, target: bool) -> Result<(), DatapathError> {
        Self::steer(self, link, forward, target)
    }

    fn detach(&mut self, ifindex: u32) -> Result<(), DatapathError> {
        Self::detach(self, ifindex)
    }

    fn mend(&mut self) -> (Vec<PathBuf>, Option<DatapathError>) {
        Self::mend(self)
    }

    fn enforced(&self) -> Vec<Enforced> {
        Self::enforced(self)
    }

    fn counters(&self) -> Result<Counters, DatapathError> {
        Self::counters(self)
    }

    fn flows(&self) -> Vec<Flow> {
        Self::flows(self)
    }

    fn occupancy(&self) -> Occupancy {
        Self::occupancy(self)
    }

    fn answers(&self, questions: &[Question]) -> Result<Vec<Answer>, DatapathError> {
        Self::answers(self, questions)
    }

    fn may_go_back(&self) -> bool {
        Self::may_go_back(self)
    }

    fn zones_in_flows(&self) -> BTreeSet<u16> {
        Self::zones_in_flows(self)
    }

    fn clear(&mut self, freed: &Freed) -> Result<(), DatapathError> {
        Self::clear(self, freed)
    }
}
