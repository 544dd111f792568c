//! A daemon's socket for tests: real HTTP/1.1 on a real Unix socket, with answers laid down beforehand. It judges
//! nothing; what it was asked can be looked at afterwards.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixListener;

/// The program under test.
pub(crate) const SEGCTL: &str = env!("CARGO_BIN_EXE_segctl");

/// What one request was.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    /// `GET /v1/status`, query included.
    pub(crate) line: String,
    /// The body; null when empty.
    pub(crate) body: Value,
    /// `If-Match`.
    pub(crate) if_match: Option<String>,
}

/// One answer, given to every request whose line begins with `line`.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    line: String,
    status: u16,
    body: String,
    etag: Option<&'static str>,
}

/// An answer of 200 with this JSON.
pub(crate) fn ok(line: &str, body: &Value) -> Given {
    given(line, 200, body)
}

/// An answer of any status.
pub(crate) fn given(line: &str, status: u16, body: &Value) -> Given {
    Given { line: line.into(), status, body: body.to_string(), etag: None }
}

/// An answer of 200 with one JSON object a line.
pub(crate) fn lines(line: &str, objects: &[Value]) -> Given {
    let body = objects.iter().fold(String::new(), |text, object| text + &object.to_string() + "\n");
    Given { line: line.into(), status: 200, body, etag: None }
}

impl Given {
    /// With an `ETag`.
    pub(crate) fn etag(self, etag: &'static str) -> Self {
        Self { etag: Some(etag), ..self }
    }
}

/// A socket that answers until it is dropped.
pub(crate) struct Daemon {
    dir: tempfile::TempDir,
    asked: Arc<Mutex<Vec<Asked>>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Daemon {
    /// Listens in a directory of its own.
    pub(crate) fn with(answers: Vec<Given>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let listener = runtime.block_on(async { UnixListener::bind(dir.path().join("sock")).unwrap() });
        runtime.spawn(serve(listener, Arc::new(answers), Arc::clone(&asked)));
        Self { dir, asked, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Runs segctl against it, without a terminal.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        run(&self.socket(), args)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

async fn serve(listener: UnixListener, answers: Arc<Vec<Given>>, asked: Arc<Mutex<Vec<Asked>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &answers, &asked));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    answers: &[Given],
    asked: &Mutex<Vec<Asked>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let line = format!("{} {}", request.method(), request.uri());
    let if_match = request.headers().get("if-match").map(|value| value.to_str().unwrap().to_owned());
    let bytes = request.into_body().collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    asked.lock().unwrap().push(Asked { line: line.clone(), body, if_match });
    let mut response = Response::builder();
    let Some(given) = answers.iter().find(|given| line.starts_with(&given.line)) else {
        return Ok(response.status(599).body(Full::from(format!("no answer was laid down for {line}"))).unwrap());
    };
    if let Some(etag) = given.etag {
        response = response.header("etag", etag);
    }
    Ok(response.status(given.status).body(Full::from(given.body.clone())).unwrap())
}

/// What a run of segctl came to.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Exit status.
    pub(crate) status: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Ran {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The command, not yet started: no terminal, no colours asked for, no socket but this one.
pub(crate) fn command(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(SEGCTL);
    command.args(args).env("SEGD_SOCKET", socket).env("TZ", "UTC").env_remove("CLICOLOR_FORCE").stdin(Stdio::null());
    command
}

/// Runs segctl to its end.
pub(crate) fn run(socket: &Path, args: &[&str]) -> Ran {
    let Output { status, stdout, stderr } = command(socket, args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { status: status.code().unwrap_or(-1), out: text(stdout), err: text(stderr) }
}
