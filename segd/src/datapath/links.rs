//! Attaching programs by links, pinned below the instance's folder. A link can't be taken off by `ip link set … xdp off`, and
//! its program is replaced in place. Where the kernel can only attach without one, it is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, ProgramError, TcAttachType, XdpMode};

use super::raw::{detach_pinned_link, pinned_link_ifindex};
use super::set::{MapSet, XDP, full_words};
use super::{DatapathError, Hook};
use crate::interfaces::Link;

/// One attachment. Its name and the interface's number make the name of the pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seat {
    Xdp,
    XdpGeneric,
    Note,
    Ingress,
    Egress,
}

impl Seat {
    const ALL: [Self; 5] = [Self::Xdp, Self::XdpGeneric, Self::Note, Self::Ingress, Self::Egress];

    const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdpgeneric",
            Self::Note => "note",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    /// What a hook takes. The way out comes first: until the way in is guarded too, nothing is judged from `host` that came
    /// from elsewhere.
    const fn of(hook: Hook) -> &'static [Self] {
        match hook {
            Hook::Xdp => &[Self::Egress, Self::Note, Self::Xdp],
            Hook::XdpGeneric => &[Self::Egress, Self::Note, Self::XdpGeneric],
            Hook::Tc => &[Self::Egress, Self::Ingress],
        }
    }

    const fn hook(self) -> Option<Hook> {
        match self {
            Self::Xdp => Some(Hook::Xdp),
            Self::XdpGeneric => Some(Hook::XdpGeneric),
            Self::Ingress => Some(Hook::Tc),
            Self::Note | Self::Egress => None,
        }
    }
}

/// An interface and the kernel's word on its links.
pub struct Enforced {
    /// Number of the interface.
    pub ifindex: u32,
    /// Its name when it was attached.
    pub name: String,
    /// By which hook.
    pub hook: Hook,
    /// Every link is in place.
    pub enforced: bool,
    /// What is not, if something is not.
    pub detail: Option<String>,
}

/// The links of one instance.
pub(super) struct Links {
    dir: PathBuf,
    names: BTreeMap<u32, String>,
}

