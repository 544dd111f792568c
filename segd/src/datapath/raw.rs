//! What aya has no call for: `mmap` of a map, a link's state, and a wait until no program can still read an old page.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

/// A map's values in this process's memory, shared with the kernel.
pub(super) struct Mapping<T> {
    base: NonNull<T>,
    len: usize,
}

// SAFETY: the memory belongs to the map and stays mapped as long as this value lives; all access is by whole values, and
// the room's callers hold the datapath exclusively where they write.
unsafe impl<T> Send for Mapping<T> {}
// SAFETY: as above; reads are volatile copies.
unsafe impl<T> Sync for Mapping<T> {}

impl<T> Mapping<T> {
    /// Maps `len` values of an array map that was made with `BPF_F_MMAPABLE`. All of it counts as this process's memory for as
    /// long as this value lives: large maps are mapped when they are read.
    pub(super) fn new(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::window(map, 0, len)
    }

    /// The same from one value on, whose place has to be a multiple of a page's size.
    pub(super) fn window(map: BorrowedFd<'_>, start: usize, len: usize) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8), "the kernel rounds values up to 8 bytes") };
        let (bytes, access) = (len * size_of::<T>(), libc::PROT_READ | libc::PROT_WRITE);
        let offset = i64::try_from(start * size_of::<T>()).map_err(io::Error::other)?;
        let (map, nowhere) = (map.as_raw_fd(), std::ptr::null_mut());
        // SAFETY: a fresh mapping of a file of ours; the kernel checks its place and length.
        let base = unsafe { libc::mmap(nowhere, bytes, access, libc::MAP_SHARED, map, offset) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { base, len })
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn place(&self, index: usize) -> Option<*mut T> {
        // SAFETY: below `len`, so inside the mapping.
        (index < self.len).then(|| unsafe { self.base.as_ptr().add(index) })
    }

    /// A copy of one value, as it stands this moment.
    pub(super) fn read(&self, index: usize) -> Option<T>
    where
        T: Copy,
    {
        // SAFETY: inside the mapping and aligned: maps' values are at multiples of 8, the mapping at a page.
        self.place(index).map(|place| unsafe { place.read_volatile() })
    }

    /// Writes one value.
    pub(super) fn write(&self, index: usize, value: T) {
        if let Some(place) = self.place(index) {
            // SAFETY: as for `read`.
            unsafe { place.write_volatile(value) }
        }
    }

    /// A value in place. Only for values that nobody writes while the reference lives, or whose fields are cells.
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        // SAFETY: as for `read`; see above for who writes.
        self.place(index).map(|place| unsafe { &*place })
    }
}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, whole.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len * size_of::<T>()) };
    }
}

/// `enum bpf_cmd` (include/uapi/linux/bpf.h).
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_LINK_DETACH: libc::c_int = 34;
/// `enum bpf_attach_type`.
const BPF_TCX_INGRESS: u32 = 46;
/// `enum bpf_map_type`.
const ARRAY: u32 = 2;
const ARRAY_OF_MAPS: u32 = 12;

fn bpf<T>(command: libc::c_int, mut attributes: T) -> io::Result<i32> {
    bpf_answers(command, &mut attributes)
}

/// For commands that write into their attributes.
fn bpf_answers<T>(command: libc::c_int, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes have the layout of this command and outlive the call; the kernel takes shorter ones.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
}

