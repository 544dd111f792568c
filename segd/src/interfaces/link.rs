//! What an interface is, as far as guarding it asks. Never holds statistics or anything else that changes with
//! the traffic: two equal links are guarded the same way.

use std::fmt;

use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};

/// One network interface of this network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it; from 1. It names the device as long as that lives, whatever its name becomes.
    pub index: u32,
    /// Its name now; at most 15 bytes.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Switched on by the admin (whether or not there is a carrier).
    pub up: bool,
    /// Whether each frame begins with an Ethernet header.
    pub ethernet: bool,
    /// The machine's way to itself.
    pub loopback: bool,
    /// The bridge, bond or VRF that it is a port of.
    pub master: Option<u32>,
    /// The interface it lies upon (VLAN, macvlan, tunnel), or a veth's peer; `None` if that is in another namespace.
    /// The kernel says nothing when a peer moves away, so this is as of the last thing that it said.
    pub parent: Option<u32>,
    /// Its own address on an Ethernet.
    pub address: Option<[u8; 6]>,
    /// Largest packet, in bytes, without the link header.
    pub mtu: u32,
}

/// What an interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A device with a driver of its own: a network card, a virtual machine's card, a modem.
    Physical,
    /// One end of a virtual cable.
    Veth,
    /// A bridge itself, not its ports.
    Bridge,
    /// One VLAN of another interface.
    Vlan,
    /// Several interfaces as one.
    Bond,
    /// A program's interface that carries IP packets.
    Tun,
    /// A program's interface that carries Ethernet frames.
    Tap,
    /// A second address on another interface.
    Macvlan,
    /// Ethernet over UDP.
    Vxlan,
    /// An encrypted tunnel of IP packets.
    Wireguard,
    /// A device that swallows everything.
    Dummy,
    /// The machine's way to itself.
    Loopback,
    /// Whatever else, by the kernel's word for it.
    Other(String),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Physical => "physical",
            Self::Veth => "veth",
            Self::Bridge => "bridge",
            Self::Vlan => "vlan",
            Self::Bond => "bond",
            Self::Tun => "tun",
            Self::Tap => "tap",
            Self::Macvlan => "macvlan",
            Self::Vxlan => "vxlan",
            Self::Wireguard => "wireguard",
            Self::Dummy => "dummy",
            Self::Loopback => "loopback",
            Self::Other(kind) => kind,
        })
    }
}

impl Link {
    /// Reads the kernel's message; `None` if it names no interface.
    pub(super) fn from_message(message: &LinkMessage) -> Option<Self> {
        let header = &message.header;
        let loopback = header.flags.contains(LinkFlags::Loopback);
        // Loopback frames carry an Ethernet header of zeros.
        let ethernet = matches!(header.link_layer_type, LinkLayerType::Ether | LinkLayerType::Loopback);
        let mut link = Self {
            index: header.index,
            name: String::new(),
            kind: if loopback { Kind::Loopback } else { Kind::Physical },
            up: header.flags.contains(LinkFlags::Up),
            ethernet,
            loopback,
            master: None,
            parent: None,
            address: None,
            mtu: 0,
        };
        let mut parent_elsewhere = false;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Address(bytes) if ethernet => link.address = bytes.as_slice().try_into().ok(),
                LinkAttribute::Controller(index) => link.master = Some(*index).filter(|&index| index != 0),
                LinkAttribute::Link(index) => link.parent = Some(*index).filter(|&index| index != 0),
                LinkAttribute::LinkNetNsId(_) => parent_elsewhere = true,
                LinkAttribute::LinkInfo(info) => link.kind = kind_of(info, ethernet).unwrap_or(link.kind),
                _ => {}
            }
        }
        if parent_elsewhere {
            link.parent = None;
        }
        (link.index != 0 && !link.name.is_empty()).then_some(link)
    }
}

/// The kind that the message tells; a device with a driver of its own tells none, even as a port of a bridge.
fn kind_of(info: &[LinkInfo], ethernet: bool) -> Option<Kind> {
    let kind = info.iter().find_map(|info| if let LinkInfo::Kind(kind) = info { Some(kind) } else { None })?;
    Some(match kind {
        InfoKind::Veth => Kind::Veth,
        InfoKind::Bridge => Kind::Bridge,
        InfoKind::Vlan => Kind::Vlan,
        InfoKind::Bond => Kind::Bond,
        InfoKind::Tun if ethernet => Kind::Tap,
        InfoKind::Tun => Kind::Tun,
        InfoKind::MacVlan => Kind::Macvlan,
        InfoKind::Vxlan => Kind::Vxlan,
        InfoKind::Wireguard => Kind::Wireguard,
        InfoKind::Dummy => Kind::Dummy,
        other => Kind::Other(other.to_string()),
    })
}

#[cfg(test)]
impl Link {
    /// An interface as tests need it: up, Ethernet unless its kind says otherwise.
    pub(crate) fn sample(index: u32, name: &str, kind: Kind) -> Self {
        let ethernet = !matches!(kind, Kind::Tun | Kind::Wireguard);
        let address = ethernet.then_some([2, 0, 0, 0, 0, index as u8]);
        Self {
            index,
            name: name.to_owned(),
            up: true,
            ethernet,
            loopback: kind == Kind::Loopback,
            kind,
            master: None,
            parent: None,
            address,
            mtu: 1500,
        }
    }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::link::LinkHeader;

    use super::*;

    fn message(link_layer_type: LinkLayerType, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header = LinkHeader { index: 4, link_layer_type, flags: LinkFlags::Up, ..LinkHeader::default() };
        message.attributes = attributes;
        message
    }

    #[test]
    fn a_card_that_is_port_of_a_bridge_is_physical_still() {
        let port = rtnetlink::packet_route::link::InfoPortKind::Bridge;
        let link = Link::from_message(&message(
            LinkLayerType::Ether,
            vec![
                LinkAttribute::IfName("eth0".into()),
                LinkAttribute::Address(vec![2, 0, 0, 0, 0, 4]),
                LinkAttribute::Mtu(9000),
                LinkAttribute::Controller(9),
                LinkAttribute::LinkInfo(vec![LinkInfo::PortKind(port)]),
            ],
        ));
        let expected = Link { master: Some(9), mtu: 9000, ..Link::sample(4, "eth0", Kind::Physical) };
        assert_eq!(link, Some(expected));
    }

    #[test]
    fn a_program_s_interface_is_tap_with_ethernet_and_tun_without() {
        let attributes =
            || vec![LinkAttribute::IfName("p0".into()), LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Tun)])];
        let tap = Link::from_message(&message(LinkLayerType::Ether, attributes())).unwrap();
        let tun = Link::from_message(&message(LinkLayerType::None, attributes())).unwrap();
        assert_eq!((tap.kind, tap.ethernet), (Kind::Tap, true));
        assert_eq!((tun.kind, tun.ethernet), (Kind::Tun, false));
    }

    #[test]
    fn a_peer_in_another_namespace_is_no_parent_here() {
        let link = Link::from_message(&message(
            LinkLayerType::Ether,
            vec![
                LinkAttribute::LinkNetNsId(0),
                LinkAttribute::IfName("v0".into()),
                LinkAttribute::Link(2),
                LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
            ],
        ));
        assert_eq!(link.map(|link| (link.kind, link.parent)), Some((Kind::Veth, None)));
    }

    #[test]
    fn a_message_without_a_name_is_no_interface() {
        assert_eq!(Link::from_message(&message(LinkLayerType::Ether, vec![])), None);
    }
}
