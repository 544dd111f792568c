//! What the daemon weighs with a large policy: the limit of the contract, kept with room to spare.

use std::fmt::Write;

use anyhow::{Context, Result};
use segd_tests::lab::Lab;
use segd_tests::needs_root;

const ZONES: u32 = 97;

/// Ten thousand prefixes of both families and ten thousand rules.
fn large() -> String {
    let mut text = String::from("version: 1\ninterfaces: [{ name: \"lan*\" }, { name: \"wan*\" }]\nzones:\n");
    for zone in 0..ZONES {
        // Spread over all of 128.0.0.0/2, as scattered as a real list of networks.
        let prefixes = (zone..5000).step_by(ZONES as usize).map(|number| number.wrapping_mul(0x9e37_79b9) >> 10 << 8);
        let networks = prefixes.map(|low| {
            let [a, b, c, _] = (low & 0x3fff_ff00 | 0x8000_0000).to_be_bytes();
            format!("{a}.{b}.{c}.0/24, \"2001:db8:{a:x}{b:02x}:{c:02x}00::/56\"")
        });
        // Writing into a string cannot fail.
        let _ = writeln!(text, "  z{zone}: {{ networks: [{}] }}", networks.collect::<Vec<_>>().join(", "));
    }
    text.push_str("rules:\n");
    for rule in 0..10_000 {
        let (from, to, port) = (rule % ZONES, rule / ZONES % ZONES, 1024 + rule % 89 * 7);
        let _ = writeln!(
            text,
            "  - {{ id: r{rule}, from: z{from}, to: z{to}, services: [tcp/{port}, udp/{port}], reason: a test, \
             approved_by: tests@example.com }}"
        );
    }
    text
}

fn megabytes(pid: u32, field: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such line in its status")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

#[test]
fn ten_thousand_prefixes_and_rules_weigh_less_than_the_limit_at_start_at_rest_and_after_a_reload() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(large())?;
    let pid = lab.daemon.pid().context("the daemon does not run")?;
    let (rest, peak) = (megabytes(pid, "VmRSS:")?, megabytes(pid, "VmHWM:")?);
    assert!(rest < 150 && peak < 200, "{rest} MB at rest, {peak} MB at the most");
    lab.metrics()?;
    lab.daemon.ctl(&["rules"])?;
    lab.reload(large())?;
    let (rest, peak) = (megabytes(pid, "VmRSS:")?, megabytes(pid, "VmHWM:")?);
    assert!(rest < 150 && peak < 200, "{rest} MB after a reload, {peak} MB at the most");
    Ok(())
}