#[repr(C)]
struct MapElement {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `BPF_F_MMAPABLE`.
const MMAPABLE: u32 = 1 << 10;

fn create(map_type: u32, inner: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    let inner_map_fd = inner.map_or(0, |fd| fd.as_raw_fd().cast_unsigned());
    make(MapCreate { map_type, key_size: 4, value_size: 4, max_entries: 1, map_flags: 0, inner_map_fd })
}

fn make(wanted: MapCreate) -> io::Result<OwnedFd> {
    // SAFETY: the kernel just gave us this descriptor.
    bpf(BPF_MAP_CREATE, wanted).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An array map that no program uses, for [`Mapping`].
pub(super) fn create_array(value_size: u32, max_entries: u32) -> io::Result<OwnedFd> {
    make(MapCreate { map_type: ARRAY, key_size: 4, value_size, max_entries, map_flags: MMAPABLE, inner_map_fd: 0 })
}

/// Pins a map or a link at a place on a bpffs that is free.
pub(super) fn pin(object: &OwnedFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let wanted = ObjectGet { path: path.as_ptr() as u64, fd: object.as_raw_fd().cast_unsigned(), flags: 0 };
    bpf(BPF_OBJ_PIN, wanted).map(|_| ())
}

/// Reads one entry. `into` has room for a whole value, rounded up to 8 bytes, for each possible CPU where each has its own.
pub(super) fn lookup(map: BorrowedFd<'_>, key: u32, into: &mut [u64]) -> io::Result<()> {
    let wanted = MapElement {
        map_fd: map.as_raw_fd().cast_unsigned(),
        pad: 0,
        key: std::ptr::from_ref(&key) as u64,
        value: into.as_mut_ptr() as u64,
        flags: 0,
    };
    bpf(BPF_MAP_LOOKUP_ELEM, wanted).map(|_| ())
}

/// `struct { batch }` of `union bpf_attr`: `behind` is its `in_batch`, `last` its `out_batch`.
#[repr(C)]
struct Batch {
    behind: u64,
    last: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Reads the entries of an array from `first` on, as many as there are and as `into` has room for at `words` each, which are
/// what [`lookup`] wants. Gives how many (arrays with a value for each CPU have this since Linux 5.13).
pub(super) fn lookup_from(map: BorrowedFd<'_>, first: u32, words: usize, into: &mut [u64]) -> io::Result<usize> {
    let (before, mut last) = (first.wrapping_sub(1), 0_u32);
    let mut keys = vec![0_u32; into.len() / words];
    let mut wanted = Batch {
        // The key before the first; none stands for the beginning.
        behind: if first == 0 { 0 } else { std::ptr::from_ref(&before) as u64 },
        last: std::ptr::from_mut(&mut last) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: into.as_mut_ptr() as u64,
        count: keys.len() as u32,
        map_fd: map.as_raw_fd().cast_unsigned(),
        elem_flags: 0,
        flags: 0,
    };
    match bpf_answers(BPF_MAP_LOOKUP_BATCH, &mut wanted) {
        // There are no more than that.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(wanted.count as usize),
        answer => answer.map(|_| wanted.count as usize),
    }
}

/// Returns when every program that was running at the call has ended.
///
/// The kernel waits so after an update of a map of maps (`maybe_wait_bpf_programs`, since Linux 4.20), so we make two of our
/// own and update one.
pub(super) fn wait_for_programs() -> io::Result<()> {
    let inner = create(ARRAY, None)?;
    let outer = create(ARRAY_OF_MAPS, Some(&inner))?;
    let (key, value) = (0u32, inner.as_raw_fd().cast_unsigned());
    let update = MapElement {
        map_fd: outer.as_raw_fd().cast_unsigned(),
        pad: 0,
        key: std::ptr::from_ref(&key) as u64,
        value: std::ptr::from_ref(&value) as u64,
        flags: 0,
    };
    bpf(BPF_MAP_UPDATE_ELEM, update).map(|_| ())
}

/// `struct bpf_link_info`, as far as it is looked at.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    pad: u32,
    /// XDP and TCX links both begin their part with the interface's number.
    ifindex: u32,
    rest: [u32; 11],
}

#[repr(C)]
struct InfoByFd {
    fd: u32,
    len: u32,
    info: u64,
}

#[repr(C)]
struct ObjectGet {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The start of `struct { … } query`; the rest is zeros.
#[repr(C)]
struct ProgramQuery {
    target: u32,
    attach_type: u32,
    rest: [u64; 7],
}

/// Asks for the TCX programs on the way into an interface, and throws the answer away.
pub(super) fn query_tcx(ifindex: u32) -> io::Result<()> {
    bpf(BPF_PROG_QUERY, ProgramQuery { target: ifindex, attach_type: BPF_TCX_INGRESS, rest: [0; 7] }).map(drop)
}

/// `struct { link_fd }` of `BPF_LINK_DETACH`.
#[repr(C)]
struct LinkDetach {
    link: u32,
}

/// What is pinned at this place.
pub(super) fn pinned(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let link = bpf(BPF_OBJ_GET, ObjectGet { path: path.as_ptr() as u64, fd: 0, flags: 0 })?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// Takes a pinned link's program off its interface before this returns, while the pin stays. Fine if the interface is gone.
pub(super) fn detach_pinned_link(pin: &Path) -> io::Result<()> {
    let link = pinned(pin)?;
    bpf(BPF_LINK_DETACH, LinkDetach { link: link.as_raw_fd().cast_unsigned() }).map(|_| ())
}

/// The interface that a pinned link is attached to; 0 when the interface is gone. Neither aya nor its link has the number.
pub(super) fn pinned_link_ifindex(pin: &Path) -> io::Result<u32> {
    link_ifindex(&pinned(pin)?)
}

/// The same of a link that is open.
pub(super) fn link_ifindex(link: &OwnedFd) -> io::Result<u32> {
    link_info(link).map(|info| info.ifindex)
}

/// Whether it is this very link that is pinned there.
pub(super) fn is_pinned_at(link: &OwnedFd, pin: &Path) -> bool {
    let there = pinned(pin).and_then(|there| link_info(&there));
    link_info(link).is_ok_and(|own| there.is_ok_and(|there| there == own))
}

fn link_info(link: &OwnedFd) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    let wanted = InfoByFd {
        fd: link.as_raw_fd().cast_unsigned(),
        len: size_of::<LinkInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, wanted)?;
    Ok(info)
}
