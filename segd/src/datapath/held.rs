//! What is attached by descriptor, beside its pins. A link lives as long as anybody holds it: with its pin alone, whoever removes
//! that takes the program off the interface at once. A filter holds its program itself, and the next daemon knows it by the pin.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use aya::programs::ProgramInfo;

use super::Attachment;
use super::filters::Filter;
use super::pin::Pin;
use super::raw::{link_ifindex, pin, pinned};
use super::seat::Seat;

/// What this daemon attached or took over, by the place of its pin.
#[derive(Default)]
pub(super) struct Held(BTreeMap<PathBuf, Hold>);

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
}

impl Held {
    /// Holds what is pinned here from now on.
    pub(super) fn hold(&mut self, pin: &Pin) -> io::Result<()> {
        let program = match pin.by {
            Attachment::Link => None,
            Attachment::Filter => Some(ProgramInfo::from_pin(&pin.path).map_err(io::Error::other)?.id()),
        };
        let hold = Hold { object: pinned(&pin.path)?, seat: pin.seat, ifindex: pin.ifindex, program };
        self.0.insert(pin.path.clone(), hold);
        Ok(())
    }

    /// Lets one go that was taken off.
    pub(super) fn forget(&mut self, path: &Path) {
        self.0.remove(path);
    }

    /// Whether what was pinned here still does its work.
    pub(super) fn is_in_place(&self, path: &Path) -> bool {
        self.0.get(path).is_some_and(Hold::is_in_place)
    }

    /// The seats that are filled, with or without a pin, and their interfaces.
    pub(super) fn seats(&self) -> impl Iterator<Item = (u32, Seat)> {
        self.0.values().filter(|hold| hold.is_in_place()).map(|hold| (hold.ifindex, hold.seat))
    }

    /// Pins anew what somebody has unpinned, unless its interface is gone. Gives the places, and why the first could not be.
    pub(super) fn pin_again(&mut self) -> (Vec<PathBuf>, Option<(PathBuf, io::Error)>) {
        let (mut made, mut failed) = (Vec::new(), None);
        for (path, hold) in self.0.iter().filter(|(path, hold)| !path.exists() && hold.is_in_place()) {
            match pin_in_its_folder(&hold.object, path) {
                Ok(()) => made.push(path.clone()),
                Err(why) => {
                    failed.get_or_insert((path.clone(), why));
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
