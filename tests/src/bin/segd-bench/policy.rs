//! Zone files as large as one asks for, the same ones each time. They must stay files that `segd check` accepts.

use std::collections::BTreeSet;
use std::fmt::Write;

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
    // Twenty-four bits that no two prefixes share, all of them in 128.0.0.0/2.
    let mut bits = BTreeSet::new();
    while bits.len() < spread {
        bits.insert(random.next() & 0x3fff_ff00 | 0x8000_0000);
    }
    let bits: Vec<u32> = bits.into_iter().collect();
    let generated = size.zones.saturating_sub(FIXED_ZONES);
    let limits = |connections| format!("limits: {{ connections: {connections}, half_open: 65536 }}\n");
    let mut zones = size.connections.map(limits).unwrap_or_default();
    zones.insert_str(0, HEAD);
    zones.push_str(ZONES);
    for zone in 0..generated {
        let mine = bits.iter().skip(zone).step_by(generated);
        let networks: Vec<String> = mine.map(|bits| format!("{}, \"{}\"", v4(*bits), v6(*bits))).collect();
        // Writing into a string cannot fail.
        let _ = writeln!(zones, "  z{zone}: {{ networks: [{}] }}", networks.join(", "));
    }
    zones.push_str(RULES);
    rules(&mut zones, size.rules.saturating_sub(1), generated);
    let pick = |random: &mut Random| match bits.get(random.next() as usize % bits.len().max(1)) {
        Some(bits) => bits | random.next() & 0xff,
        None => random.next() & 0x3fff_ffff | 0x8000_0000,
    };
    Written { zones, sources: (0..1 << 16).map(|_| pick(&mut random)).collect() }
}

fn rules(zones: &mut String, count: usize, generated: usize) {
    for rule in 0..count {
        let (from, to) = (rule % generated, rule / generated % generated);
        let port = 1024 + rule % PORTS * 7;
        let _ = writeln!(
            zones,
            "  - {{ id: r{rule}, from: z{from}, to: z{to}, services: [tcp/{port}, udp/{port}], \
             reason: measured, approved_by: bench@example.com }}"
        );
    }
}

fn v4(bits: u32) -> String {
    let [a, b, c, _] = bits.to_be_bytes();
    format!("{a}.{b}.{c}.0/24")
}

fn v6(bits: u32) -> String {
    format!("2001:db8:{:x}:{:x}::/56", bits >> 16, bits & 0xff00)
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
