//! Measures the packet path by `BPF_PROG_TEST_RUN`, packets through a gateway, and a large policy's weight; prints it as Markdown. Started by
//! `cargo xtask bench`, which builds the measuring programs. It must never run beside tests, nor as one.

mod footprint;
mod gateway;
mod ground;
mod guard;
mod measure;
mod path;
mod policy;
mod reload;
mod report;
mod scaling;
mod steer;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ground::Ground;
use measure::{Block, Effort, measure};
use path::{Kind, Way};
use policy::{Shape, Size, Written, write};

/// A policy, and what is measured with it.
#[derive(Clone, Copy)]
struct Plan {
    size: Size,
    flows: u32,
}

/// Twice what both families together keep open in the larger plan.
const CONNECTIONS: Option<u32> = Some(1 << 19);
const PLANS: [Plan; 2] = [
    Plan {
        size: Size { prefixes: 10, zones: 5, rules: 12, connections: CONNECTIONS, shape: Shape::Even },
        flows: 1 << 10,
    },
    Plan {
        size: Size { prefixes: 1_000, zones: 50, rules: 500, connections: CONNECTIONS, shape: Shape::Even },
        flows: 1 << 17,
    },
];

/// A part of the bench.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Path,
    Scale,
    Policy,
    Gateway,
}

impl Part {
    const ALL: [(Self, &str); 4] =
        [(Self::Path, "path"), (Self::Scale, "scale"), (Self::Policy, "policy"), (Self::Gateway, "gateway")];

    fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == word).map(|(part, _)| *part)
    }
}

/// What is asked for.
struct Arguments {
    /// The programs that measure by `BPF_PROG_TEST_RUN`.
    programs: PathBuf,
    /// Those at the gateway's ends.
    gateway: PathBuf,
    effort: Effort,
    /// Leave out everything else.
    only: Option<Part>,
    /// Only compare the packet path with the record in this file, or record it.
    guard: Option<(PathBuf, bool)>,
}

impl Arguments {
    fn read() -> Result<Self> {
        let mut words = std::env::args_os().skip(1);
        let mut path = || words.next().map(PathBuf::from).context("segd-bench needs the paths of two objects");
        let (programs, gateway) = (path()?, path()?);
        let (mut effort, mut only, mut guard) = (Effort { rounds: 15, repeat: 500_000, brief: false }, None, None);
        while let Some(word) = words.next() {
            match word.to_str() {
                Some(word @ ("--guard" | "--record")) => {
                    let file = words.next().map(PathBuf::from).with_context(|| format!("{word} needs a file"))?;
                    guard = Some((file, word == "--record"));
                }
                Some("--quick") => effort = Effort { rounds: 3, repeat: 50_000, brief: true },
                Some(word) if Part::of(word).is_some() => only = Part::of(word),
                _ => bail!("segd-bench takes --quick, and path, scale, policy or gateway, not {}", word.display()),
            }
        }
        Ok(Self { programs, gateway, effort, only, guard })
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::read()?;
    let Arguments { programs, gateway, effort, guard, .. } = &arguments;
    if let Some((file, records)) = guard {
        let costs = || Ok(guard::Costs::of(&one_policy(PLANS[0], programs, guard::EFFORT)?));
        return if *records { guard::record(file, costs) } else { guard::compare(file, costs) };
    }
    // Everything is seen before anything is printed: a bench that fails writes no half page.
    let mut page = report::head(*effort)?;
    if arguments.wants(Part::Path) {
        page += &report::path(&packet_path(programs, *effort)?)?;
    }
    if arguments.wants(Part::Scale) {
        page += &report::scale(&scaling::measure_all(programs, *effort)?)?;
    }
    if arguments.wants(Part::Policy) {
        page += &report::weight(&footprint::weigh_all(programs, *effort)?)?;
        page += &report::reload(&reload::measure_all(programs, *effort)?)?;
    }
    if arguments.wants(Part::Gateway) {
        page += &gateway::section(&gateway::measure(
            gateway,
            &plans(*effort).map(|plan| plan.size).collect::<Vec<_>>(),
            *effort,
        )?)?;
    }
    print!("{page}");
    Ok(())
}

/// Under which policies things are compared.
fn plans(effort: Effort) -> impl Iterator<Item = Plan> {
    PLANS.into_iter().skip(usize::from(effort.brief))
}

fn packet_path(programs: &Path, effort: Effort) -> Result<Vec<Measured>> {
    let mut results = Vec::new();
    for plan in plans(effort) {
        results.push((plan.size, one_policy(plan, programs, effort)?));
    }
    Ok(results)
}

fn one_policy(Plan { size, flows }: Plan, programs: &Path, effort: Effort) -> Result<Vec<Block>> {
    eprintln!("measuring {} prefixes, {} zones, {} rules …", size.prefixes, size.zones, size.rules);
    let (mut ground, _) = Ground::new(&write(size), programs)?;
    let steady = [Kind::Established(flows), Kind::Reply(flows), Kind::Denied];
    let steady = measure(&mut ground, &ways(&steady), effort)?;
    // Last: it fills the table.
    let new = measure(&mut ground, &ways(&[Kind::New]), effort)?;
    drop(ground);
    let policy = write(size);
    // Connections of their own, which leave the others' table as it is.
    let fragments = measure(&mut Ground::new(&policy, programs)?.0, &ways(&[Kind::Fragment]), effort)?;
    let watching = Written { zones: policy.zones.replacen("mode: enforce", "mode: audit", 1), ..policy };
    let watched = measure(&mut Ground::new(&watching, programs)?.0, &ways(&[Kind::Watched]), effort)?;
    Ok(vec![steady, new, fragments, watched])
}

/// What one policy gave.
type Measured = (Size, Vec<Block>);

fn ways(kinds: &[Kind]) -> Vec<Way> {
    kinds.iter().flat_map(|kind| [false, true].map(|v6| Way { kind: *kind, v6 })).collect()
}
