//! Files on the disk: which are read, in what order, how they merge, and what is said when one can't be read.

use std::fs;
use std::path::Path;

use segd::config::{Source, load, load_sources, load_sources_at, read_sources};
use segd::policy::{Essential, HookChoice, IntraZone, Limits, Mode, PolicyTest, ZoneRef};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../zones.example.yaml");

/// Every key that there is, in the forms in which people write them.
const EVERY_KEY: &str = r#"version: 1
mode: enforce                 # enforce (default) | audit: pass what would be dropped, count and report it

interfaces:                   # which interfaces are guarded; left out = all but loopback, hot-plugged ones too
  - name: "lan*"              # shell-style glob
    hook: auto                # auto (default) | xdp | xdp-generic | tc
    forward: kernel           # kernel (default) | shortcut: established flows are redirected in XDP

zones:
  accounting:
    description: Finance servers
    networks: [10.20.0.0/24, "fd00:20::/64"]
    interfaces: [lan20]       # optional: a source of this zone seen on another interface is spoofed
    intra_zone: allow         # deny (default) | allow: may members talk to each other through us
  dev:
    networks: [10.30.0.0/24]
  internet:
    networks: [0.0.0.0/0, "::/0"]

services:
  web: [tcp/80, tcp/443, udp/443]
  ledger: [tcp/5432]

rules:
  - id: dev-reads-ledger      # unique, stable, [a-z0-9][a-z0-9-]*; counters and history hang on it
    from: dev                 # a zone, a list of zones, or any
    to: accounting
    services: [ledger, tcp/8000-8010]
    reason: Nightly reconciliation reads the ledger     # required on every rule between two zones
    approved_by: finance-lead@example.com               # required likewise
    ticket: SEC-142           # optional
    expires: 2027-06-30T00:00:00Z                       # optional, RFC 3339
    mode: enforce             # enforce | audit
    log: false                # true: an event for each new connection

pairs:                        # phased rollout: pairs that are still only watched
  - { from: dev, to: internet, mode: audit }

failsafe:                     # never blocked by any policy; empty by default, and the daemon warns
  from: [10.0.0.0/24]
  services: [tcp/22]

essentials: [arp, ndp, dhcp-client, mld]   # the default; what a network needs to work at all

limits:
  connections: 262144         # established; fixed memory, told at start
  half_open: 65536            # apart from the above, so a flood cannot evict a session

tests:                        # run before every apply; one that fails refuses the policy
  - { from: 10.30.0.5, to: 10.20.0.10, service: tcp/5432, expect: allow }
  - { from: 10.30.0.5, to: 10.20.0.10, service: tcp/22,   expect: deny }
  - { reach: accounting, only_from: [dev] }   # no rule lets any other zone in
"#;

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn the_example_loads_without_a_warning() {
    let loaded = load(Path::new(EXAMPLE)).unwrap();
    assert_eq!(loaded.warnings, []);
    let zones: Vec<&str> = loaded.policy.zones.iter().map(|zone| zone.name.0.as_str()).collect();
    assert_eq!(zones, ["accounting", "dev", "guest", "internet"]);
    assert_eq!(loaded.policy.zones[0].intra_zone, IntraZone::Allow);
    assert_eq!(loaded.policy.rules.len(), 6);
    let rule = &loaded.policy.rules[0];
    assert_eq!(
        (rule.id.0.as_str(), rule.services_written.join(" ")),
        ("dev-reads-ledger", "ledger tcp/8000-8010".to_owned())
    );
    assert_eq!(rule.services, ["tcp/5432".parse().unwrap(), "tcp/8000-8010".parse().unwrap()]);
    assert_eq!(loaded.policy.essentials, Essential::DEFAULT.into());
    assert_eq!(loaded.policy.pairs.len(), 1);
    assert!(matches!(loaded.policy.tests.last(), Some((_, PolicyTest::Reach { .. }))));
}

