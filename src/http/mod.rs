//! The HTTP and WebSocket server, through which clients do everything but audio.
//!
//! The HTTP server is not part of the picture. Requests become requests to the
//! [conference](crate::conference); refusals become problem documents (RFC 9457). Routes are warp
//! filters over paths; each resource declares its own in its file. The handler of a path checks the
//! method itself, so that a wrong method is always answered by 405 with the allowed methods. An
//! accept loop of this module serves the filters.
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
mod route;
pub mod sdpfrag;
mod sessions;
mod state;
mod static_files;
mod tls;
mod websocket;
mod write_timeout;

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use warp::Filter;
use warp::http::StatusCode;
use warp::reply::Response;

pub(crate) use tls::Tls;
pub use tls::TlsError;

use problem::Problem;
use route::{Routes, read_only, with};
use state::HttpState;

use crate::conference::Conference;
use crate::config::Config;

/// The OpenAPI document, which the server serves as machine-readable documentation of its API.
const OPENAPI: &str = include_str!("openapi.json");

/// Serves HTTP until `stop` changes; then refuses new connections and shuts down the open ones.
pub(crate) async fn serve(
    config: &Config,
    listener: TcpListener,
    tls: Option<Tls>,
    conference: Conference,
    stop: watch::Receiver<bool>,
) {
    let names = tls.as_ref().map_or(&[][..], |tls| &tls.names);
    let state = Arc::new(HttpState::new(config, names, conference, stop.clone()));
    let routes = warp::service(routes(&state));
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

/// Combines all routes; paths without a route are answered by a problem document.
fn routes(state: &Arc<HttpState>) -> Routes {
    api(state)
        .or(static_files::routes())
        .unify()
        .recover(Problem::recover)
        .unify()
        .boxed()
}

/// Routes `/v1`, `/healthz` and `/metrics`; each resource declares its own routes.
fn api(state: &Arc<HttpState>) -> Routes {
    let preflight = warp::options().map(cors::preflight);
    // Every other route would answer OPTIONS with 405, so the preflight comes first.
    participants::options_route(state)
        .or(preflight)
        .unify()
        .or(rooms::routes(state))
        .unify()
        .or(participants::routes(state))
        .unify()
        .or(sessions::routes(state))
        .unify()
        .or(floor::routes(state))
        .unify()
        .or(websocket::routes(state))
        .unify()
        .or(metrics::routes(state))
        .unify()
        .or(plain(state))
        .unify()
        .boxed()
}

/// Routes the health check and the OpenAPI document.
fn plain(state: &Arc<HttpState>) -> Routes {
    let healthz = warp::path!("healthz")
        .and(warp::method())
        .and(with(state))
        .map(|method, state: Arc<HttpState>| read_only(&method, || health(&state)));
    let openapi = warp::path!("v1" / "openapi.json")
        .and(warp::method())
        .map(|method| {
            read_only(&method, || {
                response::typed(StatusCode::OK, "application/json", OPENAPI.to_owned())
            })
        });
    healthz.or(openapi).unify().boxed()
}

fn health(state: &HttpState) -> Response {
    if state.conference.is_whole() {
        response::json(StatusCode::OK, &serde_json::json!({ "status": "ok" }))
    } else {
        Problem::not_whole().into()
    }
}
