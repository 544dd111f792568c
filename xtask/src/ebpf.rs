//! The kernel object: building it by hand, and what must hold of it.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use object::{Object, ObjectSection, ObjectSymbol};

use crate::command::{root, target_dir};
use crate::ebpf_toolchain::Toolchain;

/// Builds the object and says where it is and what made it.
pub(crate) fn build() -> Result<()> {
    let (toolchain, path) = build_object()?;
    let size = std::fs::metadata(&path).with_context(|| format!("could not read {}", path.display()))?.len();
    println!("{}: {} kB, by {toolchain}", path.display(), size / 1024);
    Ok(())
}

/// Builds it, and fails if something in it can panic or if it has no BTF.
pub(crate) fn check() -> Result<()> {
    let (_, path) = build_object()?;
    let bytes = std::fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
    let object = object::File::parse(&*bytes).with_context(|| format!("{} is no ELF object", path.display()))?;
    let panics: Vec<_> =
        object.symbols().filter_map(|symbol| symbol.name().ok()).filter(|name| name.contains("panic")).collect();
    ensure!(
        panics.is_empty(),
        "the kernel programs can panic ({}): replace indexing, slicing, unwrap and division by what returns a reason",
        panics.join(", ")
    );
    let btf = object.section_by_name(".BTF").map_or(0, |section| section.size());
    ensure!(
        btf > 0,
        "{} has no BTF: bpf-linker's LLVM does not fit the compiler's; `cargo xtask setup` builds one that does",
        path.display()
    );
    Ok(())
}

fn build_object() -> Result<(Toolchain, PathBuf)> {
    let toolchain =
        Toolchain::find().map_err(|missing| anyhow!("this machine lacks {missing}; `cargo xtask setup` gets it"))?;
    let path =
        toolchain.build(&root().join("segd-ebpf"), &target_dir().join("ebpf"), false).map_err(|why| anyhow!(why))?;
    Ok((toolchain, path))
}
