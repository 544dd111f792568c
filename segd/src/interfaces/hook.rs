//! Which kernel hook guards an interface, and why that one. Pure: what the interface is decides, nothing is tried.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::policy::{Forward, HookChoice};

use super::{Guarding, Kind, Link};

/// Where the ingress program sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// XDP in the driver: the earliest drop.
    Xdp,
    /// XDP in the stack, after the kernel made a socket buffer.
    XdpGeneric,
    /// Traffic control ingress.
    Tc,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdp-generic",
            Self::Tc => "tc",
        })
    }
}

/// A word that names no hook.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no hook; write one of xdp, xdp-generic, tc")]
pub struct UnknownHook(String);

impl FromStr for Hook {
    type Err = UnknownHook;

    fn from_str(word: &str) -> Result<Self, UnknownHook> {
        [Self::Xdp, Self::XdpGeneric, Self::Tc]
            .into_iter()
            .find(|hook| hook.to_string() == word)
            .ok_or_else(|| UnknownHook(word.to_owned()))
    }
}

/// A hook and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookDecision {
    /// Where to attach.
    pub hook: Hook,
    /// Why there, in words for `status`.
    pub why: String,
}

/// A hook that was asked for and cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// XDP reads frames from their Ethernet header on.
    #[error(
        "cannot guard {name} by {hook}: frames of a {kind} interface have no Ethernet header; \
         set `hook: tc` (or `auto`) for it in the zone file"
    )]
    NoEthernet {
        /// The interface.
        name: String,
        /// What it is.
        kind: String,
        /// What was asked for.
        hook: Hook,
    },
    /// The driver has no XDP of its own.
    #[error(
        "cannot guard {name} by xdp: the driver of a {kind} interface has no native XDP; \
         set `hook: tc`, `xdp-generic` or `auto` for it in the zone file"
    )]
    NoNative {
        /// The interface.
        name: String,
        /// What it is.
        kind: String,
    },
}

/// Decides which hook guards `link`, as the policy wants it guarded.
///
/// # Errors
/// A forced choice that this kind of interface cannot take; the error names the mend. That a driver of a
/// physical device lacks XDP shows only when it is attached.
pub fn choose_hook(link: &Link, guarding: Guarding) -> Result<HookDecision, HookError> {
    let forced = match guarding.hook {
        HookChoice::Auto if guarding.forward == Forward::Shortcut && link.ethernet && may_have_native(&link.kind) => {
            let why = "the zone file says forward: shortcut, which is XDP's".to_owned();
            return Ok(HookDecision { hook: Hook::Xdp, why });
        }
        HookChoice::Auto => return Ok(automatic(link)),
        HookChoice::Xdp => Hook::Xdp,
        HookChoice::XdpGeneric => Hook::XdpGeneric,
        HookChoice::Tc => Hook::Tc,
    };
    if forced != Hook::Tc && !link.ethernet {
        return Err(HookError::NoEthernet { name: link.name.clone(), kind: link.kind.to_string(), hook: forced });
    }
    if forced == Hook::Xdp && !may_have_native(&link.kind) {
        return Err(HookError::NoNative { name: link.name.clone(), kind: link.kind.to_string() });
    }
    Ok(HookDecision { hook: forced, why: format!("the zone file says hook: {forced}") })
}

/// Kinds whose drivers surely lack `ndo_bpf` are told; whatever may have it is tried.
fn may_have_native(kind: &Kind) -> bool {
    !matches!(kind, Kind::Bridge | Kind::Vlan | Kind::Macvlan | Kind::Vxlan | Kind::Dummy | Kind::Loopback)
}

