//! Requests that are refused: all error statuses of the contract.

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use mixminus::config::Config;

use crate::harness::{Guest, JSON, OFFER, SDP, SDPFRAG, TestServer, quiet};

const JOIN: &str = "/v1/rooms/lobby/participants";

/// The refused requests, one a line: method, path, media type, body, status and problem type; `-`
/// means none.
///
/// [`body_named`] gives the body for each name.
const REFUSALS: &str = "
POST   /v1/rooms/lobby/participants                 sdp     hello     400 bad-offer
POST   /v1/rooms/lobby/participants                 sdp     -         400 bad-offer
POST   /v1/rooms/lobby/participants                 sdp     nul       400 bad-offer
POST   /v1/rooms/lobby/participants                 json    offer     415 unsupported-media-type
POST   /v1/rooms/lobby/participants                 -       offer     415 unsupported-media-type
POST   /v1/rooms/lobby/participants                 sdp     long      413 body-too-large
POST   /v1/rooms/lobby/participants                 sdp     no-codec  422 unusable-offer
POST   /v1/rooms/lobby/participants                 sdp     video     422 unusable-offer
POST   /v1/rooms/a%20b/participants                 sdp     offer     400 bad-room-name
POST   /v1/rooms/.hidden/participants               sdp     offer     400 bad-room-name
POST   /v1/rooms/lobby/participants?name=a%0Ab      sdp     offer     400 bad-name
POST   /v1/rooms/lobby/participants?name=%E2%80%AEx sdp     offer     400 bad-name
POST   /v1/rooms/lobby/participants?profile=loud    sdp     offer     400 bad-request
PUT    /v1/rooms/lobby/participants                 sdp     offer     405 method-not-allowed
PATCH  /v1/sessions/nobody                          sdpfrag candidate 404 unknown-session
PATCH  /v1/sessions/nobody                          sdp     candidate 415 unsupported-media-type
PATCH  /v1/sessions/nobody                          sdpfrag hello     400 bad-fragment
PATCH  /v1/sessions/nobody                          sdpfrag -         400 bad-fragment
PATCH  /v1/sessions/nobody                          sdpfrag many      404 unknown-session
DELETE /v1/sessions/nobody                          -       -         404 unknown-session
GET    /v1/sessions/nobody                          -       -         405 method-not-allowed
GET    /v1/rooms/lobby                              -       -         404 no-such-room
DELETE /v1/rooms/lobby                              -       -         404 no-such-room
PATCH  /v1/rooms/lobby                              json    {}        404 no-such-room
GET    /v1/rooms/lobby/events                       -       -         426 upgrade-required
PATCH  /v1/rooms/lobby/participants/00000001        json    {}        404 no-such-room
DELETE /v1/rooms/lobby/participants/nobody          -       -         404 unknown-participant
GET    /v2                                          -       -         404 not-found
POST   /v1/rooms/lobby/participants/a/b             -       -         404 not-found
POST   /metrics                                     -       -         405 method-not-allowed
POST   /                                            -       -         405 method-not-allowed
TRACE  /v1/rooms                                    -       -         405 method-not-allowed
";

