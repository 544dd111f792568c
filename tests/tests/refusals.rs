//! What a daemon does when the machine is not as it should be: it names the fault and the mend, and nothing is opened by it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use segd_tests::lab::{Lab, Zones, binary, copy_program, is_silence, until};
use segd_tests::needs_root;

const SOON: Duration = Duration::from_secs(5);

fn ledger() -> Zones {
    Zones::new().rule("ledger", "dev", "accounting", "tcp/5432")
}

/// A folder of the test's own beside the daemon's.
fn beside(lab: &Lab, name: &str) -> PathBuf {
    lab.daemon.state().with_file_name(name)
}

/// A second `segd run` in the gateway, with folders of its own but for what `words` say. It has to end by itself.
fn run(lab: &Lab, before: &[&str], words: &[(&str, &Path)]) -> Result<Output> {
    run_build(lab, &binary("segd")?, before, words)
}

/// The same for another build.
fn run_build(lab: &Lab, build: &Path, before: &[&str], words: &[(&str, &Path)]) -> Result<Output> {
    let defaults = [
        ("--config", lab.daemon.config()),
        ("--state-dir", beside(lab, "other-state")),
        ("--bpffs", lab.daemon.pins().with_file_name("other")),
        ("--socket", beside(lab, "other.sock")),
    ];
    let mut line: Vec<String> = before.iter().map(|word| (*word).to_owned()).collect();
    line.push(build.display().to_string());
    line.extend(["run", "--metrics", "127.0.0.1:9801"].map(str::to_owned));
    for (option, value) in &defaults {
        let value = words.iter().find(|(name, _)| name == option).map_or(value.as_path(), |(_, value)| value);
        line.extend([(*option).to_owned(), value.display().to_string()]);
    }
    if let Some((_, address)) = words.iter().find(|(name, _)| *name == "--metrics") {
        let at = line.iter().position(|word| word == "127.0.0.1:9801").context("it is among the words")?;
        line[at] = address.display().to_string();
    }
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = lab.office.gateway.run(|| command.spawn())?;
    let ended = until(Duration::from_secs(20), || matches!(child.try_wait(), Ok(Some(_))));
    if !ended {
        child.kill()?;
    }
    let out = child.wait_with_output()?;
    anyhow::ensure!(ended, "it was to refuse its start, but runs: {}", String::from_utf8_lossy(&out.stderr));
    Ok(out)
}

#[track_caller]
fn refused(out: &Output, status: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(status), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

/// Nothing forbidden passes, and what is allowed does.
fn enforces(lab: &Lab) -> Result<bool> {
    let to = lab.office.accounting.v4();
    let _server = lab.office.accounting.serves_tcp(5432)?;
    Ok(lab.office.dev.reaches_tcp(to, 5432) && is_silence(&lab.office.guest.connects(to, 5432)))
}

#[test]
fn what_belongs_to_a_daemon_that_lives_is_not_taken_from_it() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(ledger())?;
    let (socket, pins, state) = (lab.daemon.socket(), lab.daemon.pins(), lab.daemon.state());
    refused(&run(&lab, &[], &[("--socket", &socket)])?, 1, &["another segd answers at", "--socket"]);
    refused(&run(&lab, &[], &[("--bpffs", &pins)])?, 1, &["belongs to another segd", "--bpffs"]);
    refused(&run(&lab, &[], &[("--state-dir", &state)])?, 1, &["belongs to another segd", "--state-dir"]);
    let taken = Path::new("127.0.0.1:9798");
    refused(&run(&lab, &[], &[("--metrics", taken)])?, 1, &["cannot listen on 127.0.0.1:9798", "in use", "--metrics"]);
    assert!(socket.exists(), "its socket is still there");
    assert_eq!(lab.daemon.json(&["status"])?["state"], "enforcing");
    assert!(enforces(&lab)?);
    Ok(())
}

