//! Somebody else's XDP program: two instructions that pass everything, attached by a link, as another product would.
//!
//! It is loaded by the bare system call, so that nothing of ours is in it.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use anyhow::{Context, Result};

use super::namespace::Namespace;

const BPF_PROG_LOAD: i32 = 5;
const BPF_LINK_CREATE: i32 = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;

/// `r0 = XDP_PASS; exit`.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];

/// The start of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    padding: [u64; 16],
}

/// The start of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct Create {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
    padding: [u64; 6],
}

/// A foreign program on an interface; it leaves with this value.
#[derive(Debug)]
pub struct ForeignProgram {
    _link: OwnedFd,
}

impl ForeignProgram {
    /// Attaches it to `interface` of `net`.
    pub fn attach(net: &Namespace, interface: &str) -> Result<Self> {
        let name = std::ffi::CString::new(interface)?;
        let link = net.run(|| {
            // SAFETY: a valid, terminated string.
            let ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) };
            let program = load()?;
            let create = Create {
                program: std::os::fd::AsRawFd::as_raw_fd(&program).cast_unsigned(),
                ifindex,
                attach_type: BPF_XDP,
                flags: 0,
                padding: [0; 6],
            };
            bpf(BPF_LINK_CREATE, &create)
        });
        Ok(Self { _link: link.with_context(|| format!("could not attach a foreign program to {interface}"))? })
    }
}

fn load() -> io::Result<OwnedFd> {
    let load = Load {
        program_type: BPF_PROG_TYPE_XDP,
        instruction_count: PASS.len() as u32,
        instructions: PASS.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        padding: [0; 16],
    };
    bpf(BPF_PROG_LOAD, &load)
}

fn bpf<T>(command: i32, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of a live value; what it points to outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
