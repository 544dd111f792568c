//! What the kernel's verifier counted for each program, against what it counted when that was last looked at: a program
//! that grows towards the verifier's limit is noticed before some kernel refuses it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use aya::maps::MapInfo;
use segd_tests::lab::{Lab, Zones};
use segd_tests::needs_root;
use serde_json::Value;

/// By kernel and program; `cargo xtask vm --record` writes it.
const RECORDED: &str = include_str!("../verifier-insns.json");

/// The programs that are attached and those that they call; the kernel keeps 15 letters of a name.
const PROGRAMS: [&str; 8] = [
    "segd_xdp",
    "segd_xdp_whole",
    "segd_xdp_shortc",
    "segd_ingress",
    "segd_ingress_wh",
    "segd_egress",
    "segd_egress_who",
    "segd_note",
];

#[test]
fn no_program_grew_towards_the_verifiers_limit_unnoticed() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(Zones::new())?;
    let counted = counts(&lab)?;
    assert_eq!(counted.len(), PROGRAMS.len(), "{counted:?}");
    for (program, count) in &counted {
        // A line of its own, which the host of a guest reads.
        println!("\nverified_insns {program} {count}");
    }
    let recorded: Value = serde_json::from_str(RECORDED)?;
    let margin = recorded["margin_percent"].as_u64().context("no margin is recorded")?;
    let limits = limits(&recorded, &release()?);
    for (program, count) in counted {
        let limit = limits.get(&program).with_context(|| format!("nothing is recorded of {program}"))?;
        ensure!(
            count * 100 <= limit * (100 + margin),
            "{program}: the verifier went through {count} instructions, more than {margin}% above the {limit} that are \
             recorded; if that is meant, `cargo xtask vm --record` takes it over"
        );
    }
    Ok(())
}

/// What was recorded of this kernel; of a kernel that nobody recorded, the most that any other counted.
fn limits(recorded: &Value, release: &str) -> BTreeMap<String, u64> {
    let series = release.split('.').take(2).collect::<Vec<_>>().join(".");
    let kernels = recorded["kernels"].as_object().into_iter().flatten();
    let mut limits = BTreeMap::new();
    for (kernel, counts) in kernels {
        let own = *kernel == series;
        for (program, count) in counts.as_object().into_iter().flatten() {
            let count = count.as_u64().unwrap_or(0);
            let limit = limits.entry(program.clone()).or_insert((false, 0));
            *limit = if own {
                (true, count)
            } else if limit.0 {
                *limit
            } else {
                (false, limit.1.max(count))
            };
        }
    }
    limits.into_iter().map(|(program, (_, limit))| (program, limit)).collect()
}

/// This lab's programs are those that use its maps.
fn counts(lab: &Lab) -> Result<BTreeMap<String, u64>> {
    let folder = std::fs::read_dir(lab.daemon.pins())?.flatten().map(|entry| entry.path());
    let maps = folder.into_iter().find(|path| path.join("CONTROL").exists()).context("no maps are pinned")?;
    let pinned = std::fs::read_dir(&maps)?.map(|entry| Ok(MapInfo::from_pin(entry?.path())?.id()));
    let pinned = pinned.collect::<Result<Vec<_>>>()?;
    let mut counts = BTreeMap::new();
    for program in aya::programs::loaded_programs().flatten() {
        let name = program.name_as_str().unwrap_or_default().to_owned();
        if PROGRAMS.contains(&name.as_str())
            && program.map_ids()?.is_some_and(|ids| ids.iter().any(|id| pinned.contains(id)))
        {
            let count = program.verified_instruction_count().context("this kernel does not tell what it verified")?;
            counts.insert(name, count.into());
        }
    }
    Ok(counts)
}

fn release() -> Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned())
}

#[test]
fn a_kernel_is_measured_by_its_own_record_or_else_by_the_highest() -> Result<()> {
    let recorded: Value =
        serde_json::from_str(r#"{"kernels": {"6.1": {"a": 10}, "6.12": {"a": 30}, "7.3": {"a": 20}}}"#)?;
    let limit = |release| limits(&recorded, release)["a"];
    assert_eq!((limit("6.1.0-50"), limit("6.12.3"), limit("7.3.4"), limit("6.18.0")), (10, 30, 20, 30));
    Ok(())
}
