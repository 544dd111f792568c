//! Whether the packet path has become slower than it was recorded to be. Times are another machine's business: compared is
//! what each path costs as a multiple of an insertion into a full LRU hash, and of all paths together, in one run. It must
//! never fail for noise: what is too slow is measured again, and has to be so each time.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::measure::{Block, Effort};
use crate::report::title;

/// Rounds and packets: seconds.
pub(crate) const EFFORT: Effort = Effort { rounds: 9, repeat: 100_000, brief: false };
/// So many times its record a path may cost, in insertions. An insertion waits for memory and a path computes: with the same
/// programs one machine was seen to need 2.2 times the record on another day, for all paths alike.
const ROOM: f64 = 2.5;
/// The same beside all paths, which tells one that became slower from a machine on which all are.
const ROOM_OF_ALL: f64 = 1.8;
/// How often what is too slow is measured again; and how often before it is recorded.
const AGAIN: usize = 3;

/// What each path costs, in insertions into a full LRU hash: seen in one run, or recorded of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Costs(BTreeMap<String, f64>);

impl Costs {
    /// Out of the blocks of one policy.
    pub(crate) fn of(blocks: &[Block]) -> Self {
        let name = |v6| if v6 { "IPv6" } else { "IPv4" };
        let costs = blocks.iter().flat_map(|block| {
            block.costs.iter().map(move |cost| {
                let path = format!("{}, {}", title(cost.way.kind), name(cost.way.v6));
                (path, cost.ratio.median() / block.insert.median())
            })
        });
        Self(costs.collect())
    }

    /// The geometric mean of all paths.
    fn mean(&self) -> f64 {
        let (logs, count) = self.0.values().fold((0.0, 0.0), |(logs, count), cost| (logs + cost.ln(), count + 1.0));
        f64::exp(logs / count)
    }

    /// What costs more than it was recorded to, in words.
    fn slower(&self, recorded: &Self) -> Vec<String> {
        let all = self.mean() / recorded.mean();
        let path = |(name, now): (&String, &f64)| {
            let times = now / recorded.0.get(name)?;
            let told = || format!("{name}: {times:.2} times its record, and all paths together {all:.2} times");
            (times > ROOM || times / all > ROOM_OF_ALL).then(told)
        };
        self.0.iter().filter_map(path).collect()
    }

    /// For each path the median of several runs.
    fn median(runs: &[Self]) -> Self {
        let median = |name: &String| {
            let mut costs: Vec<f64> = runs.iter().filter_map(|run| run.0.get(name).copied()).collect();
            costs.sort_by(f64::total_cmp);
            Some((name.clone(), *costs.get(costs.len() / 2)?))
        };
        Self(runs.iter().flat_map(|run| run.0.keys()).filter_map(median).collect())
    }

    fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(file, text).with_context(|| format!("could not write {}", file.display()))
    }

    fn recorded(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).with_context(|| format!("could not read {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} holds no record", file.display()))
    }
}

/// Keeps what `measure` sees, the middle one of several runs, as what later runs are compared with.
pub(crate) fn record(file: &Path, mut measure: impl FnMut() -> Result<Costs>) -> Result<()> {
    let runs: Vec<Costs> = (0..AGAIN).map(|_| measure()).collect::<Result<_>>()?;
    Costs::median(&runs).write(file)
}

/// Compares what `measure` sees with the record in `file`, and prints both.
pub(crate) fn compare(file: &Path, mut measure: impl FnMut() -> Result<Costs>) -> Result<()> {
    let recorded = Costs::recorded(file)?;
    let mut slower = Vec::new();
    for _ in 0..AGAIN {
        let seen = measure()?;
        if seen.0.keys().ne(recorded.0.keys()) {
            bail!("{} is of other paths; record them again: cargo xtask bench --guard --record", file.display());
        }
        for (name, now) in &seen.0 {
            println!("{name}: {now:.3} insertions into an LRU hash, recorded {:.3}", recorded.0[name]);
        }
        slower = seen.slower(&recorded);
        if slower.is_empty() {
            return Ok(());
        }
    }
    bail!(
        "the packet path has become slower, in each of {AGAIN} runs:\n  {}\nmend it; or if it has to be so, \
         cargo xtask bench --guard --record",
        slower.join("\n  ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(established: f64, denied: f64, new: f64) -> Costs {
        let all = [("established", established), ("denied", denied), ("new", new)];
        Costs(all.map(|(name, cost)| (name.to_owned(), cost)).into())
    }

    #[test]
    fn a_path_that_is_slower_is_named_and_noise_is_not() {
        let recorded = costs(0.1, 0.2, 0.5);
        assert_eq!(costs(0.12, 0.23, 0.5).slower(&recorded), Vec::<String>::new());
        assert_eq!(costs(0.06, 0.12, 0.35).slower(&recorded), Vec::<String>::new(), "another machine");
        let told = costs(0.1, 0.2, 1.3).slower(&recorded);
        assert!(told.len() == 1 && told[0].starts_with("new: 2.60 times its record"), "{told:?}");
        let told = costs(0.06, 0.12, 0.8).slower(&recorded);
        assert!(told.len() == 1 && told[0].starts_with("new: 1.60 times its record"), "slower than its like: {told:?}");
        assert_eq!(costs(0.18, 0.36, 0.9).slower(&recorded), Vec::<String>::new(), "another day");
        assert_eq!(costs(0.26, 0.52, 1.3).slower(&recorded).len(), 3);
    }

    #[test]
    fn what_is_slow_once_is_noise_and_what_stays_slow_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut seen = [costs(0.1, 0.3, 0.5), costs(0.2, 0.2, 0.9), costs(0.1, 0.1, 0.4)].into_iter();
        record(file.path(), || Ok(seen.next().unwrap())).unwrap();
        assert_eq!(Costs::recorded(file.path()).unwrap(), costs(0.1, 0.2, 0.5));
        let mut runs = [costs(0.3, 0.2, 0.5), costs(0.1, 0.2, 0.5)].into_iter();
        compare(file.path(), || Ok(runs.next().unwrap())).unwrap();
        let told = compare(file.path(), || Ok(costs(0.3, 0.2, 0.5))).unwrap_err().to_string();
        assert!(told.contains("established: 3.00 times"), "{told}");
        let other = compare(file.path(), || Ok(Costs(BTreeMap::new()))).unwrap_err();
        assert!(other.to_string().contains("record them again"), "{other}");
    }
}
