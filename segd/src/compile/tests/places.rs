//! Addresses: every trie gives what a walk along the list of prefixes gives.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;
use segd_common::addr::Addr;
use segd_common::image::{Place, Root};

use super::{compiled, facts, zone};
use crate::compile::{Facts, Registry, compile};
use crate::policy::{Policy, Zone};

/// Bytes that make prefixes nest and touch, and meet the martians.
fn byte() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![0_u8, 0, 1, 2, 10, 0x20, 127, 128, 192, 224, 240, 0xfe, 0xff, 0xff])
}

fn v4() -> impl Strategy<Value = IpAddr> {
    prop::array::uniform4(byte()).prop_map(|bytes| Ipv4Addr::from(bytes).into())
}

fn v6() -> impl Strategy<Value = IpAddr> {
    (prop::array::uniform16(byte()), 0..=16_usize).prop_map(|(mut bytes, zeroes)| {
        bytes[16 - zeroes..].fill(0);
        Ipv6Addr::from(bytes).into()
    })
}

fn network() -> impl Strategy<Value = IpNet> {
    let v4 = (v4(), 0..=32_u8).prop_map(|(address, len)| IpNet::new(address, len).unwrap());
    let v6 = (v6(), 0..=128_u8).prop_map(|(address, len)| IpNet::new(address, len).unwrap());
    prop_oneof![v4, v6].prop_map(|network| network.trunc())
}

fn ends(network: &IpNet) -> [IpAddr; 4] {
    let step = |address: IpAddr, up: bool| -> IpAddr {
        match address {
            IpAddr::V4(v4) if up => Ipv4Addr::from_bits(v4.to_bits().wrapping_add(1)).into(),
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().wrapping_sub(1)).into(),
            IpAddr::V6(v6) if up => Ipv6Addr::from_bits(v6.to_bits().wrapping_add(1)).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().wrapping_sub(1)).into(),
        }
    };
    let (first, last) = (network.network(), network.broadcast());
    [step(first, false), first, last, step(last, true)]
}

/// What the list of prefixes says, one after the other.
fn naive(policy: &Policy, facts: &Facts, registry: &Registry, address: IpAddr) -> Place {
    let mut best = (-1_i32, 0);
    let mut longer = |len: u8, number: u16| best = best.max((i32::from(len) * 2, i32::from(number)));
    for tunnel in ["2002::/16", "2001::/32", "::/96"].map(|text| text.parse::<IpNet>().unwrap()) {
        if tunnel.contains(&address) {
            longer(tunnel.prefix_len(), 0);
        }
    }
    for zone in &policy.zones {
        for network in zone.networks.iter().filter(|network| network.contains(&address)) {
            longer(network.prefix_len(), registry.zone_id(&zone.name.0).unwrap());
        }
    }
    let number = if facts.host.contains(&address) { 1 } else { best.1.cast_unsigned() };
    Place(number | flags(policy, address))
}

fn flags(policy: &Policy, address: IpAddr) -> u32 {
    let (source, destination, link, multicast) = match address {
        IpAddr::V4(v4) => {
            let first = v4.octets()[0];
            let inside = first == 0 || first == 127;
            (inside || first >= 224, inside, false, (224..240).contains(&first) || v4 == Ipv4Addr::BROADCAST)
        }
        IpAddr::V6(v6) => {
            let inside = v6.is_unspecified() || v6.is_loopback() || v6.to_ipv4_mapped().is_some();
            (inside || v6.is_multicast(), inside, v6.is_unicast_link_local(), v6.is_multicast())
        }
    };
    let failsafe = policy.failsafe.from.iter().any(|network| network.contains(&address));
    let bits = [
        (source, Place::BAD_SOURCE),
        (destination, Place::BAD_DESTINATION),
        (link, Place::LINK_LOCAL),
        (multicast, Place::MULTICAST),
        (failsafe, Place::FAILSAFE),
    ];
    bits.into_iter().filter(|(set, _)| *set).fold(0, |flags, (_, bit)| flags | bit)
}

