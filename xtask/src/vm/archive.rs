//! Gets a suite's kernel from the mirror that this machine's apt is set to, by an apt configuration of its own: nothing
//! below the system's apt is read but the mirror's address, and nothing there is changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};

use super::kernel::Kernel;
use crate::command::step;

/// The package that always depends on a suite's current kernel. The cloud flavour has all that we need, and is small.
const PACKAGE: &str = "linux-image-cloud-amd64";
/// What a kernel is packed in. 7.x has several packages for what was one before.
const PARTS: [&str; 4] = ["linux-image-", "linux-modules-", "linux-binary-", "linux-base-"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// A kernel is looked for anew when the last one is older.
const FRESH: Duration = Duration::from_hours(24);

/// An unpacked kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// What it calls itself.
    pub(crate) release: String,
    /// What is booted.
    pub(crate) vmlinuz: PathBuf,
    /// The folder of its modules.
    pub(crate) modules: PathBuf,
}

/// The newest kernel of a suite, from the cache if that is of today.
pub(crate) fn fetch(kernel: Kernel) -> Result<Image> {
    let dir = super::folder().join(kernel.suite());
    let root = dir.join("root");
    let stamp = dir.join("fetched");
    if is_fresh(&stamp)
        && let Ok(image) = find(&root)
    {
        return Ok(image);
    }
    let apt = Apt::prepare(&dir, kernel.suite())?;
    step(&format!("{kernel}: reading Debian's list of {}", kernel.suite()), apt.get().arg("update"))?;
    let packages = apt.parts()?;
    let fresh = dir.join("fresh");
    empty(&fresh)?;
    let downloads = dir.join("packages");
    empty(&downloads)?;
    let mut download = apt.get();
    download.arg("download").args(&packages).current_dir(&downloads);
    step(&format!("{kernel}: getting its {} packages", packages.len()), &mut download)?;
    for package in fs::read_dir(&downloads)? {
        unpack(&package?.path(), &fresh)?;
    }
    empty(&root)?;
    fs::rename(&fresh, &root)?;
    fs::remove_dir_all(&downloads)?;
    fs::write(stamp, "")?;
    find(&root)
}

/// apt with a state of its own.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn prepare(dir: &Path, suite: &str) -> Result<Self> {
        for folder in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        // An empty system: nothing is installed, so nothing is held back.
        fs::write(dir.join("status"), "")?;
        let source = format!("deb [arch=amd64 signed-by={KEYRING}] {} {suite} main\n", mirror()?);
        fs::write(dir.join("sources.list"), source)?;
        let at = |name: &str| dir.join(name).display().to_string();
        let options = [
            ("Dir::Etc::sourcelist", at("sources.list")),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            ("Dir::Etc::preferences", "/dev/null".into()),
            ("Dir::Etc::preferencesparts", "/dev/null".into()),
            ("Dir::State::lists", at("lists")),
            ("Dir::State::status", at("status")),
            ("Dir::Cache", at("")),
            ("APT::Architecture", "amd64".into()),
            ("APT::Sandbox::User", String::new()),
            ("Acquire::Languages", "none".into()),
            ("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false".into()),
        ];
        Ok(Self { options: options.into_iter().map(|(name, value)| format!("-o{name}={value}")).collect() })
    }

    fn get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.args(&self.options);
        command
    }

    /// The packages that the suite's kernel is in.
    fn parts(&self) -> Result<Vec<String>> {
        let mut command = Command::new("apt-cache");
        command.args(&self.options).args(["depends", "--recurse", "--no-recommends", "--no-suggests", PACKAGE]);
        command.args(["--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"]);
        let parts = parts_of(&said(&mut command)?);
        ensure!(!parts.is_empty(), "this suite has no package {PACKAGE}");
        Ok(parts)
    }
}

/// The packages among what `apt-cache depends` prints; each begins its line.
fn parts_of(listing: &str) -> Vec<String> {
    let is_part = |line: &&str| PARTS.iter().any(|part| line.starts_with(part));
    let mut parts: Vec<String> = listing.lines().filter(is_part).map(str::to_owned).collect();
    parts.sort();
    parts.dedup();
    parts
}

/// The mirror of Debian's main archive that this machine uses.
fn mirror() -> Result<String> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "$(SITE) $(ORIGIN) $(LABEL)", "Created-By: Packages"]);
    mirror_of(&said(&mut command)?)
        .context("this machine's apt knows no mirror of Debian; the kernels come from Debian's archive")
}

/// The security archive has the same origin and another label.
fn mirror_of(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| line.strip_suffix(" Debian Debian")).map(str::to_owned)
}

fn unpack(package: &Path, to: &Path) -> Result<()> {
    let mut dpkg = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("could not run dpkg-deb")?;
    let tar = dpkg.stdout.take().context("dpkg-deb has no output")?;
    let status = Command::new("tar").arg("x").arg("-C").arg(to).stdin(tar).status().context("could not run tar")?;
    ensure!(status.success() && dpkg.wait()?.success(), "could not unpack {}", package.display());
    Ok(())
}

/// Kernels of all ages put their files in one of two places.
fn find(root: &Path) -> Result<Image> {
    let folder = ["usr/lib/modules", "lib/modules"]
        .into_iter()
        .map(|place| root.join(place))
        .find(|place| place.is_dir())
        .with_context(|| format!("no modules below {}", root.display()))?;
    let modules = fs::read_dir(&folder)?.next().context("no kernel's modules")??.path();
    let release = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let vmlinuz = [root.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")]
        .into_iter()
        .find(|file| file.is_file())
        .with_context(|| format!("no kernel image of {release} below {}", root.display()))?;
    Ok(Image { release, vmlinuz, modules })
}

fn is_fresh(stamp: &Path) -> bool {
    fs::metadata(stamp)
        .and_then(|there| there.modified())
        .is_ok_and(|at| SystemTime::now().duration_since(at).unwrap_or_default() < FRESH)
}

fn empty(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    Ok(fs::create_dir_all(dir)?)
}

/// What a program prints, if it succeeds.
fn said(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("could not run {command:?}"))?;
    ensure!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr).trim());
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_own_packages_are_told_from_what_they_depend_on() {
        let listing = "linux-image-cloud-amd64\n  Depends: linux-image-7.3.4-cloud-amd64\n\
                       linux-image-7.3.4-cloud-amd64\n  Depends: linux-binary-7.3.4\nlinux-binary-7.3.4\nkmod\n\
                       linux-image-7.3.4-cloud-amd64\n<linux-initramfs-tool>\n";
        assert_eq!(
            parts_of(listing),
            ["linux-binary-7.3.4", "linux-image-7.3.4-cloud-amd64", "linux-image-cloud-amd64"]
        );
    }

    #[test]
    fn the_mirror_is_that_of_the_main_archive() {
        let targets = "m/debian-security Debian Debian-Security\nm/debian Debian Debian\nm/other Other Other\n";
        assert_eq!(mirror_of(targets).as_deref(), Some("m/debian"));
        assert_eq!(mirror_of("m/other Other Other\n"), None);
    }
}
