//! A raw socket on one interface: sends frames as they are, hears every frame that arrives or leaves.

use std::io::{self, Read};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use super::namespace::Namespace;
use super::traffic::undisturbed;

/// Every EtherType, in network byte order.
const ALL: u16 = (libc::ETH_P_ALL as u16).to_be();

/// A packet socket bound to an interface.
#[derive(Debug)]
pub struct Port {
    socket: Socket,
}

impl Port {
    /// Opens one on `interface` of `net`.
    pub fn open(net: &Namespace, interface: &str) -> Result<Self> {
        net.run(|| bound(interface))
            .map(|socket| Self { socket })
            .with_context(|| format!("could not open a raw socket on {interface} of {}", net.name()))
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(drop)
    }

    /// Sends many with one call, in their order, and gives how many the kernel took.
    pub fn send_many(&self, frames: &[Vec<u8>]) -> io::Result<usize> {
        let mut parts: Vec<_> = frames
            .iter()
            .map(|frame| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() })
            .collect();
        let mut messages: Vec<_> = parts
            .iter_mut()
            .map(|part| {
                // SAFETY: pointers and numbers, for which zeros are valid: no address, no control data.
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (part, 1);
                message
            })
            .collect();
        // SAFETY: every message names one part, and that a frame; all outlive the call, which writes lengths into the
        // messages only.
        let taken = unsafe {
            libc::sendmmsg(
                self.socket.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as u32,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(taken).map_err(|_| io::Error::last_os_error())
    }

    /// Waits for a frame that contains `marker`, and gives it.
    pub fn hears(&mut self, marker: &[u8], patience: Duration) -> io::Result<Option<Vec<u8>>> {
        self.hears_all(marker, patience).map(|heard| heard.and_then(|mut frames| frames.pop()))
    }

    /// The same, with all that came before it.
    pub fn hears_all(&mut self, marker: &[u8], patience: Duration) -> io::Result<Option<Vec<Vec<u8>>>> {
        let mut heard = Vec::new();
        let end = Instant::now() + patience;
        let mut buffer = vec![0; 65536];
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.socket.set_read_timeout(Some(left))?;
            match undisturbed(|| self.socket.read(&mut buffer)) {
                Ok(length) => {
                    let frame = &buffer[..length];
                    heard.push(frame.to_vec());
                    if contains(frame, marker) {
                        return Ok(Some(heard));
                    }
                }
                Err(err) if matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(None)
    }
}

fn contains(frame: &[u8], marker: &[u8]) -> bool {
    frame.windows(marker.len()).any(|window| window == marker)
}

fn bound(interface: &str) -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ALL))))?;
    let name = std::ffi::CString::new(interface)?;
    // SAFETY: a valid, terminated string.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: a packet address is a view that fits into the zeroed storage.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ALL;
    address.sll_ifindex = index.cast_signed();
    // SAFETY: the storage holds an address of exactly this kind and length.
    let address = unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as u32) };
    socket.bind(&address)?;
    Ok(socket)
}
