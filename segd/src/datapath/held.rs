//! What is attached by descriptor, beside its pins. A link lives as long as anybody holds it: with its pin alone, whoever removes
//! that takes the program off the interface at once. A filter holds its program itself, and the next daemon knows it by the pin.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use aya::programs::ProgramInfo;

use super::filters::Filter;
use super::pin::{Pin, unpin};
use super::raw::{is_pinned_at, link_ifindex, pin, pinned};
use super::seat::Seat;
use super::{Attachment, DatapathError};

/// What this daemon attached or took over, by the place of its pin.
#[derive(Default)]
pub(super) struct Held {
    seats: BTreeMap<PathBuf, Hold>,
    /// What stands for a qdisc that we made.
    qdiscs: BTreeMap<PathBuf, OwnedFd>,
}

struct Hold {
    /// The link, or the program that the filter runs.
    object: OwnedFd,
    seat: Seat,
    ifindex: u32,
    /// Of the program that the filter runs, if it is one.
    program: Option<u32>,
}

impl Hold {
    /// Whether it does its work, by the kernel's word and whatever became of the pin.
    fn is_in_place(&self) -> bool {
        let Self { object, seat, ifindex, program } = self;
        match program {
            None => link_ifindex(object).is_ok_and(|there| there == *ifindex),
            Some(program) => Filter { ifindex: *ifindex, seat: *seat }.state(*program).is_ok(),
        }
    }

    /// Whether its pin is there, and not something else in the place of it.
    fn is_pinned(&self, path: &Path) -> bool {
        match self.program {
            None => is_pinned_at(&self.object, path),
            Some(program) => ProgramInfo::from_pin(path).is_ok_and(|there| there.id() == program),
        }
    }
}

impl Held {
    /// Holds what is pinned here from now on.
    pub(super) fn hold(&mut self, pin: &Pin) -> io::Result<()> {
        let program = match pin.by {
            Attachment::Link => None,
            Attachment::Filter => Some(ProgramInfo::from_pin(&pin.path).map_err(io::Error::other)?.id()),
        };
        let hold = Hold { object: pinned(&pin.path)?, seat: pin.seat, ifindex: pin.ifindex, program };
        self.seats.insert(pin.path.clone(), hold);
        Ok(())
    }

    /// The same of what stands for a qdisc.
    pub(super) fn hold_qdisc(&mut self, path: &Path) -> io::Result<()> {
        self.qdiscs.insert(path.to_owned(), pinned(path)?);
        Ok(())
    }

    /// Lets one go that was taken off.
    pub(super) fn forget(&mut self, path: &Path) {
        self.seats.remove(path);
        self.qdiscs.remove(path);
    }

    /// Whether something was pinned here by this daemon, in place or not.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.seats.contains_key(path)
    }

    /// Whether what was pinned here still does its work.
    pub(super) fn is_in_place(&self, path: &Path) -> bool {
        self.seats.get(path).is_some_and(Hold::is_in_place)
    }

    /// The seats that are filled and have no pin, and their interfaces.
    pub(super) fn unpinned(&self) -> impl Iterator<Item = (u32, Seat)> {
        let lost = self.seats.iter().filter(|(path, hold)| !path.exists() && hold.is_in_place());
        lost.map(|(_, hold)| (hold.ifindex, hold.seat))
    }

    /// Pins anew what somebody has unpinned, or put something else in the place of, unless its interface is gone. Gives the
    /// places, and why the first could not be.
    pub(super) fn pin_again(&mut self) -> (Vec<PathBuf>, Option<DatapathError>) {
        let lost = |(path, hold): &(&PathBuf, &Hold)| !hold.is_pinned(path) && hold.is_in_place();
        let seats = self.seats.iter().filter(lost).map(|(path, hold)| (path, &hold.object));
        let qdiscs = self.qdiscs.iter().filter(|(path, _)| !path.exists());
        let (mut made, mut failed) = (Vec::new(), None);
        for (path, object) in seats.chain(qdiscs) {
            let pinned = unpin(path).and_then(|()| {
                let why =
                    |why: io::Error| DatapathError::Pin { what: "make anew", path: path.clone(), why: why.to_string() };
                pin_in_its_folder(object, path).map_err(why)
            });
            match pinned {
                Ok(()) => made.push(path.clone()),
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        (made, failed)
    }
}

/// Pins at a place whose folder may be gone too.
pub(super) fn pin_in_its_folder(object: &OwnedFd, path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    pin(object, path)
}
