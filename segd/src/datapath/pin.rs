//! The pin of one seat: by it the next daemon finds the link, or the program that the filter runs.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::programs::ProgramInfo;

use super::error::full_words;
use super::filters::Filter;
use super::raw::{detach_pinned_link, pinned_link_ifindex};
use super::seat::Seat;
use super::set::MapSet;
use super::{Attachment, DatapathError, links};

/// A pin of one seat, and what kind of thing it holds.
pub(super) struct Pin {
    pub(super) path: PathBuf,
    pub(super) by: Attachment,
    pub(super) seat: Seat,
    pub(super) ifindex: u32,
}

impl Pin {
    pub(super) const fn what(&self) -> &'static str {
        match self.by {
            Attachment::Link => "link",
            Attachment::Filter => "filter",
        }
    }

    const fn filter(&self) -> Filter {
        Filter { ifindex: self.ifindex, seat: self.seat }
    }

    /// Whether what is pinned is in place; what is wrong, if not.
    pub(super) fn state(&self) -> Result<(), &'static str> {
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
    pub(super) fn is_held(&self) -> Result<bool, String> {
        match self.by {
            Attachment::Link => pinned_link_ifindex(&self.path).map(|there| there == self.ifindex),
            Attachment::Filter => self.filter().is_there(),
        }
        .map_err(|why| why.to_string())
    }

    pub(super) fn replace(&self, maps: &mut MapSet) -> Result<(), String> {
        match self.by {
            Attachment::Link => links::replace(maps, self.seat, &self.path),
            Attachment::Filter => self.put_filter(maps),
        }
    }

    /// Takes it off before this returns: a link that only loses its pin lives on until the kernel gets round to it, and
    /// packets would be dropped after we said that it is gone. `held`: it may be there without a pin, which only filters are for
    /// longer than somebody holds them.
    pub(super) fn let_go(&self, held: bool) -> Result<(), DatapathError> {
        let taken_off = match self.by {
            Attachment::Link if self.path.exists() => detach_pinned_link(&self.path),
            Attachment::Filter if held || self.path.exists() => self.filter().remove(),
            _ => return Ok(()),
        };
        taken_off.map_err(|why| DatapathError::Pin {
            what: "take off what is attached by",
            path: self.path.clone(),
            why: why.to_string(),
        })?;
        unpin(&self.path)
    }

    /// Puts the seat's program into its filter, and then its pin into the place of an earlier one's.
    pub(super) fn put_filter(&self, maps: &mut MapSet) -> Result<(), String> {
        let program = maps.classifier(self.seat.program()).map_err(|error| error.to_string())?;
        let fd = program.fd().map_err(|error| full_words(&error))?;
        self.filter().put(fd.as_fd()).map_err(|why| match why.raw_os_error() {
            Some(libc::ENOENT) => format!("{why}: this kernel has no BPF filters; `modprobe cls_bpf` loads them"),
            Some(libc::EINVAL) => format!(
                "{why}; filters of another kind may have the first place: give them a higher `pref` (`tc filter show dev …`)"
            ),
            _ => why.to_string(),
        })?;
        pin_program(maps, self.seat, &self.path)
    }
}

/// Pins a program, in the place of what is pinned there.
pub(super) fn pin_program(maps: &mut MapSet, seat: Seat, path: &Path) -> Result<(), String> {
    let words = |why: std::io::Error| format!("cannot pin {}: {why}", path.display());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = path.with_file_name(format!("new-{name}"));
    unpin(&fresh).map_err(|error| error.to_string())?;
    let program = maps.classifier(seat.program()).map_err(|error| error.to_string())?;
    program.pin(&fresh).map_err(|error| full_words(&error))?;
    fs::rename(&fresh, path).map_err(words)
}

pub(super) fn unpin(pin: &Path) -> Result<(), DatapathError> {
    match fs::remove_file(pin) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            Err(DatapathError::Pin { what: "remove", path: pin.into(), why: why.to_string() })
        }
        _ => Ok(()),
    }
}
