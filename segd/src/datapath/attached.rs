//! What is attached, by interface and seat: links, and filters where TC has no links. Each has a pin below the instance's
//! folder, by which the next daemon finds it. What holds one seat never changes under the feet of another.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::full_words;
use super::filters::{make_clsact, remove_clsact};
use super::held::Held;
use super::pin::{Pin, pin_program, unpin};
use super::seat::Seat;
use super::set::MapSet;
use super::{Attachment, DatapathError, Hook, links};
use crate::interfaces::Link;

/// An interface and the kernel's word on what is attached to it.
pub struct Enforced {
    /// Number of the interface.
    pub ifindex: u32,
    /// Its name when it was attached.
    pub name: String,
    /// By which hook.
    pub hook: Hook,
    /// By what its TC programs are attached.
    pub attachment: Attachment,
    /// Everything is in place.
    pub enforced: bool,
    /// What is not, if something is not; and else what an admin should know.
    pub detail: Option<String>,
}

/// What stands before the interface's number in the name of a pin that stands for a qdisc of ours.
const CLSACT: &str = "clsact";

/// Everything that one instance attached.
pub(super) struct Attached {
    dir: PathBuf,
    tc: Attachment,
    names: BTreeMap<u32, String>,
    held: Held,
    /// Interfaces whose programs are still those of the maps before, and why.
    behind: BTreeMap<u32, String>,
}

impl Attached {
    /// `tc` says how TC programs are attached on this kernel.
    pub(super) fn new(dir: &Path, tc: Attachment) -> Self {
        Self { dir: dir.into(), tc, names: BTreeMap::new(), held: Held::default(), behind: BTreeMap::new() }
    }

    /// Whether the folder of this name below an instance's holds what attaches programs.
    pub(super) fn is_in_force(name: &OsStr) -> bool {
        [Attachment::Link, Attachment::Filter].into_iter().any(|by| name == folder_of(by))
    }

    fn folder(&self, by: Attachment) -> PathBuf {
        self.dir.join(folder_of(by))
    }

    fn pin(&self, seat: Seat, ifindex: u32) -> Pin {
        let by = if seat.is_xdp() { Attachment::Link } else { self.tc };
        Pin { path: self.folder(by).join(format!("{}_{ifindex}", seat.name())), by, seat, ifindex }
    }

    /// Pinned beside filters whose qdisc we made: it goes with the last of them.
    fn qdisc_pin(&self, ifindex: u32) -> PathBuf {
        self.folder(Attachment::Filter).join(format!("{CLSACT}_{ifindex}"))
    }

    /// The seats that are pinned, by interface.
    fn pinned(&self) -> BTreeMap<u32, BTreeSet<Seat>> {
        let mut found: BTreeMap<u32, BTreeSet<Seat>> = BTreeMap::new();
        for (name, ifindex) in self.names_in(Attachment::Link).into_iter().chain(self.names_in(Attachment::Filter)) {
            if let Some(seat) = Seat::named(&name) {
                found.entry(ifindex).or_default().insert(seat);
            }
        }
        found
    }

