//! What a device's driver can do with XDP, by the kernel's own word: the `netdev` family of generic netlink (Linux 6.3,
//! Documentation/netlink/specs/netdev.yaml).

use std::io;

use netlink_packet_core::NlasIterator;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

const HEADER: usize = 16;
const GENERIC: usize = 4;
const REQUEST: u16 = 1;
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const GET_DEVICE: u8 = 1;
const DEVICE_INDEX: u16 = 1;
const XDP_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_NDO_XMIT`: frames may be redirected to the device.
const TAKES_FRAMES: u64 = 4;

/// Whether XDP may redirect frames to the device. A kernel that can't tell says no.
#[must_use]
pub fn takes_redirects(ifindex: u32) -> bool {
    features(ifindex).is_ok_and(|features| features & TAKES_FRAMES != 0)
}

fn features(ifindex: u32) -> io::Result<u64> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let family = ask(&socket, CONTROL, GET_FAMILY, FAMILY_NAME, b"netdev\0", FAMILY_ID)?;
    let family = u16::from_ne_bytes(whole(&family)?);
    let features = ask(&socket, family, GET_DEVICE, DEVICE_INDEX, &ifindex.to_ne_bytes(), XDP_FEATURES)?;
    Ok(u64::from_ne_bytes(whole(&features)?))
}

fn whole<const SIZE: usize>(value: &[u8]) -> io::Result<[u8; SIZE]> {
    value.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// Sends one attribute, and gives one of the answer's.
fn ask(socket: &Socket, family: u16, command: u8, attribute: u16, value: &[u8], wanted: u16) -> io::Result<Vec<u8>> {
    socket.send(&question(family, command, attribute, value), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let attributes = answer.get(HEADER + GENERIC..).filter(|_| answer.get(4..6) == Some(&family.to_ne_bytes()));
    let attributes = attributes.ok_or(io::ErrorKind::Unsupported)?;
    NlasIterator::new(attributes)
        .flatten()
        .find(|found| found.kind() == wanted)
        .map(|found| found.value().to_vec())
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn question(family: u16, command: u8, attribute: u16, value: &[u8]) -> Vec<u8> {
    let attribute_bytes = 4 + value.len();
    let padded = attribute_bytes.next_multiple_of(4);
    let mut bytes = Vec::with_capacity(HEADER + GENERIC + padded);
    bytes.extend(((HEADER + GENERIC + padded) as u32).to_ne_bytes());
    bytes.extend(family.to_ne_bytes());
    bytes.extend(REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([command, 1, 0, 0]);
    bytes.extend((attribute_bytes as u16).to_ne_bytes());
    bytes.extend(attribute.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(HEADER + GENERIC + padded, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::ground::{in_namespace, ip, run};
    use super::*;

    #[test]
    fn a_veth_takes_frames_once_its_peer_polls_and_a_bridge_never() {
        in_namespace(|| {
            ip("link add one type veth peer name other");
            ip("link set one up");
            ip("link set other up");
            ip("link add silent type bridge");
            let of = |name: &str| {
                // SAFETY: the name ends with a zero.
                unsafe { libc::if_nametoindex(std::ffi::CString::new(name).unwrap().as_ptr()) }
            };
            assert!(!takes_redirects(of("one")));
            run("ethtool", "-K other gro on").unwrap();
            assert!(takes_redirects(of("one")));
            assert!(!takes_redirects(of("silent")));
            assert!(!takes_redirects(4_000_000));
        });
    }
}
