//! Real sockets in a host's namespace: echo servers, clients, ping. It must never report an answer that did not
//! come back over the wire.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::office::Host;

/// How long a client waits before it takes silence for an answer. A TCP client repeats its SYN after one second.
pub const PATIENCE: Duration = Duration::from_millis(700);

/// An echo server on one port, both families; it ends when it drops.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // An echo thread that panicked has already said so.
            let _ = thread.join();
        }
    }
}

/// A client's end of a TCP connection to an echo server.
#[derive(Debug)]
pub struct Session(TcpStream);

impl Session {
    /// Sends a line and waits for its echo.
    pub fn says(&mut self, words: &str) -> io::Result<()> {
        self.0.write_all(words.as_bytes())?;
        let mut echo = vec![0; words.len()];
        self.0.read_exact(&mut echo)?;
        if echo == words.as_bytes() { Ok(()) } else { Err(io::Error::other("the echo is not what was sent")) }
    }

    /// The client's own end.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Host {
    /// Echoes TCP on `port`.
    pub fn serves_tcp(&self, port: u16) -> Result<Server> {
        let listener = self
            .net
            .run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))
            .with_context(|| format!("could not listen on tcp/{port} in {}", self.net.name()))?;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let accept = thread::spawn(move || accept_until(&listener, &stopped));
        Ok(Server { stop, threads: vec![accept] })
    }

    /// Echoes UDP on `port`.
    pub fn serves_udp(&self, port: u16) -> Result<Server> {
        // One socket per family: a dual-stack one answers from an address that the kernel chooses.
        let bind = |address: IpAddr| {
            self.net.run(|| {
                let domain = if address.is_ipv4() { socket2::Domain::IPV4 } else { socket2::Domain::IPV6 };
                let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
                if address.is_ipv6() {
                    socket.set_only_v6(true)?;
                }
                socket.bind(&SocketAddr::new(address, port).into())?;
                socket.set_read_timeout(Some(Duration::from_millis(50)))?;
                io::Result::Ok(UdpSocket::from(socket))
            })
        };
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for address in self.both() {
            let socket = bind(address).with_context(|| format!("could not bind udp/{port} in {}", self.net.name()))?;
            let stopped = Arc::clone(&stop);
            threads.push(thread::spawn(move || echo_datagrams(&socket, &stopped)));
        }
        Ok(Server { stop, threads })
    }

    /// Opens a TCP connection.
    pub fn connects(&self, to: IpAddr, port: u16) -> io::Result<Session> {
        let stream = self.net.run(|| TcpStream::connect_timeout(&(to, port).into(), PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Session(stream))
    }

    /// Whether a TCP connection opens at once, without a second SYN.
    #[must_use]
    pub fn opens_at_once(&self, to: IpAddr, port: u16) -> bool {
        let moment = Duration::from_millis(150);
        self.net.run(|| TcpStream::connect_timeout(&(to, port).into(), moment)).is_ok()
    }

    /// Whether an echo server answers over TCP.
    #[must_use]
    pub fn reaches_tcp(&self, to: IpAddr, port: u16) -> bool {
        self.connects(to, port).and_then(|mut session| session.says("ping\n")).is_ok()
    }

    /// Sends one datagram and waits for its echo; [`ErrorKind::ConnectionRefused`] if an ICMP error came back.
    pub fn asks_udp(&self, to: IpAddr, port: u16, payload: &[u8]) -> io::Result<()> {
        let any: IpAddr = if to.is_ipv4() { [0, 0, 0, 0].into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = self.net.run(|| UdpSocket::bind((any, 0)))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect((to, port))?;
        socket.send(payload)?;
        let mut echo = vec![0; payload.len() + 1];
        let length = undisturbed(|| socket.recv(&mut echo))?;
        if &echo[..length] == payload { Ok(()) } else { Err(io::Error::other("the echo is not what was sent")) }
    }

    /// Whether an echo server answers over UDP.
    #[must_use]
    pub fn reaches_udp(&self, to: IpAddr, port: u16) -> bool {
        self.asks_udp(to, port, b"ping").is_ok()
    }

    /// Whether a ping with `size` bytes is answered; more than 1472 (IPv6: 1452) travel as fragments.
    pub fn pings(&self, to: IpAddr, size: usize) -> Result<bool> {
        let (size, to) = (size.to_string(), to.to_string());
        let out = self
            .net
            .run(|| Command::new("ping").args(["-n", "-q", "-c", "1", "-W", "0.7", "-s", &size, &to]).output())?;
        ensure!(out.status.code() != Some(2), "ping {to}: {}", String::from_utf8_lossy(&out.stderr).trim());
        Ok(out.status.success())
    }
}

/// Asks again if a signal came between: a socket with a timeout is interrupted by every one, a machine that is put
/// to sleep and woken among them, whatever its handler says of restarts (signal(7)).
pub fn undisturbed<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Whether an attempt ended in silence, as a dropped packet looks from a client.
pub fn is_silence<T>(outcome: &io::Result<T>) -> bool {
    matches!(outcome, Err(err) if matches!(err.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock))
}

fn accept_until(listener: &TcpListener, stop: &Arc<AtomicBool>) {
    let mut sessions = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let stop = Arc::clone(stop);
                sessions.push(thread::spawn(move || echo_stream(stream, &stop)));
            }
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
    for session in sessions {
        // As above: a panic has been printed.
        let _ = session.join();
    }
}

fn echo_stream(mut stream: TcpStream, stop: &AtomicBool) {
    let prepared =
        stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(Some(Duration::from_millis(50))));
    let mut buffer = [0; 4096];
    while prepared.is_ok() && !stop.load(Ordering::Relaxed) {
        match undisturbed(|| stream.read(&mut buffer)) {
            Ok(0) => return,
            Ok(length) if stream.write_all(&buffer[..length]).is_err() => return,
            Ok(_) => {}
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

fn echo_datagrams(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = vec![0; 65536];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // A client that is gone is not the server's trouble.
            let _ = socket.send_to(&buffer[..length], from);
        }
    }
}
