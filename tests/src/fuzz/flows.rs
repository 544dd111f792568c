//! Any bytes as a sequence of frames and policies: the whole decision, on maps in memory, does with each frame what the
//! model does with it, and counts it exactly once.
//!
//! The first byte names a policy of chance and the traffic that was drawn for it; the others pick frames of that traffic,
//! change bytes of them, bring their own, and put other policies in force.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use jiff::Timestamp;
use segd::compile::{Clock, Facts, InterfaceFact, Registry, compile};
use segd::config::{Source, load_sources};
use segd_common::control::Control;
use segd_common::image::{PAGE_WORDS, Page, Root, slot};
use segd_common::parse::Framing;
use segd_common::pipeline::{self, Express, Sighting, Work};
use segd_common::view::Slice;

use super::Bytes;
use super::machine::Machine;
use crate::model::{Hook, Outcome, Policy, Sight, Who, World};
use crate::oracle::{INTERFACES, Random, Step, Style, case};

/// Frames that are drawn for a policy.
const DRAWN: usize = 200;
/// More would fill buckets of the table of connections, of which the model knows nothing.
const STEPS: usize = 64;
/// Buckets of that table.
const BUCKETS: u32 = 256;

/// When all of it happens: expiries are written relative to it. 2026-06-01, in milliseconds.
const NOW: i64 = 1_780_272_000_000;

pub(super) fn run(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let scene = scene(bytes.next());
    let adopting = bytes.next() & 1 == 1;
    let mut stage = Stage::new(&scene, adopting);
    for _ in 0..STEPS {
        if bytes.is_empty() {
            return;
        }
        match step(&mut bytes, &scene) {
            Step::Publish(policy) => stage.publish(policy),
            Step::Frame { hook, interface, bytes } => stage.send(hook, interface, &bytes),
        }
    }
}

/// One thing that happens, as the bytes say.
fn step(bytes: &mut Bytes<'_>, scene: &Scene) -> Step {
    let how = bytes.next() % 8;
    if how == 7 {
        return Step::Publish(bytes.index(scene.policies.len()));
    }
    if how == 6 {
        let place = bytes.next();
        let hook = [Hook::Ingress, Hook::Local, Hook::Forward][usize::from(place) % 3];
        let len = usize::from(bytes.next());
        return Step::Frame { hook, interface: place / 3 % 3, bytes: bytes.take(len).to_vec() };
    }
    let (hook, interface, mut frame) = scene.frames[bytes.index(scene.frames.len())].clone();
    match how {
        3 | 4 => {
            for _ in 0..=bytes.next() % 4 {
                let (at, value) = (bytes.index(frame.len()), bytes.next());
                frame[at] = value;
            }
        }
        5 => frame.resize(usize::from(bytes.next()) * 2, 0xa5),
        _ => {}
    }
    Step::Frame { hook, interface, bytes: frame }
}

/// Policies with their images, and frames that mean something under them.
struct Scene {
    policies: Vec<Policy>,
    images: Vec<(Vec<Page>, Root)>,
    registry: Registry,
    frames: Vec<(Hook, u8, Vec<u8>)>,
}

/// The scene with this number; it is made once.
fn scene(number: u8) -> Rc<Scene> {
    thread_local!(static MADE: RefCell<HashMap<u8, Rc<Scene>>> = RefCell::default());
    MADE.with_borrow_mut(|made| Rc::clone(made.entry(number).or_insert_with(|| Rc::new(Scene::new(number)))))
}

impl Scene {
    fn new(number: u8) -> Self {
        let mut random = Random::new(u64::from(number), 0);
        let case = case(&mut random, Style { steps: DRAWN, tc: number % 2 == 1 });
        let mut registry = Registry::default();
        let images = case.policies.iter().map(|policy| image(policy, &mut registry)).collect();
        let frame = |step| match step {
            Step::Frame { hook, interface, bytes } => Some((hook, interface, bytes)),
            Step::Publish(_) => None,
        };
        Self { policies: case.policies, images, registry, frames: case.steps.into_iter().filter_map(frame).collect() }
    }

    fn zone(&self, who: Who) -> Option<u16> {
        self.registry.zone_id(&who.name())
    }
}

fn now() -> Timestamp {
    Timestamp::from_millisecond(NOW).expect("a time of our own")
}

/// As the daemon makes it, from the policy's text on.
fn image(policy: &Policy, registry: &mut Registry) -> (Vec<Page>, Root) {
    let source = Source { name: "chance.yaml".to_owned(), text: policy.to_yaml(now()) };
    let loaded = load_sources(vec![source]).unwrap_or_else(|faults| panic!("{}", faults.render(false)));
    let interfaces = (1..).zip(INTERFACES).map(|(slot, name)| InterfaceFact {
        name: name.to_owned(),
        above: Vec::new(),
        ifindex: u32::from(slot),
        slot,
    });
    let facts = Facts {
        host: policy.host.clone(),
        interfaces: interfaces.collect(),
        cuts: Vec::new(),
        now: now(),
        clock: Clock::detached(now()),
    };
    let image = compile(&loaded.policy, &facts, registry).expect("a policy of chance is small");
    // The first page of an image has number 1.
    let mut pages = vec![Page([0; PAGE_WORDS])];
    pages.extend(image.pages().0.iter().copied());
    (pages, *image.root())
}

