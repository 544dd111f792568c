//! Which interfaces are guarded and how that went: what the policy wants, against what the kernel has. Decides what
//! to attach and detach; never decides about packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::kernel::Kernel;
use crate::interfaces::{
    Admission, Change, ForwardDecision, Hook, HookDecision, Kind, Link, choose_forward, choose_hook, guarded, lower,
    names_above, takes_redirects, tracks_strictly,
};
use crate::policy::{Forward, HookChoice, InterfaceSelector};

/// Links and addresses of this machine, as netlink told them last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// By index.
    pub links: BTreeMap<u32, Link>,
    /// Every address of the machine.
    pub addresses: BTreeSet<IpAddr>,
}

impl Machine {
    /// Takes one change in.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Link(link) => {
                self.links.insert(link.index, link);
            }
            Change::Gone { index } => {
                self.links.remove(&index);
            }
            Change::Addresses(addresses) => self.addresses = addresses,
        }
    }

    /// The links that `selectors` want guarded.
    pub(super) fn guarded<'m>(&'m self, selectors: &'m [InterfaceSelector]) -> impl Iterator<Item = &'m Link> {
        self.links.values().filter(|link| guarded(link, selectors).is_some())
    }

    /// Names of what takes the packets of `link`.
    pub(super) fn names_above(&self, link: &Link) -> Vec<String> {
        names_above(link, &self.links).into_iter().collect()
    }
}

/// Interfaces that lie upon each other, at the most: the kernel's own limit (`MAX_NEST_DEV`).
const STACKED_AT_MOST: u8 = 8;

/// What the policy asks of the interfaces, and what is known beside it.
pub(super) struct Wishes<'a> {
    pub(super) selectors: &'a [InterfaceSelector],
    /// Nothing passes a new port of a bridge before that is guarded.
    pub(super) ports_are_closed: bool,
    /// Sources of some zone are bound to interfaces: then each VLAN has to be looked at by itself.
    pub(super) by_interface: bool,
}

impl Wishes<'_> {
    /// Which links have to be guarded so that nothing need be attached to this one; empty: it has to be guarded itself. What is
    /// judged on both would be counted twice.
    fn lower(&self, link: &Link, machine: &Machine) -> Vec<u32> {
        let may = match link.kind {
            Kind::Bridge => self.ports_are_closed,
            _ => !self.by_interface,
        };
        if may { lower(link, &machine.links) } else { Vec::new() }
    }
}

/// A guarded interface, and how it went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Guarded {
    pub(super) name: String,
    /// The hook that was chosen by what the interface is; none if no hook can do what the policy asks.
    chosen: Option<HookDecision>,
    /// The hook that it got in the end.
    pub(super) decision: Option<HookDecision>,
    /// Why it is not attached; none if it is.
    pub(super) fault: Option<String>,
    /// Nothing is attached to it: these see everything that it sees, and are guarded.
    pub(super) covered_by: Vec<u32>,
    /// Who forwards what comes in by it.
    pub(super) forward: ForwardDecision,
}

/// The guarded interfaces, by index.
#[derive(Debug, Default)]
pub(super) struct Guards(pub(super) BTreeMap<u32, Guarded>);

impl Guards {
    /// Attaches what should be guarded and is not, and detaches what should not be. What fails is kept, shown and
    /// tried again at the next call.
    pub(super) fn sync(&mut self, kernel: &mut dyn Kernel, machine: &Machine, wishes: &Wishes<'_>) {
        let selectors = wishes.selectors;
        let wanted: BTreeSet<u32> = machine.guarded(selectors).map(|link| link.index).collect();
        // What an earlier daemon guarded is told by the kernel alone.
        let held = self.0.keys().copied().chain(kernel.enforced().into_iter().map(|enforced| enforced.ifindex));
        for index in held.filter(|index| !wanted.contains(index)).collect::<BTreeSet<u32>>() {
            self.let_go(kernel, index, machine);
        }
        let enforced = in_place(kernel);
        let (alone, mut upon): (Vec<&Link>, Vec<&Link>) =
            machine.guarded(selectors).partition(|link| wishes.lower(link, machine).is_empty());
        for link in alone {
            self.guard(kernel, link, selectors, &enforced);
        }
        // From below to above: a VLAN may lie upon a bridge.
        let enforced = in_place(kernel);
        let ready = |guards: &Self, upon: &[&Link], link: &Link| {
            let below = wishes.lower(link, machine);
            !upon.iter().any(|other| below.contains(&other.index))
                && below.iter().all(|below| guards.holds(*below, &enforced))
        };
        while let Some(place) = upon.iter().position(|link| ready(self, &upon, link)) {
            let link = upon.remove(place);
            self.cover(kernel, link, wishes.lower(link, machine));
        }
        for link in upon {
            self.guard(kernel, link, selectors, &enforced);
        }
        self.steer(kernel, machine, selectors);
    }

