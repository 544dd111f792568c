//! What programs rely on: the shapes of `-o json` and `-o yaml` and the exit statuses, by the real daemon and the real
//! `segctl`. A key may be added; none of these may go, change its name or its type.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use segd_tests::lab::{Lab, Zones, binary, copy_program, is_silence};
use segd_tests::needs_root;
use serde_json::Value;

/// What a value has to be.
#[derive(Clone, Copy, Debug)]
enum Is {
    Text,
    Number,
    Flag,
    List,
    /// One of these words.
    Word(&'static [&'static str]),
    Null,
    /// A name, or several.
    Names,
    TextOrNull,
    Time,
    TimeOrNull,
}

impl Is {
    fn fits(self, value: &Value) -> bool {
        let time = || value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok());
        match self {
            Self::Text => value.is_string(),
            Self::Number => value.is_u64(),
            Self::Flag => value.is_boolean(),
            Self::List => value.is_array(),
            Self::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Self::Null => value.is_null(),
            Self::Names => value.is_string() || value.as_array().is_some_and(|all| all.iter().all(Value::is_string)),
            Self::TextOrNull => value.is_string() || value.is_null(),
            Self::Time => time(),
            Self::TimeOrNull => value.is_null() || time(),
        }
    }
}

#[track_caller]
fn assert_shape(value: &Value, shape: &[(&str, Is)]) {
    assert!(value.is_object(), "no object: {value}");
    for (key, is) in shape {
        let Some(there) = value.get(key) else { panic!("no key {key} in {value}") };
        assert!(is.fits(there), "{key} is not {is:?}: {there}");
    }
}

#[track_caller]
fn each(list: &Value, shape: &[(&str, Is)]) {
    let all = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    assert!(!all.is_empty(), "nothing in the list");
    for one in all {
        assert_shape(one, shape);
    }
}

const VERDICT: Is = Is::Word(&["allow", "deny"]);
const MODE: Is = Is::Word(&["enforce", "audit"]);
const EXPLANATION: [(&str, Is); 7] = [
    ("verdict", VERDICT),
    ("reason", Is::Text),
    ("rule", Is::TextOrNull),
    ("from_zone", Is::Text),
    ("to_zone", Is::Text),
    ("mode", MODE),
    ("generation", Is::Number),
];
const FLOW: [(&str, Is); 11] = [
    ("time", Is::Time),
    ("src", Is::Text),
    ("dst", Is::Text),
    ("proto", Is::Text),
    ("src_port", Is::Number),
    ("dst_port", Is::Number),
    ("from_zone", Is::Text),
    ("to_zone", Is::Text),
    ("verdict", VERDICT),
    ("reason", Is::Text),
    ("rule", Is::TextOrNull),
];

fn zones() -> Zones {
    Zones::new().rule("ledger", "dev", "accounting", "tcp/5432")
}

fn lab() -> Result<Lab> {
    Lab::enforcing(format!("{}services: {{ web: [tcp/80, tcp/443] }}\n", zones()))
}

/// Standard output and exit status.
fn says(lab: &Lab, words: &[&str]) -> Result<(i32, String)> {
    let Output { status, stdout, .. } = lab.daemon.segctl(words)?;
    Ok((status.code().context("ended by a signal")?, String::from_utf8(stdout)?))
}

fn code(lab: &Lab, words: &[&str]) -> Result<i32> {
    says(lab, words).map(|(code, _)| code)
}

