//! Raw sockets of every protocol: what a machine's kernel delivers, when all headers are read and all parts are together.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::ip;
use crate::lab::Namespace;

/// What a socket got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// From where.
    pub src: IpAddr,
    /// To where.
    pub dst: IpAddr,
    /// IP protocol.
    pub protocol: u8,
    /// Source and destination port, where the protocol has them and they came.
    pub ports: Option<(u16, u16)>,
}

impl Delivered {
    /// Whether it is a datagram that a program may have asked for.
    #[must_use]
    pub fn is_udp(&self) -> bool {
        self.protocol == 17 && self.ports.is_some()
    }
}

impl fmt::Display for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { src, dst, protocol, ports } = self;
        write!(f, "{src} to {dst}, protocol {protocol}")?;
        ports.map_or(Ok(()), |(from, to)| write!(f, ", port {from} to {to}"))
    }
}

/// The sockets of one machine.
pub(super) struct Sockets {
    sockets: Vec<(u8, bool, Socket)>,
    epoll: OwnedFd,
}

/// No socket can ask for these: 0 is a wish for no protocol, 255 sends only.
const PROTOCOLS: std::ops::RangeInclusive<u8> = 1..=254;

/// Headers on the way to the protocol that is meant: a raw socket gets the packet there, and again at its end. An
/// authentication header ends it only where `IPsec` is not set up.
const ON_THE_WAY: [u8; 4] = [43, 44, 51, 60];

impl Sockets {
    pub(super) fn open(net: &Namespace) -> Result<Self> {
        net.run(|| {
            // SAFETY: no memory is handed over.
            let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
            if epoll < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: the kernel just gave us this descriptor.
            let epoll = unsafe { OwnedFd::from_raw_fd(epoll) };
            let mut sockets = Vec::new();
            for (domain, is_v6) in [(Domain::IPV4, false), (Domain::IPV6, true)] {
                for protocol in PROTOCOLS.filter(|protocol| !ON_THE_WAY.contains(protocol)) {
                    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(protocol))))?;
                    socket.set_nonblocking(true)?;
                    if is_v6 {
                        socket.set_recv_pktinfo6()?;
                    }
                    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: sockets.len() as u64 };
                    // SAFETY: both descriptors are open and the event outlives the call.
                    let added = unsafe {
                        libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event)
                    };
                    if added != 0 {
                        return Err(io::Error::last_os_error());
                    }
                    sockets.push((protocol, is_v6, socket));
                }
            }
            Ok(Self { sockets, epoll })
        })
        .with_context(|| format!("could not open raw sockets in {}", net.name()))
    }

    /// Everything that came since the last call.
    pub(super) fn delivered(&self) -> Result<Vec<Delivered>> {
        let mut all = Vec::new();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 32];
        loop {
            // SAFETY: the kernel writes at most as many events as there is room for.
            let ready = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), 32, 0) };
            let ready = usize::try_from(ready).map_err(|_| io::Error::last_os_error());
            let ready = ready.context("could not ask which sockets got something")?;
            if ready == 0 {
                return Ok(all);
            }
            for event in &events[..ready] {
                let (protocol, is_v6, socket) = &self.sockets[event.u64 as usize];
                loop {
                    match receive(socket, *protocol, *is_v6) {
                        Received::Packet(one) => all.push(one),
                        Received::Other => {}
                        Received::Nothing => break,
                    }
                }
            }
        }
    }
}

trait PacketInfo {
    fn set_recv_pktinfo6(&self) -> io::Result<()>;
}

impl PacketInfo for Socket {
    fn set_recv_pktinfo6(&self) -> io::Result<()> {
        let on: libc::c_int = 1;
        // SAFETY: the value is an int that outlives the call.
        let done = unsafe {
            libc::setsockopt(
                self.as_raw_fd(),
                libc::IPPROTO_IPV6,
                libc::IPV6_RECVPKTINFO,
                std::ptr::from_ref(&on).cast(),
                size_of::<libc::c_int>() as u32,
            )
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// What a socket had.
enum Received {
    Packet(Delivered),
    /// An error that an answer of ours met, or less than a packet.
    Other,
    Nothing,
}

/// One packet off a socket.
fn receive(socket: &Socket, protocol: u8, is_v6: bool) -> Received {
    let mut packet = [0_u8; 2048];
    let mut control = [MaybeUninit::<u64>::uninit(); 16];
    // SAFETY: plain data, for which zeros are a value.
    let (mut from, mut header): (libc::sockaddr_in6, libc::msghdr) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let mut vector = libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: packet.len() };
    header.msg_name = std::ptr::from_mut(&mut from).cast();
    header.msg_namelen = size_of::<libc::sockaddr_in6>() as u32;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: every pointer of the header is to memory of this function, with its length.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let Ok(length) = usize::try_from(length) else {
        let none = io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock;
        return if none { Received::Nothing } else { Received::Other };
    };
    let packet = &packet[..length];
    let (src, dst, payload) = if is_v6 {
        let src: IpAddr = Ipv6Addr::from(from.sin6_addr.s6_addr).into();
        let Some(dst) = destination(&header) else { return Received::Other };
        (src, dst, packet)
    } else {
        let Some((src, dst)) = ip::ends4(packet) else { return Received::Other };
        let header = usize::from(packet[0] & 15) * 4;
        (src, dst, packet.get(header..).unwrap_or_default())
    };
    let port = |at: usize| Some(u16::from_be_bytes(payload.get(at..at + 2)?.try_into().ok()?));
    let ports = matches!(protocol, 6 | 17 | 33 | 132 | 136).then(|| Some((port(0)?, port(2)?))).flatten();
    Received::Packet(Delivered { src, dst, protocol, ports })
}

/// To which of its addresses a packet came.
fn destination(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the kernel has filled the header in, and its control data is memory that still lives.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            if ((*control).cmsg_level, (*control).cmsg_type) == (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) {
                let info: libc::in6_pktinfo = std::ptr::read_unaligned(libc::CMSG_DATA(control).cast());
                return Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    None
}
