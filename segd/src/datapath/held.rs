//! Links by descriptor, beside their pins. A link lives as long as anybody holds it: with its pin alone, whoever removes that
//! takes the program off the interface at once.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::raw::{link_ifindex, pin, pinned};

/// The links that this daemon holds, by the place of their pins.
#[derive(Default)]
pub(super) struct Held(BTreeMap<PathBuf, OwnedFd>);

impl Held {
    /// Holds what is pinned here from now on.
    pub(super) fn hold(&mut self, path: &Path) -> io::Result<()> {
        self.0.insert(path.to_owned(), pinned(path)?);
        Ok(())
    }

    /// Lets one go that was taken off.
    pub(super) fn forget(&mut self, path: &Path) {
        self.0.remove(path);
    }

    /// Pins anew what somebody has unpinned, unless its interface is gone. Gives the places.
    pub(super) fn pin_again(&mut self) -> Vec<PathBuf> {
        let lost = |(path, link): (&PathBuf, &OwnedFd)| {
            let attached = link_ifindex(link).is_ok_and(|ifindex| ifindex != 0);
            (attached && !path.exists()).then(|| pin_in_its_folder(link, path).map(|()| path.clone()))
        };
        let done: Vec<io::Result<PathBuf>> = self.0.iter().filter_map(lost).collect();
        done.into_iter()
            .filter_map(|done| {
                done.inspect_err(|why| tracing::error!("a pin that is gone can't be made anew: {why}")).ok()
            })
            .collect()
    }
}

/// Pins at a place whose folder may be gone too.
pub(super) fn pin_in_its_folder(object: &OwnedFd, path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    pin(object, path)
}
