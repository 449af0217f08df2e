//! The HTTP and WebSocket server: the way in for everything but audio.
//!
//! Stands beside the picture. Requests become intents for the [conference](crate::conference), refusals become problem
//! documents (RFC 9457). Routes are warp filters over paths; a path's handler looks at the method itself, so that a wrong
//! one is always answered by 405 with the right ones. The filters are served by an accept loop of our own.
//!
//! This module knows the conference's handle and the JSON of [`protocol`](crate::protocol); never the mixer thread, never
//! a peer.

mod accept;
mod client_address;
mod context;
mod cors;
mod events;
mod floor;
mod hosts;
mod metrics;
mod page;
mod participants;
mod problem;
mod reply;
mod request;
mod rooms;
pub mod sdpfrag;
mod service;
mod sessions;
mod tls;
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

use context::Context;
use problem::Problem;
use request::{client_address, request};

use crate::conference::Conference;
use crate::config::Config;

/// The contract, for programs.
const OPENAPI: &str = include_str!("openapi.json");

/// Serves HTTP until `stop` turns, then ends what is open.
pub(crate) async fn serve(
    config: &Config,
    listener: TcpListener,
    tls: Option<Tls>,
    conference: Conference,
    stop: watch::Receiver<bool>,
) {
    let names = tls.as_ref().map_or(&[][..], |tls| &tls.names);
    let context = Arc::new(Context::new(config, names, conference, stop.clone()));
    let routes = warp::service(routes(context.clone()));
    let service = service::outer(routes, context.clone());
    let acceptor = tls.map(|tls| tls.acceptor);
    accept::run(listener, acceptor, service, context.gate.clone(), stop).await;
}

/// Every route, and an answer to everything else.
fn routes(context: Arc<Context>) -> BoxedFilter<(Response,)> {
    api(&context)
        .or(files(&context))
        .unify()
        .recover(Problem::recover)
        .unify()
        .boxed()
}

/// `/v1`, `/healthz` and `/metrics`.
fn api(context: &Arc<Context>) -> BoxedFilter<(Response,)> {
    let rooms = warp::path!("v1" / "rooms")
        .and(with(context))
        .and(request())
        .then(|context, request| answered(rooms::collection(context, request)));
    let room = warp::path!("v1" / "rooms" / String)
        .and(with(context))
        .and(request())
        .then(|room, context, request| answered(rooms::one(context, room, request)));
    let participants = warp::path!("v1" / "rooms" / String / "participants")
        .and(with(context))
        .and(request())
        .then(|room, context, request| answered(participants::collection(context, room, request)));
    let participant = warp::path!("v1" / "rooms" / String / "participants" / String)
        .and(with(context))
        .and(request())
        .then(|room, id, context, request| answered(participants::one(context, room, id, request)));
    let session = warp::path!("v1" / "sessions" / String)
        .and(with(context))
        .and(request())
        .then(|session, context, request| answered(sessions::one(context, session, request)));
    let floor = warp::path!("v1" / "sessions" / String / "floor")
        .and(with(context))
        .and(request())
        .then(|session, context, request| answered(floor::one(context, session, request)));
    options(context)
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
        .or(events(context))
        .unify()
        .or(plain(context))
        .unify()
        .boxed()
}

/// `OPTIONS` anywhere.
fn options(context: &Arc<Context>) -> BoxedFilter<(Response,)> {
    let joining = warp::path!("v1" / "rooms" / String / "participants")
        .and(warp::options())
        .and(with(context))
        .and(warp::header::headers_cloned())
        .map(|_, context: Arc<Context>, headers: HeaderMap| {
            participants::options(&context, &headers)
        });
    let anywhere = warp::options().map(cors::preflight);
    joining.or(anywhere).unify().boxed()
}

/// The WebSocket of a room.
fn events(context: &Arc<Context>) -> BoxedFilter<(Response,)> {
    let upgrade = warp::ws().map(Some).or(warp::any().map(|| None)).unify();
    warp::path!("v1" / "rooms" / String / "events")
        .and(with(context))
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(upgrade)
        .and(warp::ext::optional())
        .and(client_address())
        .then(|room, context, method, headers, ws, permit, client| {
            let asked = events::Asked {
                method,
                headers,
                ws,
                permit,
                client,
            };
            answered(events::open(context, room, asked))
        })
        .boxed()
}

/// What is only read: liveness, figures, the contract.
fn plain(context: &Arc<Context>) -> BoxedFilter<(Response,)> {
    let healthz = warp::path!("healthz")
        .and(warp::method())
        .and(with(context))
        .map(|method, context: Arc<Context>| read_only(&method, || health(&context)));
    let metrics = warp::path!("metrics")
        .and(warp::method())
        .and(with(context))
        .map(|method, context: Arc<Context>| {
            read_only(&method, || {
                metrics::page(&context.conference, &context.metrics)
            })
        });
    let openapi = warp::path!("v1" / "openapi.json")
        .and(warp::method())
        .map(|method| {
            read_only(&method, || {
                reply::typed(StatusCode::OK, "application/json", OPENAPI.to_owned())
            })
        });
    healthz.or(metrics).unify().or(openapi).unify().boxed()
}

/// The web client.
fn files(context: &Arc<Context>) -> BoxedFilter<(Response,)> {
    warp::path::full()
        .and_then(|path: FullPath| async move {
            if page::has(path.as_str()) {
                Ok(path)
            } else {
                Err(warp::reject::not_found())
            }
        })
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(with(context))
        .map(|path: FullPath, method: Method, headers: HeaderMap, _| {
            page::serve(path.as_str(), &method, &headers).unwrap_or_else(Response::from)
        })
        .boxed()
}

fn with(context: &Arc<Context>) -> BoxedFilter<(Arc<Context>,)> {
    let context = context.clone();
    warp::any().map(move || context.clone()).boxed()
}

fn health(context: &Context) -> Response {
    if context.conference.is_whole() {
        reply::json(StatusCode::OK, &serde_json::json!({ "status": "ok" }))
    } else {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not-whole",
            "Not whole",
            "A part of the server that carries audio has failed; restart the server.",
        )
        .into()
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
