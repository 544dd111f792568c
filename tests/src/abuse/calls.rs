//! System calls that the attempts make, as thin as they can be.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Numbers of `bpf(2)` (include/uapi/linux/bpf.h).
pub(super) const PROG_LOAD: i32 = 5;
pub(super) const OBJ_PIN: i32 = 6;
pub(super) const OBJ_GET: i32 = 7;
pub(super) const PROG_GET_NEXT_ID: i32 = 11;
pub(super) const MAP_GET_NEXT_ID: i32 = 12;
pub(super) const LINK_GET_NEXT_ID: i32 = 31;

/// What a system call gave.
pub(super) fn told(result: libc::c_long) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// `bpf(2)` with a plain attribute.
pub(super) fn bpf(command: i32, attribute: &mut [u64; 16]) -> io::Result<i32> {
    // SAFETY: the attribute is as long as is said; pointers in it are to strings that outlive the call.
    told(unsafe { libc::syscall(libc::SYS_bpf, command, attribute.as_mut_ptr(), 128) })
}

/// Opens what is pinned at `path`.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attribute = [0; 16];
    attribute[0] = path.as_ptr() as u64;
    let fd = bpf(OBJ_GET, &mut attribute)?;
    // SAFETY: a fresh descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads the smallest XDP program there is: "pass everything".
pub(super) fn load_program() -> io::Result<OwnedFd> {
    // r0 = 2; exit
    let code: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];
    let license = c"GPL";
    let mut attribute = [0; 16];
    attribute[0] = 6 | (code.len() as u64) << 32;
    attribute[1] = code.as_ptr() as u64;
    attribute[2] = license.as_ptr() as u64;
    let fd = bpf(PROG_LOAD, &mut attribute)?;
    // SAFETY: a fresh descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins a program there.
pub(super) fn pin(program: &OwnedFd, path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attribute = [0; 16];
    attribute[0] = name.as_ptr() as u64;
    attribute[1] = u64::from(program.as_raw_fd().cast_unsigned());
    bpf(OBJ_PIN, &mut attribute)?;
    fs::remove_file(path)
}

/// The first pin below a folder, links before others; the folder's own refusal if it is closed.
pub(super) fn some_pin(folder: &Path) -> io::Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Ok(found) = some_pin(&path) {
                return Ok(found);
            }
        } else {
            return Ok(path);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// A socket, and nothing more.
pub(super) fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd = told(unsafe { libc::socket(family, kind, protocol) }.into())?;
    // SAFETY: a fresh descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
