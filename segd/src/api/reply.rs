//! How answers and refusals are put on the wire. Knows HTTP, and nothing of what is asked.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{BytesRejection, JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::types::{CALLER_HEADER, CallerConnection, Problem, ProblemKind};
use crate::engine::{Engine, Refusal, Tagged};

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Refused(pub(super) Box<Problem>);

impl Refused {
    pub(super) fn new(kind: ProblemKind, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        let title = kind.title().to_owned();
        Self(Box::new(Problem {
            kind,
            title,
            detail: detail.into(),
            mend: mend.into(),
            faults: Vec::new(),
            tests: Vec::new(),
        }))
    }

    fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::BadRequest, detail, "segctl asks it right; its --help shows the commands")
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(Box::new(refusal.into()))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(self.0)).into_response()
    }
}

/// Asks the engine on a thread that may block.
pub(super) async fn ask<T: Send + 'static>(
    engine: Arc<Engine>,
    question: impl FnOnce(&Engine) -> T + Send + 'static,
) -> Result<T, Refused> {
    let asked = tokio::task::spawn_blocking(move || question(&engine)).await;
    asked.map_err(|error| Refused::from(Refusal::Failed(format!("the daemon failed over this request: {error}"))))
}

/// One question at a time, for callers that nobody knows. Whoever waits costs no thread, and whoever hangs up has no other
/// turn before the first is over.
#[derive(Clone)]
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    pub(super) async fn ask<T: Send + 'static>(
        &self,
        engine: Arc<Engine>,
        question: impl FnOnce(&Engine) -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let turn = Arc::clone(&self.0).acquire_owned().await;
        ask(engine, move |engine| {
            let answer = question(engine);
            drop(turn);
            answer
        })
        .await
    }
}

/// An answer with the `ETag` of the policy that it speaks of.
pub(super) fn tagged<T: Serialize>(answer: Tagged<T>) -> Response {
    ([(header::ETAG, format!("\"{}\"", answer.etag))], Json(answer.value)).into_response()
}

/// The same for what may be refused.
pub(super) fn tagged_result<T: Serialize>(answer: Tagged<Result<T, Refusal>>) -> Result<Response, Refused> {
    let Tagged { value, etag } = answer;
    Ok(tagged(Tagged { value: value?, etag }))
}

/// The policies that the caller will have changed; `None` if any.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    Ok(text_of(headers, header::IF_MATCH.as_str())?.map(str::to_owned))
}

/// The connection by which the caller reaches this machine, if it says so.
pub(super) fn caller_connection(headers: &HeaderMap) -> Result<Option<CallerConnection>, Refused> {
    text_of(headers, CALLER_HEADER)?.map(str::parse).transpose().map_err(Refused::bad_request)
}

fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Refused> {
    let text = headers.get(name).map(axum::http::HeaderValue::to_str).transpose();
    text.map_err(|_| Refused::bad_request(format!("the header {name} is not text")))
}

/// A JSON body. What is wrong with it is told as a problem.
pub(super) struct Given<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Given<T> {
    type Rejection = Refused;

    async fn from_request(request: Request<Body>, state: &S) -> Result<Self, Refused> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(JsonRejection::BytesRejection(BytesRejection::FailedToBufferBody(error)))
                if error.status() == StatusCode::PAYLOAD_TOO_LARGE =>
            {
                Err(Refused::new(
                    ProblemKind::BadRequest,
                    "the body is too large",
                    "split the zone file over several files in zones.d/",
                ))
            }
            Err(error) => Err(Refused::bad_request(error.body_text())),
        }
    }
}

/// The query of the address. What is wrong with it is told as a problem.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(|error: QueryRejection| Refused::bad_request(error.body_text()))
    }
}
