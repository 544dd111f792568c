//! The table of guarded interfaces: a small hash table in an array map, written by the daemon only.

/// One guarded interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Interface {
    /// Number of the interface; 0: the place is free.
    pub ifindex: u32,
    /// Its slot: what the image and the connections know it by. Never 0.
    pub slot: u16,
    /// [`Interface::LAYER3`].
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

    /// The places at which an interface may stand.
    #[inline(always)]
    pub fn places(ifindex: u32) -> impl Iterator<Item = u32> {
        (0..PROBES).map(move |probe| ifindex.wrapping_add(probe * 61) & (INTERFACES - 1))
    }
}