fn shown(place: Place) -> (u16, u32) {
    (place.zone(), place.0 >> 16)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_longest_prefix_decides_at_every_boundary(
        networks in prop::collection::btree_set(network(), 0..40),
        failsafe in prop::collection::vec(network(), 0..3),
        host in prop::collection::vec(prop_oneof![v4(), v6()], 0..4),
        strays in prop::collection::vec(prop_oneof![v4(), v6()], 40),
    ) {
        let mut policy = Policy::default();
        let networks: Vec<IpNet> = networks.into_iter().collect();
        for (index, part) in networks.chunks(3).enumerate() {
            policy.zones.push(Zone { networks: part.to_vec(), ..zone(&format!("z{index}"), &[]) });
        }
        policy.failsafe.from = failsafe;
        let facts = Facts { host, ..facts() };
        let mut registry = Registry::default();
        let image = compile(&policy, &facts, &mut registry).unwrap();

        let fixed = ["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32", "::/128", "::1/128", "::/96", "2002::/16", "2001::/32", "fe80::/10", "ff00::/8"];
        let fixed = fixed.map(|network| network.parse::<IpNet>().unwrap());
        let edges = networks.iter().chain(&policy.failsafe.from).chain(&fixed).flat_map(ends);
        for address in edges.chain(facts.host.iter().copied()).chain(strays) {
            // In disguise it is looked up as IPv4.
            let address = address.to_canonical();
            let found = image.root().place(image.pages(), Addr::from(address));
            prop_assert_eq!(shown(found), shown(naive(&policy, &facts, &registry, address)), "{}", address);
        }
    }
}

fn place(root: &Root, image: &crate::compile::Image, address: &str) -> Place {
    root.place(image.pages(), Addr::from(address.parse::<IpAddr>().unwrap()))
}

#[test]
fn an_address_of_this_machine_is_host_whatever_zone_its_network_is_in() {
    let policy = Policy { zones: vec![zone("all", &["0.0.0.0/0", "192.0.2.1/32"])], ..Policy::default() };
    let image = compiled(&policy);
    assert_eq!(place(image.root(), &image, "192.0.2.1"), Place(1));
    assert_eq!(place(image.root(), &image, "192.0.2.2"), Place(3));
}

#[test]
fn tunnelling_prefixes_are_unzoned_unless_a_zone_names_them() {
    let wide = compiled(&Policy { zones: vec![zone("all", &["::/0"])], ..Policy::default() });
    let named = compiled(&Policy {
        zones: vec![zone("all", &["::/0", "2002::/16"]), zone("part", &["2001:0:1::/48"])],
        ..Policy::default()
    });
    for (address, in_wide, in_named) in
        [("2002:a00::1", 0, 3), ("2001:0:1::1", 0, 4), ("2001:0:2::1", 0, 0), ("::10.0.0.1", 0, 0), ("2001:1::", 3, 3)]
    {
        assert_eq!(place(wide.root(), &wide, address), Place(in_wide), "{address}");
        assert_eq!(place(named.root(), &named, address), Place(in_named), "{address}");
    }
}

#[test]
fn a_single_host_takes_skip_records_and_not_a_page_for_each_byte() {
    let empty = compiled(&Policy::default()).page_count();
    let image = compiled(&Policy {
        zones: vec![zone("one", &["2a00:1234:5678:9abc:def0:1234:5678:9abc/128"])],
        ..Policy::default()
    });
    assert!(image.page_count() <= empty + 4, "{} pages, {empty} without it", image.page_count());
}

#[test]
fn zones_with_interfaces_are_seen_there_and_all_others_everywhere() {
    let mut policy =
        Policy { zones: vec![zone("lan", &["10.0.0.0/8"]), zone("rest", &["0.0.0.0/0"])], ..Policy::default() };
    let everywhere = compiled(&policy);
    policy.zones[0].interfaces = vec!["lan*".parse().unwrap(), "wan0".parse().unwrap()];
    policy.zones[1].interfaces = vec!["wan?".parse().unwrap()];
    let image = compiled(&policy);
    let seen = |zone: u16| [0, 1, 2, 44, 300, 65_535].map(|slot| image.root().may_be_seen(image.pages(), zone, slot));
    assert_eq!(seen(3), [false, true, true, false, true, false]);
    assert_eq!(seen(4), [false, false, false, false, true, false]);
    for zone in [0, 1, 2, 5, 300] {
        assert_eq!(seen(zone), [true; 6], "zone {zone}");
    }
    assert_eq!(everywhere.root().seen.as_leaf(), Some(1));
}