#[test]
fn explain_has_its_seven_keys_and_its_exit_status_is_the_verdict() -> Result<()> {
    needs_root!();
    let lab = lab()?;
    for (question, status, verdict, rule) in [
        (["10.30.0.5", "10.20.0.10", "tcp/5432"], 0, "allow", Value::from("ledger")),
        (["dev", "accounting", "tcp/5432"], 0, "allow", Value::from("ledger")),
        (["10.30.0.5", "10.20.0.10", "tcp/22"], 1, "deny", Value::Null),
        (["guest", "accounting", "tcp/5432"], 1, "deny", Value::Null),
    ] {
        let (code, text) = says(&lab, &[&["-o", "json", "explain"][..], &question].concat())?;
        let answer: Value = serde_json::from_str(&text)?;
        assert_shape(&answer, &EXPLANATION);
        assert_eq!((code, &answer["verdict"], &answer["rule"]), (status, &verdict.into(), &rule), "{question:?}");
        let (code, text) = says(&lab, &[&["-o", "yaml", "explain"][..], &question].concat())?;
        assert_eq!((code, serde_yaml::from_str::<Value>(&text)?), (status, answer), "YAML says the same");
        assert_eq!(self::code(&lab, &[&["explain"][..], &question].concat())?, status, "so does the table");
    }
    Ok(())
}

#[test]
fn lists_have_their_keys_in_json_and_the_same_in_yaml() -> Result<()> {
    needs_root!();
    let lab = lab()?;
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let list = |what: &str| {
        let json: Value = serde_json::from_str(&lab.daemon.ctl(&["-o", "json", what])?)?;
        let yaml: Value = serde_yaml::from_str(&lab.daemon.ctl(&["-o", "yaml", what])?)?;
        // The time of a hit is known to a tick, and told as of each reading.
        let untimed = |list: &Value| {
            let mut list = list.clone();
            let rules = list.as_array_mut().into_iter().flatten().filter_map(|rule| rule.get_mut("last_hit"));
            rules.for_each(|time| *time = Value::from(!time.is_null()));
            list
        };
        ensure!(
            what == "status" || untimed(&json) == untimed(&yaml),
            "{what} in YAML is not what it is in JSON:\n{yaml}\n{json}"
        );
        Ok(json)
    };
    let rule = [
        ("id", Is::Text),
        ("from", Is::Names),
        ("to", Is::Names),
        ("services", Is::List),
        ("reason", Is::TextOrNull),
        ("approved_by", Is::TextOrNull),
        ("ticket", Is::TextOrNull),
        ("expires", Is::TimeOrNull),
        ("mode", MODE),
        ("log", Is::Flag),
        ("packets", Is::Number),
        ("bytes", Is::Number),
        ("connections", Is::Number),
        ("last_hit", Is::TimeOrNull),
    ];
    let rules = list("rules")?;
    each(&rules, &rule);
    assert_shape(&rules[0], &[("expires", Is::Null), ("ticket", Is::Null), ("last_hit", Is::Null)]);
    assert!(lab.office.dev.reaches_tcp(lab.office.accounting.v4(), 5432));
    assert_shape(&list("rules")?[0], &[("last_hit", Is::Time)]);
    each(
        &list("zones")?,
        &[
            ("name", Is::Text),
            ("networks", Is::List),
            ("interfaces", Is::List),
            ("intra_zone", Is::Word(&["deny", "allow"])),
        ],
    );
    each(&list("services")?, &[("name", Is::Text), ("members", Is::List)]);
    let interface = [("name", Is::Text), ("hook", Is::Word(&["xdp", "xdp-generic", "tc"])), ("enforced", Is::Flag)];
    each(&list("interfaces")?, &interface);
    let status = list("status")?;
    assert_shape(&status, &[("state", Is::Word(&["enforcing", "degraded", "open"])), ("generation", Is::Number)]);
    each(&status["interfaces"], &interface);
    let pair = [("from_zone", Is::Text), ("to_zone", Is::Text), ("allowed", Is::Number), ("denied", Is::Number)];
    each(&list("matrix")?, &pair);
    each(&list("top")?, &pair);
    Ok(())
}

