//! The table of guarded interfaces: a small hash table in an array map, written by the daemon only.

/// One guarded interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Interface {
    /// Number of the interface; 0: the place is free.
    pub ifindex: u32,
    /// Its slot: what the image and the connections know it by. Never 0.
    pub slot: u16,
    /// [`Interface::LAYER3`], [`Interface::SHORTCUT`], [`Interface::TARGET`].
    pub flags: u16,
}

const _: () = assert!(size_of::<Interface>() == 8);

/// Places of the table.
pub const INTERFACES: u32 = 4096;
/// Places that are looked at for one interface.
pub const PROBES: u32 = 4;

impl Interface {
    /// Frames begin with the IP header.
    pub const LAYER3: u16 = 1;
    /// What comes in here on an established connection may be redirected by XDP.
    pub const SHORTCUT: u16 = 2;
    /// XDP may redirect to it: its driver takes such frames.
    pub const TARGET: u16 = 4;

    /// In the place of a slot: what comes in here is judged as elsewhere, and counted and told nowhere.
    pub const SELFTEST: u16 = u16::MAX;

    /// Its slot if it takes shortcuts, else 0.
    #[inline(always)]
    #[must_use]
    pub const fn shortcut(&self) -> u16 {
        if self.flags & Self::SHORTCUT != 0 { self.slot } else { 0 }
    }

    /// The places at which an interface may stand.
    #[inline(always)]
    pub fn places(ifindex: u32) -> impl Iterator<Item = u32> {
        (0..PROBES).map(move |probe| ifindex.wrapping_add(probe * 61) & (INTERFACES - 1))
    }
}
