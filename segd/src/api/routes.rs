//! What can be asked, where, and by whom. Handlers hand questions to the engine and answers back, nothing more.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Extension, Router};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::time::timeout;

use super::peer::{ADMIN_GROUP, Access, Caller, READER_GROUP};
use super::reply::{Asked, Given, Refused, Turns, ask, caller_connection, if_match, tagged, tagged_result};
use super::types::{
    AllowRequest, ApplyRequest, ExplainQuery, ExtendRequest, FlowLine, FlowsQuery, HistoryQuery, LostLine, PairRequest,
    PolicyText, ProblemKind, QuarantineQuery, QuarantineRequest, ReportQuery, RevokeQuery, SelftestRequest, SinceQuery,
    SuggestQuery, VerifyQuery, WhyRequest,
};
use crate::engine::{Engine, Followed, Follower, Refusal};
use crate::metrics;

/// Largest body: a zone file of some hundred thousand rules.
const BODY_LIMIT_BYTES: usize = 32 << 20;
/// How long a request may take until its answer begins.
const REQUEST_TIMEOUT_SECS: u64 = 60;

type Shared = State<Arc<Engine>>;
type Reply = Result<Response, Refused>;

/// Everything that the Unix socket answers.
pub(super) fn control(engine: Arc<Engine>) -> Router {
    readers()
        .merge(changers())
        .with_state(Arc::clone(&engine))
        .merge(public(engine))
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
}

/// What is answered to everybody, on the metrics address too: numbers and names of zones, rules and interfaces.
pub(super) fn public(engine: Arc<Engine>) -> Router {
    Router::new()
        .route("/metrics", get(exposition))
        .route("/healthz", get(health))
        .fallback(not_found)
        .layer(from_fn(in_time))
        .with_state(Public { engine, scrapes: Turns::new(), probes: Turns::new() })
}

/// What there is for everybody. Who asks for health does not wait behind those who ask for metrics.
#[derive(Clone)]
struct Public {
    engine: Arc<Engine>,
    scrapes: Turns,
    probes: Turns,
}

fn readers() -> Router<Arc<Engine>> {
    Router::new()
        .route(
            "/v1/status",
            get(|State(engine): Shared| async { Reply::Ok(tagged(ask(engine, Engine::status).await?)) }),
        )
        .route("/v1/zones", get(|State(engine): Shared| async { Reply::Ok(tagged(ask(engine, Engine::zones).await?)) }))
        .route(
            "/v1/services",
            get(|State(engine): Shared| async { Reply::Ok(tagged(ask(engine, Engine::services).await?)) }),
        )
        .route(
            "/v1/interfaces",
            get(|State(engine): Shared| async { Reply::Ok(tagged(ask(engine, Engine::interfaces).await?)) }),
        )
        .route(
            "/v1/policy",
            get(|State(engine): Shared| async { Reply::Ok(tagged(ask(engine, Engine::policy).await?)) }),
        )
        .route("/v1/rules", get(|State(engine): Shared| async { tagged_result(ask(engine, Engine::rules).await?) }))
        .route("/v1/matrix", get(matrix))
        .route("/v1/top", get(top))
        .route("/v1/suggest", get(suggest))
        .route("/v1/report", get(report))
        .route("/v1/explain", get(explain))
        .route("/v1/check", post(check))
        .route("/v1/diff", post(diff))
        .route("/v1/flows", get(flows))
        .route(
            "/v1/quarantine",
            get(|State(engine): Shared| async { Reply::Ok(tagged(ask(engine, Engine::quarantined).await?)) }),
        )
        .route("/v1/history", get(history))
        .route("/v1/history/verify", get(verify_history))
        .route_layer(from_fn(may_read))
        .route_layer(from_fn(in_time))
}

fn changers() -> Router<Arc<Engine>> {
    Router::new()
        .route("/v1/rules", post(allow))
        .route("/v1/rules/{id}", delete(revoke).patch(extend))
        .route("/v1/pairs", put(set_pair))
        .route("/v1/apply", post(apply))
        .route("/v1/quarantine", post(quarantine).delete(release))
        .route("/v1/selftest", post(selftest))
        .route("/v1/confirm", post(confirm))
        .route("/v1/rollback", post(rollback))
        .route("/v1/reload", post(reload))
        .route_layer(from_fn(may_change))
        .route_layer(from_fn(in_time))
}

