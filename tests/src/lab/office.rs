//! The network of the demo and the tests: one gateway, three offices' networks and the rest of the world, both
//! families. It must never touch the machine's own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;

use super::namespace::Namespace;

/// The link address of every host's end of a cable: what [`crate::packet`] sends from.
pub const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The link address of the gateway's ends: what [`crate::packet`] sends to.
pub const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Where a host stands: the gateway's interface to it and the addresses on both ends.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The host's name, and its zone's.
    pub name: &'static str,
    /// The gateway's interface.
    pub interface: &'static str,
    /// The gateway's addresses there; the networks are a /24 and a /64.
    pub gateway: (Ipv4Addr, Ipv6Addr),
    /// The host's.
    pub host: (Ipv4Addr, Ipv6Addr),
}

const fn office(name: &'static str, interface: &'static str, net: u8, net6: u16, host: u8, host6: u16) -> Place {
    Place {
        name,
        interface,
        gateway: (Ipv4Addr::new(10, net, 0, 1), Ipv6Addr::new(0xfd00, net6, 0, 0, 0, 0, 0, 1)),
        host: (Ipv4Addr::new(10, net, 0, host), Ipv6Addr::new(0xfd00, net6, 0, 0, 0, 0, 0, host6)),
    }
}

/// The finance server.
pub const ACCOUNTING: Place = office("accounting", "lan20", 20, 0x20, 10, 0x10);
/// A developer's desk.
pub const DEV: Place = office("dev", "lan30", 30, 0x30, 5, 0x5);
/// A visitor's laptop.
pub const GUEST: Place = office("guest", "lan40", 40, 0x40, 7, 0x7);
/// A server somewhere out there.
pub const INTERNET: Place = Place {
    name: "internet",
    interface: "wan0",
    gateway: (Ipv4Addr::new(198, 51, 100, 1), Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 1)),
    host: (Ipv4Addr::new(198, 51, 100, 10), Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 0x10)),
};

/// nftables for the gateway: what leaves by `wan0` carries the gateway's address.
pub const MASQUERADE: &str =
    "table ip nat { chain out { type nat hook postrouting priority srcnat; oifname \"wan0\" masquerade; }; }";
/// nftables for the gateway: its ports 8443 and 8444 lead to accounting's port 443.
pub const FORWARD_8443: &str = "table ip nat { chain in { type nat hook prerouting priority dstnat; \
    ip daddr 198.51.100.1 tcp dport { 8443, 8444 } dnat to 10.20.0.10:443; }; }";

/// A host with its namespace; its interface is called `eth0`.
#[derive(Debug)]
pub struct Host {
    /// Where it stands.
    pub place: Place,
    /// Its namespace.
    pub net: Namespace,
}

impl Host {
    /// Its IPv4 address.
    #[must_use]
    pub fn v4(&self) -> IpAddr {
        self.place.host.0.into()
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn v6(&self) -> IpAddr {
        self.place.host.1.into()
    }

    /// Both, for what has to hold in both families.
    #[must_use]
    pub fn both(&self) -> [IpAddr; 2] {
        [self.v4(), self.v6()]
    }

    /// The address of its own that is of the same family as `other`.
    #[must_use]
    pub fn like(&self, other: IpAddr) -> IpAddr {
        if other.is_ipv4() { self.v4() } else { self.v6() }
    }
}

/// The gateway and its four hosts, wired and routed, with nothing enforced yet.
#[derive(Debug)]
pub struct Office {
    /// The machine in the middle: it forwards between `lan20`, `lan30`, `lan40` and `wan0`.
    pub gateway: Namespace,
    /// Behind `lan20`.
    pub accounting: Host,
    /// Behind `lan30`.
    pub dev: Host,
    /// Behind `lan40`.
    pub guest: Host,
    /// Behind `wan0`.
    pub internet: Host,
}

impl Office {
    /// Makes it.
    pub fn new() -> Result<Self> {
        let gateway = Namespace::new("gw")?;
        quiet(&gateway)?;
        gateway.sysctl("net/ipv4/ip_forward", "1")?;
        gateway.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        let host = |place| attach(&gateway, place);
        let (accounting, dev, guest, internet) = (host(ACCOUNTING)?, host(DEV)?, host(GUEST)?, host(INTERNET)?);
        Ok(Self { gateway, accounting, dev, guest, internet })
    }

