//! Two receivers and a sender, each a namespace of its own. On one receiver the real daemon enforces a policy so plain that
//! whether it allows a packet can be seen at once.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::sockets::{Delivered, Sockets};
use crate::lab::{Daemon, Namespace, Port};

/// By which hook the receiver is guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// TC.
    Tc,
    /// XDP in the driver.
    Xdp,
    /// XDP in the stack.
    XdpGeneric,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tc, Self::Xdp, Self::XdpGeneric];

    /// As zone files have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tc => "tc",
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
        }
    }
}

/// Link address of the sender.
pub(super) const SENDER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// That of both receivers.
pub(super) const RECEIVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The receivers' addresses.
pub(super) const RECEIVER: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 20, 0, 10), Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, 0x10));
/// What the ethernet header takes, and a byte behind it.
pub(super) const SHORTEST: usize = 15;

/// Whose address a frame gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Ipv6Addr,
}

/// A friend, who may ask the low ports, and a stranger, who may ask nothing.
pub(super) const SENDERS: [Sender; 2] = [
    Sender { v4: Ipv4Addr::new(10, 30, 0, 5), v6: Ipv6Addr::new(0xfd00, 0x30, 0, 0, 0, 0, 0, 5) },
    Sender { v4: Ipv4Addr::new(10, 40, 0, 7), v6: Ipv6Addr::new(0xfd00, 0x40, 0, 0, 0, 0, 0, 7) },
];

/// The highest port that friends may ask.
const HIGHEST: u16 = 1023;

fn zones(hook: Hook, mode: &str) -> String {
    format!(
        "version: 1\nmode: {mode}\ninterfaces:\n  - {{ name: eth0, hook: {} }}\nzones:\n\
         \x20 friends: {{ networks: [10.30.0.0/24, \"fd00:30::/64\"] }}\n\
         \x20 strangers: {{ networks: [10.40.0.0/24, \"fd00:40::/64\"] }}\nessentials: []\nrules:\n\
         \x20 - {{ id: low, from: friends, to: host, services: [tcp/1-{HIGHEST}, udp/1-{HIGHEST}, sctp/1-{HIGHEST}], \
         reason: a test, approved_by: tests@example.com }}\n",
        hook.name()
    )
}

/// Whether that policy allows what was delivered, by its true ends.
pub(super) fn is_allowed(delivered: &Delivered) -> bool {
    let Delivered { src, dst, protocol, ports } = delivered;
    let friend = match src {
        IpAddr::V4(src) => src.octets()[..3] == [10, 30, 0],
        IpAddr::V6(src) => src.segments()[..4] == [0xfd00, 0x30, 0, 0],
    };
    let to_us = *dst == IpAddr::from(RECEIVER.0) || *dst == IpAddr::from(RECEIVER.1);
    let low = ports.is_some_and(|(_, port)| (1..=HIGHEST).contains(&port));
    friend && to_us && low && matches!(protocol, 6 | 17 | 132)
}

/// The sender, the receiver without a guard, and the one with.
pub struct Ground {
    /// It drops first, while its network still stands.
    _daemon: Daemon,
    ports: [Port; 2],
    sockets: [Sockets; 2],
    _namespaces: [Namespace; 3],
}

impl Ground {
    /// Makes it. With `watching` the guard only watches: what it would have dropped comes through, for a look at whether
    /// anybody notices.
    ///
    /// # Errors
    /// Something can't be made; root is needed.
    pub fn new(hook: Hook, watching: bool) -> Result<Self> {
        let [sender, open, guarded] = ["sender", "open", "guarded"].map(Namespace::new);
        let (sender, open, guarded) = (sender?, open?, guarded?);
        for (receiver, name) in [(&open, "to0"), (&guarded, "to1")] {
            let (sender_mac, receiver_mac) = (mac(SENDER_MAC), mac(RECEIVER_MAC));
            sender.ip(&format!(
                "link add {name} address {sender_mac} type veth peer name eth0 address {receiver_mac} netns {}",
                receiver.path().display()
            ))?;
            sender.ip(&format!("link set {name} up"))?;
            for scope in ["all", "default"] {
                receiver.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
                receiver.sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
                receiver.sysctl(&format!("net/ipv6/conf/{scope}/accept_ra"), "0")?;
            }
            // The least that Linux looks at: what is delivered here may be delivered somewhere.
            receiver.sysctl("net/ipv4/conf/all/accept_source_route", "1")?;
            receiver.ip("link set eth0 up")?;
            receiver.ip(&format!("addr add {}/24 dev eth0", RECEIVER.0))?;
            receiver.ip(&format!("addr add {}/64 dev eth0 nodad", RECEIVER.1))?;
            for (family, gateway) in [("-4", "10.20.0.1"), ("-6", "fd00:20::1")] {
                receiver.ip(&format!("{family} neigh replace {gateway} lladdr {sender_mac} dev eth0 nud permanent"))?;
                receiver.ip(&format!("{family} route add default via {gateway} dev eth0"))?;
            }
        }
        let mut daemon = Daemon::new(&zones(hook, if watching { "audit" } else { "enforce" }))?;
        daemon.start(&guarded)?;
        let ports = [Port::open(&sender, "to0")?, Port::open(&sender, "to1")?];
        let sockets = [Sockets::open(&open)?, Sockets::open(&guarded)?];
        let mut ground = Self { _daemon: daemon, ports, sockets, _namespaces: [sender, open, guarded] };
        // What both machines told their neighbours when they came up.
        ground.delivered()?;
        Ok(ground)
    }

    /// Sends a frame to both.
    pub(super) fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.ports.iter().try_for_each(|port| port.send(frame))
    }

    /// What the sockets of the open and of the guarded receiver got since the last call.
    pub(super) fn delivered(&mut self) -> Result<(Vec<Delivered>, Vec<Delivered>)> {
        let [open, guarded] = &self.sockets;
        Ok((open.delivered()?, guarded.delivered()?))
    }
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
