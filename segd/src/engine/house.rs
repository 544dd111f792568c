//! An engine over a kernel of paper, for tests: it tells what was published and attached.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

#[cfg(test)]
use super::Acting;
use super::Engine;
use super::guarding::Machine;
use super::judge::Written;
use super::kernel::Kernel;
use super::writer::{Core, Parts};
#[cfg(test)]
use crate::api::types::{ExplainQuery, Explanation, Verdict};
use crate::compile::{Answer, Clock, Freed, Image, Question, Registry};
use crate::config::read_sources;
use crate::datapath::{
    Attachment, Counters, DatapathError, Enforced, Fallback, Flow, Occupancy, Probed, Published, Sizes,
};
#[cfg(test)]
use crate::history::Who;
use crate::interfaces::{Change, Hook, Kind, Link};
use crate::policy::Forward;
use crate::seen::{Seen, Told};
use crate::state::StateDir;
use crate::state::quarantine::Quarantine;

/// What the kernel of paper was told.
#[derive(Default)]
pub(super) struct Paper {
    image: Option<Image>,
    pub(super) generation: u32,
    /// Holds past its deadline, with the generation behind the current one.
    fallback: Option<PaperFallback>,
    pub(super) attached: BTreeMap<u32, (String, Hook)>,
    /// Taken off behind the engine's back.
    torn_off: BTreeSet<u32>,
    /// Zones that connections name.
    pub(super) zones_in_flows: BTreeSet<u16>,
    /// It waits for a confirmation.
    pub(super) may_go_back: bool,
    /// Numbers whose counters were set to zero.
    pub(super) cleared: Vec<Freed>,
    /// How far the wall clock was set ahead.
    pub(super) ahead: SignedDuration,
}

struct PaperFallback {
    image: Image,
    deadline: u64,
}

impl Paper {
    /// Whether the kernel went back by itself.
    fn is_back(&self) -> bool {
        let now = Clock::detached(Timestamp::now()).jiffies;
        self.fallback.as_ref().is_some_and(|fallback| now >= fallback.deadline)
    }
}

#[derive(Clone, Default)]
pub(super) struct PaperKernel(pub(super) Arc<Mutex<Paper>>);

impl Kernel for PaperKernel {
    fn clock(&self) -> Clock {
        let clock = Clock::detached(Timestamp::now());
        Clock { at: clock.at + self.0.lock().unwrap().ahead, ..clock }
    }

    fn generation(&self) -> u32 {
        let paper = self.0.lock().unwrap();
        paper.generation + u32::from(paper.is_back())
    }

    fn make_room(&mut self, _sizes: &Sizes) -> Result<(), DatapathError> {
        Ok(())
    }

    fn publish(&mut self, image: &Image) -> Result<u32, DatapathError> {
        let mut paper = self.0.lock().unwrap();
        paper.image = Some(image.clone());
        paper.generation += 1 + u32::from(paper.fallback.take().is_some());
        Ok(paper.generation)
    }

    fn publish_until(&mut self, image: &Image, fallback: Fallback<'_>) -> Result<Published, DatapathError> {
        let generation = self.publish(image)?;
        let later = PaperFallback { image: fallback.image.clone(), deadline: fallback.deadline };
        self.0.lock().unwrap().fallback = Some(later);
        Ok(Published { generation, fallback: Some(generation + 1) })
    }

    fn confirm(&mut self) -> Result<(), DatapathError> {
        self.0.lock().unwrap().fallback = None;
        Ok(())
    }

    fn probe(&self, frame: &[u8], _ifindex: u32, _hook: Hook) -> Result<Probed, DatapathError> {
        // The addresses of an IPv4 frame, asked as the daemon's own probe asks.
        let address = |at: usize| std::net::Ipv4Addr::from(<[u8; 4]>::try_from(&frame[at..at + 4]).unwrap());
        let service = "udp/9".parse().unwrap();
        let [answer] = self.answers(&[Question { src: address(26).into(), dst: address(30).into(), service }])?[..]
        else {
            unreachable!("one question, one answer")
        };
        Ok(Probed { passes: answer.verdict == segd_common::reason::Verdict::Allow, reasons: vec![answer.reason] })
    }