    /// Decides anew who forwards, where the policy asks for the shortcut: that hangs on what others do to this machine.
    pub(super) fn steer(&mut self, kernel: &mut dyn Kernel, machine: &Machine, selectors: &[InterfaceSelector]) {
        let asked = |link: &Link| guarded(link, selectors).unwrap_or_default().forward;
        let any = machine.guarded(selectors).any(|link| asked(link) == Forward::Shortcut);
        let strict = any && tracks_strictly();
        for (index, guarded) in &mut self.0 {
            let Some(link) = machine.links.get(index) else { continue };
            let here = guarded.decision.as_ref().filter(|_| guarded.fault.is_none() && guarded.covered_by.is_empty());
            let forward = here.map_or_else(ForwardDecision::default, |decision| {
                choose_forward(link, asked(link), decision.hook, strict)
            });
            let target = any && link.ethernet && takes_redirects(link.index);
            if let Err(error) = kernel.steer(link, forward.forward, target) {
                tracing::warn!("the kernel forwards what comes in by {}: {error}", link.name);
            }
            if forward != guarded.forward {
                match (&forward.why, forward.forward) {
                    (Some(why), _) => tracing::warn!("the kernel forwards what comes in by {}: {why}", link.name),
                    (None, Forward::Shortcut) => tracing::info!("{} takes the shortcut", link.name),
                    (None, Forward::Kernel) => tracing::info!("{} no longer takes the shortcut", link.name),
                }
                guarded.forward = forward;
            }
        }
    }

    /// Whom the fallback lets through: what is guarded, and what the policy leaves alone.
    pub(super) fn admission(&self, machine: &Machine, selectors: &[InterfaceSelector]) -> Admission {
        let wanted: BTreeSet<u32> = machine.guarded(selectors).map(|link| link.index).collect();
        let is_guarded = |index: &u32| self.0.get(index).is_some_and(|guarded| guarded.fault.is_none());
        let admitted = machine.links.keys().filter(|index| !wanted.contains(index) || is_guarded(index));
        Admission::new(selectors, admitted.copied().collect())
    }

    /// Whether something that should be enforced is not, by the kernel's word: a fault, or links that somebody removed.
    pub(super) fn amiss(&self, kernel: &dyn Kernel) -> bool {
        let enforced = in_place(kernel);
        self.0.keys().any(|index| !self.holds(*index, &enforced))
    }

    /// Whether it is guarded, or covered by others that are.
    pub(super) fn holds(&self, index: u32, enforced: &BTreeSet<u32>) -> bool {
        self.holds_within(index, enforced, STACKED_AT_MOST)
    }

    fn holds_within(&self, index: u32, enforced: &BTreeSet<u32>, depth: u8) -> bool {
        let Some(guarded) = self.0.get(&index).filter(|_| depth > 0) else { return false };
        match guarded.covered_by.as_slice() {
            [] => guarded.fault.is_none() && enforced.contains(&index),
            below => below.iter().all(|below| self.holds_within(*below, enforced, depth - 1)),
        }
    }

    /// What an interface is called.
    pub(super) fn name(&self, index: u32) -> String {
        self.0.get(&index).map_or_else(|| format!("#{index}"), |guarded| guarded.name.clone())
    }

    fn cover(&mut self, kernel: &mut dyn Kernel, link: &Link, below: Vec<u32>) {
        let names: Vec<&str> =
            below.iter().filter_map(|index| self.0.get(index)).map(|below| below.name.as_str()).collect();
        let why = format!("it sees nothing that {} does not see, and would count it twice", names.join(" or "));
        let hook =
            below.first().and_then(|index| self.0.get(index)?.decision.as_ref()).map_or(Hook::Tc, |below| below.hook);
        let guarded = match kernel.cover(link) {
            Ok(()) => Guarded {
                name: link.name.clone(),
                decision: Some(HookDecision { hook, why }),
                covered_by: below,
                ..Guarded::default()
            },
            Err(error) => Guarded { name: link.name.clone(), fault: Some(error.to_string()), ..Guarded::default() },
        };
        self.note(link.index, guarded);
    }

