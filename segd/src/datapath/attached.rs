//! What is attached, by interface and seat: links, and filters where TC has no links. Each has a pin below the instance's
//! folder, by which the next daemon finds it. What holds one seat never changes under the feet of another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::programs::ProgramInfo;

use super::filters::{Filter, make_clsact, remove_clsact};
use super::raw::{detach_pinned_link, pinned_link_ifindex};
use super::seat::Seat;
use super::set::{MapSet, full_words};
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
    /// What is not, if something is not.
    pub detail: Option<String>,
}

/// A pin of one seat, and what kind of thing it holds.
struct Pin {
    path: PathBuf,
    by: Attachment,
    seat: Seat,
    ifindex: u32,
}

/// Everything that one instance attached.
pub(super) struct Attached {
    dir: PathBuf,
    tc: Attachment,
    names: BTreeMap<u32, String>,
}

impl Attached {
    /// `tc` says how TC programs are attached on this kernel.
    pub(super) fn new(dir: &Path, tc: Attachment) -> Self {
        Self { dir: dir.into(), tc, names: BTreeMap::new() }
    }

    /// The folder of pinned links, and that of the programs that filters run.
    fn folder(&self, by: Attachment) -> PathBuf {
        self.dir.join(match by {
            Attachment::Link => "links",
            Attachment::Filter => "filters",
        })
    }

    fn pin(&self, seat: Seat, ifindex: u32) -> Pin {
        let by = if seat.is_xdp() { Attachment::Link } else { self.tc };
        Pin { path: self.folder(by).join(format!("{}_{ifindex}", seat.name())), by, seat, ifindex }
    }