#[test]
fn every_key_that_there_is_has_its_place_in_the_policy() {
    let now = "2026-11-23T00:00:00Z".parse().unwrap();
    let loaded = load_sources_at(vec![Source { name: "zones.yaml".into(), text: EVERY_KEY.into() }], now).unwrap();
    assert_eq!(loaded.warnings, []);
    let policy = loaded.policy;
    assert_eq!((policy.interfaces[0].name.as_str(), policy.interfaces[0].hook), ("lan*", HookChoice::Auto));
    let accounting = &policy.zones[0];
    assert_eq!(accounting.description.as_deref(), Some("Finance servers"));
    assert_eq!(accounting.networks, ["10.20.0.0/24".parse().unwrap(), "fd00:20::/64".parse().unwrap()]);
    assert_eq!(accounting.interfaces[0].as_str(), "lan20");
    let rule = &policy.rules[0];
    assert_eq!(rule.reason.as_deref(), Some("Nightly reconciliation reads the ledger"));
    assert_eq!(
        (rule.approved_by.as_deref(), rule.ticket.as_deref()),
        (Some("finance-lead@example.com"), Some("SEC-142"))
    );
    assert_eq!(
        (rule.expires, rule.mode, rule.log),
        (Some("2027-06-30T00:00:00Z".parse().unwrap()), Mode::Enforce, false)
    );
    assert_eq!((policy.pairs[0].to.to_string(), policy.pairs[0].mode), ("internet".to_owned(), Mode::Audit));
    assert_eq!(policy.failsafe.services, ["tcp/22".parse().unwrap()]);
    assert_eq!(policy.limits, Limits { connections: 262_144, half_open: 65_536 });
    assert!(matches!(&policy.tests[1].1, PolicyTest::Connection { expect_allow: false, .. }));
    assert!(matches!(&policy.tests[2].1, PolicyTest::Reach { only_from, .. } if only_from[0].0 == "dev"));
}

#[test]
fn drop_ins_are_merged_in_lexical_order() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "zones.yaml",
        "version: 1\nzones:\n  a: { networks: [10.1.0.0/16] }\nfailsafe: { from: [10.1.0.0/24], services: [ssh] }\n",
    );
    write(
        folder.path(),
        "zones.d/20-b.yaml",
        "rules:\n  - { id: two, from: b, to: any, services: ssh, reason: r, approved_by: p, mode: audit }\n",
    );
    write(
        folder.path(),
        "zones.d/10-a.yaml",
        "version: 1\nmode: audit\nzones:\n  b: { networks: [10.2.0.0/16] }\nservices: { ssh: [tcp/22] }\nrules:\n  - { id: one, from: [a, b, a], to: host, services: [ssh, tcp/22], reason: r, approved_by: p }\n",
    );
    write(folder.path(), "zones.d/.hidden.yaml", "nonsense: [");
    write(folder.path(), "zones.d/README", "nonsense: [");
    write(folder.path(), "zones.d/30-c.yml", "nonsense: [");
    write(folder.path(), "zones.d/40-empty.yaml", "# nothing yet\nrules:\n");
    let loaded = load(&folder.path().join("zones.yaml")).unwrap();
    let files: Vec<_> = loaded.files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(files, ["zones.yaml", "10-a.yaml", "20-b.yaml", "40-empty.yaml"]);
    assert_eq!(loaded.policy.mode, Mode::Audit);
    let rules: Vec<&str> = loaded.policy.rules.iter().map(|rule| rule.id.0.as_str()).collect();
    assert_eq!(rules, ["one", "two"]);
    assert_eq!((loaded.policy.rules[0].from.len(), loaded.policy.rules[0].services.len()), (2, 1), "each once");
    assert_eq!(loaded.policy.rules[1].to, [ZoneRef::Any]);
    assert_eq!(loaded.policy.rules[1].place.line, 2);
    let warnings: Vec<&str> = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(warnings, ["this file is not read"]);
}

#[test]
fn files_that_cannot_be_read_hide_nothing_and_blame_nobody() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "zones.d/10.yaml", b"rules: # \xff\n");
    write(folder.path(), "zones.d/20.yaml", "rules:\n  - { id: a, from: x, to: x, services: [tcp/0-70000] }\n");
    let faults = load(&folder.path().join("zones.yaml")).unwrap_err();
    let shown: Vec<String> = faults.faults.iter().map(|fault| fault.message.clone()).collect();
    assert_eq!(
        shown,
        ["there is no such file", "the file is not UTF-8 text", "'tcp/0-70000': port 70000 is out of range"]
    );
    assert!(faults.to_string().contains("zones.yaml: there is no such file\n  mend: write it"));
    assert_eq!(read_sources(&folder.path().join("zones.yaml")).unwrap_err().faults.len(), 2);
    write(folder.path(), "zones.yaml", vec![b'#'; (32 << 20) + 1]);
    assert!(
        load(&folder.path().join("zones.yaml")).unwrap_err().to_string().contains("the file is larger than 32 MiB")
    );
}