#[test]
fn a_metrics_port_that_a_stranger_has_and_a_folder_that_is_no_bpffs_are_named_before_anything_is_touched() -> Result<()>
{
    needs_root!();
    let lab = Lab::prepared(ledger())?;
    let _stranger = lab.office.gateway.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 9801)))?;
    refused(&run(&lab, &[], &[])?, 1, &["cannot listen on 127.0.0.1:9801", "--metrics"]);
    let free = Path::new("127.0.0.1:9802");
    let folder = beside(&lab, "no-bpffs");
    let out = run(&lab, &[], &[("--metrics", free), ("--bpffs", &folder)])?;
    refused(&out, 1, &["is not on a bpffs", "mount -t bpf bpf /sys/fs/bpf", "--bpffs"]);
    assert!(!folder.exists(), "nothing was made there");
    Ok(())
}

#[test]
fn without_its_capabilities_it_says_which_and_exits_with_four() -> Result<()> {
    needs_root!();
    let lab = Lab::prepared(ledger())?;
    for (lacks, words) in [("-bpf", "CAP_BPF"), ("-net_admin", "CAP_NET_ADMIN"), ("-perfmon", "CAP_PERFMON")] {
        let without = ["setpriv", "--bounding-set", lacks];
        refused(&run(&lab, &without, &[])?, 4, &[words, "start it as root"]);
    }
    Ok(())
}

#[test]
fn f8_programs_that_the_kernel_refuses_leave_those_running_that_are_there() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(ledger())?;
    let to = lab.office.accounting.v4();
    let server = lab.office.accounting.serves_tcp(5432)?;
    let mut live = lab.office.dev.connects(to, 5432)?;
    live.says("hello\n")?;
    let pinned = |lab: &Lab| -> Result<BTreeSet<_>> {
        fs::read_dir(lab.daemon.pins())?.map(|pin| Ok(pin?.file_name())).collect()
    };
    for program in ["segd_xdp", "segd_egress_whole"] {
        let build = beside(&lab, program);
        break_program(&binary("segd")?, program, &build)?;
        let before = pinned(&lab)?;
        lab.daemon.terminate()?;
        let (state, pins, socket) = (lab.daemon.state(), lab.daemon.pins(), lab.daemon.socket());
        let own = [("--state-dir", state.as_path()), ("--bpffs", &pins), ("--socket", &socket)];
        let out = run_build(&lab, &build, &[], &own)?;
        // The verifier's own words, behind the name.
        refused(
            &out,
            1,
            &[&format!("the kernel refuses the program {program}: "), "Verifier output: ", "enforced before still is"],
        );
        live.says("still there?\n")?;
        assert!(lab.office.dev.reaches_tcp(to, 5432), "{program}: what the rule allows");
        assert!(is_silence(&lab.office.guest.connects(to, 5432)), "{program}: what it does not");
        assert_eq!(pinned(&lab)?, before, "{program}");
        lab.start()?;
        live.says("and now?\n")?;
    }
    drop(server);
    assert!(enforces(&lab)?);
    Ok(())
}

/// A copy of segd, one of whose kernel programs has nothing behind it that ends it.
fn break_program(segd: &Path, program: &str, to: &Path) -> Result<()> {
    const EM_BPF: u16 = 247;
    /// `r0 = 0`, in the place of `exit`
    const GOES_ON: [u8; 8] = [0xb7, 0, 0, 0, 0, 0, 0, 0];
    let mut bytes = fs::read(segd)?;
    let begins = |at: &usize| {
        let head = &bytes[*at..];
        head.starts_with(b"\x7fELF\x02\x01\x01") && head.get(18..20) == Some(&EM_BPF.to_le_bytes()[..])
    };
    // The linker keeps the programs at a multiple of their alignment.
    let at = (0..bytes.len()).step_by(8).find(begins).context("segd holds kernel programs")?;
    let programs = object::File::parse(&bytes[at..])?;
    let symbol = programs.symbol_by_name(program).with_context(|| format!("there is no {program}"))?;
    let section = symbol.section_index().context("it has code")?;
    let (code, _) = programs.section_by_index(section)?.file_range().context("it is in the file")?;
    let end = at + usize::try_from(code + symbol.address() + symbol.size())?;
    bytes[end - 8..end].copy_from_slice(&GOES_ON);
    let written = to.with_extension("written");
    fs::write(&written, bytes)?;
    copy_program(&written, to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[test]
fn a_state_folder_that_takes_no_file_refuses_the_start_and_every_change_and_leaves_the_policy() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(ledger())?;
    // Full, and nothing can be freed: the smallest file system there is.
    let full = beside(&lab, "full");
    fs::create_dir_all(&full)?;
    let _mount = Mount::tmpfs(&full, "size=4k,nr_inodes=2")?;
    fs::write(full.join("filler"), vec![0; 4096])?;
    refused(&run(&lab, &[], &[("--state-dir", &full)])?, 1, &["registry.json", "the space on its disk"]);
    let read_only = beside(&lab, "read-only");
    fs::create_dir_all(&read_only)?;
    let _mount = Mount::tmpfs(&read_only, "ro")?;
    refused(&run(&lab, &[], &[("--state-dir", &read_only)])?, 1, &["registry.json", "Read-only file system"]);
    // The same under a daemon that runs.
    let _mount = Mount::tmpfs(&lab.daemon.state(), "ro")?;
    let why = ["--reason", "a test", "--approved-by", "tests@example.com"];
    let out = lab.daemon.segctl(&[&["allow", "guest", "accounting", "tcp/5432"], &why[..]].concat())?;
    assert!(!out.status.success());
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("registry.json"), "{said}");
    assert!(enforces(&lab)?, "nothing was changed");
    assert_eq!(lab.daemon.json(&["rules"])?.as_array().map(Vec::len), Some(1));
    Ok(())
}

