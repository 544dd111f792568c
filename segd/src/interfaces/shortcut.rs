//! Who forwards what comes in by an interface: the kernel, or XDP for established connections. Pure but for what it is told of
//! connection tracking; which devices XDP may send to is [`super::features`]'.

use std::fs;

use crate::policy::Forward;

use super::{Hook, Link};

/// Who forwards, and why not XDP if the policy asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardDecision {
    /// Who forwards established connections.
    pub forward: Forward,
    /// Why the kernel does, where the policy asks for the shortcut.
    pub why: Option<String>,
}

/// Decides who forwards what comes in by `link`, which `hook` guards.
///
/// `strict`: connection tracking is at work and wants to see each TCP segment.
#[must_use]
pub fn choose_forward(link: &Link, asked: Forward, hook: Hook, strict: bool) -> ForwardDecision {
    let kernel = |why: &str| ForwardDecision { forward: Forward::Kernel, why: Some(why.to_owned()) };
    if asked == Forward::Kernel {
        return ForwardDecision::default();
    }
    if hook != Hook::Xdp {
        return kernel("it is not guarded by XDP in its driver");
    }
    if link.address.is_none() {
        return kernel("it has no Ethernet address");
    }
    if link.master.is_some() {
        return kernel("it is a port: its master forwards");
    }
    if strict {
        return kernel(
            "connection tracking drops what it has not seen in order; \
             write 1 to net.netfilter.nf_conntrack_tcp_be_liberal",
        );
    }
    ForwardDecision { forward: Forward::Shortcut, why: None }
}

/// Whether connection tracking of this network namespace holds connections, and takes TCP segments behind a gap for invalid ones.
#[must_use]
pub fn tracks_strictly() -> bool {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/net/netfilter/{name}")).ok();
    let number = |name: &str| read(name).and_then(|text| text.trim().parse::<u64>().ok());
    number("nf_conntrack_count").is_some_and(|count| count > 0) && number("nf_conntrack_tcp_be_liberal") == Some(0)
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    fn why(link: &Link, hook: Hook, strict: bool) -> String {
        let decision = choose_forward(link, Forward::Shortcut, hook, strict);
        assert_eq!(decision.forward == Forward::Shortcut, decision.why.is_none());
        decision.why.unwrap_or_default()
    }

    #[test]
    fn the_shortcut_is_taken_where_xdp_guards_an_ethernet_device_of_its_own() {
        let link = Link::sample(2, "lan0", Kind::Physical);
        assert_eq!(why(&link, Hook::Xdp, false), "");
        assert_eq!(choose_forward(&link, Forward::Kernel, Hook::Xdp, false), ForwardDecision::default());
    }

    #[test]
    fn where_it_is_not_taken_the_reason_is_told() {
        let link = Link::sample(2, "lan0", Kind::Physical);
        assert!(why(&link, Hook::Tc, false).contains("XDP in its driver"));
        assert!(why(&link, Hook::XdpGeneric, false).contains("XDP in its driver"));
        assert!(why(&link, Hook::Xdp, true).contains("nf_conntrack_tcp_be_liberal"));
        assert!(why(&Link { master: Some(9), ..link.clone() }, Hook::Xdp, false).contains("port"));
        assert!(why(&Link { address: None, ..link }, Hook::Xdp, false).contains("no Ethernet address"));
    }
}
