//! An engine over a kernel of paper, for tests: it tells what was published and attached.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tempfile::TempDir;

use super::Engine;
use super::guarding::Machine;
use super::judge::Written;
use super::kernel::Kernel;
use super::writer::{Core, Parts};
use crate::api::types::{ExplainQuery, Explanation, Verdict};
use crate::compile::{Answer, Clock, Freed, Image, Question, Registry};
use crate::config::read_sources;
use crate::datapath::{Attachment, Counters, DatapathError, Enforced, Flow, Occupancy, Sizes};
use crate::interfaces::{Change, Hook, Kind, Link};
use crate::state::StateDir;

/// What the kernel of paper was told.
#[derive(Default)]
pub(super) struct Paper {
    image: Option<Image>,
    pub(super) generation: u32,
    pub(super) attached: BTreeMap<u32, (String, Hook)>,
    /// Taken off behind the engine's back.
    torn_off: BTreeSet<u32>,
    /// Zones that connections name.
    pub(super) zones_in_flows: BTreeSet<u16>,
    /// It waits for a confirmation.
    pub(super) may_go_back: bool,
    /// Numbers whose counters were set to zero.
    pub(super) cleared: Vec<Freed>,
}

#[derive(Clone, Default)]
pub(super) struct PaperKernel(pub(super) Arc<Mutex<Paper>>);

impl Kernel for PaperKernel {
    fn clock(&self) -> Clock {
        Clock::detached(Timestamp::now())
    }

    fn generation(&self) -> u32 {
        self.0.lock().unwrap().generation
    }

    fn make_room(&mut self, _sizes: &Sizes) -> Result<(), DatapathError> {
        Ok(())
    }

    fn publish(&mut self, image: &Image) -> Result<u32, DatapathError> {
        let mut paper = self.0.lock().unwrap();
        paper.image = Some(image.clone());
        paper.generation += 1;
        Ok(paper.generation)
    }

    fn interface_slot(&mut self, ifindex: u32, _name: &str) -> u16 {
        ifindex as u16
    }

    fn attach(&mut self, link: &Link, hook: Hook) -> Result<(), DatapathError> {
        self.0.lock().unwrap().attached.insert(link.index, (link.name.clone(), hook));
        Ok(())
    }

    fn detach(&mut self, ifindex: u32) -> Result<(), DatapathError> {
        self.0.lock().unwrap().attached.remove(&ifindex);
        Ok(())
    }

    fn enforced(&self) -> Vec<Enforced> {
        let paper = self.0.lock().unwrap();
        let of = |(ifindex, (name, hook)): (&u32, &(String, Hook))| {
            let enforced = !paper.torn_off.contains(ifindex);
            Enforced {
                ifindex: *ifindex,
                name: name.clone(),
                hook: *hook,
                attachment: Attachment::Link,
                enforced,
                detail: (!enforced).then(|| "torn off".into()),
            }
        };
        paper.attached.iter().map(of).collect()
    }

    fn counters(&self) -> Result<Counters, DatapathError> {
        Ok(Counters::default())
    }

    fn flows(&self) -> Vec<Flow> {
        Vec::new()
    }

    fn occupancy(&self) -> Occupancy {
        Occupancy::default()
    }

    fn may_go_back(&self) -> bool {
        self.0.lock().unwrap().may_go_back
    }

    fn zones_in_flows(&self) -> BTreeSet<u16> {
        self.0.lock().unwrap().zones_in_flows.clone()
    }

    fn clear(&mut self, freed: &Freed) -> Result<(), DatapathError> {
        self.0.lock().unwrap().cleared.push(freed.clone());
        Ok(())
    }

    fn answer(&self, question: &Question) -> Result<Answer, DatapathError> {
        let now = Clock::detached(Timestamp::now()).jiffies;
        Ok(self.0.lock().unwrap().image.as_ref().unwrap().answer(question, now))
    }
}

pub(super) const ZONES: &str = "\
version: 1
zones:
  dev: { networks: [10.30.0.0/24] }
  admin: { networks: [10.30.0.0/29] }
  ledger: { networks: [10.20.0.0/24] }
rules:
  - id: dev-reads-ledger
    from: dev
    to: ledger
    services: [tcp/5432]
    reason: Nightly reconciliation
    approved_by: finance@example.com
tests:
  - { from: 10.30.0.9, to: 10.20.0.1, service: tcp/5432, expect: allow }
";

/// An engine at work in a folder of its own.
pub(crate) struct House {
    pub(super) dir: TempDir,
    pub(super) paper: PaperKernel,
    pub(crate) engine: Arc<Engine>,
}

pub(super) fn link(index: u32, name: &str, kind: Kind) -> Link {
    let loopback = kind == Kind::Loopback;
    Link { index, name: name.into(), kind, up: true, ethernet: true, loopback, master: None, parent: None, mtu: 1500 }
}

impl House {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paper = PaperKernel::default();
        let config = dir.path().join("zones.yaml");
        fs::write(&config, ZONES).unwrap();
        let mut machine = Machine::default();
        for link in [link(1, "lo", Kind::Loopback), link(2, "lan0", Kind::Veth), link(3, "wan0", Kind::Physical)] {
            machine.apply(Change::Link(link));
        }
        machine.apply(Change::Addresses(["10.30.0.200".parse().unwrap()].into()));
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        let written = Written::read(read_sources(&config).unwrap()).unwrap();
        let parts = Parts { config, state, registry: Registry::default(), kernel: Box::new(paper.clone()), machine };
        let engine = Arc::new(Engine::new(Core::start(parts, written).unwrap()));
        Self { dir, paper, engine }
    }

    pub(super) fn config(&self) -> PathBuf {
        self.dir.path().join("zones.yaml")
    }

    pub(super) fn dropin(&self) -> String {
        fs::read_to_string(self.dir.path().join("zones.d/50-segctl.yaml")).unwrap_or_default()
    }

    /// Somebody takes the program off an interface.
    pub(crate) fn tear_off(&self, ifindex: u32) {
        self.paper.0.lock().unwrap().torn_off.insert(ifindex);
    }

    pub(super) fn generation(&self) -> u32 {
        self.paper.0.lock().unwrap().generation
    }

    pub(super) fn attached(&self) -> Vec<(String, Hook)> {
        self.paper.0.lock().unwrap().attached.values().cloned().collect()
    }

    pub(super) fn explain(&self, src: &str, dst: &str, service: &str) -> Explanation {
        let query = ExplainQuery { src: src.into(), dst: dst.into(), service: service.into() };
        self.engine.explain(&query).value.unwrap()
    }

    pub(super) fn passes(&self, src: &str, dst: &str, service: &str) -> bool {
        self.explain(src, dst, service).verdict == Verdict::Allow
    }
}
