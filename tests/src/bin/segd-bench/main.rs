//! Measures the packet path by `BPF_PROG_TEST_RUN`, packets through a gateway, and a large policy's weight; prints it as Markdown. Started by
//! `cargo xtask bench`, which builds the measuring programs. It must never run beside tests, nor as one.

mod footprint;
mod gateway;
mod ground;
mod measure;
mod path;
mod policy;
mod report;
mod steer;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use ground::Ground;
use measure::{Block, Effort, measure};
use path::{Kind, Way};
use policy::{Size, write};

/// A policy, and what is measured with it.
#[derive(Clone, Copy)]
struct Plan {
    size: Size,
    flows: u32,
}

/// Twice what both families together keep open in the larger plan.
const CONNECTIONS: Option<u32> = Some(1 << 19);
const PLANS: [Plan; 2] = [
    Plan { size: Size { prefixes: 10, zones: 5, rules: 12, connections: CONNECTIONS }, flows: 1 << 10 },
    Plan { size: Size { prefixes: 1_000, zones: 50, rules: 500, connections: CONNECTIONS }, flows: 1 << 17 },
];

/// What is asked for.
struct Arguments {
    /// The programs that measure by `BPF_PROG_TEST_RUN`.
    programs: PathBuf,
    /// Those at the gateway's ends.
    gateway: PathBuf,
    effort: Effort,
    /// Leave out everything but the gateway.
    only_gateway: bool,
}

impl Arguments {
    fn read() -> Result<Self> {
        let mut words = std::env::args_os().skip(1);
        let mut path = || words.next().map(PathBuf::from).context("segd-bench needs the paths of two objects");
        let (programs, gateway) = (path()?, path()?);
        let (mut effort, mut only_gateway) = (Effort { rounds: 15, repeat: 500_000 }, false);
        for word in words {
            match word.to_str() {
                Some("--quick") => effort = Effort { rounds: 7, repeat: 100_000 },
                Some("--only-gateway") => only_gateway = true,
                _ => bail!("segd-bench takes --quick and --only-gateway, not {}", word.display()),
            }
        }
        Ok(Self { programs, gateway, effort, only_gateway })
    }
}

fn main() -> Result<()> {
    let Arguments { programs, gateway, effort, only_gateway } = Arguments::read()?;
    let through = || gateway::measure(&gateway, &PLANS.map(|plan| plan.size), effort);
    if only_gateway {
        print!("{}", gateway::section(&through()?)?);
        return Ok(());
    }
    let mut results = Vec::new();
    for Plan { size, flows } in PLANS {
        eprintln!("measuring {} prefixes, {} zones, {} rules …", size.prefixes, size.zones, size.rules);
        let (mut ground, _) = Ground::new(&write(size), &programs)?;
        let steady = measure(&mut ground, &ways(&[Kind::Established(flows), Kind::Denied]), effort)?;
        // Last: it fills the table.
        let new = measure(&mut ground, &ways(&[Kind::New]), effort)?;
        results.push((size, vec![steady, new]));
    }
    let through = through()?;
    eprintln!("weighing a policy of {} prefixes and {} rules …", footprint::LARGE.prefixes, footprint::LARGE.rules);
    let footprint = footprint::weigh(&programs)?;
    print!("{}{}", report::markdown(&results, &footprint, effort)?, gateway::section(&through)?);
    Ok(())
}

/// What one policy gave.
type Measured = (Size, Vec<Block>);

fn ways(kinds: &[Kind]) -> Vec<Way> {
    kinds.iter().flat_map(|kind| [false, true].map(|v6| Way { kind: *kind, v6 })).collect()
}
