//! What a person or a script sees of segctl: exit status, standard output, standard error. The binary is run as it is
//! against a real socket; only the answers are laid down.

mod support;

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::{Daemon, SEGCTL, command, given, lines, ok, run};

const NOWHERE: &str = "/nonexistent/segd.sock";

fn explanation(verdict: &str, reason: &str) -> Value {
    json!({
        "verdict": verdict, "reason": reason, "rule": null, "from_zone": "dev", "to_zone": "accounting",
        "mode": "enforce", "generation": 7, "hints": []
    })
}

fn problem(kind: &str) -> Value {
    json!({
        "type": format!("urn:segd:{kind}"), "title": kind, "detail": format!("{kind} happened"), "mend": "mend it",
        "faults": [{"place": "z.yaml:3:1", "what": "odd", "mend": "even", "picture": "z.yaml:3:1: odd\n  3 | x\n  mend: even"}],
    })
}

fn flow(reason: &str) -> Value {
    json!({
        "time": "2026-11-23T19:59:58Z", "src": "10.30.0.5", "dst": "10.20.0.10", "proto": "tcp", "src_port": 40000,
        "dst_port": 22, "from_zone": "dev", "to_zone": "accounting", "verdict": "deny", "reason": reason, "rule": null
    })
}

fn pair(applied: bool, packets: u64) -> Value {
    json!({
        "from": "dev", "to": "internet", "mode": "enforce", "applied": applied, "generation": 9,
        "since": "2026-11-16T20:00:00Z", "would_drop_packets": packets, "would_drop_connections": packets / 4,
        "would_drop": [flow("audit")]
    })
}

#[test]
fn an_answer_of_no_is_exit_1_and_yes_is_exit_0() {
    let daemon = Daemon::with(vec![
        ok("GET /v1/explain?src=10.30.0.5&dst=10.20.0.10&service=tcp%2F22", &explanation("deny", "no-rule")),
        ok("GET /v1/explain?src=dev&dst=accounting&service=tcp%2F22", &explanation("allow", "rule")),
    ]);
    let denied = daemon.run(&["explain", "10.30.0.5", "10.20.0.10", "tcp/22"]);
    assert_eq!(
        (denied.status, denied.out.as_str(), denied.err.as_str()),
        (
            1,
            "DENY  10.30.0.5 (dev) → 10.20.0.10 (accounting) tcp/22: no-rule — no rule lets dev reach accounting on tcp/22\n",
            ""
        )
    );
    assert_eq!(daemon.run(&["explain", "dev", "accounting", "tcp/22"]).status, 0);
}

#[test]
fn json_is_what_the_daemon_said() {
    let answer = explanation("deny", "no-rule");
    let daemon = Daemon::with(vec![ok("GET /v1/explain", &answer)]);
    let ran = daemon.run(&["-o", "json", "explain", "10.30.0.5", "10.20.0.10", "tcp/22"]);
    assert_eq!((ran.status, ran.json()), (1, answer));
}

#[test]
fn yaml_is_the_same_data() {
    let daemon = Daemon::with(vec![ok("GET /v1/explain", &explanation("allow", "intra-zone"))]);
    let ran = daemon.run(&["explain", "dev", "dev", "any", "-o", "yaml"]);
    assert!(ran.out.starts_with("verdict: allow\nreason: intra-zone\nrule: null\n"), "{ran:?}");
}

#[test]
fn usage_faults_are_exit_2_and_never_reach_the_daemon() {
    let daemon = Daemon::with(vec![]);
    for args in [
        &["frobnicate"][..],
        &["explain", "10.30.0.5"],
        &["explain", "10.30.0.5", "accounting", "tcp/22"],
        &["allow", "dev", "accounting", "tcp/22"],
        &["allow", "dev", "accounting", "tcp/99999", "--reason", "r", "--approved-by", "a"],
        &["allow", "dev", "accounting", "tcp/22", "--reason", "r", "--approved-by", "a", "--expires", "soon"],
        &["allow", "Dev", "accounting", "tcp/22", "--reason", "r", "--approved-by", "a"],
        &["revoke", "dev-x"],
        &["revoke", "../status", "--reason", "r"],
        &["diff", "/nonexistent.yaml"],
        &["apply", "/nonexistent.yaml"],
        &["completions", "smalltalk"],
    ] {
        let ran = daemon.run(args);
        assert_eq!((ran.status, ran.out.as_str()), (2, ""), "{args:?}: {ran:?}");
        assert!(!ran.err.is_empty(), "{args:?} says nothing");
    }
    assert_eq!(daemon.asked(), []);
}

