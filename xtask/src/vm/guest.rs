//! One guest: what it is booted with, the wait for its end, and what its end means.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::archive::{self, Image};
use super::kernel::Kernel;
use super::modules;
use super::payload::Payload;

/// The codes that qemu ends with when a guest wrote its verdict to the exit device: twice what was written, and one.
const PASSED: i32 = 0x10 << 1 | 1;
const FAILED: i32 = 0x11 << 1 | 1;

/// A guest that goes wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    Fails,
    Panics,
    Hangs,
}

impl Proof {
    pub(crate) const ALL: [Self; 3] = [Self::Fails, Self::Panics, Self::Hangs];

    pub(crate) fn is_seen_as(self, verdict: &Verdict) -> bool {
        match self {
            Self::Fails => matches!(verdict, Verdict::Failed),
            Self::Panics => matches!(verdict, Verdict::Died(_)),
            Self::Hangs => matches!(verdict, Verdict::Hung),
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fails => "fails",
            Self::Panics => "panics",
            Self::Hangs => "hangs",
        })
    }
}

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The exit device and the marker line both say so.
    Passed,
    /// Both say that something failed.
    Failed,
    /// It ended without a verdict, or its two ways of telling differ.
    Died(String),
    /// It was ended when its time was over.
    Hung,
}

impl Verdict {
    /// Success has to be told twice.
    fn of(code: Option<i32>, said: &str) -> Self {
        let marker = said.lines().find_map(|line| line.strip_prefix("verdict "));
        match (code, marker) {
            (Some(PASSED), Some("passed")) => Self::Passed,
            (Some(FAILED), Some("failed")) => Self::Failed,
            (code, marker) => Self::Died(format!("exit code {code:?}, marker line {marker:?}")),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed => f.write_str("failed"),
            Self::Died(how) => write!(f, "died without a verdict ({how})"),
            Self::Hung => f.write_str("hung"),
        }
    }
}

/// A guest that is ready to boot.
#[derive(Debug)]
pub(crate) struct Guest {
    kernel: Kernel,
    image: Image,
    folder: PathBuf,
    proof: Option<Proof>,
}

/// A guest that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// Which kernel was asked for.
    pub(crate) kernel: Kernel,
    /// What it called itself.
    pub(crate) release: String,
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// How long it took.
    pub(crate) took: Duration,
    /// What it said on its second serial line.
    pub(crate) said: String,
    console: PathBuf,
}

impl Run {
    /// Everything passed.
    pub(crate) fn passed(&self) -> bool {
        self.verdict == Verdict::Passed
    }

    /// For a person.
    pub(crate) fn what_failed(&self) -> String {
        let bad = |line: &&str| line.ends_with("FAILED") || line.ends_with("exit bad") || line.starts_with("error ");
        let lines: Vec<_> = self.said.lines().filter(bad).map(|line| format!("\n    {line}")).collect();
        format!("  {} {}; its console: {}{}", self.kernel, self.verdict, self.console.display(), lines.concat())
    }
}

impl Guest {
    /// Gets the kernel and lays out what is booted.
    pub(crate) fn prepare(kernel: Kernel, payload: &Payload, plan: &str, proof: Option<Proof>) -> Result<Self> {
        let image = archive::fetch(kernel)?;
        let mut files = payload.image.clone();
        let mut order = String::new();
        for module in modules::collect(&image.modules).with_context(|| format!("{kernel}"))? {
            let path = format!("/modules/{}.ko", module.name);
            files.file(&path, module.bytes);
            order.push_str(&path);
            order.push('\n');
        }
        files.file("/modules/order", order.into_bytes());
        files.file("/plan", plan.as_bytes().to_vec());
        let folder = super::folder().join(format!("guest-{kernel}"));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("initramfs"), files.bytes())?;
        Ok(Self { kernel, image, folder, proof })
    }

    /// Boots it and waits for its end, or ends it when `patience` is over.
    pub(crate) fn boot(self, patience: Duration) -> Result<Run> {
        let started = Instant::now();
        let result = self.folder.join("result.log");
        fs::write(&result, "")?;
        let mut child = self.command().spawn().context("could not run qemu-system-x86_64")?;
        let mut teller = Teller { kernel: self.kernel, told: 0 };
        let ended = loop {
            teller.tell(&fs::read_to_string(&result).unwrap_or_default());
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if started.elapsed() > patience {
                end(&mut child);
                break None;
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        let said = fs::read_to_string(&result).unwrap_or_default().replace('\r', "");
        teller.tell(&said);
        let verdict = ended.map_or(Verdict::Hung, |status| Verdict::of(status.code(), &said));
        eprintln!("{}: {verdict} after {} s", self.kernel, started.elapsed().as_secs());
        Ok(Run {
            kernel: self.kernel,
            release: self.image.release,
            verdict,
            took: started.elapsed(),
            said,
            console: self.folder.join("console.log"),
        })
    }

    /// Emulated, not accelerated: nested virtualisation can be slower than none. Without `-cx16` some kernels fail to boot on
    /// qemu 7.2. Mitigations cost an emulated machine much, and what root loads is verified alike with and without.
    fn command(&self) -> Command {
        let serial = |name: &str| format!("file:{}", self.folder.join(name).display());
        let prove = match self.proof {
            Some(Proof::Panics) => " segd_prove=panic",
            Some(Proof::Hangs) => " segd_prove=hang",
            _ => "",
        };
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args("-accel tcg -cpu max,-cx16 -m 1024 -smp 1 -nodefaults -no-user-config -display none".split(' '))
            .args(["-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
            .args(["-serial", &serial("console.log"), "-serial", &serial("result.log")])
            .arg("-kernel")
            .arg(&self.image.vmlinuz)
            .arg("-initrd")
            .arg(self.folder.join("initramfs"))
            .arg("-append")
            .arg(format!("console=ttyS0 panic=-1 quiet no_timer_check nowatchdog mitigations=off{prove}"))
            .stdin(Stdio::null());
        qemu
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself meanwhile.
    let _ = child.kill();
    let _ = child.wait();
}

/// Shows each line once, as it comes.
struct Teller {
    kernel: Kernel,
    told: usize,
}

impl Teller {
    fn tell(&mut self, said: &str) {
        let whole = said.rfind('\n').map_or(0, |end| end + 1);
        for line in said.get(self.told..whole).unwrap_or_default().lines() {
            eprintln!("{:>8}: {}", self.kernel, line.trim_end());
        }
        self.told = self.told.max(whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_only_what_both_ways_tell() {
        assert_eq!(Verdict::of(Some(33), "kernel 6.1\nverdict passed\n"), Verdict::Passed);
        assert_eq!(Verdict::of(Some(35), "verdict failed\n"), Verdict::Failed);
        for (code, said) in [
            (Some(33), ""),
            (Some(33), "verdict failed\n"),
            (Some(0), "verdict passed\n"),
            (Some(35), "verdict passed\n"),
            (None, "verdict passed\n"),
        ] {
            assert!(matches!(Verdict::of(code, said), Verdict::Died(_)), "{code:?} {said}");
        }
    }
}
