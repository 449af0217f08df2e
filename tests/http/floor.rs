//! Floor control over HTTP and over the room's WebSocket. No media flows, so the rooms have a long
//! end-of-media timeout.

use mixminus::config::Config;
use mixminus::rate_limit::{Rate, Rates};
use serde_json::{Value, json};

use crate::harness::{Guest, JSON, Socket, TestServer, quiet};

const ROOM: &str = "/v1/rooms/hall";

/// Creates a room in this mode and lets two participants join it.
async fn hall(server: &TestServer, mode: &str) -> (Guest, Guest) {
    let settings = json!({"mode":mode,"end_of_media_ms":60_000});
    let made = server.ask("PUT", ROOM, JSON, settings.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.body);
    (
        server.join("hall", "Ann").await,
        server.join("hall", "Bo").await,
    )
}

async fn ask(server: &TestServer, guest: &Guest, method: &str, body: &str) -> (u16, Value) {
    let path = format!("{}/floor", guest.session);
    let answer = server.ask(method, &path, JSON, body.to_owned()).await;
    let json = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    (answer.status.as_u16(), json)
}

/// Sends a participant's command over the WebSocket and returns the response to it.
async fn command(socket: &mut Socket, guest: &Guest, mut command: Value) -> Value {
    command["session"] = guest.secret().into();
    command["id"] = 7.into();
    socket.send(&command.to_string()).await;
    loop {
        let event = socket.event().await;
        if event["id"] == 7 {
            return event;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floor_is_requested_queued_and_released_over_http() {
    let server = TestServer::open();
    let (ann, bo) = hall(&server, "ptt").await;
    assert_eq!(
        ask(&server, &ann, "GET", "").await,
        (200, json!({"state":"none"}))
    );
    let granted = json!({"state":"granted","burst":1,"duration_ms":30_000,"priority":0});
    assert_eq!(ask(&server, &ann, "PUT", "").await, (200, granted.clone()));
    assert_eq!(
        ask(&server, &ann, "PUT", "{}").await,
        (200, granted.clone())
    );
    assert_eq!(ask(&server, &ann, "GET", "").await, (200, granted));

    let (status, denied) = ask(&server, &bo, "PUT", r#"{"queue":false}"#).await;
    assert_eq!(status, 409);
    assert_eq!(
        (&denied["cause"], &denied["reason"], &denied["holder"]),
        (
            &json!(1),
            &json!("another client has permission"),
            &json!(ann.id)
        )
    );
    assert_eq!(denied["type"], "urn:mixminus:problem:floor-denied");
    let queued = json!({"state":"queued","position":1,"size":1});
    assert_eq!(ask(&server, &bo, "PUT", "").await, (202, queued.clone()));
    assert_eq!(ask(&server, &bo, "GET", "").await, (200, queued));
    let room = server.get(ROOM).await.json();
    assert_eq!(room["mode"], "ptt");
    assert_eq!(room["floor"]["holders"][0]["participant"], json!(ann.id));
    assert_eq!(room["floor"]["holders"][0]["left_ms"], 30_000);
    assert_eq!(room["floor"]["queue"], json!([bo.id]));
    let line = &server.get("/v1/rooms").await.json()["rooms"][0];
    assert_eq!(line["floor"]["queue"], json!([bo.id]));

    let mut socket = server.watch("hall").await;
    socket.event().await;
    assert_eq!(ask(&server, &ann, "DELETE", "").await.0, 204);
    let taken = socket.until("floor_taken").await;
    let expected = json!({"event":"floor_taken","room":"hall","burst":2,"participant":bo.id,"name":"Bo","priority":0,"duration_ms":30_000,"may_request":true});
    assert_eq!(taken, expected);
    assert_eq!(
        socket.event().await,
        json!({"event":"floor_queue","room":"hall","queue":[]})
    );
    // A repeated release has no effect.
    assert_eq!(ask(&server, &bo, "DELETE", "").await.0, 204);
    assert_eq!(ask(&server, &bo, "DELETE", "").await.0, 204);
    let idle = socket.until("floor_idle").await;
    assert_eq!(idle, json!({"event":"floor_idle","room":"hall","n":1}));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floor_requests_over_http_beyond_the_rate_limit_are_refused_with_retry_after() {
    let server = TestServer::with(Config {
        rates: Rates {
            participant_changes: Rate::new(20, 1),
            ..Rates::default()
        },
        ..quiet()
    });
    let (ann, bo) = hall(&server, "ptt").await;
    let path = format!("{}/floor", ann.session);
    let mute = format!("{ROOM}/participants/{}", bo.id.as_str());
    for (method, path, body) in [("PUT", &path, "{}"), ("PATCH", &mute, r#"{"muted":false}"#)] {
        let mut refused = None;
        for _ in 0..2_000 {
            let answer = server.ask(method, path, JSON, body.to_owned()).await;
            if answer.status.as_u16() != 200 {
                refused = Some(answer);
                break;
            }
        }
        let refused = refused.expect("there is a limit");
        assert_eq!(refused.status.as_u16(), 429, "{}", refused.body);
        assert_eq!(refused.problem(), "too-many-requests");
        assert_eq!(refused.header("retry-after"), "1");
    }
    assert_eq!(ask(&server, &ann, "DELETE", "").await.0, 204);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_floor_requests_are_refused_with_a_problem() {
    let server = TestServer::open();
    let (ann, _) = hall(&server, "ptt").await;
    for bad in [
        r#"{"priority":256}"#,
        r#"{"tier":"panic"}"#,
        r#"{"queue":1}"#,
        "{",
    ] {
        let (status, problem) = ask(&server, &ann, "PUT", bad).await;
        assert_eq!(status, 400, "{bad}");
        assert!(problem["detail"].is_string(), "{problem}");
    }
    let (status, problem) = ask(&server, &ann, "POST", "").await;
    assert_eq!((status, &problem["status"]), (405, &json!(405)));
    for method in ["GET", "PUT", "DELETE"] {
        let answer = server.ask(method, "/v1/sessions/none/floor", "", "").await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (404, "unknown-session")
        );
    }
    let bad_mode = server
        .ask("PATCH", ROOM, JSON, r#"{"mode":"multi:0"}"#)
        .await;
    assert_eq!(
        bad_mode.json()["detail"],
        "The field \"mode\" must be one of: open, ptt, multi:1 to multi:100, cut-in, broadcast, moderated."
    );
    let offer = crate::harness::OFFER;
    let path = format!("{ROOM}/participants?priority=256");
    let refused = server.ask("POST", &path, crate::harness::SDP, offer).await;
    assert_eq!(
        (refused.status.as_u16(), refused.problem().as_str()),
        (400, "bad-request")
    );
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floor_request_of_the_only_participant_is_denied() {
    let server = TestServer::open();
    server.ask("PUT", ROOM, JSON, r#"{"mode":"ptt"}"#).await;
    let ann = server.join("hall", "Ann").await;
    let (status, denied) = ask(&server, &ann, "PUT", "").await;
    assert_eq!((status, &denied["cause"]), (409, &json!(3)));
    assert!(denied.get("holder").is_none());
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floor_is_requested_queued_and_released_over_the_websocket() {
    let server = TestServer::open();
    let (ann, bo) = hall(&server, "ptt").await;
    let mut socket = server.watch("hall").await;
    let first = socket.event().await;
    assert_eq!(first["room"]["floor"], json!({"holders":[],"queue":[]}));
    let request = || json!({"command":"floor_request"});
    let granted = command(&mut socket, &ann, request()).await;
    assert_eq!(
        granted,
        json!({"event":"floor_granted","burst":1,"duration_ms":30_000,"priority":0,"id":7})
    );
    let queued = command(&mut socket, &bo, request()).await;
    assert_eq!(
        queued,
        json!({"event":"floor_queued","position":1,"size":1,"id":7})
    );
    let where_am_i = json!({"command":"floor_position"});
    assert_eq!(command(&mut socket, &bo, where_am_i.clone()).await, queued);
    let released = command(&mut socket, &bo, json!({"command":"floor_release"})).await;
    assert_eq!(released, json!({"event":"ok","id":7}));
    let not_waiting = command(&mut socket, &bo, where_am_i).await;
    assert_eq!(not_waiting["position"], 0);
    let impatient = json!({"command":"floor_request","queue":false});
    let denied = command(&mut socket, &bo, impatient).await;
    assert_eq!(
        denied,
        json!({"event":"floor_denied","cause":1,"reason":"another client has permission","holder":ann.id,"id":7})
    );
    let grant = json!({"command":"floor_grant","participant":bo.id});
    let refused = command(&mut socket, &ann, grant).await;
    assert_eq!(
        (&refused["event"], &refused["type"]),
        (&json!("error"), &json!("not-moderated"))
    );
    // A WebSocket that connects later is told who talks.
    let mut late = server.watch("hall").await;
    let first = late.event().await;
    assert_eq!(
        first["room"]["floor"]["holders"][0]["participant"],
        json!(ann.id)
    );
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floor_request_pre_empts_up_to_the_priority_of_its_join() {
    let server = TestServer::open();
    let settings = r#"{"mode":"ptt","grace_ms":100,"end_of_media_ms":60000}"#;
    server.ask("PUT", ROOM, JSON, settings).await;
    let ann = server.join("hall", "Ann").await;
    let path = format!("{ROOM}/participants?name=Chief&priority=9");
    let joined = server
        .ask("POST", &path, crate::harness::SDP, crate::harness::OFFER)
        .await;
    let chief = Guest::of(&joined);
    let mut socket = server.watch("hall").await;
    socket.event().await;
    let (status, _) = ask(&server, &ann, "PUT", r#"{"priority":200}"#).await;
    assert_eq!(status, 200);
    // A request may ask for a lower priority than the join allows.
    let (status, _) = ask(&server, &chief, "PUT", r#"{"priority":0,"queue":false}"#).await;
    assert_eq!(status, 409);
    let (status, queued) = ask(&server, &chief, "PUT", "").await;
    assert_eq!((status, &queued["position"]), (202, &json!(1)));
    let revoked = socket.until("floor_revoked").await;
    assert_eq!(
        revoked,
        json!({"event":"floor_revoked","room":"hall","burst":1,"participant":ann.id,"cause":4,"reason":"media burst pre-empted","grace_ms":100})
    );
    let taken = socket.until("floor_taken").await;
    assert_eq!(
        (&taken["participant"], &taken["priority"]),
        (&json!(chief.id), &json!(9))
    );
    let metrics = server.get("/metrics").await.body;
    for line in [
        "mixminus_floor_requests_total{outcome=\"granted\"} 1",
        "mixminus_floor_requests_total{outcome=\"queued\"} 1",
        "mixminus_floor_requests_total{outcome=\"denied\"} 1",
        "mixminus_floor_revokes_total{cause=\"media burst pre-empted\"} 1",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_changes_its_mode_while_a_participant_holds_the_floor() {
    let server = TestServer::open();
    let (ann, bo) = hall(&server, "moderated").await;
    let (status, _) = ask(&server, &ann, "PUT", "").await;
    assert_eq!(status, 202);
    let mut socket = server.watch("hall").await;
    socket.event().await;
    let grant = json!({"command":"floor_grant","participant":ann.id});
    let granted = command(&mut socket, &bo, grant).await;
    assert_eq!(granted["event"], "ok");
    let (_, standing) = ask(&server, &ann, "GET", "").await;
    assert_eq!(standing["state"], "granted");
    ask(&server, &bo, "PUT", "").await;

    let set = async |mode: &str| {
        let change = json!({ "mode": mode }).to_string();
        assert_eq!(server.ask("PATCH", ROOM, JSON, change).await.status, 200);
    };
    set("multi:2").await;
    let room = server.get(ROOM).await.json();
    assert_eq!(room["floor"]["holders"].as_array().map(Vec::len), Some(2));
    set("broadcast").await;
    let room = server.get(ROOM).await.json();
    assert_eq!(room["floor"]["holders"].as_array().map(Vec::len), Some(1));
    let (status, denied) = ask(&server, &bo, "PUT", "").await;
    assert_eq!((status, &denied["cause"]), (409, &json!(5)));
    set("open").await;
    let room = server.get(ROOM).await.json();
    assert!(room.get("floor").is_none(), "{room}");
    let (_, standing) = ask(&server, &ann, "GET", "").await;
    assert_eq!(standing["state"], "none");
    // The room is in the mode `open` now, in which every request is granted.
    let (status, granted) = ask(&server, &bo, "PUT", "").await;
    assert_eq!((status, &granted["burst"]), (200, &json!(0)));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floor_holder_that_leaves_or_sends_nothing_loses_the_floor() {
    let server = TestServer::open();
    let settings = r#"{"mode":"ptt","end_of_media_ms":500}"#;
    server.ask("PUT", ROOM, JSON, settings).await;
    let ann = server.join("hall", "Ann").await;
    let bo = server.join("hall", "Bo").await;
    server.join("hall", "Cy").await;
    let mut socket = server.watch("hall").await;
    socket.event().await;
    ask(&server, &ann, "PUT", "").await;
    ask(&server, &bo, "PUT", "").await;
    server.ask("DELETE", &ann.session, "", "").await;
    socket.until("left").await;
    let taken = socket.until("floor_taken").await;
    assert_eq!(taken["participant"], json!(bo.id));
    let idle = socket.until("floor_idle").await;
    assert_eq!(idle["n"], 1);
    let (_, standing) = ask(&server, &bo, "GET", "").await;
    assert_eq!(standing, json!({"state":"none"}));
    server.running.stop().await;
}