#[test]
fn an_unreachable_daemon_is_exit_3_and_enforcement_goes_on() {
    let ran = run(Path::new(NOWHERE), &["status"]);
    assert_eq!(ran.status, 3);
    assert_eq!(
        ran.err,
        "error: the daemon does not answer on /nonexistent/segd.sock: No such file or directory (os error 2)\n  \
         enforcement goes on in the kernel; start the daemon with systemctl start segd\n"
    );
}

#[test]
fn a_daemon_of_another_release_is_exit_3_not_an_answer() {
    let daemon = Daemon::with(vec![ok("GET /v1/explain", &json!({"verdict": "maybe"}))]);
    let ran = daemon.run(&["explain", "dev", "dev", "any"]);
    assert_eq!(ran.status, 3);
    assert!(ran.err.contains("different releases"), "{ran:?}");
    assert_eq!(daemon.run(&["status"]).status, 3, "an answer without a problem in it");
}

#[test]
fn each_refusal_has_its_exit_status_and_shows_the_mend() {
    for (http, kind, status) in [
        (400, "bad-request", 2),
        (404, "not-found", 2),
        (403, "not-permitted", 4),
        (422, "policy-refused", 5),
        (412, "policy-changed", 6),
        (500, "failed", 3),
    ] {
        let daemon = Daemon::with(vec![given("DELETE /v1/rules/dev-x", http, &problem(kind))]);
        let ran = daemon.run(&["revoke", "dev-x", "--reason", "over"]);
        assert_eq!((ran.status, ran.out.as_str()), (status, ""), "{kind}");
        let told = format!("error: {kind} happened\n\nerror: z.yaml:3:1: odd\n  3 | x\n  mend: even\n\nmend it\n");
        assert_eq!(ran.err, told);
    }
}

#[test]
fn a_socket_that_may_not_be_opened_is_exit_4() {
    let daemon = Daemon::with(vec![]);
    let folder = daemon.socket().parent().unwrap().to_owned();
    std::fs::set_permissions(&folder, Permissions::from_mode(0o000)).unwrap();
    // Root may open everything, unless it has put its capabilities away.
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let mut segctl = Command::new(if is_root { "setpriv" } else { "env" });
    segctl.args(if is_root { &["--bounding-set=-all", "--inh-caps=-all"][..] } else { &[] });
    let output = segctl.args([SEGCTL, "status"]).env("SEGD_SOCKET", daemon.socket()).output().unwrap();
    std::fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{err}");
    assert!(err.contains("segd-admin"), "{err}");
}

#[test]
fn check_needs_no_daemon_and_faults_are_exit_5() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (dir.path().join("good.yaml"), dir.path().join("bad.yaml"));
    let zones = "version: 1\nzones:\n  dev: { networks: [10.30.0.0/24] }\n  ledger: { networks: [10.20.0.0/24] }\n";
    let claim = "tests:\n  - { from: 10.30.0.5, to: 10.20.0.10, service: tcp/22, expect: ";
    std::fs::write(&good, format!("{zones}{claim}deny }}\n")).unwrap();
    std::fs::write(&bad, "version: 1\nzones:\n  dev: { networks: [10.30.0.1/24] }\nrulez: []\n").unwrap();
    let ran = run(Path::new(NOWHERE), &["check", good.to_str().unwrap()]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.out.contains("is good; 1 test run, none failed"), "{ran:?}");

    let ran = run(Path::new(NOWHERE), &["check", bad.to_str().unwrap()]);
    assert_eq!(ran.status, 5, "{ran:?}");
    assert!(ran.out.contains("bad.yaml:3:") && ran.out.contains("bad.yaml:4:"), "every fault at once: {ran:?}");

    std::fs::write(&good, format!("{zones}{claim}allow }}\n")).unwrap();
    let ran = run(Path::new(NOWHERE), &["check", good.to_str().unwrap(), "-o", "json"]);
    assert_eq!((ran.status, &ran.json()["tests"][0]["passed"]), (5, &json!(false)), "{ran:?}");
}

