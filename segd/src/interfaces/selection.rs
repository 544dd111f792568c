//! Which interfaces the policy guards, and how. Never looks at the machine: a link and the selectors are all it asks.

use crate::policy::{Forward, HookChoice, InterfaceSelector};

use super::Link;

/// How the policy wants an interface guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guarding {
    /// Which hook.
    pub hook: HookChoice,
    /// Who forwards established connections.
    pub forward: Forward,
}

/// How `selectors` want `link` guarded, or `None` if they leave it alone. The first match counts.
///
/// No selectors at all: everything but loopback. A wildcard never reaches loopback, for it would cut the
/// machine's own programs from each other; only its whole name does. Whether others see
/// all that this link sees, so that nothing has to be attached to it, is not asked here: see [`super::lower`].
#[must_use]
pub fn guarded(link: &Link, selectors: &[InterfaceSelector]) -> Option<Guarding> {
    if selectors.is_empty() {
        return (!link.loopback).then(Guarding::default);
    }
    let reaches = |selector: &&InterfaceSelector| {
        if link.loopback { selector.name.as_str() == link.name } else { selector.name.matches(&link.name) }
    };
    selectors.iter().find(reaches).map(|selector| Guarding { hook: selector.hook, forward: selector.forward })
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    fn selector(pattern: &str, hook: HookChoice) -> InterfaceSelector {
        InterfaceSelector { name: glob::Pattern::new(pattern).unwrap(), hook, forward: Forward::Kernel }
    }

    fn hook_for(name: &str, kind: Kind, selectors: &[InterfaceSelector]) -> Option<HookChoice> {
        guarded(&Link::sample(2, name, kind), selectors).map(|guarding| guarding.hook)
    }

    #[test]
    fn without_selectors_all_but_loopback_are_guarded_bridges_and_ports_alike() {
        let port = Link { master: Some(7), ..Link::sample(3, "veth1", Kind::Veth) };
        assert_eq!(guarded(&port, &[]), Some(Guarding::default()));
        assert_eq!(hook_for("br0", Kind::Bridge, &[]), Some(HookChoice::Auto));
        assert_eq!(hook_for("lo", Kind::Loopback, &[]), None);
    }

    #[test]
    fn the_first_selector_that_matches_counts() {
        let selectors = [
            selector("lan0", HookChoice::Tc),
            selector("lan[0-9]", HookChoice::Xdp),
            selector("w?n*", HookChoice::Auto),
        ];
        assert_eq!(hook_for("lan0", Kind::Physical, &selectors), Some(HookChoice::Tc));
        assert_eq!(hook_for("lan1", Kind::Physical, &selectors), Some(HookChoice::Xdp));
        assert_eq!(hook_for("wan", Kind::Physical, &selectors), Some(HookChoice::Auto));
        assert_eq!(hook_for("lan10", Kind::Physical, &selectors), None);
        assert_eq!(hook_for("xwan", Kind::Physical, &selectors), None);
    }

    #[test]
    fn loopback_is_reached_by_its_whole_name_only() {
        assert_eq!(hook_for("lo", Kind::Loopback, &[selector("*", HookChoice::Auto)]), None);
        assert_eq!(hook_for("lo", Kind::Loopback, &[selector("lo", HookChoice::Tc)]), Some(HookChoice::Tc));
        assert_eq!(hook_for("lo0", Kind::Physical, &[selector("*", HookChoice::Auto)]), Some(HookChoice::Auto));
    }
}
