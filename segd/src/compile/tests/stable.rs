//! Pages: they can be placed anywhere, equal input gives equal pages, and a small change touches few of them.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use segd_common::image::{Page, Root};

use super::{JIFFIES, compiled, facts, hours, rule, zone};
use crate::compile::{HostPages, Image, NoRoom, Question, Registry, answer, compile};
use crate::policy::{Mode, Policy};

/// An array of pages that gives out numbers from the far end, so that none is what it was.
struct Elsewhere {
    pages: HostPages,
    known: HashMap<Page, u32>,
    next: u32,
}

impl Elsewhere {
    fn new(size: u32) -> Self {
        Self { pages: HostPages(vec![Page([0; 256]); size as usize]), known: HashMap::new(), next: size }
    }

    fn place(&mut self, image: &Image) -> Result<Root, NoRoom> {
        image.laid().place(|page| {
            if let Some(known) = self.known.get(page) {
                return Some(*known);
            }
            let number = self.next;
            *self.pages.0.get_mut((number as usize).checked_sub(1)?)? = *page;
            self.next -= 1;
            self.known.insert(*page, number);
            Some(number)
        })
    }
}

/// `zones` networks of IPv4 and IPv6, and `rules` between them.
fn large(zones: u32, prefixes: u32, rules: u32) -> Policy {
    let zone_list = (0..zones).map(|n| zone(&format!("z{n}"), &[])).collect();
    let mut policy = Policy { zones: zone_list, ..Policy::default() };
    for n in 0..prefixes {
        let mixed = n.wrapping_mul(2_654_435_761);
        let v4 = format!("{}.{}.{}.0/24", 11 + n % 89, mixed >> 8 & 0xff, mixed >> 16 & 0xff);
        let v6 = format!("2a00:{:x}:{:x}::/64", mixed >> 16, n);
        let network = if n % 3 == 0 { v6 } else { v4 };
        policy.zones[(n % zones) as usize].networks.push(network.parse().unwrap());
    }
    policy.rules = (0..rules)
        .map(|n| {
            let (from, to) = (format!("z{}", n % zones), format!("z{}", n * 7 % zones));
            let ports = format!("tcp/{}-{}", 1000 + n % 5000, 1000 + n % 5000 + n % 40);
            rule(&format!("r{n}"), if n % 97 == 0 { "any" } else { &from }, &to, &[&ports, "udp/53"])
        })
        .collect();
    policy
}

#[test]
fn an_image_decides_the_same_wherever_it_is_placed() {
    let mut policy = large(20, 200, 300);
    policy.rules[7].expires = Some(hours(1));
    policy.rules.push(crate::policy::Rule { mode: Mode::Audit, ..rule("all", "any", "any", &["tcp/0-65535"]) });
    policy.failsafe.from = vec!["11.0.0.0/8".parse().unwrap()];
    policy.failsafe.services = vec!["tcp/22".parse().unwrap()];
    let image = compiled(&policy);
    let mut elsewhere = Elsewhere::new(image.page_count() + 500);
    let root = elsewhere.place(&image).unwrap();
    let addresses: Vec<std::net::IpAddr> =
        policy.zones.iter().flat_map(|zone| zone.networks.iter().take(3).map(ipnet::IpNet::broadcast)).collect();
    for src in &addresses {
        for dst in &addresses {
            for service in ["tcp/22", "tcp/1007", "tcp/1046", "udp/53", "udp/54", "icmp"] {
                let question = Question { src: *src, dst: *dst, service: service.parse().unwrap() };
                for now in [JIFFIES, u64::MAX] {
                    assert_eq!(
                        answer(&elsewhere.pages, &root, &question, now),
                        image.answer(&question, now),
                        "{question:?}"
                    );
                }
            }
        }
    }
    assert_eq!(
        root,
        Root { v4: root.v4, v6: root.v6, pairs: root.pairs, seen: root.seen, failsafe: root.failsafe, ..*image.root() }
    );
}

#[test]
fn what_finds_no_room_says_how_far_it_came() {
    let image = compiled(&large(5, 20, 20));
    let error = Elsewhere::new(3).place(&image).unwrap_err();
    assert_eq!(error, NoRoom { needed: image.page_count(), placed: 3 });
}

/// Pages of the second image that the first does not have, and all of the second's.
fn new_pages(registry: &mut Registry, before: &Policy, after: &Policy) -> (usize, u32) {
    let mut map = Elsewhere::new(100_000);
    map.place(&compile(before, &facts(), registry).unwrap()).unwrap();
    let first: HashSet<Page> = map.known.keys().copied().collect();
    let image = compile(after, &facts(), registry).unwrap();
    map.place(&image).unwrap();
    (map.known.len() - first.len(), image.page_count())
}

#[test]
fn a_rule_more_or_less_touches_few_pages() {
    let full = large(100, 1000, 2000);
    let mut less = full.clone();
    less.rules.remove(1001);
    let mut registry = Registry::default();
    let (new, all) = new_pages(&mut registry, &full, &less);
    println!("a rule less: {new} of {all} pages are new");
    assert!(new * 4 < all as usize, "{new} of {all} pages");
    let (new, _) = new_pages(&mut registry, &less, &less);
    assert_eq!(new, 0);
}

#[test]
fn a_file_turned_around_gives_the_same_pages() {
    let full = large(40, 300, 500);
    let mut turned = full.clone();
    turned.zones.reverse();
    turned.rules.reverse();
    // Rules of equal strength: the earlier one speaks.
    for (rule, n) in turned.rules.iter_mut().zip(0..) {
        rule.expires = Some(hours(500 - n));
    }
    let mut straight = full;
    for (rule, n) in straight.rules.iter_mut().zip(1..) {
        rule.expires = Some(hours(n));
    }
    let (new, _) = new_pages(&mut Registry::default(), &straight, &turned);
    assert_eq!(new, 0);
}

#[test]
fn ten_thousand_prefixes_and_ten_thousand_rules() {
    let policy = large(250, 10_000, 10_000);
    let start = Instant::now();
    let image = compiled(&policy);
    let compile = start.elapsed();
    let mut map = Elsewhere::new(image.page_count());
    let start = Instant::now();
    map.place(&image).unwrap();
    println!(
        "10k prefixes, 10k rules, 250 zones: compiled in {compile:?}, placed in {:?}, {} pages",
        start.elapsed(),
        image.page_count()
    );
}
