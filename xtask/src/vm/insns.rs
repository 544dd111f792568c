//! What each kernel's verifier counted, as the guests tell it, into the file that the tests compare with.

use std::collections::BTreeMap;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use super::guest::Run;
use super::kernel::Kind;
use crate::command::{cargo, root};

/// Counts of one kernel, by program.
fn counts(said: &str) -> BTreeMap<String, u64> {
    let count = |line: &str| {
        let mut words = line.strip_prefix("verified_insns ")?.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    said.lines().filter_map(count).collect()
}

/// `6.1` of `6.1.0-50-cloud-amd64`.
fn series(release: &str) -> String {
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// The same for the kernel that runs this machine.
fn here() -> Result<(String, BTreeMap<String, u64>)> {
    let words = ["test", "--quiet", "--locked", "-p", "segd-tests", "--test", "verifier", "--", "--nocapture"];
    // Its exit status is no matter: it fails as long as nothing is recorded.
    let out = cargo(&words).stderr(Stdio::inherit()).output().context("could not run cargo test")?;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    Ok((series(&release), counts(&String::from_utf8_lossy(&out.stdout))))
}

/// Writes what these kernels counted, and this machine's; what others counted stays.
pub(crate) fn record(runs: &[Run]) -> Result<()> {
    let file = root().join("tests/verifier-insns.json");
    let mut known: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
    let kernels = known["kernels"].as_object_mut().context("no kernels in the file")?;
    let guests = runs.iter().map(|run| (series(&run.release), counts(&run.said)));
    for (series, counts) in guests.chain([here()?]).filter(|(_, counts)| !counts.is_empty()) {
        let counts: Map<String, Value> = counts.into_iter().map(|(name, count)| (name, json!(count))).collect();
        kernels.insert(series, counts.into());
    }
    std::fs::write(&file, format!("{known:#}\n")).with_context(|| format!("could not write {}", file.display()))?;
    println!("recorded in {}", file.display());
    let silent = |run: &&Run| run.kernel.kind() != Kind::TooOld && counts(&run.said).is_empty();
    let silent: Vec<_> = runs.iter().filter(silent).map(Run::what_failed).collect();
    ensure!(silent.is_empty(), "not every kernel verified the programs:\n{}", silent.join("\n"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_what_a_guest_says() {
        let said = "kernel 6.1\nverified_insns segd_xdp 1234\nsuite verifier passed 1\nverified_insns broken\n";
        assert_eq!(counts(said), BTreeMap::from([("segd_xdp".to_owned(), 1234)]));
        assert_eq!(series("6.12.117+deb13-cloud-amd64"), "6.12");
    }
}
