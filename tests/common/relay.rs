//! An HTTP proxy in front of the server's signalling, which leads a client's media over a
//! [`Relay`]: it replaces the candidates in offers and answers with the relay's addresses.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::SocketAddr;

use mixminus::bench::relay::{Relay, only_candidate};
use tokio::task::JoinSet;
use warp::Filter;
use warp::http::{HeaderMap, Method, Response};
use warp::path::FullPath;

/// An HTTP proxy in front of the server's signalling. Offers and answers that pass it name the
/// relay, so that all media goes through the relay.
pub struct SignalProxy {
    /// The address to which clients post.
    pub address: SocketAddr,
    _task: JoinSet<()>,
}

impl SignalProxy {
    /// Starts a proxy for the server's HTTP address.
    pub async fn start(server: SocketAddr, relay: &Relay) -> SignalProxy {
        // Installing the provider fails if another test has already done so.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::new();
        let ends = Ends {
            front: relay.front(),
            back: relay.back(),
        };
        let route = warp::any()
            .and(warp::method())
            .and(warp::path::full())
            .and(warp::query::raw().or(warp::any().map(String::new)).unify())
            .and(warp::header::headers_cloned())
            .and(warp::body::bytes())
            .then(
                move |method: Method,
                      path: FullPath,
                      query: String,
                      headers,
                      body: bytes::Bytes| {
                    let url = format!("http://{server}{}?{query}", path.as_str());
                    pass(client.clone(), method, url, headers, body, ends)
                },
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port");
        let address = listener.local_addr().expect("bound");
        let mut task = JoinSet::new();
        task.spawn(warp::serve(route).incoming(listener).run());
        SignalProxy {
            address,
            _task: task,
        }
    }
}

/// The relay's addresses on both of its sides.
#[derive(Clone, Copy)]
struct Ends {
    /// The relay's address to which the client sends.
    front: SocketAddr,
    /// The relay's address to which the server sends.
    back: SocketAddr,
}

async fn pass(
    client: reqwest::Client,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: bytes::Bytes,
    relay: Ends,
) -> Response<Vec<u8>> {
    let kind = headers
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_string();
    let body = match kind.as_str() {
        "application/sdp" => {
            only_candidate(&String::from_utf8_lossy(&body), relay.back).into_bytes()
        }
        _ => body.to_vec(),
    };
    let mut request = client.request(method, url).body(body);
    if !kind.is_empty() {
        request = request.header("content-type", kind);
    }
    let answer = request.send().await.expect("the server answers");
    let mut response = Response::builder().status(answer.status());
    for name in ["content-type", "location", "etag", "participant-id", "link"] {
        if let Some(value) = answer.headers().get(name) {
            response = response.header(name, value);
        }
    }
    let is_sdp = answer
        .headers()
        .get("content-type")
        .is_some_and(|value| value == "application/sdp");
    let body = answer.bytes().await.expect("a body");
    let body = if is_sdp {
        only_candidate(&String::from_utf8_lossy(&body), relay.front).into_bytes()
    } else {
        body.to_vec()
    };
    response.body(body).expect("a response made of valid parts")
}
