//! What a person types and what CI runs: one program, so that the two never differ.
//!
//! Every verb is a file of its own and stays thin. Nothing here may be needed to build the product.

mod bench;
mod command;
mod copy;
mod delivery;
mod demo;
mod differential;
mod ebpf;
mod ebpf_toolchain;
mod fuzz;
mod lint;
mod loader;
mod mutants;
mod package;
mod setup;
mod soak;
mod test;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Build, test and show segd.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Find what this machine lacks for building and testing, and install it
    Setup {
        /// Only say what is missing; exit status 1 if something is
        #[arg(long)]
        check: bool,
    },
    /// Build the kernel programs and say where their object is
    BuildEbpf,
    /// Check formatting, clippy and the kernel object
    Lint,
    /// Build everything and run every test; root tests need root
    Test,
    /// Show a gateway that enforces, in network namespaces of its own
    Demo {
        /// Leave it standing, and print how to enter
        #[arg(long)]
        keep: bool,
    },
    /// Compare the loaded programs with an independent model, on policies and packets of chance
    Differential {
        /// How many packets; underscores may part the digits
        #[arg(long, default_value = "1_000_000")]
        packets: String,
        /// How many questions about policies, which `explain` has to answer as the kernel does
        #[arg(long, default_value = "1_000_000")]
        questions: String,
        /// How many frames have to come out of the counters of the hooks that they went into; 0: none
        #[arg(long, default_value = "0")]
        conserve: String,
        /// Draw the same series again
        #[arg(long)]
        seed: Option<u64>,
        /// Only this case of the series
        #[arg(long)]
        case: Option<u64>,
    },
    /// Play captures at a machine with and one without a guard: what is forbidden must not be delivered, however it is dressed
    #[command(
        after_help = "Examples:\n  cargo xtask delivery --captures tests/captures\n  cargo xtask delivery --captures ~/captures --mutants 1000 --hook xdp"
    )]
    Delivery(delivery::Options),
    /// Have the loader read mutated zone files: it takes all of a set or refuses it with its places
    Loader {
        /// How many sets of files; underscores may part the digits
        #[arg(long, default_value = "100_000")]
        files: String,
        /// Draw the same series again
        #[arg(long)]
        seed: Option<u64>,
        /// Only this case of the series
        #[arg(long)]
        case: Option<u64>,
    },
    /// Let policies, programs, builds and interfaces change and daemons die under load, for hours
    #[command(after_help = SOAK_EXAMPLES)]
    Soak(soak::Options),
    /// Drive the parser, the connections, the loader, the API and the state on the disk with libFuzzer; kept cases are tests
    #[command(
        after_help = "Examples:\n  cargo xtask fuzz                               five minutes for each\n  cargo xtask fuzz --target flows --minutes 60   one of them for an hour"
    )]
    Fuzz(fuzz::Options),
    /// Measure the packet path, what grows with the policy, and gateways, and write BENCHMARKS.md
    Bench {
        /// Run less, and write nothing
        #[arg(long)]
        quick: bool,
        /// Measure only this part, and write nothing
        #[arg(long, value_name = "PART", value_parser = ["path", "scale", "policy", "gateway"])]
        only: Option<String>,
        /// Only see that no path of a packet has become slower than recorded; seconds, and a part of the tests
        #[arg(long, conflicts_with_all = ["quick", "only"])]
        guard: bool,
        /// Record what is seen now
        #[arg(long, requires = "guard")]
        record: bool,
    },
    /// Boot Debian's kernels in qemu and run the product on each; takes minutes
    #[command(after_help = VM_EXAMPLES)]
    Vm(vm::Options),
    /// Make the Debian package, static binaries in it; --check installs, boots, upgrades and purges it
    Package(package::Options),
    /// Put bugs into a copy of the tree, one at a time, and see that the tests notice each; takes an hour
    #[command(after_help = MUTANTS_EXAMPLES)]
    Mutants(mutants::Options),
}

const VM_EXAMPLES: &str = "\
Examples:
  cargo xtask vm                               every supported kernel, and one that is refused
  cargo xtask vm --kernel 6.1 --kernel newest  these two
  cargo xtask vm --prove                       is a guest that fails, panics or hangs noticed?
  cargo xtask vm --record                      take over what the verifiers count now";

const SOAK_EXAMPLES: &str = "\
Examples:
  cargo xtask soak                            the full counts; takes hours
  cargo xtask soak --swaps 1000 --kills 100   only these, as often as said
  cargo xtask soak --lockouts 20 --seed 7     the same twenty policies again";

const MUTANTS_EXAMPLES: &str = "\
Examples:
  cargo xtask mutants --list          which bugs there are
  cargo xtask mutants --only 07       one of them
  cargo xtask mutants --only nat      those whose names say so
  cargo xtask mutants -o json         everything, for a program";

fn main() -> ExitCode {
    match run(&Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            anstream::eprintln!("\x1b[1;31merror\x1b[0m: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Setup { check: true } => setup::check(),
        Verb::Setup { check: false } => setup::install(),
        Verb::BuildEbpf => ebpf::build(),
        Verb::Lint => lint::run_all(),
        Verb::Test => test::run_all(),
        Verb::Demo { keep } => demo::run_demo(*keep),
        Verb::Differential { packets, questions, conserve, seed, case } => {
            differential::run_differential(&[packets, questions, conserve], *seed, *case)
        }
        Verb::Delivery(options) => delivery::run_delivery(options),
        Verb::Loader { files, seed, case } => loader::run_loader(files, *seed, *case),
        Verb::Soak(options) => soak::run_soak(options),
        Verb::Fuzz(options) => fuzz::run_fuzz(options),
        Verb::Bench { guard: true, record, .. } => bench::guard(*record),
        Verb::Bench { quick, only, .. } => bench::run_bench(*quick, only.as_deref()),
        Verb::Vm(options) => vm::run_vm(options),
        Verb::Package(options) => package::run_package(options),
        Verb::Mutants(options) => mutants::run_mutants(options),
    }
}