async fn may_read(request: Request, next: Next) -> Response {
    match permitted(&request, Access::Read) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// What a change depends on besides its own words goes along with its caller.
async fn may_change(mut request: Request, next: Next) -> Response {
    let depends = permitted(&request, Access::Change)
        .and_then(|()| Ok((caller_connection(request.headers())?, if_match(request.headers())?)));
    let (connection, seen) = match depends {
        Ok(depends) => depends,
        Err(refused) => return refused.into_response(),
    };
    let at = format!("{} {}", request.method(), request.uri().path());
    if let Some(caller) = request.extensions_mut().get_mut::<Caller>() {
        tracing::info!("user {} (process {}) asks: {at}", caller.peer.uid, caller.peer.pid);
        (caller.connection, caller.seen) = (connection, seen);
    }
    next.run(request).await
}

/// A request without a caller did not come over the Unix socket, and may do nothing.
fn permitted(request: &Request, needed: Access) -> Result<(), Refused> {
    let caller = request.extensions().get::<Caller>();
    if caller.is_some_and(|caller| caller.access >= needed) {
        return Ok(());
    }
    let who = caller.map_or_else(|| "this caller".to_owned(), |caller| format!("user {}", caller.peer.uid));
    let (what, mend) = match needed {
        Access::Change => {
            ("change the policy", format!("be root, or a member of the group {ADMIN_GROUP} (and log in again)"))
        }
        _ => (
            "ask the daemon",
            format!("be root, or a member of the group {READER_GROUP} or {ADMIN_GROUP} (and log in again)"),
        ),
    };
    Err(Refused::new(ProblemKind::NotPermitted, format!("{who} may not {what}"), mend))
}

async fn in_time(request: Request, next: Next) -> Response {
    let limit = std::time::Duration::from_secs(REQUEST_TIMEOUT_SECS);
    match timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refused::from(Refusal::Failed(format!("no answer within {REQUEST_TIMEOUT_SECS} s"))).into_response(),
    }
}

async fn not_found(request: Request) -> Response {
    let detail = format!("there is no {}", request.uri().path());
    Refused::new(ProblemKind::NotFound, detail, "segctl --help shows what can be asked").into_response()
}

async fn explain(State(engine): Shared, Asked(query): Asked<ExplainQuery>) -> Reply {
    tagged_result(ask(engine, move |engine| engine.explain(&query)).await?)
}

async fn matrix(State(engine): Shared, Asked(query): Asked<SinceQuery>) -> Reply {
    tagged_result(ask(engine, move |engine| engine.matrix_since(&query)).await?)
}

async fn top(State(engine): Shared, Asked(query): Asked<SinceQuery>) -> Reply {
    tagged_result(ask(engine, move |engine| engine.top_since(&query)).await?)
}

async fn suggest(State(engine): Shared, Asked(query): Asked<SuggestQuery>) -> Reply {
    tagged_result(ask(engine, move |engine| engine.suggest(&query)).await?)
}

async fn report(State(engine): Shared, Asked(query): Asked<ReportQuery>) -> Reply {
    tagged_result(ask(engine, move |engine| engine.report(&query)).await?)
}

async fn check(State(engine): Shared, Given(new): Given<PolicyText>) -> Reply {
    tagged_result(ask(engine, move |engine| engine.check(new)).await?)
}

async fn diff(State(engine): Shared, Given(new): Given<PolicyText>) -> Reply {
    tagged_result(ask(engine, move |engine| engine.diff(new)).await?)
}

async fn allow(
    State(engine): Shared,
    Extension(caller): Extension<Caller>,
    Given(request): Given<AllowRequest>,
) -> Reply {
    tagged_result(ask(engine, move |engine| caller.with(engine).allow(&request)).await?)
}

async fn revoke(
    State(engine): Shared,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Asked(query): Asked<RevokeQuery>,
) -> Reply {
    tagged_result(ask(engine, move |engine| caller.with(engine).revoke(&id, &query.reason)).await?)
}

async fn extend(
    State(engine): Shared,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Given(request): Given<ExtendRequest>,
) -> Reply {
    tagged_result(ask(engine, move |engine| caller.with(engine).extend(&id, &request)).await?)
}

async fn set_pair(
    State(engine): Shared,
    Extension(caller): Extension<Caller>,
    Given(request): Given<PairRequest>,
) -> Reply {
    tagged_result(ask(engine, move |engine| caller.with(engine).set_pair(&request)).await?)
}

async fn apply(State(engine): Shared, Extension(caller): Extension<Caller>, Given(new): Given<ApplyRequest>) -> Reply {
    tagged_result(ask(engine, move |engine| caller.with(engine).apply(&new)).await?)
}

