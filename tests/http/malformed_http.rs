//! Malformed requests that no well-behaved client sends, written byte by byte.

use std::time::{Duration, Instant};

use mixminus::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{TestServer, quiet};

/// Sends bytes on a new connection and returns the response, up to the close of the connection.
async fn raw(server: &TestServer, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.running.http_addr())
        .await
        .expect("a connection");
    stream.write_all(request).await.expect("written");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = timeout(Duration::from_secs(3), read).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Malformed requests: the start up to the last header, the body, and the start of the expected
/// response.
const DOUBTFUL: &[(&str, &str, &str)] = &[
    ("GET /healthz HTTP/1.1", "", "HTTP/1.1 400"),
    (
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: b",
        "",
        "HTTP/1.1 400",
    ),
    (
        "POST /v1/rooms HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\ntransfer-encoding: chunked",
        "0\r\n\r\n",
        "HTTP/1.1 405",
    ),
    (
        "POST /v1/rooms HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\ncontent-length: 5",
        "abcd",
        "HTTP/1.1 400",
    ),
    (
        "POST /v1/rooms HTTP/1.1\r\nhost: localhost\r\ncontent-length: -4",
        "",
        "HTTP/1.1 400",
    ),
    (
        "GET http://127.0.0.1/healthz HTTP/1.1\r\nhost: localhost",
        "",
        "HTTP/1.1 200",
    ),
    (
        "GET http://b.example/healthz HTTP/1.1\r\nhost: localhost",
        "",
        "HTTP/1.1 421",
    ),
    (
        "GET /healthz HTTP/1.1\r\nhost: b.example",
        "",
        "HTTP/1.1 421",
    ),
    ("OPTIONS * HTTP/1.1\r\nhost: localhost", "", "HTTP/1.1 204"),
    (
        "GET //v1//rooms HTTP/1.1\r\nhost: localhost",
        "",
        "HTTP/1.1 4",
    ),
    (
        "GET /..%2f..%2fetc/passwd HTTP/1.1\r\nhost: localhost",
        "",
        "HTTP/1.1 404",
    ),
    (
        "GET /v1/rooms/%2e%2E HTTP/1.1\r\nhost: localhost",
        "",
        "HTTP/1.1 400",
    ),
    (
        "GET /v1/rooms/%00 HTTP/1.1\r\nhost: localhost",
        "",
        "HTTP/1.1 400",
    ),
    ("GET * HTTP/1.1\r\nhost: localhost", "", "HTTP/1.1 400"),
    ("CONNECT a:1 HTTP/1.1\r\nhost: localhost", "", "HTTP/1.1 4"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_http_requests_are_refused() {
    let server = TestServer::open();
    let close = "connection: close\r\n\r\n";
    let written = DOUBTFUL
        .iter()
        .map(|(head, body, expected)| (format!("{head}\r\n{close}{body}"), *expected));
    let (path, headers) = ("x".repeat(70_000), "a: b\r\n".repeat(200));
    let other = [
        (
            "\u{16}\u{3}\u{1}\u{2}\0hello over TLS\r\n\r\n".to_owned(),
            "HTTP/1.1 400",
        ),
        (
            format!("GET /{path} HTTP/1.1\r\nhost: localhost\r\n{close}"),
            "HTTP/1.1 4",
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: localhost\r\n{headers}{close}"),
            "HTTP/1.1 431",
        ),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), "HTTP/1.0 200"),
    ];
    for (request, expected) in written.chain(other) {
        let answer = raw(&server, request.as_bytes()).await;
        let start: String = request.chars().take(60).collect();
        assert!(answer.starts_with(expected), "{start:?}: {answer:.200}");
    }
    assert_eq!(server.get("/healthz").await.status, 200);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_closes_connections_with_incomplete_requests() {
    let server = TestServer::open();
    let address = server.running.http_addr();
    let slow = |beginning: &'static str| async move {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream
            .write_all(beginning.as_bytes())
            .await
            .expect("written");
        let started = Instant::now();
        let mut answer = String::new();
        let read = timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await;
        assert!(read.is_ok(), "{beginning:?} is still open");
        (answer, started.elapsed())
    };
    let ((_, nothing), (_, head), (body, _)) = tokio::join!(
        slow(""),
        slow("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx"),
        slow(
            "POST /v1/rooms/a/participants HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/sdp\r\ncontent-length: 9\r\n\r\nv"
        ),
    );
    assert!(
        nothing < Duration::from_secs(13) && head < Duration::from_secs(13),
        "{nothing:?} {head:?}"
    );
    assert!(body.starts_with("HTTP/1.1 408"), "{body}");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn self_signed_server_accepts_tls_only() {
    let server = TestServer::with(Config {
        tls_self_signed: true,
        ..quiet()
    });
    assert!(server.base.starts_with("https://"));
    assert_eq!(server.get("/healthz").await.status, 200);
    let plain = raw(&server, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(!plain.starts_with("HTTP"), "{plain}");
    assert_eq!(server.get("/healthz").await.status, 200);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_start_error_names_the_flag_of_a_taken_port_and_a_stopped_server_frees_its_ports() {
    let server = TestServer::open();
    let taken = Config {
        http: server.running.http_addr(),
        ..quiet()
    };
    let error = mixminus::server::Server::start(taken.clone())
        .err()
        .expect("the port is taken");
    assert!(error.to_string().contains("--http"), "{error}");
    let media = Config {
        media: server.running.media_addr(),
        ..quiet()
    };
    let error = mixminus::server::Server::start(media)
        .err()
        .expect("the port is taken");
    assert!(error.to_string().contains("--media"), "{error}");
    server.running.stop().await;
    TestServer::with(taken).running.stop().await;
}