#[test]
fn a_folder_in_place_of_a_file_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let faults = load(folder.path()).unwrap_err();
    assert_eq!(faults.faults[0].message, "this is a folder, not a file");
}

#[test]
fn what_is_no_text_is_shown_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "zones.yaml", b"version: 1\nzones:\n  \xc3\xa4b: \xe9 # \xff\n");
    let faults = load(&folder.path().join("zones.yaml")).unwrap_err();
    let fault = &faults.faults[0];
    assert_eq!(
        (fault.line, fault.column, fault.line_text.as_str()),
        (3, 7, "  \u{e4}b: \u{fffd} # \u{fffd}"),
        "{fault}"
    );
    assert!(faults.to_string().contains("zones.yaml:3:7: the file is not UTF-8 text\n"), "{faults}");
}

#[test]
fn a_lone_carriage_return_ends_a_line() {
    let source = Source { name: "zones.yaml".into(), text: "version: 1\rzones:\r  a: { networks: [x] }\r".into() };
    let faults = load_sources(vec![source]).unwrap_err();
    let fault = &faults.faults[0];
    assert_eq!((fault.line, fault.line_text.as_str(), fault.caret), (3, "  a: { networks: [x] }", 19), "{fault}");
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "zones.yaml", b"version: 1\r\nzones:\r  \xff\n");
    assert_eq!(load(&folder.path().join("zones.yaml")).unwrap_err().faults[0].line, 3);
}

#[test]
fn a_named_pipe_is_refused_and_never_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "zones.yaml", "version: 1\nzones: {}\n");
    fs::create_dir(folder.path().join("zones.d")).unwrap();
    let pipes = ["pipe.yaml", "zones.d/10.yaml"].map(|name| folder.path().join(name));
    for pipe in &pipes {
        let made = std::process::Command::new("mkfifo").arg(pipe).status().unwrap();
        assert!(made.success());
    }
    let faults = load(&pipes[0]).unwrap_err().to_string();
    assert!(faults.contains("pipe.yaml: this is a named pipe, not a file\n  mend: name a zone file"), "{faults}");
    assert!(faults.contains("10.yaml: this is a named pipe"), "{faults}");
    assert!(load(Path::new("/dev/zero")).unwrap_err().to_string().contains("this is a device, not a file"));
}

#[test]
fn a_link_to_a_file_is_that_file() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("zones.yaml");
    std::os::unix::fs::symlink(EXAMPLE, &link).unwrap();
    assert_eq!(load(&link).unwrap().sources[0].text, fs::read_to_string(EXAMPLE).unwrap());
}

#[test]
fn a_pipe_on_standard_input_is_read_once() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut check = Command::new(env!("CARGO_BIN_EXE_segd"));
    check.args(["check", "/dev/stdin"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = check.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&fs::read(EXAMPLE).unwrap()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stdout).starts_with("/dev/stdin: in order; "));
}

#[test]
fn a_text_is_checked_together_with_the_drop_ins() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "zones.yaml", "version: 1\nzones:\n  a: { networks: [10.1.0.0/16] }\n");
    write(folder.path(), "zones.d/50-segctl.yaml", "rules:\n  - { id: r, from: a, to: a, services: [any] }\n");
    let mut sources = read_sources(&folder.path().join("zones.yaml")).unwrap();
    let before = load_sources(sources.clone()).unwrap();
    assert_eq!(before.digest, load(&folder.path().join("zones.yaml")).unwrap().digest);
    sources[0] =
        Source { name: "posted".into(), text: "version: 1\nzones:\n  b: { networks: [10.1.0.0/16] }\n".into() };
    let faults = load_sources(sources).unwrap_err();
    assert_eq!(faults.faults.len(), 2);
    assert!(faults.faults[0].message.contains("unknown zone 'a'"));
}

#[test]
fn the_digest_changes_with_any_byte_of_any_file() {
    let digest = |texts: [&str; 2]| {
        let sources =
            texts.iter().zip(["a", "b"]).map(|(text, name)| Source { name: name.into(), text: (*text).into() });
        load_sources(sources.collect()).unwrap().digest
    };
    let first = digest(["version: 1\n", "mode: audit\n"]);
    assert_eq!(first.len(), 64);
    assert_eq!(first, digest(["version: 1\n", "mode: audit\n"]));
    assert_ne!(first, digest(["version: 1\n ", "mode: audit\n"]));
    assert_ne!(first, digest(["version: 1\n", "mode: audit\n#"]));
}