    fn probe_uncounted(&mut self, _frame: &[u8], _hook: Hook) -> Result<Option<bool>, DatapathError> {
        Ok(None)
    }

    fn interface_slot(&mut self, ifindex: u32, _name: &str) -> u16 {
        ifindex as u16
    }

    fn introduce(&mut self, _link: &Link) -> Result<(), DatapathError> {
        Ok(())
    }

    fn attach(&mut self, link: &Link, hook: Hook) -> Result<(), DatapathError> {
        self.0.lock().unwrap().attached.insert(link.index, (link.name.clone(), hook));
        Ok(())
    }

    fn cover(&mut self, link: &Link) -> Result<(), DatapathError> {
        self.0.lock().unwrap().attached.remove(&link.index);
        Ok(())
    }

    fn steer(&mut self, _link: &Link, _forward: Forward, _target: bool) -> Result<(), DatapathError> {
        Ok(())
    }

    fn detach(&mut self, ifindex: u32) -> Result<(), DatapathError> {
        self.0.lock().unwrap().attached.remove(&ifindex);
        Ok(())
    }

    fn mend(&mut self) -> (Vec<PathBuf>, Option<DatapathError>) {
        (Vec::new(), None)
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

    fn answers(&self, questions: &[Question]) -> Result<Vec<Answer>, DatapathError> {
        let paper = self.0.lock().unwrap();
        let image = match &paper.fallback {
            Some(fallback) if paper.is_back() => &fallback.image,
            _ => paper.image.as_ref().unwrap(),
        };
        let now = Clock::detached(Timestamp::now()).jiffies;
        Ok(questions.iter().map(|question| image.answer(question, now)).collect())
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
    let address = (!loopback).then_some([2, 0, 0, 0, 0, index as u8]);
    Link {
        index,
        name: name.into(),
        kind,
        up: true,
        ethernet: true,
        loopback,
        address,
        master: None,
        parent: None,
        mtu: 1500,
    }
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
        let parts = Parts {
            config,
            state,
            registry: Registry::default(),
            quarantine: Quarantine::default(),
            last: None,
            kernel: Box::new(paper.clone()),
            machine,
        };
        let seen = Seen::open(&dir.path().join("state"), &Told::default());
        let engine = Arc::new(Engine::new(Core::start(parts, written).unwrap(), seen));
        Self { dir, paper, engine }
    }

    /// What a caller can change: the policy, who is cut off, and the files.
    pub(crate) fn state(&self) -> (String, u32, String, String) {
        let text = fs::read_to_string(self.config()).unwrap_or_default();
        let cut = serde_json::to_string(&self.engine.quarantined().value).unwrap();
        (self.engine.policy().etag, self.generation(), text + &self.dropin(), cut)
    }

    /// Whether the zone files that are there are a policy.
    pub(crate) fn reads_its_own_files(&self) -> bool {
        read_sources(&self.config()).is_ok_and(|sources| Written::read(sources).is_ok())
    }

    pub(super) fn config(&self) -> PathBuf {
        self.dir.path().join("zones.yaml")
    }

    pub(super) fn dropin(&self) -> String {
        fs::read_to_string(self.dir.path().join("zones.d/50-segctl.yaml")).unwrap_or_default()
    }

    pub(super) fn generation(&self) -> u32 {
        self.paper.0.lock().unwrap().generation
    }
}

#[cfg(test)]
impl House {
    /// The engine in the hands of an admin.
    pub(crate) fn admin(&self) -> Acting<'_> {
        self.engine.by(Who { uid: 0, loginuid: Some(1000), user: "alice".into() })
    }

    /// Somebody takes the program off an interface.
    pub(crate) fn tear_off(&self, ifindex: u32) {
        self.paper.0.lock().unwrap().torn_off.insert(ifindex);
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