    /// What stands before the interface's number in the names of the pins, and that number.
    fn names_in(&self, by: Attachment) -> Vec<(String, u32)> {
        let name = |entry: fs::DirEntry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let (what, ifindex) = name.rsplit_once('_')?;
            Some((what.to_owned(), ifindex.parse().ok()?))
        };
        fs::read_dir(self.folder(by)).into_iter().flatten().flatten().filter_map(name).collect()
    }

    /// The seats that are filled, with their pins or without, by interface.
    fn filled(&self) -> BTreeMap<u32, BTreeSet<Seat>> {
        let mut found = self.pinned();
        for (ifindex, seat) in self.held.unpinned() {
            found.entry(ifindex).or_default().insert(seat);
        }
        found
    }

    /// The same of one interface.
    fn filled_of(&self, ifindex: u32) -> BTreeSet<Seat> {
        let is_filled = |seat: &Seat| {
            let Pin { path, .. } = self.pin(*seat, ifindex);
            path.exists() || self.held.is_in_place(&path)
        };
        Seat::ALL.into_iter().filter(is_filled).collect()
    }

    /// Puts this build's programs in the place of an earlier daemon's, wherever the kernel takes them. What belonged to an
    /// interface that is gone is unpinned.
    pub(super) fn take_over(&mut self, maps: &mut MapSet) -> Result<(), DatapathError> {
        self.behind.clear();
        // Of what has lost its pin the new program would not be told.
        let (_, mut first) = self.pin_again();
        for (ifindex, seats) in self.filled() {
            for seat in seats {
                // Whatever fails here leaves the old program where it is: it goes on enforcing what it knows.
                if let Err(error) = self.take_over_seat(maps, seat, ifindex) {
                    self.behind.insert(ifindex, error.to_string());
                    first.get_or_insert(error);
                }
            }
        }
        if let Some(error) = first {
            return Err(error);
        }
        let held = self.pinned();
        for (name, ifindex) in self.names_in(Attachment::Filter) {
            let qdisc = self.qdisc_pin(ifindex);
            if !held.contains_key(&ifindex) {
                unpin(&qdisc)?;
            } else if name == CLSACT {
                let failed = |why: std::io::Error| DatapathError::Pin {
                    what: "hold",
                    path: qdisc.clone(),
                    why: why.to_string(),
                };
                self.held.hold_qdisc(&qdisc).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn take_over_seat(&mut self, maps: &mut MapSet, seat: Seat, ifindex: u32) -> Result<(), DatapathError> {
        let pin = self.pin(seat, ifindex);
        let failed = |what, why| DatapathError::Pin { what, path: pin.path.clone(), why };
        if !pin.is_held().map_err(|why| failed("read", why))? {
            // The interface is gone, or its number went to another one.
            return unpin(&pin.path);
        }
        pin.replace(maps).map_err(|why| failed("put this build's program into", why))?;
        self.held.hold(&pin).map_err(|why| failed("hold", why.to_string()))
    }

    /// Makes pins anew that somebody has removed. Gives their places, and why the first can't be made.
    pub(super) fn pin_again(&mut self) -> (Vec<PathBuf>, Option<DatapathError>) {
        self.held.pin_again()
    }

    /// Attaches what `hook` takes and is not there, then lets go what another hook held. Between two modes of XDP the
    /// interface is guarded by TC: a device runs programs in one mode only, and refuses the other with EEXIST.
    pub(super) fn attach(&mut self, maps: &mut MapSet, link: &Link, hook: Hook) -> Result<(), DatapathError> {
        self.pin_again();
        let held = self.filled_of(link.index);
        let other_mode = |seat: &Seat| seat.is_xdp() && seat.hook() != Some(hook);
        if hook != Hook::Tc && held.iter().any(other_mode) {
            self.change_over(maps, link, Hook::Tc)?;
        }
        self.change_over(maps, link, hook)
    }

    fn change_over(&mut self, maps: &mut MapSet, link: &Link, hook: Hook) -> Result<(), DatapathError> {
        let wanted = Seat::of(hook);
        let mut filled = Vec::new();
        for seat in wanted {
            let pin = self.pin(*seat, link.index);
            // What is in place stays, though its pin be gone: taking it off to put it there again could be the end of it.
            if pin.state().is_ok() || self.held.is_in_place(&pin.path) {
                continue;
            }
            filled.push(*seat);
            self.fill(maps, &pin, link).map_err(|why| {
                self.roll_back(link.index, &filled);
                DatapathError::Attach { interface: link.name.clone(), hook, why }
            })?;
        }
        for seat in Seat::ALL.into_iter().filter(|seat| !wanted.contains(seat)) {
            self.let_go(seat, link.index)?;
        }
        self.names.insert(link.index, link.name.clone());
        Ok(())
    }

    /// Attaches one program and pins it.
    fn fill(&mut self, maps: &mut MapSet, pin: &Pin, link: &Link) -> Result<(), String> {
        let folder = self.folder(pin.by);
        fs::create_dir_all(&folder).map_err(|why| format!("cannot make {}: {why}", folder.display()))?;
        match pin.by {
            Attachment::Link => {
                unpin(&pin.path).map_err(|error| error.to_string())?;
                links::attach(maps, pin.seat, link)?.pin(&pin.path).map_err(|why| full_words(&why))?;
            }
            Attachment::Filter => {
                if make_clsact(link.index)? {
                    let qdisc = self.qdisc_pin(link.index);
                    pin_program(maps, pin.seat, &qdisc)?;
                    self.held.hold_qdisc(&qdisc).map_err(|why| why.to_string())?;
                }
                pin.put_filter(maps)?;
            }
        }
        self.held.hold(pin).map_err(|why| why.to_string())?;
        // TC links attach by name, and names change hands; filters may be taken off as soon as they are there.
        pin.state().map_err(|why| {
            let _ = pin.let_go(true);
            self.held.forget(&pin.path);
            format!("the {} for {} {why}; it is tried again", pin.what(), pin.seat.name())
        })
    }

    /// Takes off what half an attachment left: what was in place before it goes on.
    fn roll_back(&mut self, ifindex: u32, filled: &[Seat]) {
        for seat in filled {
            let pin = self.pin(*seat, ifindex);
            // It may have got its program and no pin.
            let _ = pin.let_go(true);
            self.held.forget(&pin.path);
        }
        if self.filled_of(ifindex).is_empty() {
            let _ = self.let_all_go(ifindex);
        }
    }

    pub(super) fn detach(&mut self, ifindex: u32) -> Result<(), DatapathError> {
        self.names.remove(&ifindex);
        self.let_all_go(ifindex)
    }

    fn let_all_go(&mut self, ifindex: u32) -> Result<(), DatapathError> {
        self.pin_again();
        for seat in Seat::ALL {
            self.let_go(seat, ifindex)?;
        }
        self.behind.remove(&ifindex);
        let qdisc = self.qdisc_pin(ifindex);
        if qdisc.exists() {
            remove_clsact(ifindex).map_err(|why| DatapathError::Pin {
                what: "remove the clsact qdisc of",
                path: qdisc.clone(),
                why: why.to_string(),
            })?;
            unpin(&qdisc)?;
        }
        self.held.forget(&qdisc);
        Ok(())
    }

    fn let_go(&mut self, seat: Seat, ifindex: u32) -> Result<(), DatapathError> {
        let pin = self.pin(seat, ifindex);
        pin.let_go(self.held.has(&pin.path))?;
        self.held.forget(&pin.path);
        Ok(())
    }

    pub(super) fn enforced(&self) -> Vec<Enforced> {
        let filled = self.filled();
        let known = self.names.keys().chain(filled.keys()).collect::<BTreeSet<_>>();
        known.into_iter().map(|ifindex| self.state(*ifindex, filled.get(ifindex))).collect()
    }

    fn state(&self, ifindex: u32, seats: Option<&BTreeSet<Seat>>) -> Enforced {
        let hook = seats.and_then(|seats| seats.iter().find_map(|seat| seat.hook())).unwrap_or(Hook::Tc);
        let (mut troubles, mut unpinned) = (Vec::new(), false);
        for seat in Seat::of(hook) {
            let pin = self.pin(*seat, ifindex);
            match pin.state() {
                Ok(()) => {}
                Err(_) if self.held.is_in_place(&pin.path) => unpinned = true,
                Err(why) => troubles.push(format!("the {} for {} {why}", pin.what(), seat.name())),
            }
        }
        let name = self.names.get(&ifindex).cloned().unwrap_or_else(|| format!("#{ifindex}"));
        let enforced = troubles.is_empty();
        let detail = if !enforced {
            Some(format!("{}; the daemon attaches it again within seconds", troubles.join(", ")))
        } else if let Some(why) = self.behind.get(&ifindex) {
            Some(format!("it goes on with the programs before, and with what they know: {why}"))
        } else {
            let why = "its pins are gone and none can be made: it is guarded only as long as this daemon runs";
            unpinned.then(|| why.to_owned())
        };
        Enforced { ifindex, name, hook, attachment: self.tc, enforced, detail }
    }

    /// Takes everything off, however it was attached. Returns what it was.
    pub(super) fn remove_all(dir: &Path) -> Result<Vec<String>, DatapathError> {
        let mut gone = Vec::new();
        for tc in [Attachment::Link, Attachment::Filter] {
            let mut attached = Self::new(dir, tc);
            for (name, ifindex) in attached.names_in(tc) {
                if let Some(seat) = Seat::named(&name) {
                    attached.pin(seat, ifindex).let_go(false)?;
                    gone.push(format!("{name} of interface {ifindex}"));
                }
            }
            for (_, ifindex) in attached.names_in(tc) {
                attached.let_all_go(ifindex)?;
            }
            let _ = fs::remove_dir_all(attached.folder(tc));
        }
        Ok(gone)
    }
}

/// The folder of pinned links, and that of the programs that filters run.
const fn folder_of(by: Attachment) -> &'static str {
    match by {
        Attachment::Link => "links",
        Attachment::Filter => "filters",
    }
}
