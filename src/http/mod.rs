//! The HTTP and WebSocket server: the entry to the server for everything but audio.
//!
//! The HTTP server stands beside the picture. Requests become requests to the
//! [conference](crate::conference); refusals become problem documents (RFC 9457). Routes are warp
//! filters over paths; the handler of a path checks the method itself, so that a wrong method is
//! always answered by 405 with the allowed methods. The filters are served by an accept loop of
//! this module.
//!
//! This module knows the conference's handle and the JSON of [`protocol`](crate::protocol), but
//! neither the mixer threads nor the peers.

mod client_address;
#[cfg(test)]
mod contract;
mod cors;
mod floor;
mod hosts;
mod listener;
mod metrics;
mod middleware;
mod participants;
mod problem;
mod request;
mod response;
mod rooms;
pub mod sdpfrag;
mod sessions;
mod state;
mod static_files;
mod tls;
mod websocket;
mod write_timeout;

use std::future::Future;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;

pub(crate) use tls::Tls;
pub use tls::TlsError;

use problem::Problem;
use request::{client_address, request};
use state::HttpState;

use crate::conference::Conference;
use crate::config::Config;

/// The OpenAPI document, as machine-readable documentation.
const OPENAPI: &str = include_str!("openapi.json");

/// Serves HTTP until `stop` changes, then shuts down open connections.
pub(crate) async fn serve(
    config: &Config,
    listener: TcpListener,
    tls: Option<Tls>,
    conference: Conference,
    stop: watch::Receiver<bool>,
) {
    let names = tls.as_ref().map_or(&[][..], |tls| &tls.names);
    let state = Arc::new(HttpState::new(config, names, conference, stop.clone()));
    let routes = warp::service(routes(state.clone()));
    let service = middleware::wrap(routes, state.clone());
    let acceptor = tls.map(|tls| tls.acceptor);
    listener::run(
        listener,
        acceptor,
        service,
        state.connection_limit.clone(),
        stop,
    )
    .await;
}

/// Combines all routes, and answers all other paths.
fn routes(state: Arc<HttpState>) -> BoxedFilter<(Response,)> {
    api(&state)
        .or(files(&state))
        .unify()
        .recover(Problem::recover)
        .unify()
        .boxed()
}

/// Routes `/v1`, `/healthz` and `/metrics`.
fn api(state: &Arc<HttpState>) -> BoxedFilter<(Response,)> {
    let rooms = warp::path!("v1" / "rooms")
        .and(with(state))
        .and(request())
        .then(|state, request| answered(rooms::collection(state, request)));
    let room = warp::path!("v1" / "rooms" / String)
        .and(with(state))
        .and(request())
        .then(|room, state, request| answered(rooms::one(state, room, request)));
    let participants = warp::path!("v1" / "rooms" / String / "participants")
        .and(with(state))
        .and(request())
        .then(|room, state, request| answered(participants::collection(state, room, request)));
    let participant = warp::path!("v1" / "rooms" / String / "participants" / String)
        .and(with(state))
        .and(request())
        .then(|room, id, state, request| answered(participants::one(state, room, id, request)));
    let session = warp::path!("v1" / "sessions" / String)
        .and(with(state))
        .and(request())
        .then(|session, state, request| answered(sessions::one(state, session, request)));
    let floor = warp::path!("v1" / "sessions" / String / "floor")
        .and(with(state))
        .and(request())
        .then(|session, state, request| answered(floor::one(state, session, request)));
    options(state)
        .or(rooms)
        .unify()
        .or(room)
        .unify()
        .or(participants)
        .unify()
        .or(participant)
        .unify()
        .or(session)
        .unify()
        .or(floor)
        .unify()
        .or(events(state))
        .unify()
        .or(plain(state))
        .unify()
        .boxed()
}

/// Routes `OPTIONS` on every path.
fn options(state: &Arc<HttpState>) -> BoxedFilter<(Response,)> {
    let joining = warp::path!("v1" / "rooms" / String / "participants")
        .and(warp::options())
        .and(with(state))
        .and(warp::header::headers_cloned())
        .map(|_, state: Arc<HttpState>, headers: HeaderMap| {
            participants::options(&state, &headers)
        });
    let anywhere = warp::options().map(cors::preflight);
    joining.or(anywhere).unify().boxed()
}

/// Routes the WebSocket of a room.
fn events(state: &Arc<HttpState>) -> BoxedFilter<(Response,)> {
    let upgrade = warp::ws().map(Some).or(warp::any().map(|| None)).unify();
    warp::path!("v1" / "rooms" / String / "events")
        .and(with(state))
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(upgrade)
        .and(warp::ext::optional())
        .and(client_address())
        .then(|room, state, method, headers, ws, permit, client| {
            let upgrade = websocket::UpgradeRequest {
                method,
                headers,
                ws,
                permit,
                client,
            };
            answered(websocket::open(state, room, upgrade))
        })
        .boxed()
}

/// Routes the read-only paths: health check, metrics and OpenAPI document.
fn plain(state: &Arc<HttpState>) -> BoxedFilter<(Response,)> {
    let healthz = warp::path!("healthz")
        .and(warp::method())
        .and(with(state))
        .map(|method, state: Arc<HttpState>| read_only(&method, || health(&state)));
    let metrics = warp::path!("metrics")
        .and(warp::method())
        .and(with(state))
        .then(|method, state: Arc<HttpState>| async move {
            let HttpState {
                conference,
                limiter,
                metrics,
                ..
            } = &*state;
            let page = metrics::page(conference, limiter, metrics).await;
            read_only(&method, || page)
        });
    let openapi = warp::path!("v1" / "openapi.json")
        .and(warp::method())
        .map(|method| {
            read_only(&method, || {
                response::typed(StatusCode::OK, "application/json", OPENAPI.to_owned())
            })
        });
    healthz.or(metrics).unify().or(openapi).unify().boxed()
}

/// Routes the static files of the web client.
fn files(state: &Arc<HttpState>) -> BoxedFilter<(Response,)> {
    warp::path::full()
        .and_then(|path: FullPath| async move {
            if static_files::has(path.as_str()) {
                Ok(path)
            } else {
                Err(warp::reject::not_found())
            }
        })
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(with(state))
        .map(|path: FullPath, method: Method, headers: HeaderMap, _| {
            static_files::serve(path.as_str(), &method, &headers).unwrap_or_else(Response::from)
        })
        .boxed()
}

fn with(state: &Arc<HttpState>) -> BoxedFilter<(Arc<HttpState>,)> {
    let state = state.clone();
    warp::any().map(move || state.clone()).boxed()
}

fn health(state: &HttpState) -> Response {
    if state.conference.is_whole() {
        response::json(StatusCode::OK, &serde_json::json!({ "status": "ok" }))
    } else {
        Problem::not_whole().into()
    }
}

fn read_only(method: &Method, read: impl FnOnce() -> Response) -> Response {
    if matches!(*method, Method::GET | Method::HEAD) {
        read()
    } else {
        Problem::method_not_allowed("GET, HEAD, OPTIONS").into()
    }
}

async fn answered(handled: impl Future<Output = Result<Response, Problem>>) -> Response {
    handled.await.unwrap_or_else(Response::from)
}
