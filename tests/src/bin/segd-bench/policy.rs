//! Zone files as large as one asks for, the same ones each time. They must stay files that `segd check` accepts.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::{Context, Result};

/// How large a policy is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Prefixes of all zones, both families together.
    pub(crate) prefixes: usize,
    /// Zones.
    pub(crate) zones: usize,
    /// Rules.
    pub(crate) rules: usize,
    /// Connections that the table has room for; `None`: what a zone file without `limits` gets.
    pub(crate) connections: Option<u32>,
    /// What prefixes and rules look like.
    pub(crate) shape: Shape,
}

/// What prefixes and rules look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Prefixes of one length, and two ports for each rule: what nftables' maps can say too.
    Even,
    /// Prefixes of all lengths, one in another, and services in the mix that `ClassBench` (Taylor and Turner, 2005) found in
    /// access lists: one port, a range, all low ones, all high ones, any.
    Mixed,
}

/// An IPv4 prefix's bits and length; its IPv6 twin has the bits behind `2001:db8::/32`.
type Prefix = (u32, u32);

/// The same text with another port in its first rule between generated zones.
pub(crate) fn with_one_rule_changed(zones: &str) -> Result<String> {
    let (head, rest) = zones.split_once("id: r0,").context("no rule to change")?;
    let (rule, rest) = rest.split_once('\n').context("no end of the rule")?;
    let (before, after) = rule.split_once("services: [").context("a rule without services")?;
    Ok(format!("{head}id: r0,{before}services: [tcp/79, {after}\n{rest}"))
}

/// A zone file, and addresses that its prefixes hold.
#[derive(Debug)]
pub(crate) struct Written {
    /// The text.
    pub(crate) zones: String,
    /// Bits that pick random sources: see [`v4`] and [`v6`]. None of them may reach `accounting`.
    pub(crate) sources: Vec<u32>,
}

/// Zones that every policy has: what flows run between, and the rest of the world.
const FIXED_ZONES: usize = 3;
const FIXED_PREFIXES: usize = 6;
/// Ports of the rules between generated zones, so that rules differ in more than their zones.
const PORTS: usize = 97;

/// Steps of a linear congruential generator (Knuth's MMIX); the bench repeats itself exactly.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }
}

/// The policy of this size. One rule lets `dev` into `accounting` at tcp/5432; all others are between generated zones.
pub(crate) fn write(size: Size) -> Written {
    let mut random = Random(7);
    let spread = size.prefixes.saturating_sub(FIXED_PREFIXES).div_ceil(2);
    let prefixes = prefixes(&mut random, spread, size.shape);
    let generated = size.zones.saturating_sub(FIXED_ZONES);
    let limits = |connections| format!("limits: {{ connections: {connections}, half_open: 65536 }}\n");
    let mut zones = size.connections.map(limits).unwrap_or_default();
    zones.insert_str(0, HEAD);
    zones.push_str(ZONES);
    for zone in 0..generated {
        let mine = prefixes.iter().skip(zone).step_by(generated);
        let networks: Vec<String> = mine.map(|prefix| format!("{}, \"{}\"", v4(*prefix), v6(*prefix))).collect();
        // Writing into a string cannot fail.
        let _ = writeln!(zones, "  z{zone}: {{ networks: [{}] }}", networks.join(", "));
    }
    zones.push_str(RULES);
    rules(&mut zones, size.rules.saturating_sub(1), generated, size.shape);
    let pick = |random: &mut Random| match prefixes.get(random.next() as usize % prefixes.len().max(1)) {
        Some((bits, len)) => bits | random.next().checked_shr(*len).unwrap_or(0),
        None => random.next() & 0x3fff_ffff | 0x8000_0000,
    };
    Written { zones, sources: (0..1 << 16).map(|_| pick(&mut random)).collect() }
}

/// So many prefixes that no two zones share, all of them in 128.0.0.0/2.
fn prefixes(random: &mut Random, count: usize, shape: Shape) -> Vec<Prefix> {
    let mut all = BTreeSet::new();
    while all.len() < count {
        let len = match (shape, random.next() % 100) {
            (Shape::Even, _) | (Shape::Mixed, 25..75) => 24,
            (_, 0..5) => 16,
            (_, 5..15) => 20,
            (_, 15..25) => 22,
            (_, 75..85) => 28,
            _ => 32,
        };
        let mask = u32::MAX << (32 - len);
        let bits = random.next() & 0x3fff_ffff & mask | 0x8000_0000;
        // Link-local addresses are no zone's alone.
        if bits >> 16 != 0xa9fe {
            all.insert((bits, len));
        }
    }
    all.into_iter().collect()
}

fn rules(zones: &mut String, count: usize, generated: usize, shape: Shape) {
    let mut random = Random(11);
    for rule in 0..count {
        let (from, to) = (rule % generated, rule / generated % generated);
        let port = 1024 + rule % PORTS * 7;
        let services = match shape {
            Shape::Even => format!("tcp/{port}, udp/{port}"),
            Shape::Mixed => mixed(random.next(), port),
        };
        let _ = writeln!(
            zones,
            "  - {{ id: r{rule}, from: z{from}, to: z{to}, services: [{services}], \
             reason: measured, approved_by: bench@example.com }}"
        );
    }
}

fn mixed(chance: u32, port: usize) -> String {
    match chance % 100 {
        0..50 => format!("tcp/{port}"),
        50..60 => format!("udp/{port}"),
        60..75 => format!("tcp/{port}-{}", port + 1 + chance as usize / 100 % 50),
        75..80 => "tcp/1-1023".to_owned(),
        80..90 => "tcp/1024-65535, udp/1024-65535".to_owned(),
        90..95 => "icmp".to_owned(),
        _ => "any".to_owned(),
    }
}

fn v4((bits, len): Prefix) -> String {
    format!("{}/{len}", std::net::Ipv4Addr::from_bits(bits))
}

fn v6((bits, len): Prefix) -> String {
    format!("2001:db8:{:x}:{:x}::/{}", bits >> 16, bits & 0xffff, len + 32)
}

const HEAD: &str = r#"version: 1
mode: enforce
interfaces:
  - { name: "lan*", hook: auto }
  - { name: "wan*", hook: auto }
"#;

const ZONES: &str = r#"zones:
  accounting: { networks: [10.20.0.0/24, "fd00:20::/64"] }
  dev: { networks: [10.30.0.0/16, "fd00:30::/64"] }
  internet: { networks: [0.0.0.0/0, "::/0"] }
"#;

const RULES: &str = "rules:
  - { id: open, from: dev, to: accounting, services: [tcp/5432], reason: measured, approved_by: bench@example.com }
";