fn automatic(link: &Link) -> HookDecision {
    let because = |hook, why: &str| HookDecision { hook, why: why.to_owned() };
    if !link.ethernet {
        return because(Hook::Tc, "its packets have no Ethernet header, which XDP needs");
    }
    match &link.kind {
        Kind::Physical => because(Hook::Xdp, "a device with a driver of its own: XDP drops earliest there"),
        Kind::Veth => because(Hook::Tc, "XDP on veth undoes segmentation offload, which costs TCP most of its speed"),
        Kind::Tun | Kind::Tap => {
            because(Hook::Tc, "XDP on a program's interface undoes segmentation offload, which costs TCP its speed")
        }
        Kind::Bridge => because(Hook::Tc, "a bridge has no native XDP; it sees what is for this machine"),
        Kind::Vlan => because(Hook::Tc, "a VLAN interface has no native XDP"),
        Kind::Bond => because(Hook::Tc, "XDP on a bond works only as long as each member's driver has it"),
        Kind::Macvlan => because(Hook::Tc, "a macvlan interface has no native XDP"),
        Kind::Vxlan => because(Hook::Tc, "a VXLAN interface has no native XDP"),
        Kind::Dummy => because(Hook::Tc, "a dummy interface has no native XDP"),
        Kind::Loopback => because(Hook::Tc, "loopback has no native XDP"),
        Kind::Wireguard => because(Hook::Tc, "WireGuard carries IP packets, and XDP needs Ethernet frames"),
        Kind::Other(kind) => HookDecision {
            hook: Hook::Tc,
            why: format!("a virtual interface ({kind}): TC works on each and keeps its offloads"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(hook: HookChoice) -> Guarding {
        Guarding { hook, ..Guarding::default() }
    }

    fn decide(kind: Kind, choice: HookChoice) -> Result<Hook, HookError> {
        choose_hook(&Link::sample(2, "x0", kind), by(choice)).map(|decision| decision.hook)
    }

    #[test]
    fn auto_takes_xdp_for_physical_ethernet_and_tc_for_all_else() {
        let virtual_kinds = [
            Kind::Veth,
            Kind::Bridge,
            Kind::Vlan,
            Kind::Bond,
            Kind::Tun,
            Kind::Tap,
            Kind::Macvlan,
            Kind::Vxlan,
            Kind::Wireguard,
            Kind::Dummy,
            Kind::Loopback,
            Kind::Other("netkit".into()),
        ];
        assert_eq!(decide(Kind::Physical, HookChoice::Auto), Ok(Hook::Xdp));
        for kind in virtual_kinds {
            let decision = choose_hook(&Link::sample(2, "x0", kind.clone()), by(HookChoice::Auto)).unwrap();
            assert_eq!(decision.hook, Hook::Tc, "{kind}");
            assert!(decision.why.len() > 10, "{kind} has no reason: {}", decision.why);
        }
    }

    #[test]
    fn a_physical_device_without_ethernet_header_is_guarded_by_tc() {
        let modem = Link { ethernet: false, ..Link::sample(2, "wwan0", Kind::Physical) };
        assert_eq!(
            choose_hook(&modem, by(HookChoice::Auto)),
            Ok(HookDecision { hook: Hook::Tc, why: "its packets have no Ethernet header, which XDP needs".into() })
        );
    }

    #[test]
    fn a_forced_choice_is_taken_where_it_can_work() {
        for (choice, hook) in
            [(HookChoice::Xdp, Hook::Xdp), (HookChoice::XdpGeneric, Hook::XdpGeneric), (HookChoice::Tc, Hook::Tc)]
        {
            assert_eq!(decide(Kind::Veth, choice), Ok(hook));
        }
        assert_eq!(decide(Kind::Bridge, HookChoice::XdpGeneric), Ok(Hook::XdpGeneric));
    }

    #[test]
    fn the_shortcut_takes_xdp_wherever_a_driver_may_have_it() {
        let shortcut = Guarding { forward: Forward::Shortcut, ..Guarding::default() };
        let of = |kind| choose_hook(&Link::sample(2, "x0", kind), shortcut).map(|decision| decision.hook);
        assert_eq!(of(Kind::Veth), Ok(Hook::Xdp));
        assert_eq!(of(Kind::Bridge), Ok(Hook::Tc));
        assert_eq!(of(Kind::Wireguard), Ok(Hook::Tc));
    }

    #[test]
    fn forced_xdp_without_an_ethernet_header_is_refused_with_the_mend() {
        for choice in [HookChoice::Xdp, HookChoice::XdpGeneric] {
            let error = decide(Kind::Tun, choice).unwrap_err().to_string();
            assert!(
                error.contains("x0") && error.contains("no Ethernet header") && error.contains("`hook: tc`"),
                "{error}"
            );
        }
        assert_eq!(decide(Kind::Tun, HookChoice::Tc), Ok(Hook::Tc));
    }

    #[test]
    fn forced_native_xdp_on_a_bridge_is_refused_with_the_mend() {
        let error = decide(Kind::Bridge, HookChoice::Xdp).unwrap_err().to_string();
        assert!(error.contains("no native XDP") && error.contains("`xdp-generic`"), "{error}");
    }

    #[test]
    fn hooks_have_one_spelling() {
        for hook in [Hook::Xdp, Hook::XdpGeneric, Hook::Tc] {
            assert_eq!(hook.to_string().parse(), Ok(hook));
            assert_eq!(serde_json::to_string(&hook).unwrap(), format!("\"{hook}\""));
        }
        assert_eq!("XDP".parse::<Hook>(), Err(UnknownHook("XDP".into())));
    }
}
