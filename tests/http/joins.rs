//! Joining, trickling, leaving: the statuses of the contract.

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use mixminus::config::{Config, IceServer};

use crate::harness::{Guest, JSON, OFFER, SDP, SDPFRAG, TestServer, quiet};

const JOIN: &str = "/v1/rooms/lobby/participants";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_is_one_post_and_leaving_one_delete() {
    let server = TestServer::open();
    let answer = server
        .ask(
            "POST",
            &format!("{JOIN}?name=%20Ann%20&profile=thin"),
            SDP,
            OFFER,
        )
        .await;
    let guest = Guest::of(&answer);
    assert!(answer.body.starts_with("v=0\r\n") && answer.body.contains("a=candidate:"));
    assert_eq!(answer.header("content-type"), SDP);
    assert_eq!(answer.header("accept-patch"), SDPFRAG);
    assert_eq!(
        answer.header("link"),
        "</v1/rooms/lobby/events>; rel=\"events\""
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(guest.etag.starts_with('"') && guest.etag.len() > 10);
    assert!(guest.secret().len() >= 32);
    let room = server.get("/v1/rooms/lobby").await.json();
    assert_eq!(room["permanent"], false);
    let ann = &room["participants"][0];
    assert_eq!(
        (ann["name"].as_str(), ann["id"].as_str()),
        (Some("Ann"), Some(guest.id.as_str()))
    );
    assert_eq!(
        format!("{:08x}", ann["csrc"].as_u64().expect("a number")),
        guest.id
    );
    assert_eq!(
        (&ann["talks"], &ann["listens"]),
        (&true.into(), &true.into())
    );

    assert_eq!(
        server.ask("DELETE", &guest.session, "", "").await.status,
        200
    );
    let again = server.ask("DELETE", &guest.session, "", "").await;
    assert_eq!(
        (again.status.as_u16(), again.problem().as_str()),
        (404, "unknown-session")
    );
    assert_eq!(
        server.get("/v1/rooms").await.json()["rooms"],
        serde_json::json!([])
    );
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_has_its_status() {
    let server = TestServer::open();
    let no_codec = OFFER
        .replace("opus/48000/2", "L16/48000/2")
        .replace("PCMU/8000", "G722/8000")
        .replace("PCMA/8000", "GSM/8000");
    let video = OFFER
        .replace("m=audio", "m=video")
        .replace("opus/48000/2", "VP8/90000");
    let line = "a=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\n";
    let long = "x".repeat(64 * 1024 + 1);
    let fragments = line.repeat(101);
    let cases = [
        ("POST", JOIN, SDP, "hello", 400, "bad-offer"),
        ("POST", JOIN, SDP, "", 400, "bad-offer"),
        ("POST", JOIN, SDP, "v=0\r\n\0\0", 400, "bad-offer"),
        ("POST", JOIN, JSON, OFFER, 415, "unsupported-media-type"),
        ("POST", JOIN, "", OFFER, 415, "unsupported-media-type"),
        ("POST", JOIN, SDP, &long, 413, "body-too-large"),
        ("POST", JOIN, SDP, &no_codec, 422, "unusable-offer"),
        ("POST", JOIN, SDP, &video, 422, "unusable-offer"),
        (
            "POST",
            "/v1/rooms/a%20b/participants",
            SDP,
            OFFER,
            400,
            "bad-room-name",
        ),
        (
            "POST",
            "/v1/rooms/.hidden/participants",
            SDP,
            OFFER,
            400,
            "bad-room-name",
        ),
        (
            "POST",
            "/v1/rooms/lobby/participants?name=a%0Ab",
            SDP,
            OFFER,
            400,
            "bad-name",
        ),
        (
            "POST",
            "/v1/rooms/lobby/participants?name=%E2%80%AEx",
            SDP,
            OFFER,
            400,
            "bad-name",
        ),
        (
            "POST",
            "/v1/rooms/lobby/participants?profile=loud",
            SDP,
            OFFER,
            400,
            "bad-request",
        ),
        ("PUT", JOIN, SDP, OFFER, 405, "method-not-allowed"),
        (
            "PATCH",
            "/v1/sessions/nobody",
            SDPFRAG,
            line,
            404,
            "unknown-session",
        ),
        (
            "PATCH",
            "/v1/sessions/nobody",
            SDP,
            line,
            415,
            "unsupported-media-type",
        ),
        (
            "PATCH",
            "/v1/sessions/nobody",
            SDPFRAG,
            "hello",
            400,
            "bad-fragment",
        ),
        (
            "PATCH",
            "/v1/sessions/nobody",
            SDPFRAG,
            "",
            400,
            "bad-fragment",
        ),
        (
            "PATCH",
            "/v1/sessions/nobody",
            SDPFRAG,
            &fragments,
            404,
            "unknown-session",
        ),
        (
            "DELETE",
            "/v1/sessions/nobody",
            "",
            "",
            404,
            "unknown-session",
        ),
        (
            "GET",
            "/v1/sessions/nobody",
            "",
            "",
            405,
            "method-not-allowed",
        ),
        ("GET", "/v1/rooms/lobby", "", "", 404, "no-such-room"),
        ("DELETE", "/v1/rooms/lobby", "", "", 404, "no-such-room"),
        ("PATCH", "/v1/rooms/lobby", JSON, "{}", 404, "no-such-room"),
        (
            "GET",
            "/v1/rooms/lobby/events",
            "",
            "",
            426,
            "upgrade-required",
        ),
        (
            "PATCH",
            "/v1/rooms/lobby/participants/00000001",
            JSON,
            "{}",
            404,
            "no-such-room",
        ),
        (
            "DELETE",
            "/v1/rooms/lobby/participants/nobody",
            "",
            "",
            404,
            "unknown-participant",
        ),
        ("GET", "/v2", "", "", 404, "not-found"),
        (
            "POST",
            "/v1/rooms/lobby/participants/a/b",
            "",
            "",
            404,
            "not-found",
        ),
        ("POST", "/metrics", "", "", 405, "method-not-allowed"),
        ("POST", "/", "", "", 405, "method-not-allowed"),
        ("TRACE", "/v1/rooms", "", "", 405, "method-not-allowed"),
    ];
    for (method, path, media_type, body, status, kind) in cases {
        let answer = server.ask(method, path, media_type, body.to_owned()).await;
        let start: String = body.chars().take(20).collect();
        assert_eq!(
            answer.status, status,
            "{method} {path} {start:?}: {}",
            answer.body
        );
        assert_eq!(answer.problem(), kind, "{method} {path} {start:?}");
        match status {
            405 => assert!(!answer.header("allow").is_empty()),
            415 if method == "POST" => assert_eq!(answer.header("accept-post"), SDP),
            415 => assert_eq!(answer.header("accept-patch"), SDPFRAG),
            _ => {}
        }
    }
    assert_eq!(
        server.get("/v1/rooms").await.json()["rooms"],
        serde_json::json!([]),
        "nothing is left behind"
    );
    server.running.stop().await;
}

/// Shapes of offers that public bug reports of other servers are about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_of_the_field_are_answered() {
    let server = TestServer::open();
    for entry in std::fs::read_dir("tests/offers").expect("fixtures") {
        let path = entry.expect("fixture").path();
        let offer = std::fs::read_to_string(&path).expect("text");
        let answer = server.ask("POST", JOIN, SDP, offer).await;
        assert_eq!(answer.status, 201, "{}: {}", path.display(), answer.body);
    }
    let latin1 = |charset: &str| {
        let offer = OFFER.replacen("s=-", &format!("s=R?union{charset}"), 1);
        let mut bytes = offer.into_bytes();
        let place = bytes
            .windows(2)
            .position(|two| two == b"R?")
            .expect("there");
        bytes[place + 1] = 0xe9;
        bytes
    };
    for (charset, status) in [("\r\na=charset:ISO-8859-1", 201), ("", 400)] {
        let answer = server.ask("POST", JOIN, SDP, latin1(charset)).await;
        assert_eq!(answer.status, status, "{charset}: {}", answer.body);
    }
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_hides_its_length_is_counted() {
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
async fn full_rooms_and_full_servers_say_so() {
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
async fn a_join_names_the_mode_of_the_room_it_makes() {
    let server = TestServer::open();
    let join = |mode: &str| format!("/v1/rooms/radio/participants?mode={mode}");
    let refused = server.ask("POST", &join("shout"), SDP, OFFER).await;
    assert_eq!(
        (refused.status.as_u16(), refused.problem().as_str()),
        (400, "bad-request")
    );
    assert_eq!(server.get("/v1/rooms/radio").await.status, 404);
    for mode in ["ptt", "open"] {
        let joined = server.ask("POST", &join(mode), SDP, OFFER).await;
        assert_eq!(joined.status, 201);
        let room = server.get("/v1/rooms/radio").await.json();
        assert_eq!(
            (&room["mode"], &room["allow_monitors"]),
            (&"ptt".into(), &true.into())
        );
    }
    let rooms = server.get("/v1/rooms").await.json();
    assert_eq!(rooms["open_rooms"], true);
    assert_eq!(rooms["rooms"][0]["allow_monitors"], true);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conference_refuses_monitors_until_it_allows_them() {
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
async fn rooms_can_be_closed_to_strangers() {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_trickle_and_ice_restarts() {
    let server = TestServer::open();
    let guest = server.join("lobby", "Ann").await;
    let trickle = "a=ice-ufrag:xZ3K\r\na=ice-pwd:hGf8Qm2LrT0uYvB6nWc4sPdJ\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n";
    let of = |etag: &str| {
        [
            ("content-type", SDPFRAG.to_owned()),
            ("if-match", etag.to_owned()),
        ]
    };
    for etag in ["", "*", "\"*\"", &guest.etag] {
        let headers = of(etag);
        let headers = headers
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let answer = server
            .ask_with("PATCH", &guest.session, &headers, trickle)
            .await;
        assert_eq!(answer.status, 204, "{etag}: {}", answer.body);
        assert!(!answer.headers.contains_key("etag"));
    }
    let stale = server
        .ask_with(
            "PATCH",
            &guest.session,
            &[("content-type", SDPFRAG), ("if-match", "\"old\"")],
            trickle,
        )
        .await;
    assert_eq!(
        (stale.status.as_u16(), stale.problem().as_str()),
        (412, "stale-etag")
    );

    let restart = trickle.replace("xZ3K", "n3wU").replace("hGf8", "n3wP");
    let headers = [("content-type", SDPFRAG), ("if-match", "*")];
    let answer = server
        .ask_with("PATCH", &guest.session, &headers, restart)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), SDPFRAG);
    assert_ne!(answer.header("etag"), guest.etag);
    for line in [
        "a=ice-ufrag:",
        "a=ice-pwd:",
        "a=mid:0",
        "a=candidate:",
        "a=end-of-candidates",
    ] {
        assert!(answer.body.contains(line), "{}", answer.body);
    }
    mixminus::http::sdpfrag::parse(&answer.body).expect("a fragment");
    let headers = [("content-type", SDPFRAG), ("if-match", guest.etag.as_str())];
    assert_eq!(
        server
            .ask_with("PATCH", &guest.session, &headers, trickle)
            .await
            .status,
        412
    );
    let late = server.ask("PATCH", &guest.session, SDPFRAG, trickle).await;
    assert_eq!(late.status, 412, "no restart back to the old session");
    assert_eq!(
        server.ask("DELETE", &guest.session, "", "").await.status,
        200
    );
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_of_ice_are_limited_and_the_session_lives_on() {
    let server = TestServer::open();
    let guest = server.join("lobby", "Ann").await;
    let restart = async |number: u32| {
        let fragment = format!(
            "a=ice-ufrag:theirs{number}\r\na=ice-pwd:aPasswordOfTwentyTwoOrMore\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
        );
        server.ask("PATCH", &guest.session, SDPFRAG, fragment).await
    };
    let begin = std::time::Instant::now();
    let mut answered = 0;
    let refused = loop {
        let answer = restart(answered).await;
        if answer.status != 200 {
            break answer;
        }
        answered += 1;
        let allowed = 6 + begin.elapsed().as_secs() / 5;
        assert!(u64::from(answered) < allowed, "{answered} restarts");
    };
    assert!(answered >= 5, "{answered}");
    assert_eq!(
        (refused.status.as_u16(), refused.problem().as_str()),
        (429, "too-many-requests")
    );
    let seconds: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=5).contains(&seconds), "{seconds}");
    let candidate = "a=candidate:1 1 udp 1 192.0.2.1 5000 typ host\r\n";
    let trickled = server
        .ask("PATCH", &guest.session, SDPFRAG, candidate)
        .await;
    assert_eq!(trickled.status, 204, "the session is still there");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_learn_what_the_address_speaks() {
    let server = TestServer::with(Config {
        ice_servers: vec![
            IceServer {
                url: "stun:stun.example:3478".into(),
                credentials: None,
            },
            IceServer {
                url: "turn:turn.example".into(),
                credentials: Some(("u".into(), "p".into())),
            },
        ],
        ..quiet()
    });
    let answer = server.get(JOIN).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (204, ""));
    let answer = server.ask("HEAD", JOIN, "", "").await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.header("content-type").as_str()
        ),
        (200, SDP)
    );
    let answer = server.ask("OPTIONS", JOIN, "", "").await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.header("accept-post").as_str()
        ),
        (204, SDP)
    );
    let links: Vec<_> = answer.headers.get_all("link").iter().collect();
    assert_eq!(links[0], "<stun:stun.example:3478>; rel=\"ice-server\"");
    assert_eq!(
        links[1],
        "<turn:turn.example>; rel=\"ice-server\"; username=\"u\"; credential=\"p\"; credential-type=\"password\""
    );
    let preflight = [
        ("origin", "https://a.example"),
        ("access-control-request-method", "POST"),
    ];
    let answer = server.ask_with("OPTIONS", JOIN, &preflight, "").await;
    assert_eq!(answer.status, 204);
    assert!(
        !answer.headers.contains_key("link"),
        "a preflight learns no password"
    );
    let joined = server.ask("POST", JOIN, SDP, OFFER).await;
    assert_eq!(joined.headers.get_all("link").iter().count(), 3);
    server.running.stop().await;
}
