//! The three system calls of a comparison, with nothing around them: a harness that is slower than the kernel finds less.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

/// `enum bpf_cmd` (include/uapi/linux/bpf.h).
const MAP_LOOKUP: libc::c_int = 1;
const MAP_UPDATE: libc::c_int = 2;
const OBJ_GET: libc::c_int = 7;
const PROG_TEST_RUN: libc::c_int = 10;
const MAP_UPDATE_BATCH: libc::c_int = 26;

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes have the layout of this command and outlive the call, as does what they point to.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    answer: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    pad: u32,
}

/// What the program returns for a frame. `context`: a `__sk_buff`, in words.
pub(super) fn test_run(program: BorrowedFd<'_>, frame: &[u8], context: Option<&[u32; 48]>) -> io::Result<u32> {
    let mut run = TestRun {
        program: program.as_raw_fd().cast_unsigned(),
        data_size_in: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat: 1,
        ..TestRun::default()
    };
    if let Some(context) = context {
        run.context_in = context.as_ptr() as u64;
        run.context_size_in = size_of_val(context) as u32;
    }
    bpf(PROG_TEST_RUN, &mut run)?;
    Ok(run.answer)
}

#[repr(C)]
struct Element {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct Batch {
    before: u64,
    after: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

#[repr(C)]
struct ObjectGet {
    path: u64,
    fd: u32,
    flags: u32,
}

/// `BPF_F_MMAPABLE`, as `/proc` tells it.
const MMAPABLE: &str = "0x400";

/// A pinned array map.
#[derive(Debug)]
pub(super) struct ArrayMap {
    fd: OwnedFd,
    /// Bytes of a value, as they are copied: a multiple of 8, times the CPUs if each has its own.
    value_bytes: usize,
    entries: u32,
    /// Where its values stand in our memory, if the kernel lets them.
    values: Option<NonNull<u8>>,
}

impl ArrayMap {
    /// Opens what is pinned there.
    pub(super) fn open(pin: &Path) -> io::Result<Self> {
        let path = CString::new(pin.as_os_str().as_bytes())?;
        let fd = bpf(OBJ_GET, &mut ObjectGet { path: path.as_ptr() as u64, fd: 0, flags: 0 })?;
        // SAFETY: the kernel just gave us this descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
        let field = |name: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim_start_matches(':').trim().parse::<usize>().ok()).unwrap_or(0)
        };
        let each_cpu = matches!(field("map_type"), 6);
        let cpus = if each_cpu { aya::util::nr_cpus().map_err(|(_, error)| error)? } else { 1 };
        let value_bytes = field("value_size").next_multiple_of(8) * cpus;
        let mut map = Self { fd, value_bytes, entries: field("max_entries") as u32, values: None };
        if told.lines().any(|line| line.starts_with("map_flags:") && line.ends_with(MMAPABLE)) {
            map.values = Some(map.mapped()?);
        }
        Ok(map)
    }

    fn mapped(&self) -> io::Result<NonNull<u8>> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping of the whole map, at a place of the kernel's choice.
        let place =
            unsafe { libc::mmap(std::ptr::null_mut(), self.bytes(), access, libc::MAP_SHARED, self.fd.as_raw_fd(), 0) };
        NonNull::new(place.cast()).filter(|_| place != libc::MAP_FAILED).ok_or_else(io::Error::last_os_error)
    }

    const fn bytes(&self) -> usize {
        self.value_bytes * self.entries as usize
    }

    /// Words of all values of one entry.
    pub(super) const fn words(&self) -> usize {
        self.value_bytes / 8
    }

    pub(super) const fn entries(&self) -> u32 {
        self.entries
    }

    fn element(&self, key: &u32, value: u64) -> Element {
        let map = self.fd.as_raw_fd().cast_unsigned();
        Element { map, pad: 0, key: std::ptr::from_ref(key) as u64, value, flags: 0 }
    }

    /// Reads an entry into `into`, which has [`ArrayMap::words`].
    pub(super) fn read(&self, key: u32, into: &mut [u64]) -> io::Result<()> {
        assert!(into.len() >= self.words(), "room for the value");
        bpf(MAP_LOOKUP, &mut self.element(&key, into.as_mut_ptr() as u64)).map(|_| ())
    }

    pub(super) fn write(&self, key: u32, value: &[u64]) -> io::Result<()> {
        assert!(value.len() >= self.words(), "the whole value");
        bpf(MAP_UPDATE, &mut self.element(&key, value.as_ptr() as u64)).map(|_| ())
    }

    /// Zeroes the whole map.
    pub(super) fn clear(&self, keys: &[u32], zeroes: &[u64]) -> io::Result<()> {
        if let Some(values) = self.values {
            // SAFETY: the mapping is this long and ours alone; no program runs meanwhile.
            unsafe { values.as_ptr().write_bytes(0, self.bytes()) };
            return Ok(());
        }
        assert!(keys.len() >= self.entries as usize && zeroes.len() >= self.words() * self.entries as usize, "room");
        let mut batch = Batch {
            before: 0,
            after: 0,
            keys: keys.as_ptr() as u64,
            values: zeroes.as_ptr() as u64,
            count: self.entries,
            map: self.fd.as_raw_fd().cast_unsigned(),
            element_flags: 0,
            flags: 0,
        };
        bpf(MAP_UPDATE_BATCH, &mut batch).map(|_| ())
    }
}

// SAFETY: the mapping is the kernel's memory, bound to no thread, and only written by who has the map.
unsafe impl Send for ArrayMap {}

impl Drop for ArrayMap {
    fn drop(&mut self) {
        if let Some(values) = self.values {
            // SAFETY: made by `mapped`, of this length, and used by nobody any more.
            unsafe { libc::munmap(values.as_ptr().cast(), self.bytes()) };
        }
    }
}
