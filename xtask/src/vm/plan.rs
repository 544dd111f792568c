//! Which suites a guest runs, and with what words: one a line, as its first process reads them.

use anyhow::{Result, ensure};

use super::kernel::Kind;

/// The suite that tells what the verifier counted.
pub(crate) const VERIFIER: &str = "verifier";

/// Test programs of `tests/`, and the words that they are run with on a kernel that is supported.
const SUITES: [(&str, &str); 9] = [
    (VERIFIER, "--nocapture"),
    ("frames_in_the_kernel", ""),
    ("policy", ""),
    ("life", ""),
    ("by_hand", ""),
    ("nat", ""),
    ("devices", "--include-ignored"),
    ("clock", "--include-ignored"),
    ("lab", ""),
];
/// One more, of which each kernel runs what is for its kind.
const KERNELS: &str = "kernels";

/// A plan whose only suite finds no test to run.
pub(crate) const FAILING: &str = "nothing /t/kernels --exact no_such_test\n";

/// All test programs that any plan names.
pub(crate) fn programs() -> impl Iterator<Item = &'static str> {
    SUITES.iter().map(|(name, _)| *name).chain([KERNELS])
}

/// The plan for a kernel of this kind; of `only` these suites, if any are named.
pub(crate) fn of(kind: Kind, only: &[String]) -> Result<String> {
    for name in only {
        ensure!(programs().any(|known| known == name), "no suite is called {name}");
    }
    let own = match kind {
        Kind::TooOld => "--ignored too_old",
        Kind::WithoutTcx => "--include-ignored --skip too_old",
        Kind::WithTcx => "--skip too_old --skip without_tcx",
    };
    // On a kernel that is refused there is nothing else to see.
    let shared = if kind == Kind::TooOld { &[][..] } else { &SUITES[..] };
    let wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name) || kind == Kind::TooOld;
    let all = shared.iter().copied().chain([(KERNELS, own)]).filter(|(name, _)| wanted(name));
    let lines: Vec<_> = all.map(|(name, words)| format!("{name} /t/{name} --test-threads=1 {words}\n")).collect();
    Ok(lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_kernel_has_its_plan_and_a_part_can_be_named() {
        let names = |plan: String| -> Vec<String> {
            plan.lines().map(|line| line.split_whitespace().next().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(names(of(Kind::WithTcx, &[]).unwrap()), programs().collect::<Vec<_>>());
        assert_eq!(of(Kind::TooOld, &[]).unwrap(), "kernels /t/kernels --test-threads=1 --ignored too_old\n");
        assert_eq!(names(of(Kind::WithoutTcx, &["nat".into()]).unwrap()), ["nat"]);
        assert!(of(Kind::WithTcx, &["nats".into()]).is_err());
    }
}
