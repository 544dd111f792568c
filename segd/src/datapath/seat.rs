//! Where our programs sit on an interface, and which hook takes which seats.

use super::Hook;
use super::set::XDP;

/// One attachment. Its name and the interface's number make the name of its pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seat {
    Xdp,
    XdpGeneric,
    Note,
    Ingress,
    Egress,
}

impl Seat {
    pub(super) const ALL: [Self; 5] = [Self::Xdp, Self::XdpGeneric, Self::Note, Self::Ingress, Self::Egress];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdpgeneric",
            Self::Note => "note",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|seat| seat.name() == name)
    }

    /// The program that sits there.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Xdp | Self::XdpGeneric => XDP,
            Self::Note => "segd_note",
            Self::Ingress => "segd_ingress",
            Self::Egress => "segd_egress",
        }
    }

    /// What a hook takes. The way out comes first: until the way in is guarded too, nothing is judged from `host` that came
    /// from elsewhere.
    pub(super) const fn of(hook: Hook) -> &'static [Self] {
        match hook {
            Hook::Xdp => &[Self::Egress, Self::Note, Self::Xdp],
            Hook::XdpGeneric => &[Self::Egress, Self::Note, Self::XdpGeneric],
            Hook::Tc => &[Self::Egress, Self::Ingress],
        }
    }

    /// The hook that an interface has whose way in is this seat.
    pub(super) const fn hook(self) -> Option<Hook> {
        match self {
            Self::Xdp => Some(Hook::Xdp),
            Self::XdpGeneric => Some(Hook::XdpGeneric),
            Self::Ingress => Some(Hook::Tc),
            Self::Note | Self::Egress => None,
        }
    }

    /// Whether it is a seat of XDP, which has links on every kernel.
    pub(super) const fn is_xdp(self) -> bool {
        matches!(self, Self::Xdp | Self::XdpGeneric)
    }
}