/// Returns the body that has this name in [`REFUSALS`].
fn body_named(name: &str) -> String {
    let candidate = "a=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\n";
    match name {
        "-" => String::new(),
        "nul" => "v=0\r\n\0\0".to_owned(),
        "offer" => OFFER.to_owned(),
        "long" => "x".repeat(64 * 1024 + 1),
        "no-codec" => OFFER
            .replace("opus/48000/2", "L16/48000/2")
            .replace("PCMU/8000", "G722/8000")
            .replace("PCMA/8000", "GSM/8000"),
        "video" => OFFER
            .replace("m=audio", "m=video")
            .replace("opus/48000/2", "VP8/90000"),
        "candidate" => candidate.to_owned(),
        "many" => candidate.repeat(101),
        text @ ("hello" | "{}") => text.to_owned(),
        other => panic!("no body is named {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_requests_get_their_status_and_problem_type() {
    let server = TestServer::open();
    let mut seen = 0;
    for row in REFUSALS.lines().filter(|row| !row.is_empty()) {
        let cells: Vec<&str> = row.split_whitespace().collect();
        let [method, path, media_type, body, status, problem] = cells[..] else {
            panic!("six cells: {row}");
        };
        let media_type = match media_type {
            "sdp" => SDP,
            "json" => JSON,
            "sdpfrag" => SDPFRAG,
            _ => "",
        };
        let answer = server.ask(method, path, media_type, body_named(body)).await;
        assert_eq!(answer.status.as_str(), status, "{row}: {}", answer.body);
        assert_eq!(answer.problem(), problem, "{row}");
        match status {
            "405" => assert!(!answer.header("allow").is_empty()),
            "415" if method == "POST" => assert_eq!(answer.header("accept-post"), SDP),
            "415" => assert_eq!(answer.header("accept-patch"), SDPFRAG),
            _ => {}
        }
        seen += 1;
    }
    assert_eq!(seen, 32);
    assert_eq!(
        server.get("/v1/rooms").await.json()["rooms"],
        serde_json::json!([]),
        "nothing is left behind"
    );
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_body_without_a_length_is_limited() {
    let server = TestServer::open();
    let piece = |_| Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![b'x'; 1_000])));
    let pieces = futures_util::stream::iter((0..100).map(piece));
    let body = reqwest::Body::wrap(StreamBody::new(pieces));
    let answer = server.ask("POST", JOIN, SDP, body).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (413, "body-too-large")
    );
    let answer = server.ask("POST", JOIN, SDP, "x".repeat(900_000)).await;
    assert_eq!(answer.status, 413);
    let answer = server.ask("POST", JOIN, SDP, vec![0xff, 0xfe, 0x00]).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (400, "bad-request")
    );
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_room_and_full_server_refuse_joins() {
    let server = TestServer::with(Config {
        max_sessions: 2,
        max_rooms: 2,
        ..quiet()
    });
    let made = server
        .ask("PUT", "/v1/rooms/small", JSON, r#"{"max_participants":1}"#)
        .await;
    assert_eq!(made.status, 201);
    let guest = server.join("small", "Ann").await;
    let full = server
        .ask("POST", "/v1/rooms/small/participants", SDP, OFFER)
        .await;
    assert_eq!(
        (full.status.as_u16(), full.problem().as_str()),
        (409, "room-full")
    );
    assert_eq!(full.json()["limit"], 1);

    server.join("other", "Bo").await;
    let loaded = server
        .ask("POST", "/v1/rooms/other/participants", SDP, OFFER)
        .await;
    assert_eq!(
        (loaded.status.as_u16(), loaded.problem().as_str()),
        (503, "overloaded")
    );
    assert!(
        loaded
            .header("retry-after")
            .parse::<u32>()
            .expect("seconds")
            > 0
    );

    assert_eq!(
        server.ask("DELETE", &guest.session, "", "").await.status,
        200
    );
    let third = server
        .ask("POST", "/v1/rooms/third/participants", SDP, OFFER)
        .await;
    assert_eq!(
        (third.status.as_u16(), third.problem().as_str()),
        (503, "overloaded")
    );
    server.join("small", "Cy").await;
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_room_refuses_monitors_until_allow_monitors_is_set() {
    let server = TestServer::open();
    server.join("talk", "Ann").await;
    let path = "/v1/rooms/desk/participants?listen=talk&name=Bo";
    let refused = server.ask("POST", path, SDP, OFFER).await;
    assert_eq!(
        (refused.status.as_u16(), refused.problem().as_str()),
        (403, "monitoring-refused")
    );
    assert_eq!(refused.json()["room"], "talk");
    let allow = r#"{"allow_monitors":true}"#;
    let allowed = server.ask("PATCH", "/v1/rooms/talk", JSON, allow).await;
    assert_eq!(allowed.json()["allow_monitors"], true);
    let bo = Guest::of(&server.ask("POST", path, SDP, OFFER).await);
    let room = server.get("/v1/rooms/talk").await.json();
    assert_eq!(room["monitors_total"], 1);
    let monitor = serde_json::json!({"participant": bo.id, "name": "Bo", "room": "desk"});
    assert_eq!(room["monitors"], serde_json::json!([monitor]));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_without_open_rooms_refuses_joins_of_unknown_rooms() {
    let server = TestServer::with(Config {
        open_rooms: false,
        ..quiet()
    });
    assert_eq!(server.get("/v1/rooms").await.json()["open_rooms"], false);
    let answer = server.ask("POST", JOIN, SDP, OFFER).await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (404, "no-such-room")
    );
    assert_eq!(
        server.ask("PUT", "/v1/rooms/lobby", "", "").await.status,
        201
    );
    server.join("lobby", "Ann").await;
    server.running.stop().await;
}
