//! Which modules a guest needs, and in which order they are loaded: what the kernel's packages leave to depmod is read
//! from the modules themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection};

/// What the lab uses of a kernel. Some are built in, depending on its age.
const WANTED: [&str; 17] = [
    "veth",
    "tun",
    "8021q",
    "wireguard",
    "vxlan",
    "bridge",
    "sch_ingress",
    "cls_bpf",
    "nf_tables",
    "nft_ct",
    "nft_nat",
    "nft_masq",
    "nft_chain_nat",
    "nft_reject",
    "nft_reject_inet",
    "dummy",
    "cls_flower",
];

/// What newer kernels have in another of these: `nft_objref` in `nf_tables` since Linux 6.2.
const MERGED: [&str; 1] = ["nft_objref"];

/// A module to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    /// Without folder and endings.
    pub(crate) name: String,
    /// Its bytes, unpacked.
    pub(crate) bytes: Vec<u8>,
}

/// The wanted modules of a kernel and all that they depend on, each behind what it depends on.
pub(crate) fn collect(folder: &Path) -> Result<Vec<Module>> {
    let tree = Tree::read(folder)?;
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    let merged = MERGED.into_iter().filter(|name| tree.files.contains_key(*name));
    for name in WANTED.into_iter().chain(merged) {
        tree.visit(name, &mut seen, &mut order)?;
    }
    Ok(order)
}

struct Tree {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

impl Tree {
    fn read(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        walk(&folder.join("kernel"), &mut files)?;
        let builtin = fs::read_to_string(folder.join("modules.builtin"))
            .with_context(|| format!("could not read modules.builtin in {}", folder.display()))?;
        Ok(Self { files, builtin: builtin.lines().filter_map(|line| name_of(Path::new(line))).collect() })
    }

    fn visit(&self, name: &str, seen: &mut BTreeSet<String>, order: &mut Vec<Module>) -> Result<()> {
        if !seen.insert(name.to_owned()) {
            return Ok(());
        }
        let Some(file) = self.files.get(name) else {
            ensure!(self.builtin.contains(name), "this kernel has no module {name}");
            return Ok(());
        };
        let bytes = unpacked(file)?;
        for needed in depends(&bytes).with_context(|| format!("could not read {}", file.display()))? {
            self.visit(&needed, seen, order)?;
        }
        order.push(Module { name: name.to_owned(), bytes });
        Ok(())
    }
}

fn walk(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("could not list {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), files)?;
        } else if let Some(name) = name_of(&entry.path()) {
            files.insert(name, entry.path());
        }
    }
    Ok(())
}

/// `nf_tables` of `…/nf_tables.ko.xz`; files spell some names with a dash.
fn name_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    name.split_once(".ko").map(|(name, _)| name.replace('-', "_"))
}

fn unpacked(file: &Path) -> Result<Vec<u8>> {
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("ko") => fs::read(file).with_context(|| format!("could not read {}", file.display())),
        Some("xz") => {
            let out = Command::new("xz").arg("-dc").arg(file).output().context("could not run xz")?;
            ensure!(out.status.success(), "xz could not unpack {}", file.display());
            Ok(out.stdout)
        }
        _ => bail!("{} is packed in a way that is not known here", file.display()),
    }
}

/// What a module says that it depends on.
fn depends(module: &[u8]) -> Result<Vec<String>> {
    let object = object::File::parse(module)?;
    let section = object.section_by_name(".modinfo").context("no .modinfo")?;
    Ok(depends_of(section.data()?))
}

fn depends_of(modinfo: &[u8]) -> Vec<String> {
    let fields = modinfo.split(|byte| *byte == 0).filter_map(|field| std::str::from_utf8(field).ok());
    let names = fields.filter_map(|field| field.strip_prefix("depends=")).flat_map(|names| names.split(','));
    names.filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_tells_its_name_and_what_it_depends_on() {
        assert_eq!(name_of(Path::new("kernel/net/nf-tables.ko.xz")).as_deref(), Some("nf_tables"));
        assert_eq!(name_of(Path::new("kernel/net/README")), None);
        assert_eq!(depends_of(b"license=GPL\0depends=nfnetlink,libcrc32c\0name=x\0"), ["nfnetlink", "libcrc32c"]);
        assert!(depends_of(b"depends=\0").is_empty());
    }
}