    /// Pinned beside filters whose qdisc we made: it goes with the last of them.
    fn qdisc_pin(&self, ifindex: u32) -> PathBuf {
        self.folder(Attachment::Filter).join(format!("clsact_{ifindex}"))
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

    /// Puts this build's programs in the place of an earlier daemon's. What belonged to an interface that is gone is
    /// unpinned.
    pub(super) fn take_over(&mut self, maps: &mut MapSet) -> Result<(), DatapathError> {
        for (ifindex, seats) in self.pinned() {
            for seat in seats {
                let pin = self.pin(seat, ifindex);
                match pin.is_held() {
                    // The interface is gone, or its number went to another one.
                    Ok(false) => unpin(&pin.path)?,
                    // Whatever fails here leaves the old program where it is: it goes on enforcing.
                    Ok(true) => pin.replace(maps).map_err(|why| DatapathError::Pin {
                        what: "put this build's program into",
                        path: pin.path,
                        why,
                    })?,
                    Err(why) => return Err(DatapathError::Pin { what: "read", path: pin.path, why }),
                }
            }
        }
        let held = self.pinned();
        for (_, ifindex) in self.names_in(Attachment::Filter) {
            if !held.contains_key(&ifindex) {
                unpin(&self.qdisc_pin(ifindex))?;
            }
        }
        Ok(())
    }

    /// Attaches what `hook` takes and is not there, then lets go what another hook held.
    pub(super) fn attach(&mut self, maps: &mut MapSet, link: &Link, hook: Hook) -> Result<(), DatapathError> {
        let wanted = Seat::of(hook);
        for seat in wanted {
            let pin = self.pin(*seat, link.index);
            if pin.state().is_ok() {
                continue;
            }
            self.fill(maps, &pin, link).map_err(|why| {
                self.roll_back(link.index, wanted);
                DatapathError::Attach { interface: link.name.clone(), hook, why }
            })?;
        }
        for seat in Seat::ALL.into_iter().filter(|seat| !wanted.contains(seat)) {
            self.pin(seat, link.index).let_go()?;
        }
        self.names.insert(link.index, link.name.clone());
        Ok(())
    }

    /// Attaches one program and pins it.
    fn fill(&self, maps: &mut MapSet, pin: &Pin, link: &Link) -> Result<(), String> {
        let folder = self.folder(pin.by);
        fs::create_dir_all(&folder).map_err(|why| format!("cannot make {}: {why}", folder.display()))?;
        match pin.by {
            Attachment::Link => {
                unpin(&pin.path).map_err(|error| error.to_string())?;
                links::attach(maps, pin.seat, link)?.pin(&pin.path).map_err(|why| full_words(&why))?;
            }
            Attachment::Filter => {
                if make_clsact(link.index)? {
                    pin_program(maps, pin.seat, &self.qdisc_pin(link.index))?;
                }
                put_filter(maps, pin)?;
            }
        }
        // TC links attach by name, and names change hands; filters may be taken off as soon as they are there.
        pin.state().map_err(|why| {
            let _ = pin.let_go();
            format!("the {} for {} {why}; it is tried again", pin.what(), pin.seat.name())
        })
    }

    /// Takes off what half an attachment left, unless another hook still holds the interface.
    fn roll_back(&self, ifindex: u32, wanted: &[Seat]) {
        let holds = self.pinned().remove(&ifindex).unwrap_or_default();
        let other = holds.iter().any(|seat| seat.hook().is_some() && !wanted.contains(seat));
        if !other {
            let _ = self.let_all_go(ifindex);
        }
    }

    pub(super) fn detach(&mut self, ifindex: u32) -> Result<(), DatapathError> {
        self.names.remove(&ifindex);
        self.let_all_go(ifindex)
    }

    fn let_all_go(&self, ifindex: u32) -> Result<(), DatapathError> {
        for seat in Seat::ALL {
            self.pin(seat, ifindex).let_go()?;
        }
        let qdisc = self.qdisc_pin(ifindex);
        if qdisc.exists() {
            remove_clsact(ifindex).map_err(|why| DatapathError::Pin {
                what: "remove the clsact qdisc of",
                path: qdisc.clone(),
                why: why.to_string(),
            })?;
            unpin(&qdisc)?;
        }
        Ok(())
    }

    pub(super) fn enforced(&self) -> Vec<Enforced> {
        let pinned = self.pinned();
        let known = self.names.keys().chain(pinned.keys()).collect::<BTreeSet<_>>();
        known.into_iter().map(|ifindex| self.state(*ifindex, pinned.get(ifindex))).collect()
    }

    fn state(&self, ifindex: u32, seats: Option<&BTreeSet<Seat>>) -> Enforced {
        let hook = seats.and_then(|seats| seats.iter().find_map(|seat| seat.hook())).unwrap_or(Hook::Tc);
        let trouble = |seat: &Seat| {
            let pin = self.pin(*seat, ifindex);
            pin.state().err().map(|why| format!("the {} for {} {why}", pin.what(), seat.name()))
        };
        let troubles: Vec<_> = Seat::of(hook).iter().filter_map(trouble).collect();
        let name = self.names.get(&ifindex).cloned().unwrap_or_else(|| format!("#{ifindex}"));
        let detail = (!troubles.is_empty())
            .then(|| format!("{}; the daemon attaches it again within seconds", troubles.join(", ")));
        Enforced { ifindex, name, hook, attachment: self.tc, enforced: detail.is_none(), detail }
    }

    /// Takes everything off, however it was attached. Returns what it was.
    pub(super) fn remove_all(dir: &Path) -> Result<Vec<String>, DatapathError> {
        let mut gone = Vec::new();
        for tc in [Attachment::Link, Attachment::Filter] {
            let attached = Self::new(dir, tc);
            for (name, ifindex) in attached.names_in(tc) {
                if let Some(seat) = Seat::named(&name) {
                    attached.pin(seat, ifindex).let_go()?;
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

impl Pin {
    const fn what(&self) -> &'static str {
        match self.by {
            Attachment::Link => "link",
            Attachment::Filter => "filter",
        }
    }

    const fn filter(&self) -> Filter {
        Filter { ifindex: self.ifindex, seat: self.seat }
    }

    /// Whether what is pinned is in place; what is wrong, if not.
    fn state(&self) -> Result<(), &'static str> {
        match self.by {
            Attachment::Link if links::alive(&self.path, self.ifindex) => Ok(()),
            Attachment::Link => Err("is gone"),
            Attachment::Filter => {
                let program = ProgramInfo::from_pin(&self.path).map_err(|_| "has lost its pin")?;
                self.filter().state(program.id())
            }
        }
    }

    /// Whether something of ours still holds the seat.
    fn is_held(&self) -> Result<bool, String> {
        match self.by {
            Attachment::Link => pinned_link_ifindex(&self.path).map(|there| there == self.ifindex),
            Attachment::Filter => self.filter().is_there(),
        }
        .map_err(|why| why.to_string())
    }

    fn replace(&self, maps: &mut MapSet) -> Result<(), String> {
        match self.by {
            Attachment::Link => links::replace(maps, self.seat, &self.path),
            Attachment::Filter => put_filter(maps, self),
        }
    }

    /// Takes it off before this returns: a link that only loses its pin lives on until the kernel gets round to it, and
    /// packets would be dropped after we said that it is gone.
    fn let_go(&self) -> Result<(), DatapathError> {
        let taken_off = match self.by {
            Attachment::Link if self.path.exists() => detach_pinned_link(&self.path),
            Attachment::Filter if self.path.exists() => self.filter().remove(),
            _ => return Ok(()),
        };
        taken_off.map_err(|why| DatapathError::Pin {
            what: "take off what is attached by",
            path: self.path.clone(),
            why: why.to_string(),
        })?;
        unpin(&self.path)
    }
}

/// Puts the seat's program into its filter, and then its pin into the place of an earlier one's.
fn put_filter(maps: &mut MapSet, pin: &Pin) -> Result<(), String> {
    let program = maps.classifier(pin.seat.program()).map_err(|error| error.to_string())?;
    let fd = program.fd().map_err(|error| full_words(&error))?;
    pin.filter().put(fd.as_fd()).map_err(|why| match why.raw_os_error() {
        Some(libc::EINVAL) => format!(
            "{why}; filters of another kind may have the first place: give them a higher `pref` (`tc filter show dev …`)"
        ),
        _ => why.to_string(),
    })?;
    pin_program(maps, pin.seat, &pin.path)
}

/// Pins a program, in the place of what is pinned there.
fn pin_program(maps: &mut MapSet, seat: Seat, path: &Path) -> Result<(), String> {
    let words = |why: std::io::Error| format!("cannot pin {}: {why}", path.display());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = path.with_file_name(format!("new-{name}"));
    unpin(&fresh).map_err(|error| error.to_string())?;
    let program = maps.classifier(seat.program()).map_err(|error| error.to_string())?;
    program.pin(&fresh).map_err(|error| full_words(&error))?;
    fs::rename(&fresh, path).map_err(words)
}

fn unpin(pin: &Path) -> Result<(), DatapathError> {
    match fs::remove_file(pin) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            Err(DatapathError::Pin { what: "remove", path: pin.into(), why: why.to_string() })
        }
        _ => Ok(()),
    }
}