#[test]
fn allow_sends_what_was_typed_and_prints_the_id_first() {
    let changed = json!({"id": "dev-accounting-tcp-22", "generation": 8});
    let daemon = Daemon::with(vec![ok("POST /v1/rules", &changed)]);
    let ran = daemon.run(&[
        "allow",
        "dev,ops",
        "accounting",
        "tcp/22",
        "web",
        "--reason",
        "Disk swap",
        "--approved-by",
        "ops@example.com",
        "--ticket",
        "SEC-150",
        "--expires",
        "2999-01-31",
    ]);
    assert_eq!((ran.status, ran.out.as_str()), (0, "dev-accounting-tcp-22\n"));
    let told: Vec<&str> = ran.err.lines().collect();
    assert!(
        told[0].starts_with("  dev, ops → accounting tcp/22 web is allowed, until 2999-02-01 00:00:00 ("),
        "{ran:?}"
    );
    assert!(told[0].ends_with("generation 8 is in force"));
    assert_eq!(told[1], "  to take it back: segctl revoke dev-accounting-tcp-22 --reason …");
    let asked = daemon.asked().remove(0);
    assert_eq!(
        asked.body,
        json!({
            "id": null, "from": ["dev", "ops"], "to": "accounting", "services": ["tcp/22", "web"], "reason": "Disk swap",
            "approved_by": "ops@example.com", "ticket": "SEC-150", "expires": "2999-02-01T00:00:00Z", "mode": "enforce"
        })
    );
}

#[test]
fn a_revocation_carries_its_reason() {
    let daemon = Daemon::with(vec![ok("DELETE /v1/rules/dev-x", &json!({"id": "dev-x", "generation": 9}))]);
    let ran = daemon.run(&["revoke", "dev-x", "--reason", "R&D moved"]);
    assert_eq!(ran.status, 0);
    assert_eq!(daemon.asked()[0].line, "DELETE /v1/rules/dev-x?reason=R%26D%20moved");
}

#[test]
fn apply_is_bound_to_the_policy_that_was_there() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "version: 1\n").unwrap();
    let policy = json!({"generation": 3, "etag": "abc", "files": []});
    let daemon = Daemon::with(vec![
        ok("GET /v1/policy", &policy).etag("\"abc\""),
        ok("POST /v1/apply", &json!({"generation": 4, "warnings": [], "tests": 2})),
    ]);
    let name = file.path().to_str().unwrap();
    let ran = daemon.run(&["apply", name]);
    assert_eq!(
        (ran.status, ran.out.as_str()),
        (0, "generation 4 is in force; all 2 tests hold\n  to look at it: segctl status\n")
    );
    let asked = daemon.asked().into_iter().find(|asked| asked.line == "POST /v1/apply").unwrap();
    assert_eq!(asked.if_match.as_deref(), Some("\"abc\""));
    assert_eq!(asked.body, json!({"name": name, "text": "version: 1\n"}));
}

#[test]
fn a_difference_is_exit_1_and_none_is_exit_0() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = json!({"from_zone": "dev", "to_zone": "accounting", "service": "tcp/22", "rule": "disk-swap"});
    for (report, status) in
        [(json!({"newly_pass": [line], "newly_fail": []}), 1), (json!({"newly_pass": [], "newly_fail": []}), 0)]
    {
        let daemon = Daemon::with(vec![ok("POST /v1/diff", &report)]);
        let ran = daemon.run(&["-o", "json", "diff", file.path().to_str().unwrap()]);
        assert_eq!((ran.status, ran.json()), (status, report));
    }
}