impl Links {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.join("links"), names: BTreeMap::new() }
    }

    fn pin(&self, seat: Seat, ifindex: u32) -> PathBuf {
        self.dir.join(format!("{}_{ifindex}", seat.name()))
    }

    /// The seats that are pinned, by interface.
    fn pinned(&self) -> BTreeMap<u32, BTreeSet<Seat>> {
        let mut found: BTreeMap<u32, BTreeSet<Seat>> = BTreeMap::new();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some((seat, ifindex)) = name.rsplit_once('_') else { continue };
            let seat = Seat::ALL.into_iter().find(|known| known.name() == seat);
            if let (Some(seat), Ok(ifindex)) = (seat, ifindex.parse()) {
                found.entry(ifindex).or_default().insert(seat);
            }
        }
        found
    }

    /// Puts this build's programs into the links of an earlier daemon. Links whose interface is gone are unpinned.
    pub(super) fn take_over(&mut self, set: &mut MapSet) -> Result<(), DatapathError> {
        for (ifindex, seats) in self.pinned() {
            for seat in seats {
                let pin = self.pin(seat, ifindex);
                match pinned_link_ifindex(&pin) {
                    // The interface is gone, or its number went to another one.
                    Ok(there) if there != ifindex => unpin(&pin)?,
                    // Whatever fails here leaves the old program where it is: it goes on enforcing.
                    Ok(_) => replace(set, seat, &pin).map_err(|why| DatapathError::Pin {
                        what: "put this build's program into",
                        path: pin,
                        why,
                    })?,
                    Err(why) => {
                        return Err(DatapathError::Pin { what: "read", path: pin, why: why.to_string() });
                    }
                }
            }
        }
        Ok(())
    }

    /// Attaches what `hook` takes and is not there, then lets go what another hook held.
    pub(super) fn attach(&mut self, set: &mut MapSet, link: &Link, hook: Hook) -> Result<(), DatapathError> {
        fs::create_dir_all(&self.dir).map_err(|why| DatapathError::Pin {
            what: "make the folder of",
            path: self.dir.clone(),
            why: why.to_string(),
        })?;
        let wanted = Seat::of(hook);
        for seat in wanted {
            let pin = self.pin(*seat, link.index);
            if alive(&pin, link.index) {
                continue;
            }
            unpin(&pin)?;
            let fresh = attach(set, *seat, link).map_err(|why| DatapathError::Attach {
                interface: link.name.clone(),
                hook,
                why,
            });
            let fresh = fresh.inspect_err(|_| self.roll_back(link.index, wanted))?;
            fresh.pin(&pin).map_err(|why| DatapathError::Pin {
                what: "make",
                path: pin.clone(),
                why: full_words(&why),
            })?;
            // TC attaches by name, and names change hands.
            if !alive(&pin, link.index) {
                unpin(&pin)?;
                let why = "its name went to another interface meanwhile; it is tried again".into();
                return Err(DatapathError::Attach { interface: link.name.clone(), hook, why });
            }
        }
        for seat in Seat::ALL.into_iter().filter(|seat| !wanted.contains(seat)) {
            unpin(&self.pin(seat, link.index))?;
        }
        self.names.insert(link.index, link.name.clone());
        Ok(())
    }

    /// Takes off what half an attachment left, unless another hook still holds the interface.
    fn roll_back(&self, ifindex: u32, wanted: &[Seat]) {
        let holds = self.pinned().remove(&ifindex).unwrap_or_default();
        let other = holds.iter().any(|seat| seat.hook().is_some() && !wanted.contains(seat));
        if !other {
            for seat in holds {
                let _ = unpin(&self.pin(seat, ifindex));
            }
        }
    }

    pub(super) fn detach(&mut self, ifindex: u32) -> Result<(), DatapathError> {
        for seat in Seat::ALL {
            unpin(&self.pin(seat, ifindex))?;
        }
        self.names.remove(&ifindex);
        Ok(())
    }

    pub(super) fn enforced(&self) -> Vec<Enforced> {
        let pinned = self.pinned();
        let known = self.names.keys().chain(pinned.keys()).collect::<BTreeSet<_>>();
        known.into_iter().map(|ifindex| self.state(*ifindex, pinned.get(ifindex))).collect()
    }

    fn state(&self, ifindex: u32, seats: Option<&BTreeSet<Seat>>) -> Enforced {
        let hook = seats.and_then(|seats| seats.iter().find_map(|seat| seat.hook())).unwrap_or(Hook::Tc);
        let missing: Vec<_> = Seat::of(hook)
            .iter()
            .filter(|seat| !alive(&self.pin(**seat, ifindex), ifindex))
            .map(|seat| seat.name())
            .collect();
        let name = self.names.get(&ifindex).cloned().unwrap_or_else(|| format!("#{ifindex}"));
        let detail = (!missing.is_empty()).then(|| {
            format!("the link for {} is gone; the daemon attaches it again within seconds", missing.join(" and "))
        });
        Enforced { ifindex, name, hook, enforced: detail.is_none(), detail }
    }

    /// Takes every link off. Returns what they were. Each is detached first: a link that only loses its pin lives on until
    /// the kernel gets round to it, and packets would be dropped after we said that it is gone.
    pub(super) fn remove_all(&self) -> Result<Vec<String>, DatapathError> {
        let mut gone = Vec::new();
        for (ifindex, seats) in self.pinned() {
            for seat in seats {
                let pin = self.pin(seat, ifindex);
                detach_pinned_link(&pin).map_err(|why| DatapathError::Pin {
                    what: "detach the link of",
                    path: pin.clone(),
                    why: why.to_string(),
                })?;
                unpin(&pin)?;
                gone.push(format!("{} of interface {ifindex}", seat.name()));
            }
        }
        let _ = fs::remove_dir(&self.dir);
        Ok(gone)
    }
}

/// Whether the pin holds a link that is still attached to this interface.
fn alive(pin: &Path, ifindex: u32) -> bool {
    pinned_link_ifindex(pin).is_ok_and(|there| there == ifindex)
}