    /// Keeps how it went, and tells it if it is news.
    fn note(&mut self, index: u32, guarded: Guarded) {
        let before = self.0.remove(&index);
        let forward = before.as_ref().map(|before| before.forward.clone()).unwrap_or_default();
        let guarded = Guarded { forward, ..guarded };
        if before.as_ref() != Some(&guarded) {
            tell(&guarded);
        }
        self.0.insert(index, guarded);
    }

    /// A link that left took its programs along; what the datapath still holds for it goes as well.
    pub(super) fn gone(&mut self, kernel: &mut dyn Kernel, index: u32) {
        let Some(guarded) = self.0.remove(&index) else { return };
        tracing::info!("interface {} is gone", guarded.name);
        if let Err(error) = kernel.detach(index) {
            tracing::debug!("after {} went: {error}", guarded.name);
        }
    }

    fn let_go(&mut self, kernel: &mut dyn Kernel, index: u32, machine: &Machine) {
        self.0.remove(&index);
        let name =
            machine.links.get(&index).map_or_else(|| format!("#{index}, which is gone,"), |link| link.name.clone());
        match kernel.detach(index) {
            Ok(()) => tracing::info!("interface {name} is no longer guarded"),
            Err(error) => tracing::error!("interface {name} should no longer be guarded: {error}"),
        }
    }

    fn guard(
        &mut self,
        kernel: &mut dyn Kernel,
        link: &Link,
        selectors: &[InterfaceSelector],
        enforced: &BTreeSet<u32>,
    ) {
        let guarding = guarded(link, selectors).unwrap_or_default();
        let chosen = choose_hook(link, guarding);
        if let Some(before) = self.0.get_mut(&link.index)
            && before.fault.is_none()
            && enforced.contains(&link.index)
            && before.chosen.as_ref() == chosen.as_ref().ok()
        {
            before.name.clone_from(&link.name);
            return;
        }
        let guarded = match chosen {
            Err(error) => Guarded { fault: Some(error.to_string()), name: link.name.clone(), ..Guarded::default() },
            Ok(chosen) => attach(kernel, link, guarding.hook, &chosen),
        };
        self.note(link.index, guarded);
    }
}

/// The interfaces whose links are all in place, as the kernel says.
pub(super) fn in_place(kernel: &dyn Kernel) -> BTreeSet<u32> {
    kernel.enforced().into_iter().filter(|enforced| enforced.enforced).map(|enforced| enforced.ifindex).collect()
}

/// Attaches by the chosen hook. Whether a driver has native XDP shows only here: where the policy leaves the choice to
/// us, TC takes its place.
fn attach(kernel: &mut dyn Kernel, link: &Link, choice: HookChoice, chosen: &HookDecision) -> Guarded {
    let guarded = |decision, fault| Guarded {
        name: link.name.clone(),
        chosen: Some(chosen.clone()),
        decision: Some(decision),
        fault,
        ..Guarded::default()
    };
    let Err(error) = kernel.attach(link, chosen.hook) else { return guarded(chosen.clone(), None) };
    if choice != HookChoice::Auto || chosen.hook == Hook::Tc {
        return guarded(chosen.clone(), Some(error.to_string()));
    }
    let instead = HookDecision { hook: Hook::Tc, why: format!("its driver refused XDP: {error}") };
    let fault = kernel.attach(link, Hook::Tc).err().map(|error| error.to_string());
    guarded(instead, fault)
}

fn tell(guarded: &Guarded) {
    match (&guarded.fault, &guarded.decision) {
        (Some(fault), _) => tracing::error!("interface {} is not guarded: {fault}", guarded.name),
        (None, Some(decision)) if !guarded.covered_by.is_empty() => {
            tracing::info!("interface {} needs no program of its own: {}", guarded.name, decision.why);
        }
        (None, Some(decision)) => {
            tracing::info!("interface {} is guarded by {}: {}", guarded.name, decision.hook, decision.why);
        }
        (None, None) => {}
    }
}
