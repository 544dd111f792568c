//! From a bare kernel to a machine on which the lab can work: file systems, modules, loopback.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Modules in the order in which they are loaded, one path a line.
const MODULES: &str = "/modules/order";

/// Where, of what type.
const MOUNTS: [(&str, &str); 7] = [
    ("/dev", "devtmpfs"),
    ("/proc", "proc"),
    ("/sys", "sysfs"),
    ("/sys/fs/bpf", "bpf"),
    ("/sys/fs/cgroup", "cgroup2"),
    ("/tmp", "tmpfs"),
    ("/run", "tmpfs"),
];

pub(crate) fn prepare() -> Result<()> {
    for (target, kind) in MOUNTS {
        mount(target, kind).with_context(|| format!("could not mount {target}"))?;
    }
    let modules = fs::read_to_string(MODULES).with_context(|| format!("could not read {MODULES}"))?;
    for module in modules.lines() {
        load(Path::new(module)).with_context(|| format!("could not load {module}"))?;
    }
    Ok(())
}

fn mount(target: &str, kind: &str) -> Result<()> {
    fs::create_dir_all(target)?;
    let (target, kind) = (CString::new(target)?, CString::new(kind)?);
    // SAFETY: all strings are valid and terminated; none of these file systems needs data.
    let mounted = unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
    ensure!(mounted == 0, io::Error::last_os_error());
    Ok(())
}

fn load(module: &Path) -> Result<()> {
    let file = File::open(module)?;
    // SAFETY: an open descriptor and an empty, terminated string.
    let loaded = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    let error = io::Error::last_os_error();
    ensure!(loaded == 0 || error.raw_os_error() == Some(libc::EEXIST), error);
    Ok(())
}

/// Makes a device's file, if there is none.
pub(crate) fn device(path: &str, major: u32, minor: u32) -> Result<()> {
    if Path::new(path).exists() {
        return Ok(());
    }
    if let Some(folder) = Path::new(path).parent() {
        fs::create_dir_all(folder)?;
    }
    let name = CString::new(Path::new(path).as_os_str().as_bytes())?;
    // SAFETY: a valid, terminated path.
    let made = unsafe { libc::mknod(name.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(major, minor)) };
    ensure!(made == 0, io::Error::last_os_error());
    Ok(())
}
