//! A counter at a receiver for what must not come. It counts in the kernel, before anything is put together or refused there,
//! so no flood makes it miss a packet.

use anyhow::{Context, Result};
use serde_json::Value;

use super::namespace::Namespace;

/// Counts from its making on.
#[derive(Debug)]
pub struct Watch<'a>(&'a Namespace);

impl<'a> Watch<'a> {
    /// Counts what comes in that fits any of these, in the words of nftables: `tcp dport 5433`. One a namespace.
    pub fn new(net: &'a Namespace, what: &[&str]) -> Result<Self> {
        let rules: Vec<String> = what.iter().map(|what| format!("{what} counter name leaked;")).collect();
        net.nft(&format!(
            "table inet watch {{ counter leaked {{ }}; chain inbound {{ type filter hook prerouting priority -450; {} }}; }}",
            rules.join(" ")
        ))?;
        Ok(Self(net))
    }

    /// The one that was made before in this namespace.
    #[must_use]
    pub const fn of(net: &'a Namespace) -> Self {
        Self(net)
    }

    /// How many packets of that came.
    pub fn leaked(&self) -> Result<u64> {
        let said = self.0.command("nft", &["-j", "list", "counter", "inet", "watch", "leaked"])?;
        let counter: Value = serde_json::from_str(&said)?;
        let all = counter["nftables"].as_array().into_iter().flatten();
        all.into_iter().find_map(|one| one["counter"]["packets"].as_u64()).context("a counter of packets")
    }
}
