//! Frames that are run through the loaded programs without a wire (`BPF_PROG_TEST_RUN`): what the kernel would do with them,
//! asked of the kernel.

use std::io;

use aya::programs::{SchedClassifier, TestRun, TestRunOptions, Xdp};
use segd_common::interface::Interface;
use segd_common::reason::Reason;

use super::counters;
use super::set::MapSet;
use super::{DatapathError, Hook};

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Whether the program let it go on.
    pub passes: bool,
    /// The reasons whose counters moved meanwhile: the frame's own, and under traffic others.
    pub reasons: Vec<Reason>,
}

/// `XDP_PASS` (`enum xdp_action`).
const XDP_PASS: u32 = 2;
/// `TC_ACT_SHOT` of `linux/pkt_cls.h`.
const TC_ACT_SHOT: u32 = 2;

pub(super) fn run(set: &MapSet, frame: &[u8], ifindex: u32, hook: Hook) -> Result<Probed, DatapathError> {
    let before = by_reason(set)?;
    let passes = match hook {
        Hook::Xdp | Hook::XdpGeneric => through_xdp(set, frame, ifindex)?,
        Hook::Tc => through_tc(set, frame, ifindex)?,
    };
    let after = by_reason(set)?;
    let moved = |reason: &Reason| after[*reason as usize] != before[*reason as usize];
    Ok(Probed { passes, reasons: Reason::ALL.into_iter().filter(moved).collect() })
}

/// Loopback: every machine has it, and frames that are run may name it.
const LOOPBACK: u32 = 1;

/// Runs a frame that is counted nowhere, as if it had come in by loopback. Gives whether it may go on; `None` if loopback is
/// guarded, for then its frames count.
pub(super) fn run_uncounted(set: &mut MapSet, frame: &[u8], hook: Hook) -> Result<Option<bool>, DatapathError> {
    match set.interface(LOOPBACK)? {
        None => set.tell_interface(Interface { ifindex: LOOPBACK, slot: Interface::SELFTEST, flags: 0 }, [0; 6])?,
        Some(Interface { slot: Interface::SELFTEST, .. }) => {}
        Some(_) => return Ok(None),
    }
    let passes = match hook {
        Hook::Xdp | Hook::XdpGeneric => through_xdp(set, frame, LOOPBACK)?,
        Hook::Tc => through_tc(set, frame, LOOPBACK)?,
    };
    Ok(Some(passes))
}

fn by_reason(set: &MapSet) -> Result<[u64; Reason::COUNT], DatapathError> {
    let pairs = counters::pairs(set)?;
    Ok(std::array::from_fn(|reason| pairs.iter().map(|pair| pair.packets[reason]).sum()))
}

fn through_xdp(set: &MapSet, frame: &[u8], ifindex: u32) -> Result<bool, DatapathError> {
    let program = set.ebpf.program("segd_xdp").ok_or(DatapathError::Missing("segd_xdp"))?;
    let program: &Xdp = program.try_into().map_err(|_| DatapathError::Missing("segd_xdp"))?;
    // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let mut context = [0_u8; 24];
    context[4..8].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
    context[12..16].copy_from_slice(&ifindex.to_ne_bytes());
    let options = TestRunOptions { data_in: Some(frame), ctx_in: Some(&context), ..TestRunOptions::new() };
    let ran = program.test_run(options).map_err(|error| failed("segd_xdp", &error))?;
    Ok(ran.return_value == XDP_PASS)
}

/// Where fields stand in `struct __sk_buff`.
mod sk_buff {
    pub(super) const SIZE: usize = 192;
    pub(super) const IFINDEX: usize = 40;
    pub(super) const WIRE_LEN: usize = 160;
}

fn through_tc(set: &MapSet, frame: &[u8], ifindex: u32) -> Result<bool, DatapathError> {
    let program = set.ebpf.program("segd_ingress").ok_or(DatapathError::Missing("segd_ingress"))?;
    let program: &SchedClassifier = program.try_into().map_err(|_| DatapathError::Missing("segd_ingress"))?;
    let mut context = [0_u8; sk_buff::SIZE];
    context[sk_buff::IFINDEX..][..4].copy_from_slice(&ifindex.to_ne_bytes());
    // By a length on the wire that is the frame's own, the program would know a frame without its link header.
    context[sk_buff::WIRE_LEN..][..4].copy_from_slice(&(frame.len() as u32 + 1).to_ne_bytes());
    let options = TestRunOptions { data_in: Some(frame), ctx_in: Some(&context), ..TestRunOptions::new() };
    let ran = program.test_run(options).map_err(|error| failed("segd_ingress", &error))?;
    Ok(ran.return_value != TC_ACT_SHOT)
}

fn failed(program: &str, error: &dyn std::error::Error) -> DatapathError {
    DatapathError::system(format!("run a frame through {program}"), io::Error::other(super::error::full_words(error)))
}
