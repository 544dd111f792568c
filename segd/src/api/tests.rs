//! Requests as they come over a socket, answered by an engine over a kernel of paper.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Extension;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::timeout;

use super::peer::{Access, Caller, Peer};
use super::reply::Turns;
use super::server::{listen, serve, serve_metrics};
use super::{routes, server};
use crate::engine::Engine;
use crate::engine::house::House;

/// A status line's code, the head and the body.
struct Answered {
    status: u16,
    head: String,
    body: String,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn etag(&self) -> &str {
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with("etag:")).expect("no ETag");
        line.split_once(':').unwrap().1.trim()
    }
}

fn connected(house: &House, access: Access) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let caller = Caller::new(Peer { pid: 1, uid: 1000, gids: vec![1000] }, access);
    let router = routes::control(Arc::clone(&house.engine)).layer(Extension(caller));
    serve(theirs, router, ());
    ours
}

async fn ask_with(house: &House, access: Access, request: &str, headers: &str, body: &str) -> Answered {
    let mut stream = connected(house, access);
    let text = format!(
        "{request} HTTP/1.1\r\nHost: segd\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answered { status, head: head.to_owned(), body: body.to_owned() }
}

async fn ask(house: &House, access: Access, request: &str, body: &str) -> Answered {
    ask_with(house, access, request, "", body).await
}

const RULE: &str =
    r#"{"from":"admin","to":"ledger","services":["tcp/22"],"reason":"Maintenance","approved_by":"ops@example.com"}"#;

#[tokio::test]
async fn every_list_is_answered_to_a_reader() {
    let house = House::new();
    for page in ["status", "zones", "rules", "services", "interfaces", "matrix", "top", "policy"] {
        let answer = ask(&house, Access::Read, &format!("GET /v1/{page}"), "").await;
        assert_eq!(answer.status, 200, "{page}: {}", answer.body);
        assert_eq!(answer.etag(), format!("\"{}\"", house.engine.policy().etag), "{page}");
        answer.json();
    }
    let rules = ask(&house, Access::Read, "GET /v1/rules", "").await.json();
    assert_eq!(rules[0]["from"], "dev");
    assert_eq!(rules[0]["services"], serde_json::json!(["tcp/5432"]));
    assert_eq!(rules[0]["last_hit"], Value::Null);
}

#[tokio::test]
async fn the_past_is_answered_to_a_reader_who_says_since_when() {
    let house = House::new();
    let since = "since=2026-11-01T00:00:00Z";
    for page in [
        format!("matrix?{since}"),
        format!("top?{since}"),
        format!("suggest?{since}"),
        format!("suggest?{since}&passing=true"),
        format!("report?{since}&until=2999-01-01T00:00:00Z"),
    ] {
        let answer = ask(&house, Access::Read, &format!("GET /v1/{page}"), "").await;
        assert_eq!(answer.status, 200, "{page}: {}", answer.body);
        assert_eq!(answer.etag(), format!("\"{}\"", house.engine.policy().etag), "{page}");
        answer.json();
    }
    let flows = ask(&house, Access::Read, &format!("GET /v1/flows?{since}&blocked=true"), "").await;
    assert_eq!((flows.status, flows.body.as_str()), (200, ""));
    for page in ["suggest", "report", "report?since=2026-11-01T00:00:00Z", "matrix?since=yesterday", "flows?since=1h"] {
        let answer = ask(&house, Access::Read, &format!("GET /v1/{page}"), "").await;
        assert_eq!((answer.status, &answer.json()["type"]), (400, &"urn:segd:bad-request".into()), "{page}");
    }
    let nobody = ask(&house, Access::Nothing, &format!("GET /v1/suggest?{since}"), "").await;
    assert_eq!(nobody.status, 403);
}

#[tokio::test]
async fn explain_has_the_shape_of_the_contract() {
    let house = House::new();
    let answer =
        ask(&house, Access::Read, "GET /v1/explain?src=10.30.0.9&dst=10.20.0.1&service=tcp/5432", "").await.json();
    for (key, value) in [
        ("verdict", "allow"),
        ("reason", "rule"),
        ("rule", "dev-reads-ledger"),
        ("from_zone", "dev"),
        ("to_zone", "ledger"),
        ("mode", "enforce"),
    ] {
        assert_eq!(answer[key], value, "{answer}");
    }
    assert_eq!(answer["generation"], 1);
    let denied =
        ask(&house, Access::Read, "GET /v1/explain?src=10.20.0.1&dst=10.30.0.9&service=tcp/5432", "").await.json();
    assert_eq!((&denied["verdict"], &denied["rule"]), (&"deny".into(), &Value::Null));
}

#[tokio::test]
async fn who_is_nobody_gets_metrics_and_health_only_and_is_told_the_mend() {
    let house = House::new();
    for (access, request, body) in [
        (Access::Nothing, "GET /v1/status", ""),
        (Access::Nothing, "POST /v1/check", "{}"),
        (Access::Read, "POST /v1/rules", RULE),
        (Access::Read, "POST /v1/reload", ""),
        (Access::Read, "DELETE /v1/rules/dev-reads-ledger?reason=x", ""),
        (Access::Read, "PUT /v1/pairs", "{}"),
        (Access::Read, "POST /v1/apply", "{}"),
    ] {
        let answer = ask(&house, access, request, body).await;
        assert_eq!((answer.status, answer.json()["type"].as_str()), (403, Some("urn:segd:not-permitted")), "{request}");
        assert!(answer.json()["mend"].as_str().unwrap().contains("group segd"), "{}", answer.body);
        assert!(answer.head.to_ascii_lowercase().contains("application/problem+json"), "{}", answer.head);
    }
    assert_eq!(ask(&house, Access::Nothing, "GET /metrics", "").await.status, 200);
    assert_eq!(ask(&house, Access::Nothing, "GET /healthz", "").await.status, 200);
    assert_eq!(house.engine.status().value.generation, 1, "nothing was changed");
}

#[tokio::test]
async fn a_change_with_a_stale_etag_is_refused_as_412() {
    let house = House::new();
    let etag = format!("If-Match: {}\r\n", ask(&house, Access::Change, "GET /v1/policy", "").await.etag());
    let first = ask_with(&house, Access::Change, "POST /v1/rules", &etag, RULE).await;
    assert_eq!((first.status, first.json()["id"].as_str()), (200, Some("admin-ledger-tcp-22")), "{}", first.body);
    let second = ask_with(&house, Access::Change, "POST /v1/rules", &etag, RULE).await;
    assert_eq!((second.status, second.json()["type"].as_str()), (412, Some("urn:segd:policy-changed")));
    let cut = r#"{"target":"10.30.0.9","reason":"Beacons, INC-7"}"#;
    for (request, body) in [
        ("POST /v1/confirm", "{}"),
        ("POST /v1/rollback", "{}"),
        ("POST /v1/reload", ""),
        ("POST /v1/quarantine", cut),
        ("DELETE /v1/quarantine?target=10.30.0.9", ""),
        ("DELETE /v1/rules/admin-ledger-tcp-22?reason=done", ""),
    ] {
        let late = ask_with(&house, Access::Change, request, &etag, body).await;
        assert_eq!((late.status, late.json()["type"].as_str()), (412, Some("urn:segd:policy-changed")), "{request}");
        let reader = ask_with(&house, Access::Read, request, "If-Match: \u{e9}\r\nSegd-Caller: x\r\n", body).await;
        assert_eq!(reader.status, 403, "who may not is told so, whatever is in the headers: {request}");
    }
    let gone = ask(&house, Access::Change, "DELETE /v1/rules/admin-ledger-tcp-22?reason=done", "").await;
    assert_eq!((gone.status, gone.json()["generation"].as_u64()), (200, Some(3)), "{}", gone.body);
}

#[tokio::test]
async fn a_bad_policy_is_refused_with_every_fault() {
    let house = House::new();
    let body = serde_json::json!({ "name": "new.yaml", "text": "version: 1\nzones:\n  a: { networks: [10.0.0.1/24], colour: red }\n" }).to_string();
    let refused = ask(&house, Access::Change, "POST /v1/apply", &body).await;
    assert_eq!(
        (refused.status, refused.json()["type"].as_str()),
        (422, Some("urn:segd:policy-refused")),
        "{}",
        refused.body
    );
    assert_eq!(refused.json()["faults"].as_array().unwrap().len(), 2, "{}", refused.body);
    let report = ask(&house, Access::Read, "POST /v1/check", &body).await;
    assert_eq!((report.status, report.json()["faults"].as_array().unwrap().len()), (200, 2), "{}", report.body);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_told_as_problems() {
    let house = House::new();
    for (request, body, status) in [
        ("GET /v1/nonsense", "", 404),
        ("GET /v1/explain?src=dev", "", 400),
        ("GET /v1/explain?src=dev&dst=ledger&service=tcp/1&colour=red", "", 400),
        ("POST /v1/rules", "{", 400),
        ("POST /v1/rules", r#"{"from":"dev"}"#, 400),
        ("DELETE /v1/rules/dev-reads-ledger", "", 400),
        ("DELETE /v1/rules/nobody?reason=x", "", 404),
    ] {
        let answer = ask(&house, Access::Change, request, body).await;
        assert_eq!(answer.status, status, "{request}: {}", answer.body);
        assert!(!answer.json()["mend"].as_str().unwrap().is_empty(), "{}", answer.body);
    }
}

#[tokio::test]
async fn health_is_the_kernels_truth() {
    let house = House::new();
    house.tear_off(3);
    let answer = ask(&house, Access::Nothing, "GET /healthz", "").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("wan0"), "{}", answer.body);
    let page = ask(&house, Access::Nothing, "GET /metrics", "").await.body;
    assert!(page.contains("segd_interface_enforced{interface=\"wan0\",hook=\"xdp\"} 0"), "{page}");
}

#[tokio::test]
async fn followed_flows_stay_open() {
    let house = House::new();
    let mut stream = connected(&house, Access::Read);
    stream.write_all(b"GET /v1/flows?follow=true HTTP/1.1\r\nHost: segd\r\n\r\n").await.unwrap();
    let mut head = vec![0; 4096];
    let length = stream.read(&mut head).await.unwrap();
    assert!(head[..length].starts_with(b"HTTP/1.1 200 OK"));
    assert!(
        timeout(Duration::from_millis(100), stream.read(&mut head)).await.is_err(),
        "nothing was seen, and the stream goes on"
    );
}

#[tokio::test]
async fn a_crowd_on_the_metrics_port_keeps_no_scrape_out() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(serve_metrics(listener, Arc::clone(&house.engine)));
    let mut crowd = Vec::new();
    for place in 0..300 {
        let mut one = TcpStream::connect(at).await.unwrap();
        // Some say nothing, and some never read what they asked for.
        if place % 2 == 0 {
            one.write_all(b"GET /metrics HTTP/1.1\r\nHost: segd\r\n\r\n").await.unwrap();
        }
        crowd.push(one);
    }
    let scrape = async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: segd\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(Duration::from_secs(5), scrape).await.expect("no answer in time");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("segd_policy_generation"), "{answer}");
}