#[test]
fn enforce_without_a_terminal_shows_the_preview_and_refuses() {
    let daemon = Daemon::with(vec![ok("PUT /v1/pairs", &pair(false, 12))]);
    let ran = daemon.run(&["enforce", "dev", "internet"]);
    assert_eq!((ran.status, ran.out.as_str()), (2, ""));
    assert!(
        ran.err.contains("enforce would have dropped 3 connections (12 packets) since 2026-11-16 20:00:00"),
        "{ran:?}"
    );
    assert!(ran.err.contains("segctl enforce dev internet --yes"), "{ran:?}");
    let mut asked: Vec<Value> = daemon.asked().into_iter().map(|asked| asked.body).collect();
    let since = asked[0].as_object_mut().unwrap().remove("since").unwrap();
    let since: jiff::Timestamp = since.as_str().unwrap().parse().unwrap();
    let days = jiff::Timestamp::now().duration_since(since).as_hours() / 24;
    assert_eq!(days, 7, "the last seven days are looked at");
    assert_eq!(asked, [json!({"from": "dev", "to": "internet", "mode": "enforce", "preview": true})]);
}

#[test]
fn enforce_with_yes_changes_the_policy_that_was_previewed() {
    let daemon = Daemon::with(vec![ok("PUT /v1/pairs", &pair(true, 0)).etag("\"abc\"")]);
    let ran = daemon.run(&["enforce", "dev", "internet", "--yes"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.out.starts_with("dev → internet is enforced from generation 9 on"), "{ran:?}");
    let asked = daemon.asked();
    assert_eq!(asked[1].body["preview"], false);
    assert_eq!((asked[0].if_match.as_deref(), asked[1].if_match.as_deref()), (None, Some("\"abc\"")));
}

#[test]
fn flows_are_one_json_object_a_line() {
    let daemon = Daemon::with(vec![lines(
        "GET /v1/flows?blocked=true&follow=false&to=accounting",
        &[flow("no-rule"), flow("expired")],
    )]);
    let ran = daemon.run(&["flows", "--blocked", "--to", "accounting", "-o", "json"]);
    let told: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((ran.status, told), (0, vec![flow("no-rule"), flow("expired")]));
}

#[test]
fn the_past_is_asked_for_by_a_span_and_told_with_its_counts() {
    let mut past = flow("no-rule");
    past["connections"] = json!(12);
    past["first"] = json!("2026-11-23T19:00:00Z");
    let daemon = Daemon::with(vec![
        lines("GET /v1/flows?blocked=true&follow=false&since=", &[past.clone()]),
        ok("GET /v1/matrix?since=", &json!([])),
        ok("GET /v1/top?since=", &json!([])),
    ]);
    let ran = daemon.run(&["flows", "--blocked", "--since", "1h", "-o", "json"]);
    assert_eq!((ran.status, ran.json()), (0, past));
    let ran = daemon.run(&["flows", "--blocked", "--since", "1h"]);
    assert!(ran.out.contains("   12  10.30.0.5 (dev)  10.20.0.10 (accounting)  tcp/22   deny: no-rule"), "{ran:?}");
    assert_eq!(daemon.run(&["matrix", "--last", "1h"]).status, 0);
    assert_eq!(daemon.run(&["top", "--last", "7d"]).status, 0);
    assert_eq!(daemon.run(&["flows", "-f", "--since", "1h"]).status, 2, "the past does not go on");
    assert_eq!(daemon.run(&["flows", "--since", "tomorrow"]).status, 2);
}

#[test]
fn suggest_prints_the_file_alone_and_says_beside_it_what_comes_next() {
    let yaml = "# evidence\nrules:\n  - id: dev-accounting-tcp-22\n";
    let rule = json!({
        "id": "dev-accounting-tcp-22", "from": "dev", "to": "accounting", "services": ["tcp/22"], "connections": 3,
        "sources": ["10.30.0.5"], "destinations": ["10.20.0.10"], "seen": [{"service": "tcp/22", "connections": 3}],
        "first": "2026-11-23T19:00:00Z", "last": "2026-11-23T19:59:58Z", "from_anywhere": false,
        "expired": []
    });
    let answer = json!({
        "since": "2026-11-16T20:00:00Z", "until": "2026-11-23T20:00:00Z", "rules": [rule], "left_out": [], "yaml": yaml
    });
    let daemon = Daemon::with(vec![ok("GET /v1/suggest?since=", &answer)]);
    let ran = daemon.run(&["suggest"]);
    assert_eq!((ran.status, ran.out.as_str()), (0, yaml));
    assert!(ran.err.starts_with("1 rule suggested; fill in each reason and approver"), "{ran:?}");
    let ran = daemon.run(&["suggest", "--passing", "--since", "30d", "-o", "json"]);
    assert_eq!((ran.json(), ran.err.as_str()), (answer, ""));
    assert!(daemon.asked()[1].line.ends_with("&passing=true"));
}

#[test]
fn a_stream_that_breaks_off_is_exit_3() {
    let daemon = Daemon::with(vec![lines("GET /v1/flows", &[flow("no-rule"), json!({"lost": 3})])]);
    let ran = daemon.run(&["flows", "-f"]);
    assert_eq!(ran.status, 3);
    assert_eq!(
        ran.out,
        "11-23 19:59:58  10.30.0.5 (dev)       10.20.0.10 (accounting)  tcp/22     deny: no-rule\n\
         … 3 lines left out: this terminal was too slow\n"
            .replace("11-23 ", if today_is_the_23rd() { "" } else { "11-23 " })
    );
    assert!(ran.err.contains("the daemon hung up"), "{ran:?}");
}

/// The line leaves out the date on the very day of the sample.
fn today_is_the_23rd() -> bool {
    jiff::Timestamp::now().to_string().starts_with("2026-11-23")
}

#[test]
fn colours_are_for_terminals_only() {
    let daemon = Daemon::with(vec![ok("GET /v1/explain", &explanation("deny", "no-rule"))]);
    let explain = ["explain", "dev", "accounting", "tcp/22"];
    assert!(!daemon.run(&explain).out.contains('\x1b'));
    let forced = command(&daemon.socket(), &explain).env("CLICOLOR_FORCE", "1").output().unwrap();
    assert!(String::from_utf8(forced.stdout).unwrap().contains("\x1b[31m"), "deny is red where colours are wanted");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let daemon = Daemon::with(vec![lines("GET /v1/flows", &vec![flow("no-rule"); 5000])]);
    for args in [&["flows", "-o", "json"][..], &["completions", "bash"], &["man"], &["--help"]] {
        let mut child = command(&daemon.socket(), args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn completions_and_the_manual_know_every_verb() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run(Path::new(NOWHERE), &["man", dir.path().to_str().unwrap()]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let mut asked = command(Path::new(NOWHERE), &["--", "segctl", ""]);
    let asked =
        asked.env("SEGCTL_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "1").env("_CLAP_IFS", "\n").output().unwrap();
    let offered = String::from_utf8(asked.stdout).unwrap();
    for verb in ["status", "allow", "revoke", "explain", "check", "diff", "apply", "enforce", "flows", "matrix", "top"]
    {
        assert!(dir.path().join(format!("segctl-{verb}.1")).exists(), "{verb}");
        assert!(offered.lines().any(|word| word == verb), "{verb}: {offered}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(Path::new(NOWHERE), &["completions", shell]).out;
        assert!(script.contains("SEGCTL_COMPLETE"), "{shell}: {script}");
    }
    assert!(run(Path::new(NOWHERE), &["man"]).out.contains(".TH segctl 1"));
}

#[test]
fn following_ends_cleanly_at_ctrl_c() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut child = command(&socket, &["flows", "-f", "-o", "json"]).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = BufReader::new(stream.try_clone().unwrap()).lines();
    assert!(request.by_ref().any(|line| line.unwrap().is_empty()), "the request's head has an end");
    let object = format!("{}\n", flow("no-rule"));
    let head = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{object}\r\n", object.len());
    stream.write_all(head.as_bytes()).unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), flow("no-rule"));
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_policy_that_is_no_file_is_refused_and_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    std::fs::File::create(at("huge")).unwrap().set_len((32 << 20) + 1).unwrap();
    std::fs::write(at("bytes"), b"version: 1\n\xff").unwrap();
    let faults = [
        ("pipe", "a named pipe"),
        ("", "a folder"),
        ("huge", "larger than 32 MiB"),
        ("bytes", "not UTF-8"),
        ("none", "no such file"),
    ];
    for verb in ["apply", "diff"] {
        for (name, said) in faults {
            let outcome = run(Path::new(NOWHERE), &[verb, &at(name).display().to_string()]);
            assert_eq!((outcome.status, outcome.out.as_str()), (2, ""), "{verb} {name}: {}", outcome.err);
            assert!(outcome.err.contains(said), "{verb} {name}: {}", outcome.err);
        }
    }
}
