//! Any bytes as requests to the control API, for `cargo xtask fuzz`; a test plays every kept case. Not in the product.
//!
//! The first byte says what the caller may do. Requests follow, with 0x1e between them: a line with method and address, one
//! with headers or nothing, and the body; or bytes behind a `!`, which go over the socket as they are.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::peer::{Access, Caller, Peer};
use super::routes;
use super::server::serve;
use crate::engine::house::House;

/// Stands between two requests.
const BETWEEN: u8 = 0x1e;
/// Requests to one engine.
const REQUESTS: usize = 8;
/// An answer that takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(20);
/// Followers are told of flows for as long as they stay.
const FOLLOWED: Duration = Duration::from_millis(50);

/// Asks an engine, over a kernel of paper, what the bytes say.
///
/// # Panics
/// The daemon fails over a request, gives no answer or one that can't be read, changes something for somebody who may only
/// read, or leaves a zone file that it does not take itself.
pub fn run(bytes: &[u8]) {
    let Some((access, requests)) = bytes.split_first() else { return };
    let access = [Access::Nothing, Access::Read, Access::Change][usize::from(*access) % 3];
    let house = House::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads can be had");
    runtime.block_on(async {
        for request in requests.split(|byte| *byte == BETWEEN).take(REQUESTS) {
            one(&house, access, request).await;
        }
    });
    assert!(house.reads_its_own_files(), "the daemon has written a policy that it refuses");
}

async fn one(house: &House, access: Access, request: &[u8]) {
    let before = house.state();
    let text = if let Some(raw) = request.strip_prefix(b"!") { Some(raw.to_vec()) } else { well_formed(request) };
    let Some(text) = text else { return };
    let answer = answer(house, access, &text).await;
    if !request.starts_with(b"!") {
        looks_right(access, &answer);
    }
    assert_ne!(status(&answer), Some(500), "the daemon failed: {}", String::from_utf8_lossy(&answer));
    assert!(access == Access::Change || before == house.state(), "somebody who may only read has changed something");
}

/// With everything that HTTP wants. `None`: no such request can be written.
fn well_formed(request: &[u8]) -> Option<Vec<u8>> {
    let mut parts = request.splitn(3, |byte| *byte == b'\n');
    let (line, header, body) = (parts.next()?, parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let visible = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b'!'..=b'~' | b' '));
    let words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).count();
    let header_is_one = header.is_empty() || header.starts_with(b"If-Match: ");
    if words != 2
        || line.starts_with(b" ")
        || !line.contains(&b'/')
        || !visible(line)
        || !visible(header)
        || !header_is_one
    {
        return None;
    }
    let mut text = line.to_vec();
    text.extend(b" HTTP/1.1\r\nHost: segd\r\nConnection: close\r\nContent-Type: application/json\r\n");
    text.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
    if !header.is_empty() {
        text.extend([header, b"\r\n"].concat());
    }
    text.extend(b"\r\n");
    text.extend(body);
    Some(text)
}

async fn answer(house: &House, access: Access, request: &[u8]) -> Vec<u8> {
    let (mut ours, theirs) = UnixStream::pair().expect("sockets can be had");
    let caller = Caller::new(Peer { pid: 1, uid: 1000, gids: vec![1000] }, access);
    let router = routes::control(Arc::clone(&house.engine)).layer(Extension(caller));
    serve(theirs, router, ());
    let follows = request.windows(6).any(|word| word == b"follow");
    let mut answer = Vec::new();
    let exchange = async {
        // Whoever has heard enough closes before everything was sent: that is no failure.
        let _ = ours.write_all(request).await;
        let _ = ours.shutdown().await;
        let _ = ours.read_to_end(&mut answer).await;
    };
    let ended = timeout(if follows { FOLLOWED } else { PATIENCE }, exchange).await;
    assert!(ended.is_ok() || follows, "no end of an answer");
    answer
}

fn status(answer: &[u8]) -> Option<u16> {
    std::str::from_utf8(answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?).ok()?.parse().ok()
}

/// A status, and JSON where JSON is promised.
fn looks_right(access: Access, answer: &[u8]) {
    let shown = String::from_utf8_lossy(answer);
    let Some((head, body)) = shown.split_once("\r\n\r\n") else {
        assert!(answer.is_empty(), "half an answer: {shown}");
        return;
    };
    let status = status(answer).unwrap_or_else(|| panic!("no status: {shown}"));
    let head = head.to_ascii_lowercase();
    let is_json = head.contains("application/json") || head.contains("application/problem+json");
    if is_json && !head.contains("transfer-encoding: chunked") && !body.is_empty() {
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "this is no JSON: {shown}");
    }
    let public = head.contains("text/plain") || matches!(status, 400..=499 | 503);
    assert!(access != Access::Nothing || public, "told to somebody who may ask nothing: {shown}");
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_kept_request_is_answered_as_it_ought_to_be() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/api");
        let mut cases = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            super::run(&fs::read(path).unwrap());
            cases += 1;
        }
        assert!(cases >= 10, "only {cases} were played");
    }
}
