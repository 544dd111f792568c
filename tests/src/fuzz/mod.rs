//! What fuzzers drive: functions that take any bytes, have the product's own code work on them, and panic if it does what it
//! must never do. `cargo xtask fuzz` calls them from libFuzzer, and a test plays every kept case and every seed through them.
//!
//! The requests of the control API are driven where their engine over a kernel of paper is: in `segd`, by `api::fuzz`.

mod flows;
mod loader;
#[path = "../../../segd-common/tests/pipeline/machine.rs"]
#[expect(dead_code, reason = "the tests of the pipeline ask the machine more than a fuzzer does")]
mod machine;
mod parser;
mod seeds;
mod state;

pub use seeds::seeds;

/// A function that takes any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of the folder of its kept cases.
    pub name: &'static str,
    /// Panics if the product does what it must never do.
    pub run: fn(&[u8]),
}

/// All of them that are here.
pub const TARGETS: [Target; 4] = [
    Target { name: "parser", run: parser::run },
    Target { name: "flows", run: flows::run },
    Target { name: "loader", run: loader::run },
    Target { name: "state", run: state::run },
];

/// Calls the target with this name.
///
/// # Panics
/// As the target does; and if there is none with this name.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("there is no target {name}")).run)(bytes);
}

/// Bytes that decide, one after the other. They go on as zeroes, so that every input is a whole one.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::from(self.next()) % bound.max(1)
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