#[tokio::test]
async fn whoever_asks_for_metrics_and_hangs_up_again_and_again_leaves_one_question_behind() {
    let house = House::new();
    let (turns, asked) = (Turns::new(), Arc::new(AtomicUsize::new(0)));
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let crowd: Vec<_> = (0..100)
        .map(|_| {
            let (turns, engine, asked, held) =
                (turns.clone(), Arc::clone(&house.engine), Arc::clone(&asked), Arc::clone(&held));
            tokio::spawn(async move {
                let question = move |_: &Engine| {
                    asked.fetch_add(1, Ordering::SeqCst);
                    let _ = held.lock().unwrap().recv();
                };
                let _ = turns.ask(engine, question).await;
            })
        })
        .collect();
    while asked.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    for one in crowd {
        one.abort();
        let _ = one.await;
    }
    drop(let_go);
    turns.ask(Arc::clone(&house.engine), |_| ()).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_socket_that_nobody_answers_is_replaced_and_one_that_is_answered_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/segd.sock");
    drop(listen(&path).unwrap());
    let _listener = listen(&path).unwrap();
    assert!(matches!(listen(&path), Err(server::SocketError::Taken(_))));
}

#[tokio::test]
async fn a_change_that_cuts_the_connection_in_its_header_is_refused_and_a_header_that_names_none_too() {
    let house = House::new();
    let (body, before) = (r#"{"target":"10.30.0.9","reason":"Beacons, INC-7"}"#, house.state());
    let cuts = |header: &'static str| {
        let headers = if header.is_empty() { String::new() } else { format!("Segd-Caller: {header}\r\n") };
        let house = &house;
        async move { ask_with(house, Access::Change, "POST /v1/quarantine", &headers, body).await }
    };
    for own in ["10.30.0.9 10.20.0.1 5432", "::ffff:10.30.0.9 ::ffff:10.20.0.1 5432"] {
        let refused = cuts(own).await;
        let told = refused.json();
        assert_eq!((refused.status, &told["type"]), (422, &"urn:segd:policy-refused".into()), "{}", refused.body);
        assert!(refused.body.contains("your own connection: 10.30.0.9 to 10.20.0.1 tcp/5432"), "{}", refused.body);
    }
    for nonsense in ["10.30.0.9", "10.30.0.9 10.20.0.1", "10.30.0.9 10.20.0.1 ssh", "desk 10.20.0.1 22", "1 2 3 4"] {
        let refused = cuts(nonsense).await;
        assert_eq!((refused.status, &refused.json()["type"]), (400, &"urn:segd:bad-request".into()), "{nonsense}");
    }
    assert_eq!(house.state(), before, "what is refused changes nothing");
    // Who is cut already loses nothing, and who says nothing is not asked.
    assert_eq!(cuts("10.30.0.9 10.20.0.1 5433").await.status, 200);
    assert_eq!(cuts("").await.status, 200);
}
