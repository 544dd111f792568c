//! Three namespaces in a row: source, gateway, sink; or only the two ends, for the floor. Everything that could make a
//! packet wait for a question is answered beforehand: neighbours, routes, forwarding.

use anyhow::{Context, Result};
use segd_tests::lab::{GATEWAY_MAC, HOST_MAC, Namespace};

/// The interface of source and sink.
pub(super) const END: &str = "eth0";
/// The gateway's interface towards the source.
pub(super) const LAN: &str = "lan0";
/// The gateway's interface towards the sink.
pub(super) const FAR: &str = "lan1";

/// The namespaces. They vanish with this value.
#[derive(Debug)]
pub(super) struct Bed {
    /// Where packets begin: 10.30.0.5, and every source of a flood.
    pub(super) source: Namespace,
    /// What is measured; `None`: source and sink are joined.
    pub(super) gateway: Option<Namespace>,
    /// Where they end: 10.20.0.10 and 10.20.0.11.
    pub(super) sink: Namespace,
}

impl Bed {
    /// Source and sink with nothing between.
    pub(super) fn joined() -> Result<Self> {
        let (source, sink) = (namespace("source")?, namespace("sink")?);
        cable((&source, END, HOST_MAC), (&sink, END, GATEWAY_MAC))?;
        Ok(Self { source, gateway: None, sink })
    }

    /// A gateway between them that filters nothing yet.
    pub(super) fn routed() -> Result<Self> {
        let (source, gateway, sink) = (namespace("source")?, namespace("gateway")?, namespace("sink")?);
        gateway.sysctl("net/ipv4/ip_forward", "1")?;
        cable((&source, END, HOST_MAC), (&gateway, LAN, GATEWAY_MAC))?;
        cable((&sink, END, HOST_MAC), (&gateway, FAR, GATEWAY_MAC))?;
        address(&gateway, LAN, &["192.0.2.1/30"])?;
        address(&gateway, FAR, &["192.0.2.5/30"])?;
        address(&source, END, &["192.0.2.2/30", "10.30.0.5/32"])?;
        address(&sink, END, &["192.0.2.6/30", "10.20.0.10/32", "10.20.0.11/32"])?;
        let (host, own) = (mac(HOST_MAC), mac(GATEWAY_MAC));
        for (net, neighbour, link, interface) in [
            (&gateway, "192.0.2.2", &host, LAN),
            (&gateway, "192.0.2.6", &host, FAR),
            (&source, "192.0.2.1", &own, END),
            (&sink, "192.0.2.5", &own, END),
        ] {
            net.ip(&format!("neigh replace {neighbour} lladdr {link} nud permanent dev {interface}"))?;
        }
        // Random sources live behind the source too.
        gateway.ip("route add default via 192.0.2.2")?;
        gateway.ip("route add 10.20.0.0/24 via 192.0.2.6")?;
        source.ip("route add default via 192.0.2.1 src 10.30.0.5")?;
        sink.ip("route add default via 192.0.2.5 src 10.20.0.10")?;
        Ok(Self { source, gateway: Some(gateway), sink })
    }

    /// Lets the gateway's interfaces take redirected frames though no XDP program is on them: with GRO they poll.
    pub(super) fn poll(&self) -> Result<()> {
        let Some(gateway) = &self.gateway else { return Ok(()) };
        for interface in [LAN, FAR] {
            gateway.offload(interface, "gro on")?;
        }
        Ok(())
    }

    /// Packets that the gateway has got from the source so far, dropped ones included.
    pub(super) fn received(&self) -> Result<u64> {
        let (net, interface) = self.gateway.as_ref().map_or((&self.sink, END), |gateway| (gateway, LAN));
        let page = net.run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))?;
        let line = page.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'));
        let packets = line.and_then(|fields| fields.split_whitespace().nth(1));
        Ok(packets.with_context(|| format!("{interface} of {} has no counters", net.name()))?.parse()?)
    }
}

fn namespace(name: &str) -> Result<Namespace> {
    let net = Namespace::new(name)?;
    for scope in ["all", "default"] {
        net.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
        // Nothing but what is measured is sent.
        net.sysctl(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "1")?;
    }
    Ok(net)
}

type End<'a> = (&'a Namespace, &'a str, [u8; 6]);

fn cable((net, interface, link): End<'_>, (other, far, far_link): End<'_>) -> Result<()> {
    // Each CPU has queues of its own, as with a network card.
    let cpus = std::thread::available_parallelism()?;
    let queues = format!("numtxqueues {cpus} numrxqueues {cpus}");
    net.ip(&format!(
        "link add {interface} address {} {queues} type veth peer name {far} address {} {queues} netns {}",
        mac(link),
        mac(far_link),
        other.path().display()
    ))?;
    net.ip(&format!("link set {interface} up"))?;
    other.ip(&format!("link set {far} up")).map(drop)
}

fn address(net: &Namespace, interface: &str, addresses: &[&str]) -> Result<()> {
    addresses.iter().try_for_each(|address| net.ip(&format!("addr add {address} dev {interface}")).map(drop))
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