fn unpin(pin: &Path) -> Result<(), DatapathError> {
    match fs::remove_file(pin) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            Err(DatapathError::Pin { what: "remove", path: pin.into(), why: why.to_string() })
        }
        _ => Ok(()),
    }
}

/// Replaces the program in a pinned link. The pin stays.
fn replace(maps: &mut MapSet, seat: Seat, pin: &Path) -> Result<(), String> {
    let words = |error: ProgramError| full_words(&error);
    let link: FdLink = PinnedLink::from_pin(pin).map_err(|error| full_words(&error))?.into();
    match seat {
        Seat::Xdp | Seat::XdpGeneric => {
            let program = maps.xdp(XDP).map_err(|error| error.to_string())?;
            let id = program.attach_to_link(link.try_into().map_err(|_| "not an XDP link")?).map_err(words)?;
            // The pin keeps it attached; the program must not let it go when it is dropped.
            drop(program.take_link(id).map_err(words)?);
        }
        Seat::Note | Seat::Ingress | Seat::Egress => {
            let program = maps.classifier(program_of(seat)).map_err(|error| error.to_string())?;
            let id = program.attach_to_link(link.try_into().map_err(|_| "not a TCX link")?).map_err(words)?;
            drop(program.take_link(id).map_err(words)?);
        }
    }
    Ok(())
}

const fn program_of(seat: Seat) -> &'static str {
    match seat {
        Seat::Xdp | Seat::XdpGeneric => XDP,
        Seat::Note => "segd_note",
        Seat::Ingress => "segd_ingress",
        Seat::Egress => "segd_egress",
    }
}

/// Attaches a program afresh and hands out its link.
fn attach(maps: &mut MapSet, seat: Seat, link: &Link) -> Result<FdLink, String> {
    match seat {
        Seat::Xdp => attach_xdp(maps, link, XdpMode::Driver),
        Seat::XdpGeneric => attach_xdp(maps, link, XdpMode::Skb),
        Seat::Note | Seat::Ingress => attach_tc(maps, seat, link, TcAttachType::Ingress),
        Seat::Egress => attach_tc(maps, seat, link, TcAttachType::Egress),
    }
}

fn attach_xdp(maps: &mut MapSet, link: &Link, mode: XdpMode) -> Result<FdLink, String> {
    let program = maps.xdp(XDP).map_err(|error| error.to_string())?;
    let id = program.attach_to_if_index(link.index, mode).map_err(|error| why_not(&error))?;
    let link = program.take_link(id).map_err(|error| full_words(&error))?;
    // Without a link anybody could take it off: dropping it here does.
    FdLink::try_from(link).map_err(|_| "the driver takes no XDP link; use `hook: tc` for this interface".into())
}

fn attach_tc(maps: &mut MapSet, seat: Seat, link: &Link, side: TcAttachType) -> Result<FdLink, String> {
    let program = maps.classifier(program_of(seat)).map_err(|error| error.to_string())?;
    let order = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(&link.name, side, order).map_err(|error| why_not(&error))?;
    let link = program.take_link(id).map_err(|error| full_words(&error))?;
    FdLink::try_from(link).map_err(|_| "the kernel has no TCX links; segd needs Linux 6.6 or newer".into())
}

/// The kernel's word, and what it means here.
fn why_not(error: &ProgramError) -> String {
    let words = full_words(error);
    let code = match error {
        ProgramError::SyscallError(call) => call.io_error.raw_os_error(),
        _ => None,
    };
    match code {
        Some(libc::EBUSY | libc::EEXIST) => {
            format!("{words}; another XDP program is there and is left alone: take it off, or use `hook: tc`")
        }
        Some(libc::EOPNOTSUPP) => format!("{words}; the driver has no XDP: use `hook: tc` or `hook: xdp-generic`"),
        Some(libc::ERANGE) => format!("{words}; the MTU is too large for XDP: use `hook: tc`"),
        Some(libc::ENODEV) => format!("{words}; the interface is gone"),
        _ => words,
    }
}
