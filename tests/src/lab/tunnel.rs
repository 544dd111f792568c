//! A program's end of a tun interface: IP packets go in and come out, with no link header before them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::namespace::Namespace;

/// `TUNSETIFF` (`include/uapi/linux/if_tun.h`).
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;

/// `struct ifreq`, as far as tun looks at it.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

/// An open tun interface; it leaves with this value.
#[derive(Debug)]
pub struct Tunnel {
    file: File,
}

impl Tunnel {
    /// Makes `name` in `net` and switches it on.
    pub fn open(net: &Namespace, name: &str) -> Result<Self> {
        let file = net
            .run(|| opened(name))
            .with_context(|| format!("could not make the tun interface {name} in {}", net.name()))?;
        net.ip(&format!("link set {name} up"))?;
        Ok(Self { file })
    }

    /// A packet arrives at the kernel.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        (&self.file).write_all(packet)
    }

    /// Waits for a packet from the kernel that contains `marker`, and gives it.
    pub fn hears(&self, marker: &[u8], patience: Duration) -> io::Result<Option<Vec<u8>>> {
        let end = Instant::now() + patience;
        let mut buffer = vec![0; 65536];
        while Instant::now() < end {
            match (&self.file).read(&mut buffer) {
                Ok(length) if buffer[..length].windows(marker.len()).any(|window| window == marker) => {
                    return Ok(Some(buffer[..length].to_vec()));
                }
                Ok(_) => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(2)),
                Err(err) => return Err(err),
            }
        }
        Ok(None)
    }
}

/// The interface belongs to the namespace in which the file is opened.
fn opened(name: &str) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let mut request = Request { name: [0; _], flags: (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short, rest: [0; _] };
    for (to, from) in request.name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: an open descriptor and a live value of the size of `struct ifreq`.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, std::ptr::from_mut(&mut request)) };
    if made < 0 { Err(io::Error::last_os_error()) } else { Ok(file) }
}
