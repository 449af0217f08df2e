//! Joining and leaving: the requests and their responses.

use mixminus::config::{Config, IceServer};

use crate::harness::{Guest, OFFER, SDP, SDPFRAG, TestServer, quiet};

const JOIN: &str = "/v1/rooms/lobby/participants";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_joins_with_one_post_and_leaves_with_one_delete() {
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

/// The offers have forms that appear in public bug reports of other servers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_answers_offers_seen_in_the_field() {
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
async fn join_sets_the_mode_of_the_room_that_it_creates() {
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
async fn participants_resource_lists_the_ice_servers_and_the_accepted_content_type() {
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