#[test]
fn a_daemon_starts_again_beside_a_full_disk_and_changes_nothing_until_there_is_room() -> Result<()> {
    needs_root!();
    let mut lab = Lab::prepared(ledger())?;
    fs::create_dir_all(lab.daemon.state())?;
    let _mount = Mount::tmpfs(&lab.daemon.state(), "size=4m")?;
    lab.start()?;
    let filler = lab.daemon.state().join("filler");
    // It ends with the room.
    let full = fs::write(&filler, vec![0; 8 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    lab.daemon.kill()?;
    lab.start()?;
    assert!(enforces(&lab)?);
    let allow =
        ["allow", "guest", "accounting", "tcp/5432", "--reason", "a test", "--approved-by", "tests@example.com"];
    let out = lab.daemon.segctl(&allow)?;
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && said.contains("No space left on device"), "{said}");
    assert_eq!(lab.daemon.json(&["rules"])?.as_array().map(Vec::len), Some(1));
    fs::remove_file(&filler)?;
    lab.daemon.ctl(&allow)?;
    assert_eq!(lab.daemon.json(&["rules"])?.as_array().map(Vec::len), Some(2));
    lab.daemon.ctl(&["history", "verify"])?;
    Ok(())
}

#[test]
fn a_full_disk_under_the_zone_files_refuses_a_change_whole() -> Result<()> {
    needs_root!();
    let mut lab = Lab::prepared(ledger())?;
    let zones = fs::read(lab.daemon.config())?;
    let folder = lab.daemon.config().parent().context("the zone file has a folder")?.to_owned();
    let _mount = Mount::tmpfs(&folder, "size=64k")?;
    fs::write(lab.daemon.config(), &zones)?;
    lab.start()?;
    let filler = folder.join("filler");
    let full = fs::write(&filler, vec![0; 1 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let generation = || lab.daemon.json(&["status"])?["generation"].as_u64().context("status has no generation");
    let before = generation()?;
    let new = beside(&lab, "new.yaml");
    fs::write(&new, [&zones[..], b"# another text\n"].concat())?;
    let new = new.display().to_string();
    let allow =
        ["allow", "guest", "accounting", "tcp/5432", "--reason", "a test", "--approved-by", "tests@example.com"];
    for change in [&allow[..], &["audit", "guest", "dev"], &["apply", &new], &["apply", &new, "--confirm", "60s"]] {
        let out = lab.daemon.segctl(change)?;
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && said.contains("No space left on device"), "{change:?}: {said}");
        assert_eq!(generation()?, before, "{change:?}");
        assert_eq!(fs::read(lab.daemon.config())?, zones, "{change:?}");
    }
    assert!(enforces(&lab)?);
    assert!(lab.daemon.json(&["status"])?["pending"].is_null(), "no trial is left");
    fs::remove_file(&filler)?;
    lab.daemon.ctl(&allow)?;
    lab.daemon.ctl(&["history", "verify"])?;
    Ok(())
}

#[test]
fn an_interface_that_is_named_and_not_there_is_told_with_its_mend_and_guarded_when_it_comes() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(ledger().hook("lan99", "auto"))?;
    let told = || {
        let status = lab.daemon.json(&["status"]).unwrap_or_default();
        let amiss = status["amiss"].as_array().cloned().unwrap_or_default();
        amiss
            .into_iter()
            .any(|amiss| amiss["what"].to_string().contains("lan99") && amiss["mend"].to_string().contains("ip link"))
    };
    assert!(told());
    assert!(enforces(&lab)?);
    lab.office.cable(&lab.office.guest, "lan99", "eth9")?;
    assert!(until(SOON, || !told()), "{}", lab.daemon.log());
    let guarded = || lab.metrics().is_ok_and(|now| now.sum("segd_interface_enforced", &[("interface", "lan99")]) > 0.0);
    assert!(until(SOON, guarded), "{}", lab.daemon.log());
    Ok(())
}

#[test]
fn a_zone_file_that_can_not_be_read_at_a_reload_changes_nothing_and_is_told_until_it_can() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(ledger())?;
    let before = lab.metrics()?;
    fs::remove_file(lab.daemon.config())?;
    lab.daemon.reload()?;
    let errors = || lab.metrics().is_ok_and(|now| now.since(&before).sum("segd_policy_apply_errors_total", &[]) > 0.0);
    assert!(until(SOON, errors), "{}", lab.daemon.log());
    let amiss = || lab.daemon.json(&["status"]).map(|status| status["amiss"].to_string());
    assert!(amiss()?.contains("refused at the last reload"), "{}", amiss()?);
    assert!(lab.daemon.log().contains("there is no such file"), "{}", lab.daemon.log());
    assert!(enforces(&lab)?);
    lab.reload(ledger())?;
    assert!(!amiss()?.contains("refused"), "{}", amiss()?);
    Ok(())
}

