//! The shortcut: packets of an established connection that the kernel would forward as they are, redirected in XDP. It judges
//! nothing: it is called behind the verdict, for connections of which the kernel has just forwarded a packet unchanged. All that
//! is not plain goes the kernel's way, untouched.

use core::arch::asm;
use core::ffi::c_void;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::helpers::generated::bpf_fib_lookup;
use aya_ebpf::programs::XdpContext;
use segd_common::interface::Interface;
use segd_common::packet::{Packet, proto};
use segd_common::view::{View, Window};

use crate::maps::Maps;
use crate::view::Bytes;
use crate::xdp::sight;

/// Bytes of an Ethernet header.
const ETHERNET: u32 = 14;
/// Bytes of the shortest Ethernet frame, less the checksum: shorter packets are filled up.
const SHORTEST: u32 = 60;

/// A question to the kernel's routes and neighbours, and its answer: `struct bpf_fib_lookup` (Linux 4.18, include/uapi/linux/bpf.h).
#[repr(C)]
pub struct Route {
    family: u8,
    protocol: u8,
    sport: u16,
    dport: u16,
    /// Bytes of the packet without its link header.
    total: u16,
    /// Asked: where the packet came in; answered: where it leaves.
    ifindex: u32,
    /// IPv4: type of service, in the first byte; IPv6: class and flow label, in network order.
    class: u32,
    src: [u32; 4],
    dst: [u32; 4],
    tag: u32,
    /// The interface's own link address, then the neighbour's, as they stand in frames.
    links: [u16; 6],
}

const _: () = assert!(size_of::<Route>() == 64);

/// One store into the frame, at any alignment, which the compiler would make of single bytes.
macro_rules! store {
    ($size:literal, $place:expr, $value:expr) => {
        // SAFETY: the place lies inside the frame, as its window shows; the verifier checks it again.
        unsafe {
            asm!(
                concat!("*(", $size, " *)(r2 + 0) = r1"),
                in("r1") u64::from($value),
                in("r2") $place,
                options(nostack)
            )
        }
    };
}

/// Redirects the packet that was just judged, or leaves it to the kernel.
#[inline(always)]
pub fn redirect(ctx: &XdpContext) -> u32 {
    follow(ctx).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(always)]
fn follow(ctx: &XdpContext) -> Option<u32> {
    let room = Maps.room()?;
    let (frame, ifindex) = sight(ctx);
    let frame = frame.measured();
    // Not every driver sends what goes on in pages.
    if !frame.is_linear() {
        return None;
    }
    let head = frame.window(0, ETHERNET + 20)?;
    let ours = Maps.link_address(ifindex)?;
    if ours == 0
        || head.u32::<0>() != (ours as u32).swap_bytes()
        || head.u16::<4>() != ((ours >> 32) as u16).swap_bytes()
    {
        return None;
    }
    let (packet, route) = (&room.work.packet, &mut room.route);
    let v4 = packet.key.src.is_v4();
    let total = if v4 { ask_v4(&head, route)? } else { ask_v6(&head, packet, route)? };
    // What a driver filled up beyond the shortest frame, the kernel cuts off.
    if frame.frame_len() > SHORTEST && frame.frame_len() != total + ETHERNET {
        return None;
    }
    let transport = ETHERNET + if v4 { 20 } else { 40 };
    if unfinished(&frame, &head, packet.key.proto, v4, total + ETHERNET - transport)? {
        return None;
    }
    route.ifindex = ifindex;
    route.protocol = packet.key.proto;
    route.sport = packet.key.sport.to_be();
    route.dport = packet.key.dport.to_be();
    route.total = total as u16;
    route.tag = 0;
    // SAFETY: the context is the kernel's, and the question has the size that is told.
    let refused =
        unsafe { bpf_fib_lookup(ctx.ctx.cast::<c_void>(), (&raw mut *route).cast(), size_of::<Route>() as i32, 0) };
    let out = Maps.interface(route.ifindex);
    let expected = out.slot == room.work.outcome.direct && out.flags & Interface::TARGET != 0;
    if refused != 0 || route.ifindex == ifindex || !expected {
        return None;
    }
    let start = head.place();
    if v4 {
        age_v4(&head, start);
    } else {
        store!("u8", start + 21, head.u8::<21>() - 1);
    }
    let [own_1, own_2, own_3, their_1, their_2, their_3] = route.links;
    store!("u16", start, their_1);
    store!("u16", start + 2, their_2);
    store!("u16", start + 4, their_3);
    store!("u16", start + 6, own_1);
    store!("u16", start + 8, own_2);
    store!("u16", start + 10, own_3);
    // SAFETY: a plain helper call.
    Some(unsafe { bpf_redirect(route.ifindex, 0) } as u32)
}