    /// All hosts.
    #[must_use]
    pub fn hosts(&self) -> [&Host; 4] {
        [&self.accounting, &self.dev, &self.guest, &self.internet]
    }

    /// The gateway's address towards the internet.
    #[must_use]
    pub fn gateway_address(&self) -> IpAddr {
        self.internet.place.gateway.0.into()
    }

    /// Lets everybody know everybody's link address for good, so that nobody asks for one in the middle of a count.
    pub fn know_each_other(&self) -> Result<()> {
        let (host_mac, gateway_mac) = (mac(HOST_MAC), mac(GATEWAY_MAC));
        for host in self.hosts() {
            let Place { interface, gateway, host: own, .. } = host.place;
            for (v4, v6, net, device, mac) in [
                (own.0, own.1, &self.gateway, interface, &host_mac),
                (gateway.0, gateway.1, &host.net, "eth0", &gateway_mac),
            ] {
                net.ip(&format!("neigh replace {v4} lladdr {mac} dev {device} nud permanent"))?;
                net.ip(&format!("neigh replace {v6} lladdr {mac} dev {device} nud permanent"))?;
            }
        }
        Ok(())
    }

    /// Makes the hosts' ends of the cables take frames that XDP redirects, and send finished checksums, as network cards do.
    pub fn like_cards(&self) -> Result<()> {
        self.hosts().into_iter().try_for_each(|host| host.net.offload("eth0", "gro on tx off"))
    }

    /// Gives accounting a second cable, `lan21`, and lets it answer developers by that one.
    pub fn answer_by_another_way(&self) -> Result<()> {
        self.cable(&self.accounting, "lan21", "eth1")?;
        self.gateway.ip("addr add 10.21.0.1/24 dev lan21")?;
        self.accounting.net.ip("addr add 10.21.0.10/24 dev eth1")?;
        self.accounting.net.ip("route add 10.30.0.0/24 via 10.21.0.1 src 10.20.0.10").map(drop)
    }

    /// Gives a host one more cable to the gateway: `interface` there, `other` here, with no addresses.
    pub fn cable(&self, host: &Host, interface: &str, other: &str) -> Result<()> {
        cable(&self.gateway, &host.net, interface, other)
    }
}

/// Sysctls that make a namespace answer at once: no duplicate address detection, no limit on ICMP errors.
fn quiet(net: &Namespace) -> Result<()> {
    for scope in ["all", "default"] {
        net.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
        net.sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
        net.sysctl(&format!("net/ipv6/conf/{scope}/accept_ra"), "0")?;
    }
    net.sysctl("net/ipv4/icmp_ratelimit", "0")?;
    net.sysctl("net/ipv6/icmp/ratelimit", "0")
}

fn cable(gateway: &Namespace, host: &Namespace, interface: &str, other: &str) -> Result<()> {
    gateway.ip(&format!(
        "link add {interface} address {} type veth peer name {other} address {} netns {}",
        mac(GATEWAY_MAC),
        mac(HOST_MAC),
        host.path().display()
    ))?;
    gateway.ip(&format!("link set {interface} up"))?;
    host.ip(&format!("link set {other} up")).map(drop)
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

fn attach(gateway: &Namespace, place: Place) -> Result<Host> {
    let net = Namespace::new(place.name)?;
    quiet(&net)?;
    cable(gateway, &net, place.interface, "eth0")?;
    for (namespace, device, (v4, v6)) in [(gateway, place.interface, place.gateway), (&net, "eth0", place.host)] {
        namespace.ip(&format!("addr add {v4}/24 dev {device}"))?;
        namespace.ip(&format!("addr add {v6}/64 dev {device} nodad"))?;
    }
    net.ip(&format!("route add default via {}", place.gateway.0))?;
    net.ip(&format!("-6 route add default via {}", place.gateway.1))?;
    Ok(Host { place, net })
}