/// A file system of the test's own; it leaves with this value.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: &Path, options: &str) -> Result<Self> {
        let out = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(at).output()?;
        anyhow::ensure!(out.status.success(), "mount {}: {}", at.display(), String::from_utf8_lossy(&out.stderr));
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // What is left mounted shows when the folder can't be removed.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_policy_whose_reach_test_fails_is_refused_with_the_way_in_and_nothing_changes() -> Result<()> {
    const TESTS: &str = "tests:\n  - { reach: accounting, only_from: [dev] }\n";
    needs_root!();
    let good = Zones::new().rule("ledger", "dev", "accounting", "tcp/5432");
    let lab = Lab::enforcing(format!("{good}{TESTS}"))?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let to = lab.office.accounting.v4();
    let bad = format!("{}{TESTS}", good.clone().rule("printer", "guest", "accounting", "tcp/5432"));
    let line = 1 + bad.lines().position(|line| line.contains("reach:")).context("a test of reach")?;
    let rule = 1 + bad.lines().position(|line| line.contains("printer")).context("a rule")?;
    let new = lab.daemon.config().with_file_name("new.yaml");
    fs::write(&new, &bad)?;
    let path = new.to_str().context("a path")?;
    for out in [
        lab.daemon.segctl(&["apply", path])?,
        lab.daemon.segctl(&["check", path])?,
        Command::new(binary("segd")?).args(["check", path]).output()?,
    ] {
        let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
        assert_eq!(out.status.code(), Some(5), "{said}");
        for words in [
            format!("new.yaml:{line}:"),
            "accounting is reached only from dev".into(),
            format!("new.yaml:{rule}:"),
            "lets guest in".into(),
        ] {
            assert!(said.contains(&words), "no {words:?} in: {said}");
        }
    }
    let allow = ["allow", "guest", "accounting", "tcp/5432", "--reason", "x", "--approved-by", "y@example.com"];
    assert_eq!(lab.daemon.segctl(&allow)?.status.code(), Some(5), "by one rule neither");
    assert!(is_silence(&lab.office.guest.connects(to, 5432)), "nothing is opened");
    assert!(lab.office.dev.reaches_tcp(to, 5432));
    assert_eq!(lab.metrics()?.count("segd_policy_generation", &[]), 1);
    let fine = format!("{}{TESTS}", good.rule("backup", "dev", "accounting", "tcp/873"));
    fs::write(&new, fine)?;
    lab.daemon.ctl(&["apply", path])?;
    Ok(())
}