#[test]
fn flows_are_one_object_a_line_and_a_drop_has_a_null_rule() -> Result<()> {
    needs_root!();
    let lab = lab()?;
    let to = lab.office.accounting.v4();
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let mut session = lab.office.dev.connects(to, 5432)?;
    session.says("hello\n")?;
    assert!(is_silence(&lab.office.guest.connects(to, 5432)));
    let flows = |words: &[&str]| -> Result<Vec<Value>> {
        let lines = lab.daemon.ctl(&[&["-o", "json", "flows"], words].concat())?;
        lines.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    };
    let all = flows(&[])?;
    for flow in &all {
        assert_shape(flow, &FLOW);
    }
    let told = |flow: &Value| (flow["verdict"].clone(), flow["reason"].clone(), flow["rule"].clone());
    let of = |zone: &str| all.iter().filter(|flow| flow["from_zone"] == zone).map(told).collect::<Vec<_>>();
    assert_eq!(of("dev"), [("allow".into(), "rule".into(), "ledger".into())]);
    assert_eq!(of("guest"), [("deny".into(), "no-rule".into(), Value::Null)]);
    let blocked = flows(&["--blocked", "--to", "accounting"])?;
    assert_eq!(blocked.iter().map(told).collect::<Vec<_>>(), of("guest"));
    assert_eq!(flows(&["--from", "internet"])?.len(), 0);
    Ok(())
}

/// Presses Tab in bash behind this line, and gives what it offers.
fn offered(lab: &Lab, line: &str) -> Result<Vec<String>> {
    let folder = binary("segctl")?.parent().context("a folder")?.to_owned();
    let script = format!(
        "source <(segctl completions bash); read -ra COMP_WORDS <<< '{line}'; [[ '{line}' == *' ' ]] && COMP_WORDS+=(''); \
         COMP_CWORD=$(({count} - 1)); COMP_TYPE=9; _clap_complete_segctl segctl \"${{COMP_WORDS[COMP_CWORD]}}\" x; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        count = "${#COMP_WORDS[@]}"
    );
    let out = Command::new("bash")
        .args(["-c", &script])
        .env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default()))
        .env("SEGD_SOCKET", lab.daemon.socket())
        .output()?;
    assert!(out.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8(out.stdout)?
        .lines()
        .filter(|word| !word.is_empty() && !word.starts_with('-'))
        .map(str::to_owned)
        .collect())
}

#[test]
fn a_shell_completes_zones_rules_services_and_who_is_cut_off() -> Result<()> {
    needs_root!();
    let mut lab = lab()?;
    lab.daemon.ctl(&["quarantine", "10.40.0.7", "--reason", "beacons"])?;
    assert_eq!(offered(&lab, "segctl enforce ac")?, ["accounting"]);
    assert_eq!(offered(&lab, "segctl enforce dev gu")?, ["guest"]);
    assert_eq!(offered(&lab, "segctl allow dev,ac")?, ["dev,accounting"]);
    assert_eq!(offered(&lab, "segctl allow dev,d")?, Vec::<String>::new(), "it is named already");
    assert_eq!(offered(&lab, "segctl revoke ")?, ["ledger"]);
    assert_eq!(offered(&lab, "segctl release ")?, ["10.40.0.7"]);
    assert!(offered(&lab, "segctl rules --from ")?.contains(&"any".to_owned()));
    lab.daemon.terminate()?;
    assert_eq!(offered(&lab, "segctl revoke ")?, Vec::<String>::new(), "nobody answers");
    assert_eq!(offered(&lab, "segctl revo")?, ["revoke"]);
    Ok(())
}

#[test]
fn usage_is_two_an_absent_daemon_three_and_a_stranger_four() -> Result<()> {
    needs_root!();
    let mut lab = lab()?;
    for words in
        [&["explain"][..], &["no-such-verb"], &["allow", "dev", "accounting", "tcp/1"], &["-o", "xml", "rules"]]
    {
        assert_eq!(code(&lab, words)?, 2, "{words:?}");
    }
    let stranger = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(reachable(&binary("segctl")?)?.0.join("segctl"))
        .arg("--socket")
        .arg(lab.daemon.socket())
        .arg("rules")
        .output()?;
    assert_eq!(stranger.status.code(), Some(4), "{}", String::from_utf8_lossy(&stranger.stderr));
    lab.daemon.terminate()?;
    let gone = lab.daemon.segctl(&["status"])?;
    let said = String::from_utf8_lossy(&gone.stderr);
    assert_eq!(gone.status.code(), Some(3), "{said}");
    assert!(said.contains("enforcement goes on"), "{said}");
    Ok(())
}