/// Asks for an IPv4 packet, and gives its length. `None`: its time is over, or its header is broken.
#[inline(always)]
fn ask_v4(head: &Bytes, route: &mut Route) -> Option<u32> {
    let (first, src, dst) = (head.u32::<14>(), head.u32::<26>(), head.u32::<30>());
    let sum = sum4([first, head.u32::<18>(), head.u32::<22>(), src]) + u64::from(dst);
    if folded(sum) != 0xffff || head.u8::<22>() <= 1 {
        return None;
    }
    route.family = AF_INET;
    route.class = u32::from(head.u8::<15>());
    route.src[0] = src.to_be();
    route.dst[0] = dst.to_be();
    Some(first & 0xffff)
}

/// Asks for an IPv6 packet, and gives its length. `None`: its time is over.
#[inline(always)]
fn ask_v6(head: &Bytes, packet: &Packet, route: &mut Route) -> Option<u32> {
    if head.u8::<21>() <= 1 {
        return None;
    }
    route.family = AF_INET6;
    route.class = (head.u32::<14>() & 0x0fff_ffff).to_be();
    route.src = in_network_order(packet.key.src.hi, packet.key.src.lo);
    route.dst = in_network_order(packet.key.dst.hi, packet.key.dst.lo);
    Some(u32::from(head.u16::<18>()) + 40)
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

#[inline(always)]
const fn in_network_order(hi: u64, lo: u64) -> [u32; 4] {
    [((hi >> 32) as u32).to_be(), (hi as u32).to_be(), ((lo >> 32) as u32).to_be(), (lo as u32).to_be()]
}

/// Whether the sender left the checksum to the hardware: what a virtual cable brings may hold the sum of the pseudo header alone,
/// and only the kernel knows that the rest is still to be added. A finished one that looks so goes the kernel's way too.
#[inline(always)]
fn unfinished<V: View>(frame: &V, head: &Bytes, protocol: u8, v4: bool, payload: u32) -> Option<bool> {
    let addresses = if v4 {
        u64::from(head.u32::<26>()) + u64::from(head.u32::<30>())
    } else {
        let head = frame.window(ETHERNET + 8, 32)?;
        let src = sum4([head.u32::<0>(), head.u32::<4>(), head.u32::<8>(), head.u32::<12>()]);
        src + sum4([head.u32::<16>(), head.u32::<20>(), head.u32::<24>(), head.u32::<28>()])
    };
    let at = ETHERNET + if v4 { 20 } else { 40 } + if protocol == proto::TCP { 16 } else { 6 };
    let told = frame.u16(at)?;
    Some(told == folded(addresses + u64::from(protocol) + u64::from(payload)))
}

#[inline(always)]
const fn sum4([first, second, third, fourth]: [u32; 4]) -> u64 {
    first as u64 + second as u64 + third as u64 + fourth as u64
}

/// Folds a sum of words to the 16 bits of an internet checksum (RFC 1071), not inverted.
#[inline(always)]
const fn folded(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

/// One hop less, and the checksum that goes with it (RFC 1624).
#[inline(always)]
fn age_v4(head: &Bytes, start: usize) {
    store!("u8", start + 22, head.u8::<22>() - 1);
    let sum = u32::from(head.u16::<24>()) + 0x100;
    store!("u16", start + 24, (folded(u64::from(sum))).to_be());
}
