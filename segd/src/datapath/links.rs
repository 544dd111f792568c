//! Attaching programs by links, which are pinned. A link can't be taken off by `ip link set … xdp off`, and its program is
//! replaced in place.

use std::path::Path;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, ProgramError, TcAttachType, XdpMode};

use super::error::full_words;
use super::raw::pinned_link_ifindex;
use super::seat::Seat;
use super::set::{MapSet, XDP};
use crate::interfaces::Link;

/// Whether the pin holds a link that is still attached to this interface.
pub(super) fn alive(pin: &Path, ifindex: u32) -> bool {
    pinned_link_ifindex(pin).is_ok_and(|there| there == ifindex)
}

/// Replaces the program in a pinned link. The pin stays.
pub(super) fn replace(maps: &mut MapSet, seat: Seat, pin: &Path) -> Result<(), String> {
    let words = |error: ProgramError| full_words(&error);
    let link: FdLink = PinnedLink::from_pin(pin).map_err(|error| full_words(&error))?.into();
    if seat.is_xdp() {
        let program = maps.xdp(XDP).map_err(|error| error.to_string())?;
        let id = program.attach_to_link(link.try_into().map_err(|_| "not an XDP link")?).map_err(words)?;
        // The pin keeps it attached; the program must not let it go when it is dropped.
        drop(program.take_link(id).map_err(words)?);
    } else {
        let program = maps.classifier(seat.program()).map_err(|error| error.to_string())?;
        let id = program.attach_to_link(link.try_into().map_err(|_| "not a TCX link")?).map_err(words)?;
        drop(program.take_link(id).map_err(words)?);
    }
    Ok(())
}

/// Attaches a program afresh and hands out its link.
pub(super) fn attach(maps: &mut MapSet, seat: Seat, link: &Link) -> Result<FdLink, String> {
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
    let program = maps.classifier(seat.program()).map_err(|error| error.to_string())?;
    let order = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(&link.name, side, order).map_err(|error| why_not(&error))?;
    let link = program.take_link(id).map_err(|error| full_words(&error))?;
    FdLink::try_from(link).map_err(|_| "the kernel gave no link for it; nothing else is used where it has TCX".into())
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
