//! Kernels against suites, as a table that is Markdown too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::guest::Run;

/// A row for each kernel.
pub(crate) fn draw(runs: &[Run]) -> String {
    let rows: Vec<_> = runs.iter().map(|run| suites(&run.said)).collect();
    let names: BTreeSet<&str> = rows.iter().flat_map(|row| row.keys().copied()).collect();
    let mut table = String::from("| kernel |");
    for name in &names {
        let _ = write!(table, " {name} |");
    }
    let _ = writeln!(table, " verdict |\n|---|{}---|", "---|".repeat(names.len()));
    for (run, row) in runs.iter().zip(&rows) {
        let _ = write!(table, "| {} |", run.release);
        for name in &names {
            let _ = write!(table, " {} |", row.get(name).map_or("–", String::as_str));
        }
        let _ = writeln!(table, " {}, {} s |", run.verdict, run.took.as_secs());
    }
    table
}

/// `suite life passed 9 failed 0 skipped 0 exit good` by name: how many passed, and of how many if not all did.
fn suites(said: &str) -> BTreeMap<&str, String> {
    let outcome = |line| {
        let words: Vec<&str> = str::split_whitespace(line).collect();
        let ["suite", name, "passed", passed, "failed", failed, "skipped", skipped, "exit", exit] = words[..] else {
            return None;
        };
        let good = (failed, skipped, exit) == ("0", "0", "good");
        let text = if good { passed.to_owned() } else { format!("{passed}, {failed} FAILED, {skipped} skipped") };
        Some((name, text))
    };
    said.lines().filter_map(outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_that_did_not_pass_whole_stands_out() {
        let said = "suite life passed 9 failed 0 skipped 0 exit good\nsuite nat passed 1 failed 1 skipped 0 exit bad\n";
        let expected = BTreeMap::from([("life", "9".to_owned()), ("nat", "1, 1 FAILED, 0 skipped".to_owned())]);
        assert_eq!(suites(said), expected);
    }
}
