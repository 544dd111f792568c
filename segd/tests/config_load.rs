//! Files on the disk: which are read, in what order, how they merge, and what is said when one can't be read.

use std::fs;
use std::path::Path;

use segd::config::{Source, load, load_sources, read_sources};
use segd::policy::{Essential, IntraZone, Mode, PolicyTest, ZoneRef};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../zones.example.yaml");

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
    assert_eq!((rule.id.0.as_str(), rule.services_written.join(" ")), ("dev-reads-ledger", "ledger tcp/8000-8010".to_owned()));
    assert_eq!(rule.services, ["tcp/5432".parse().unwrap(), "tcp/8000-8010".parse().unwrap()]);
    assert_eq!(loaded.policy.essentials, Essential::DEFAULT.into());
    assert_eq!(loaded.policy.pairs.len(), 1);
    assert!(matches!(loaded.policy.tests.last(), Some((_, PolicyTest::Reach { .. }))));
}

#[test]
fn drop_ins_are_merged_in_lexical_order() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "zones.yaml", "version: 1\nzones:\n  a: { networks: [10.1.0.0/16] }\nfailsafe: { from: [10.1.0.0/24], services: [ssh] }\n");
    write(folder.path(), "zones.d/20-b.yaml", "rules:\n  - { id: two, from: b, to: any, services: ssh, reason: r, approved_by: p, mode: audit }\n");
    write(folder.path(), "zones.d/10-a.yaml", "version: 1\nmode: audit\nzones:\n  b: { networks: [10.2.0.0/16] }\nservices: { ssh: [tcp/22] }\nrules:\n  - { id: one, from: [a, b, a], to: host, services: [ssh, tcp/22], reason: r, approved_by: p }\n");
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
        ["there is no such file", "the file is not UTF-8 text; see line 1", "'tcp/0-70000': port 70000 is out of range"]
    );
    assert!(faults.to_string().contains("zones.yaml: there is no such file\n  mend: write it"));
    assert_eq!(read_sources(&folder.path().join("zones.yaml")).unwrap_err().faults.len(), 2);
    write(folder.path(), "zones.yaml", vec![b'#'; (16 << 20) + 1]);
    assert!(load(&folder.path().join("zones.yaml")).unwrap_err().to_string().contains("the file is larger than 16 MiB"));
}

#[test]
fn a_folder_in_place_of_a_file_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let faults = load(folder.path()).unwrap_err();
    assert!(faults.faults[0].message.starts_with("the file can't be read"), "{faults}");
}

#[test]
fn a_text_is_checked_together_with_the_drop_ins() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "zones.yaml", "version: 1\nzones:\n  a: { networks: [10.1.0.0/16] }\n");
    write(folder.path(), "zones.d/50-segctl.yaml", "rules:\n  - { id: r, from: a, to: a, services: [any] }\n");
    let mut sources = read_sources(&folder.path().join("zones.yaml")).unwrap();
    let before = load_sources(sources.clone()).unwrap();
    assert_eq!(before.digest, load(&folder.path().join("zones.yaml")).unwrap().digest);
    sources[0] = Source { name: "posted".into(), text: "version: 1\nzones:\n  b: { networks: [10.1.0.0/16] }\n".into() };
    let faults = load_sources(sources).unwrap_err();
    assert_eq!(faults.faults.len(), 2);
    assert!(faults.faults[0].message.contains("unknown zone 'a'"));
}

#[test]
fn the_digest_changes_with_any_byte_of_any_file() {
    let digest = |texts: [&str; 2]| {
        let sources = texts.iter().zip(["a", "b"]).map(|(text, name)| Source { name: name.into(), text: (*text).into() });
        load_sources(sources.collect()).unwrap().digest
    };
    let first = digest(["version: 1\n", "mode: audit\n"]);
    assert_eq!(first.len(), 64);
    assert_eq!(first, digest(["version: 1\n", "mode: audit\n"]));
    assert_ne!(first, digest(["version: 1\n ", "mode: audit\n"]));
    assert_ne!(first, digest(["version: 1\n", "mode: audit\n#"]));
}