/// A copy of a program that everybody may run.
fn reachable(program: &std::path::Path) -> Result<(PathBuf, tempfile::TempDir)> {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir()?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
    copy_program(program, &dir.path().join("segctl"))?;
    Ok((dir.path().to_owned(), dir))
}

/// A zone file of the test's own beside the daemon's.
fn candidate(lab: &Lab, text: &str) -> Result<String> {
    let path = lab.daemon.state().with_file_name("candidate.yaml");
    std::fs::write(&path, text)?;
    Ok(path.to_string_lossy().into_owned())
}

#[test]
fn a_bad_policy_and_failing_tests_are_five_wherever_they_are_asked_about() -> Result<()> {
    needs_root!();
    let lab = lab()?;
    let claim = "tests:\n  - { from: 10.30.0.5, to: 10.20.0.10, service: tcp/22, expect: allow }\n";
    let bad = [
        zones().to_string().replace("10.30.0.0/24", "10.30.0.1/24"),
        format!("{}{claim}", zones()),
        format!("{}surprise: 1\n", zones()),
        "version: 1\nzones: [none]\n".to_owned(),
    ];
    for text in bad {
        let file = candidate(&lab, &text)?;
        for words in [["check", &file], ["apply", &file]] {
            assert_eq!(code(&lab, &words)?, 5, "{words:?} of:\n{text}");
        }
        let segd = Command::new(binary("segd")?).arg("check").arg(&file).output()?;
        assert_eq!(segd.status.code(), Some(5), "segd check of:\n{text}");
        let (_, said) = says(&lab, &["check", &file])?;
        let places = |text: &str| -> BTreeSet<String> {
            text.split([' ', '\n', '('])
                .filter(|word| word.contains("candidate.yaml:"))
                .map(|word| word.trim_matches(':').to_owned())
                .collect()
        };
        assert_eq!(places(&said), places(&String::from_utf8_lossy(&segd.stderr)), "both name the same places:\n{said}");
        assert!(!places(&said).is_empty(), "{said}");
    }
    let good = candidate(&lab, &zones().to_string())?;
    assert_eq!(code(&lab, &["check", &good])?, 0);
    assert_eq!(Command::new(binary("segd")?).arg("check").arg(&good).output()?.status.code(), Some(0));
    for nothing in ["/nonexistent/zones.yaml", "/"] {
        assert_eq!(code(&lab, &["check", nothing])?, 5, "{nothing}");
        assert_eq!(
            Command::new(binary("segd")?).args(["check", nothing]).output()?.status.code(),
            Some(5),
            "{nothing}"
        );
    }
    Ok(())
}

#[test]
fn a_difference_is_one_and_a_policy_that_somebody_else_changed_six() -> Result<()> {
    needs_root!();
    let lab = lab()?;
    let same = candidate(&lab, &std::fs::read_to_string(lab.daemon.config())?)?;
    assert_eq!(code(&lab, &["diff", &same])?, 0);
    let other = candidate(&lab, &Zones::new().to_string())?;
    assert_eq!(code(&lab, &["diff", &other])?, 1);
    let why = ["--reason", "a test", "--approved-by", "tests@example.com"];
    let allow = [&["allow", "guest", "accounting", "tcp/443"], &why[..]].concat();
    lab.daemon.write_zones(&Zones::new().to_string())?;
    let refused = lab.daemon.segctl(&allow)?;
    assert_eq!(refused.status.code(), Some(6), "{}", String::from_utf8_lossy(&refused.stderr));
    lab.daemon.ctl(&["reload"])?;
    let (status, id) = says(&lab, &allow)?;
    assert_eq!((status, id.trim()), (0, "guest-accounting-tcp-443"), "it prints its id");
    assert_eq!(code(&lab, &["revoke", id.trim(), "--reason", "done"])?, 0);
    Ok(())
}
