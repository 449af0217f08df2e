//! A bad network between a client and the server: a UDP relay that loses and delays what passes,
//! and the HTTP proxy that leads clients to it.
//!
//! Only media is impaired (RTP, RFC 7983 range, not RTCP): a lost handshake message would measure
//! DTLS retransmission instead.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use warp::Filter;
use warp::http::{HeaderMap, Method, Response};
use warp::path::FullPath;

/// What the way does to media packets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Impairment {
    /// Probability of loss, `0.0..=1.0`.
    pub loss: f64,
    /// Each packet is held for up to this long, evenly distributed: 60 ms is jitter of +-30 ms.
    pub jitter: Duration,
}

/// Counts of what passed.
#[derive(Debug, Default)]
pub struct RelayCounts {
    /// Media packets offered on the way in.
    pub offered: AtomicU64,
    /// Of these, lost.
    pub lost: AtomicU64,
}

/// A relay in front of a server's media port.
pub struct Relay {
    /// Where clients send.
    pub front: SocketAddr,
    /// What passed.
    pub counts: Arc<RelayCounts>,
    way_in: Arc<Mutex<Impairment>>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Starts relaying to `server`; `seed` makes the losses repeatable.
    pub async fn start(server: SocketAddr, way_in: Impairment, seed: u64) -> Relay {
        let front = Arc::new(
            UdpSocket::bind("127.0.0.1:0")
                .await
                .expect("a loopback port"),
        );
        let address = front.local_addr().expect("bound");
        let counts = Arc::new(RelayCounts::default());
        let way_in = Arc::new(Mutex::new(way_in));
        let mut tasks = JoinSet::new();
        tasks.spawn(forward(front, server, way_in.clone(), counts.clone(), seed));
        Relay {
            front: address,
            counts,
            way_in,
            _tasks: tasks,
        }
    }

    /// Changes what happens on the way in from now on.
    pub fn impair(&self, way_in: Impairment) {
        *self.way_in.lock().expect("no panic while held") = way_in;
    }
}

async fn forward(
    front: Arc<UdpSocket>,
    server: SocketAddr,
    way_in: Arc<Mutex<Impairment>>,
    counts: Arc<RelayCounts>,
    mut seed: u64,
) {
    let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut datagram = [0; 2_048];
    while let Ok((len, client)) = front.recv_from(&mut datagram).await {
        let back = match backs.get(&client) {
            Some(back) => back.clone(),
            None => {
                let back = Arc::new(
                    UdpSocket::bind("127.0.0.1:0")
                        .await
                        .expect("a loopback port"),
                );
                back.connect(server).await.expect("loopback");
                tasks.spawn(return_way(back.clone(), front.clone(), client));
                backs.insert(client, back.clone());
                back
            }
        };
        let impairment = *way_in.lock().expect("no panic while held");
        if !is_media(&datagram[..len]) {
            let _ = back.send(&datagram[..len]).await;
            continue;
        }
        counts.offered.fetch_add(1, Ordering::Relaxed);
        // Where nothing is to be lost no chance is used up: losses begin where they are switched on.
        if impairment.loss > 0.0 && chance(&mut seed) < impairment.loss {
            counts.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let hold = impairment.jitter.mul_f64(chance(&mut seed));
        if hold.is_zero() {
            let _ = back.send(&datagram[..len]).await;
        } else {
            let late = datagram[..len].to_vec();
            tasks.spawn(async move {
                tokio::time::sleep(hold).await;
                let _ = back.send(&late).await;
            });
        }
        while tasks.try_join_next().is_some() {}
    }
}

async fn return_way(back: Arc<UdpSocket>, front: Arc<UdpSocket>, client: SocketAddr) {
    let mut datagram = [0; 2_048];
    while let Ok(len) = back.recv(&mut datagram).await {
        let _ = front.send_to(&datagram[..len], client).await;
    }
}

fn is_media(datagram: &[u8]) -> bool {
    datagram.len() > 12 && (128..192).contains(&datagram[0]) && !(192..224).contains(&datagram[1])
}

fn chance(state: &mut u64) -> f64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 11) as f64 / (1u64 << 53) as f64
}

/// An HTTP proxy in front of the server's signalling: offers lose their candidates and answers name
/// the relay, so that all media takes the way through it.
pub struct SignalProxy {
    /// Where clients POST.
    pub address: SocketAddr,
    _task: JoinSet<()>,
}

impl SignalProxy {
    /// Starts a proxy for the server's HTTP address.
    pub async fn start(server: SocketAddr, relay: SocketAddr) -> SignalProxy {
        // Refused only when another test has been here first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::new();
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
                    pass(client.clone(), method, url, headers, body, relay)
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

async fn pass(
    client: reqwest::Client,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: bytes::Bytes,
    relay: SocketAddr,
) -> Response<Vec<u8>> {
    let kind = headers
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_string();
    let body = match kind.as_str() {
        "application/sdp" => without_candidates(&String::from_utf8_lossy(&body)).into_bytes(),
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
        through(&String::from_utf8_lossy(&body), relay).into_bytes()
    } else {
        body.to_vec()
    };
    response.body(body).expect("a response made of valid parts")
}

fn without_candidates(sdp: &str) -> String {
    lines(sdp)
        .filter(|line| !line.starts_with("a=candidate:"))
        .fold(String::new(), |sdp, line| sdp + line + "\r\n")
}

/// The answer with one candidate, the relay, in every media section that had any.
fn through(sdp: &str, relay: SocketAddr) -> String {
    let candidate = format!(
        "a=candidate:1 1 udp 2130706431 {} {} typ host\r\n",
        relay.ip(),
        relay.port()
    );
    let mut named = false;
    let mut out = String::new();
    for line in lines(sdp) {
        if line.starts_with("m=") {
            named = false;
        }
        if line.starts_with("a=candidate:") {
            if !named {
                out += &candidate;
            }
            named = true;
        } else {
            out += line;
            out += "\r\n";
        }
    }
    out
}

fn lines(sdp: &str) -> impl Iterator<Item = &str> {
    sdp.split("\r\n").filter(|line| !line.is_empty())
}
