//! HTTP/1.1 over the daemon's Unix socket. It carries requests and answers and turns every way they can fail into a
//! [`Failure`]; it knows no verb and prints nothing.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, ETAG, HOST, IF_MATCH};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use segd::api::types::{CALLER_HEADER, CallerConnection, Problem};
use segd::state::boot::BootNote;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::failure::Failure;
use crate::plain::cleaned;

/// What may stand in a query as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Finds the daemon.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer<T> {
    /// The object.
    pub(crate) body: T,
    /// Which policy it speaks of, to be sent back with a change that is based on it.
    pub(crate) etag: Option<String>,
}

/// One request, before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    path: String,
    body: Option<Vec<u8>>,
    if_match: Option<String>,
    connection: Option<CallerConnection>,
}

impl Call {
    /// Asks for a page.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: None, if_match: None, connection: None }
    }

    /// Asks for something to be taken away.
    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, ..Self::get(path) }
    }

    /// Hands something over.
    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self { method: Method::POST, ..Self::get(path) }
    }

    /// Changes a part of something.
    pub(crate) fn patch(path: impl Into<String>) -> Self {
        Self { method: Method::PATCH, ..Self::get(path) }
    }

    /// Puts something in the place of what is there.
    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self { method: Method::PUT, ..Self::get(path) }
    }

    /// What is handed over.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, Failure> {
        let text = serde_json::to_vec(body).map_err(|error| self.broken(&error))?;
        self.body = Some(text);
        Ok(self)
    }

    /// Adds `?key=value&…`.
    pub(crate) fn query(mut self, pairs: &[(&str, &str)]) -> Self {
        for (index, (key, value)) in pairs.iter().enumerate() {
            let sign = if index == 0 { '?' } else { '&' };
            let _ = write!(self.path, "{sign}{key}={}", utf8_percent_encode(value, PLAIN));
        }
        self
    }

    /// Only if the policy is still this one.
    pub(crate) fn only_if(mut self, etag: Option<String>) -> Self {
        self.if_match = etag;
        self
    }

    /// Only if the caller stays connected.
    pub(crate) fn keeping(mut self, connection: Option<CallerConnection>) -> Self {
        self.connection = connection;
        self
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::builder().method(&self.method).uri(&self.path).header(HOST, "segd");
        if let Some(etag) = &self.if_match {
            request = request.header(IF_MATCH, etag);
        }
        if let Some(connection) = &self.connection {
            request = request.header(CALLER_HEADER, connection.to_string());
        }
        if self.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::from(self.body.clone().unwrap_or_default());
        request.body(body).map_err(|error| self.broken(&error))
    }

    /// The call in words, for errors.
    fn broken(&self, said: &impl ToString) -> Failure {
        Failure::Broken { doing: format!("{} {}", self.method, self.path), said: said.to_string() }
    }
}

impl Client {
    /// Nothing is opened before the first call.
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Sends a call and reads its answer whole.
    pub(crate) async fn send<T: DeserializeOwned>(&self, call: Call) -> Result<Answer<T>, Failure> {
        let response = self.open(&call).await?;
        let etag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let bytes = whole(&call, response).await?;
        let body = serde_json::from_slice(&bytes).map_err(|error| {
            call.broken(&format!("the answer can't be read ({error}); segctl and segd may be of different releases"))
        })?;
        Ok(Answer { body, etag })
    }

    /// Sends a call and reads the object of its answer.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        Ok(self.send(Call::get(path)).await?.body)
    }

    /// Sends a call whose answer comes bit by bit.
    pub(crate) async fn stream(&self, call: Call) -> Result<Stream, Failure> {
        let response = self.open(&call).await?;
        Ok(Stream { body: response.into_body(), call })
    }

    /// Sends a call; a refusal is a [`Failure`].
    async fn open(&self, call: &Call) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.not_connected(error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| call.broken(&error))?;
        // It ends by itself when the sender and the body are gone; what ends it early is seen by them as well.
        tokio::spawn(connection);
        let response = sender.send_request(call.request()?).await.map_err(|error| call.broken(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(call, response).await) }
    }

    fn not_connected(&self, said: io::Error) -> Failure {
        let socket = self.socket.clone();
        match said.kind() {
            io::ErrorKind::PermissionDenied => Failure::SocketClosed { socket, said },
            _ => Failure::Unreachable { boot: BootNote::beside(&socket), socket, said },
        }
    }
}

/// A body that is read bit by bit.
#[derive(Debug)]
pub(crate) struct Stream {
    body: Incoming,
    call: Call,
}

impl Stream {
    /// The next bytes; none when the daemon has said everything.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|error| self.call.broken(&error))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

async fn whole(call: &Call, response: Response<Incoming>) -> Result<Bytes, Failure> {
    let body = response.into_body().collect().await.map_err(|error| call.broken(&error))?;
    Ok(body.to_bytes())
}

/// The daemon's problem, or, when it does not speak of one, the bare status.
async fn refusal(call: &Call, response: Response<Incoming>) -> Failure {
    let status = response.status();
    let bytes = match whole(call, response).await {
        Ok(bytes) => bytes,
        Err(failure) => return failure,
    };
    match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem) => Failure::Refused(Box::new(cleaned(&problem).unwrap_or(problem))),
        Err(_) => bare(call, status, &String::from_utf8_lossy(&bytes)),
    }
}

fn bare(call: &Call, status: StatusCode, text: &str) -> Failure {
    let text = if text.is_empty() { status.to_string() } else { format!("{status}: {}", text.trim()) };
    call.broken(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_can_carry_anything_a_person_types() {
        let call = Call::delete("/v1/rules/x").query(&[("reason", "R&D moved: 50% gone"), ("more", "fd00::1/64")]);
        assert_eq!(call.path, "/v1/rules/x?reason=R%26D%20moved%3A%2050%25%20gone&more=fd00%3A%3A1%2F64");
    }
}