/// Both sides.
struct Stage<'a> {
    scene: &'a Scene,
    machine: Machine,
    world: World,
    sent: u64,
    history: Vec<String>,
}

impl<'a> Stage<'a> {
    fn new(scene: &'a Scene, adopting: bool) -> Self {
        let mut machine = Machine::new(BUCKETS);
        let clock = Clock::detached(now());
        machine.now.set(clock.jiffies);
        machine.control().hz = clock.hz;
        machine.control().adopt_until = if adopting { u64::MAX } else { 0 };
        let world = World::new(scene.policies[0].clone(), adopting);
        let mut stage = Self { scene, machine, world, sent: 0, history: Vec::new() };
        stage.put_in_force(0);
        stage
    }

    fn publish(&mut self, policy: usize) {
        self.history.push(format!("policy {policy} is put in force"));
        self.put_in_force(policy);
        self.world.publish(self.scene.policies[policy].clone());
    }

    fn put_in_force(&mut self, policy: usize) {
        let (pages, root) = &self.scene.images[policy];
        let control = self.machine.control();
        let generation = control.roots.iter().map(|root| root.generation).max().unwrap_or(0) + 1;
        let place = generation % control.roots.len() as u32;
        control.roots[place as usize] = Root { generation, ..*root };
        control.selector = Control::selector(place as u8, place as u8, 0);
        self.machine.pages.clone_from(pages);
    }

    fn send(&mut self, hook: Hook, interface: u8, frame: &[u8]) {
        let at = Sight { hook, interface, name: INTERFACES[usize::from(interface)] };
        let want = self.world.judge(at, frame);
        let got = self.judged(hook, interface, frame);
        self.history.push(format!("{hook:?} at {}: {frame:02x?}\n  {want:?}", at.name));
        let agreed = self.same(hook, &want, &got) || self.was_forgotten(at, &want, &got);
        assert!(agreed, "the model says {want:?}, and the pipeline {got:?}\n{}", self.told());
        self.sent += u64::from(hook != Hook::Forward || !got.passes());
        let counted: u64 = self.machine.pairs.iter().flat_map(|pair| &pair.packets).map(Cell::get).sum();
        assert_eq!(counted, self.sent, "every frame is counted once\n{}", self.told());
    }

    fn told(&self) -> String {
        let policies = self.scene.policies.iter().enumerate();
        let policies = policies.map(|(number, policy)| format!("# policy {number}\n{}", policy.to_yaml(now())));
        policies.chain(self.history.iter().cloned()).collect::<Vec<_>>().join("\n")
    }

    /// As the kernel's programs do it: the short way, and the whole one if that leads nowhere.
    fn judged(&self, hook: Hook, interface: u8, frame: &[u8]) -> pipeline::Outcome {
        let mut work = Work::new();
        let hook = match hook {
            Hook::Ingress => pipeline::Hook::Ingress,
            Hook::Local => pipeline::Hook::Local,
            Hook::Forward => pipeline::Hook::Forward,
        };
        let slot = u16::from(interface) + 1;
        let framing = Framing::ETHERNET;
        work.at = Sighting { hook, framing, interface: slot, ifindex: u32::from(slot), ..Sighting::NOWHERE };
        let passes = match pipeline::express(&self.machine, &Slice(frame), &mut work) {
            Express::Decided => work.outcome.passes(),
            Express::Judged => pipeline::resume(&self.machine, &mut work),
            Express::Whole => pipeline::run(&self.machine, &Slice(frame), &mut work),
        };
        assert_eq!(passes, work.outcome.passes(), "what is done is what is said");
        work.outcome
    }

    fn same(&self, hook: Hook, want: &Outcome, got: &pipeline::Outcome) -> bool {
        if want.why.passes() != got.passes() {
            return false;
        }
        // What passes its second hook was judged at its first.
        if hook == Hook::Forward && got.passes() {
            return true;
        }
        let zones = (self.scene.zone(want.from), self.scene.zone(want.to)) == (Some(got.from), Some(got.to));
        let rule = want.rule.and_then(|rule| self.scene.registry.rule_number(&format!("r{rule}")));
        let rule = !got.passes() || rule.unwrap_or(slot::NO_RULE) == got.rule;
        want.why.name() == got.reason.name() && zones && rule && want.opened == got.opened
    }

    /// The table of datagrams is small, and may forget one.
    fn was_forgotten(&mut self, at: Sight<'_>, want: &Outcome, got: &pipeline::Outcome) -> bool {
        let forgotten = want.if_forgotten().is_some_and(|other| self.same(at.hook, &other, got));
        if forgotten {
            self.world.forget(at, want);
        }
        forgotten
    }
}