async fn reload(State(engine): Shared, Extension(caller): Extension<Caller>) -> Reply {
    tagged_result(ask(engine, move |engine| caller.with(engine).reload()).await?)
}

async fn confirm(State(engine): Shared, Extension(caller): Extension<Caller>, Given(why): Given<WhyRequest>) -> Reply {
    let opened = caller.opened;
    tagged_result(ask(engine, move |engine| caller.with(engine).confirm(opened, why.reason.as_deref())).await?)
}

async fn rollback(State(engine): Shared, Extension(caller): Extension<Caller>, Given(why): Given<WhyRequest>) -> Reply {
    tagged_result(ask(engine, move |engine| caller.with(engine).rollback(why.reason.as_deref())).await?)
}

async fn quarantine(
    State(engine): Shared,
    Extension(caller): Extension<Caller>,
    Given(request): Given<QuarantineRequest>,
) -> Reply {
    tagged_result(ask(engine, move |engine| caller.with(engine).quarantine(&request)).await?)
}

async fn release(
    State(engine): Shared,
    Extension(caller): Extension<Caller>,
    Asked(query): Asked<QuarantineQuery>,
) -> Reply {
    let QuarantineQuery { target, reason } = query;
    tagged_result(ask(engine, move |engine| caller.with(engine).release(&target, reason.as_deref())).await?)
}

/// It changes no policy, but the counters: whoever only reads may not.
async fn selftest(State(engine): Shared, Given(request): Given<SelftestRequest>) -> Reply {
    tagged_result(ask(engine, move |engine| engine.selftest(request)).await?)
}

async fn history(State(engine): Shared, Asked(query): Asked<HistoryQuery>) -> Reply {
    Ok(axum::Json(ask(engine, move |engine| engine.history(&query)).await??).into_response())
}

async fn verify_history(State(engine): Shared, Asked(query): Asked<VerifyQuery>) -> Reply {
    Ok(axum::Json(ask(engine, move |engine| engine.verify_history(&query)).await??).into_response())
}

async fn exposition(State(Public { engine, scrapes, .. }): State<Public>) -> Reply {
    let text = scrapes.ask(engine, |engine| {
        let scrape = engine.scrape()?;
        metrics::render(&scrape).map_err(|error| Refusal::Failed(format!("cannot write the metrics: {error}")))
    });
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text.await??).into_response())
}

/// 200 only if the kernel says that every guarded interface is enforced by what was published last.
async fn health(State(Public { engine, probes, .. }): State<Public>) -> Reply {
    let amiss = probes.ask(engine, Engine::health).await?;
    if amiss.is_empty() {
        return Ok("enforcing\n".into_response());
    }
    let lines: Vec<String> = amiss.into_iter().map(|amiss| format!("{}; {}", amiss.what, amiss.mend)).collect();
    Ok((StatusCode::SERVICE_UNAVAILABLE, lines.join("\n") + "\n").into_response())
}

/// One JSON object a line; with `follow`, for as long as the caller stays.
async fn flows(State(engine): Shared, Asked(query): Asked<FlowsQuery>) -> Reply {
    let content_type = [(header::CONTENT_TYPE, "application/x-ndjson")];
    if let Some(since) = query.since {
        let lines = ask(engine, move |engine| engine.past_flows(&query, since)).await??;
        return Ok((content_type, Body::from(joined(&lines))).into_response());
    }
    if !query.follow {
        let lines = ask(engine, move |engine| engine.flows(&query)).await?;
        return Ok((content_type, Body::from(joined(&lines))).into_response());
    }
    let (lines, follower) = ask(engine, move |engine| engine.follow(&query)).await?;
    let recent = stream::iter([Ok::<_, Infallible>(Bytes::from(joined(&lines)))]);
    let live = stream::unfold(follower, |mut follower: Follower| async {
        let next = follower.next().await?;
        Some((Ok(Bytes::from(followed(next))), follower))
    });
    Ok((content_type, Body::from_stream(futures_util::StreamExt::chain(recent, live))).into_response())
}

fn joined(lines: &[FlowLine]) -> String {
    lines.iter().map(line).collect()
}

fn followed(next: Followed) -> String {
    match next {
        Followed::Line(flow) => line(&*flow),
        Followed::Lost(lost) => line(&LostLine { lost }),
    }
}

fn line(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string(value).expect("flows are plain data, which always has a JSON form");
    text.push('\n');
    text
}
