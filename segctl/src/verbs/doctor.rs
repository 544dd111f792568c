//! `segctl doctor`: what of this machine keeps segd from its work, each with its mend. It looks for itself first, so that
//! it has an answer where no daemon runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use segd::api::types::Status;
use serde::{Deserialize, Serialize};

use crate::cli::Session;
use crate::failure::NO;
use crate::words::{Page, Tone};

const EXAMPLES: &str = "\
Exit status 0: nothing is wrong; 1: something is.

Examples:
  segctl doctor
  segctl doctor -o json | jq '.checks[] | select(.good | not)'";

/// Name what is wrong with this machine, and how to mend it; needs no daemon
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where the pins of the daemon lie
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/segd")]
    bpffs: PathBuf,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Check {
    /// What.
    what: String,
    /// Whether it is as it has to be.
    good: bool,
    /// What was found.
    found: String,
    /// What to do; none where nothing is wrong.
    mend: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Report {
    good: bool,
    checks: Vec<Check>,
}

/// Looks, shows, and exits with the answer.
pub(crate) async fn run(args: &Args, session: &Session) -> anyhow::Result<ExitCode> {
    let mut checks = vec![kernel(), bpffs(&args.bpffs), nftables(), forwarding()];
    match session.client.get::<Status>("/v1/status").await {
        Ok(status) => checks.extend(daemon(status)),
        Err(failure) => {
            let words = failure.to_string();
            let (found, mend) = words.split_once('\n').unwrap_or((&words, "start it: systemctl start segd"));
            checks.push(bad("daemon", found, mend.trim()));
        }
    }
    let good = checks.iter().all(|check| check.good);
    session.screen.show(&Report { good, checks }, text)?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

fn good(what: &str, found: impl Into<String>) -> Check {
    Check { what: what.to_owned(), good: true, found: found.into(), mend: None }
}

fn bad(what: &str, found: impl Into<String>, mend: impl Into<String>) -> Check {
    Check { what: what.to_owned(), good: false, found: found.into(), mend: Some(mend.into()) }
}

fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    kernel_is(release.trim())
}

fn kernel_is(release: &str) -> Check {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|word| word.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= TCX {
        return good("kernel", format!("Linux {release}"));
    }
    if version >= OLDEST {
        return good(
            "kernel",
            format!("Linux {release}; before 6.6 TC programs hang on clsact filters, which root can take off"),
        );
    }
    bad(
        "kernel",
        format!("Linux {release}; segd works on 6.1 or newer"),
        "boot a newer kernel (Debian: linux-image-amd64)",
    )
}

/// The oldest kernel whose verifier takes the programs.
const OLDEST: (u32, u32) = (6, 1);
/// The first with links for TC programs.
const TCX: (u32, u32) = (6, 6);

fn bpffs(pins: &Path) -> Check {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let of = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let (place, kind) = (words.next()?.to_owned(), words.next()?.to_owned());
        (kind == "bpf").then_some(PathBuf::from(place))
    };
    let places: Vec<PathBuf> = mounts.lines().filter_map(of).collect();
    match places.iter().find(|place| pins.starts_with(place)) {
        Some(place) => good("bpffs", format!("mounted at {}", place.display())),
        None => bad(
            "bpffs",
            format!("none is mounted where {} is to lie", pins.display()),
            "mount -t bpf bpf /sys/fs/bpf, or name another folder with --bpffs",
        ),
    }
}

fn nftables() -> Check {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    match folders.map(|folder| folder.join("nft")).find(|file| file.is_file()) {
        Some(nft) => good("nftables", nft.display().to_string()),
        None => bad(
            "nftables",
            "there is no nft: an interface that comes is open until segd has guarded it",
            "apt-get install nftables, then restart segd",
        ),
    }
}

/// A machine that forwards nothing has only itself to guard. That is no fault, but worth a word.
fn forwarding() -> Check {
    let on = |key: &str| fs::read_to_string(format!("/proc/sys/net/{key}")).is_ok_and(|text| text.trim() == "1");
    good(
        "forwarding",
        match (on("ipv4/ip_forward"), on("ipv6/conf/all/forwarding")) {
            (true, true) => "IPv4 and IPv6: this machine is a gateway",
            (true, false) => "IPv4 only",
            (false, true) => "IPv6 only",
            (false, false) => "off: zones only meet this machine, not each other through it",
        },
    )
}

fn daemon(status: Status) -> Vec<Check> {
    let Status { state, amiss, generation, .. } = status;
    if amiss.is_empty() {
        return vec![good("daemon", format!("{state}, generation {generation}, nothing amiss"))];
    }
    amiss.into_iter().map(|amiss| bad("daemon", amiss.what, amiss.mend)).collect()
}

fn text(report: &Report, _page: &Page) -> String {
    let mut lines = Vec::new();
    for Check { what, good, found, mend } in &report.checks {
        let word = if *good { Tone::Good.paint("ok   ") } else { Tone::Bad.paint("WRONG") };
        lines.push(format!("{word}  {what}: {found}"));
        lines.extend(mend.as_ref().map(|mend| format!("       mend: {mend}")));
    }
    let wrong = report.checks.iter().filter(|check| !check.good).count();
    lines.push(match wrong {
        0 => "nothing is wrong; to try the loaded programs: segctl selftest".to_owned(),
        1 => "1 thing is wrong".to_owned(),
        more => format!("{more} things are wrong"),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_told_by_both_numbers_of_its_version() {
        for release in ["6.6.0", "6.12.117+deb13-amd64", "7.0-rc1"] {
            assert!(kernel_is(release).good, "{release}");
        }
        let Check { good, found, .. } = kernel_is("6.1.0-30-amd64");
        assert!(good && found.contains("clsact"), "{found}");
        for release in ["6.0.9", "5.15.0", "", "strange"] {
            let Check { good, mend, .. } = kernel_is(release);
            assert!(!good && mend.is_some(), "{release}");
        }
    }

    #[test]
    fn a_folder_that_lies_on_no_bpffs_is_named_with_its_mend() {
        let Check { good, found, mend, .. } = bpffs(Path::new("/nowhere/segd"));
        assert!(!good && found.contains("/nowhere/segd") && mend.is_some_and(|mend| mend.contains("mount -t bpf")));
    }

    #[test]
    fn what_is_wrong_stands_out_with_its_mend_and_the_rest_is_told_too() {
        let checks = vec![good("kernel", "Linux 7"), bad("nftables", "there is no nft", "install it")];
        let shown = text(&Report { good: false, checks }, &Page::sample());
        let plain = anstream::adapter::strip_str(&shown).to_string();
        assert_eq!(
            plain,
            "ok     kernel: Linux 7\nWRONG  nftables: there is no nft\n       mend: install it\n1 thing is wrong"
        );
    }
}
