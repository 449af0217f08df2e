//! Rooms and what moderators do in them; resources that can only be read.

use mixer::codec::Profile;
use mixminus::config::Config;
use mixminus::protocol::{RoomConfig, RoomName};
use serde_json::json;

use crate::harness::{JSON, OFFER, SDP, TestServer, quiet};

const ROOM: &str = "/v1/rooms/hall";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_is_created_by_put_and_changed_by_patch() {
    let server = TestServer::open();
    let made = server
        .ask(
            "PUT",
            ROOM,
            JSON,
            r#"{"mode":"open","profile":"music","max_participants":3}"#,
        )
        .await;
    assert_eq!(made.status, 201);
    assert_eq!(
        made.json(),
        json!({"name":"hall","mode":"open","profile":"music","tick_ms":20,"max_participants":3,
               "gate_db":-50.0,"max_contributors":null,"talk_limit_s":30,"end_of_media_ms":2000,
               "grace_ms":3000,"queue_limit":10,"floor_tones":false,"implicit_floor":false,
               "links":[],"permanent":true,"participants":[],"allow_monitors":false,"monitors":[],
               "monitors_total":0})
    );
    let merged = server
        .ask(
            "PATCH",
            ROOM,
            JSON,
            r#"{"tick_ms":10,"gate_db":null,"max_contributors":2}"#,
        )
        .await;
    assert_eq!(merged.status, 200);
    let room = server.get(ROOM).await.json();
    assert_eq!(room, merged.json());
    assert_eq!(
        (&room["profile"], &room["tick_ms"]),
        (&json!("music"), &json!(10))
    );
    assert_eq!(
        (&room["gate_db"], &room["max_contributors"]),
        (&json!(null), &json!(2))
    );

    let put = server.ask("PUT", ROOM, JSON, "{}").await;
    assert_eq!(put.status, 200);
    assert_eq!(
        (&put.json()["profile"], &put.json()["tick_ms"]),
        (&json!("voice"), &json!(20))
    );
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_with_participants_refuses_a_new_tick_length_and_its_deletion_ends_their_sessions() {
    let server = TestServer::open();
    assert_eq!(server.ask("PUT", ROOM, JSON, "{}").await.status, 201);
    let guest = server.join("hall", "Ann").await;
    let listed = server.get("/v1/rooms").await.json();
    assert_eq!(listed["rooms"][0]["participants"], 1);
    let used = server.ask("PATCH", ROOM, JSON, r#"{"tick_ms":10}"#).await;
    assert_eq!(
        (used.status.as_u16(), used.problem().as_str()),
        (409, "room-in-use")
    );
    let roomy = server
        .ask(
            "PATCH",
            ROOM,
            JSON,
            r#"{"max_participants":500,"profile":"thin"}"#,
        )
        .await;
    assert_eq!(roomy.status, 200, "{}", roomy.body);

    assert_eq!(server.ask("DELETE", ROOM, "", "").await.status, 204);
    assert_eq!(server.get(ROOM).await.status, 404);
    assert_eq!(
        server.ask("DELETE", &guest.session, "", "").await.status,
        404
    );
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_room_settings_are_refused_with_the_reason() {
    let server = TestServer::open();
    let cases = [
        ("{", "bad-json", "The message is not valid JSON."),
        ("[]", "bad-json", "The message must be a JSON object."),
        (
            r#"{"mode":"shout"}"#,
            "bad-field",
            "The field \"mode\" must be one of: open, ptt, multi:1 to multi:100, cut-in, broadcast, moderated.",
        ),
        (
            r#"{"tick_ms":15}"#,
            "bad-field",
            "The field \"tick_ms\" must be one of: 10, 20.",
        ),
        (
            r#"{"max_participants":0}"#,
            "bad-field",
            "The field \"max_participants\" must be from 1 to 10000, not 0.",
        ),
        (
            r#"{"max_participants":1e400}"#,
            "bad-json",
            "The message is not valid JSON.",
        ),
        (
            r#"{"colour":"red"}"#,
            "bad-field",
            "Unknown field \"colour\".",
        ),
    ];
    for (body, kind, sentence) in cases {
        let answer = server.ask("PUT", ROOM, JSON, body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem().as_str()),
            (400, kind),
            "{body}"
        );
        assert_eq!(answer.json()["detail"], sentence);
    }
    let answer = server.ask("PUT", ROOM, "text/plain", "{}").await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (415, "unsupported-media-type")
    );
    let answer = server
        .ask("PUT", ROOM, "application/json; charset=utf-8", "{}")
        .await;
    assert_eq!(answer.status, 201);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configured_rooms_exist_from_the_start_and_stay_when_empty() {
    let server = TestServer::with(Config {
        rooms: vec![(
            RoomName::parse("hall").expect("a name"),
            RoomConfig::default(),
        )],
        ..quiet()
    });
    assert_eq!(server.get(ROOM).await.json()["permanent"], true);
    let guest = server.join("hall", "Ann").await;
    server.ask("DELETE", &guest.session, "", "").await;
    assert_eq!(server.get(ROOM).await.json()["participants"], json!([]));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moderator_mutes_a_participant_sets_its_gain_renames_and_removes_it() {
    let server = TestServer::open();
    let guest = server.join("hall", "Ann").await;
    let path = format!("{ROOM}/participants/{}", guest.id);
    let changed = server
        .ask(
            "PATCH",
            &path,
            JSON,
            r#"{"muted":true,"gain_db":-6,"name":"Anna"}"#,
        )
        .await;
    assert_eq!(changed.status, 200);
    let anna = changed.json();
    assert_eq!(
        (&anna["muted"], &anna["gain_db"], &anna["name"]),
        (&json!(true), &json!(-6.0), &json!("Anna"))
    );
    for bad in [
        r#"{"gain_db":13}"#,
        r#"{"muted":1}"#,
        r#"{"name":""}"#,
        r#"{"role":"x"}"#,
    ] {
        assert_eq!(
            server.ask("PATCH", &path, JSON, bad).await.status,
            400,
            "{bad}"
        );
    }
    assert_eq!(server.get(ROOM).await.json()["participants"][0], anna);
    server.join("other", "Bo").await;
    let elsewhere = format!("/v1/rooms/other/participants/{}", guest.id);
    let answer = server.ask("DELETE", &elsewhere, "", "").await;
    assert_eq!(
        (answer.status.as_u16(), answer.problem().as_str()),
        (404, "unknown-participant")
    );
    assert_eq!(server.ask("DELETE", &path, "", "").await.status, 204);
    assert_eq!(server.ask("DELETE", &path, "", "").await.status, 404);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_serves_the_page_metrics_liveness_and_contract() {
    let server = TestServer::open();
    let page = server.get("/").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(
        page.header("content-security-policy")
            .starts_with("default-src 'self'")
    );
    let known = [("if-none-match", page.header("etag"))];
    let known = known
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    assert_eq!(server.ask_with("GET", "/", &known, "").await.status, 304);
    assert_eq!(
        server.get("/app.js").await.header("content-type"),
        "text/javascript; charset=utf-8"
    );
    assert_eq!(server.get("/healthz").await.json(), json!({"status": "ok"}));

    server.join("hall", "Ann").await;
    server
        .ask("POST", "/v1/rooms/hall/participants", SDP, "no")
        .await;
    let metrics = server.get("/metrics").await;
    assert!(
        metrics
            .header("content-type")
            .starts_with("text/plain; version=0.0.4")
    );
    for line in [
        "mixminus_rooms 1",
        "mixminus_participants 1",
        "mixminus_joins_total 1",
        "mixminus_joins_refused_total{reason=\"offer\"} 1",
        "mixminus_joins_refused_total{reason=\"mixer busy\"} 0",
        "mixminus_mixer_complexity{mixer=\"0\"} 10",
        "# TYPE mixminus_slot_lateness_seconds histogram",
    ] {
        assert!(
            metrics.body.lines().any(|found| found == line),
            "{line} in {}",
            metrics.body
        );
    }
    for line in metrics.body.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("name and value");
        assert!(
            name.starts_with("mixminus_") && value.parse::<f64>().is_ok(),
            "{line}"
        );
    }
    server.running.stop().await;
}

/// Every route and method of the contract exists, and every existing route is documented with all
/// its methods.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_documents_every_route_and_method() {
    let server = TestServer::open();
    let contract = server.get("/v1/openapi.json").await.json();
    let paths = contract["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), 11);
    for (path, operations) in paths {
        let real = path
            .replace("{room}", "hall")
            .replace("{participant}", "00000001")
            .replace("{session}", "nobody");
        let refused = server.ask("LINK", &real, "", "").await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem().as_str()),
            (405, "method-not-allowed"),
            "{path}"
        );
        let allow = refused.header("allow").to_lowercase();
        let mut allowed: Vec<&str> = allow
            .split(", ")
            .filter(|method| *method != "options")
            .collect();
        let documented = |method: &str| operations.get(method).is_some();
        // `HEAD` comes with `GET` and is documented only where it differs.
        allowed.retain(|method| *method != "head" || documented("head"));
        for method in &allowed {
            assert!(
                documented(method),
                "{method} {path} is served and not documented"
            );
        }
        for method in ["get", "head", "put", "post", "patch", "delete"] {
            assert!(
                !documented(method) || allowed.contains(&method),
                "{method} {path} is documented and not served"
            );
        }
    }
    let profiles = Profile::ALL.map(Profile::name);
    assert_eq!(
        contract["components"]["schemas"]["Profile"]["enum"],
        json!(profiles)
    );
    for profile in profiles {
        let join = format!("/v1/rooms/hall/participants?profile={profile}");
        let joined = server.ask("POST", &join, SDP, OFFER).await;
        assert_eq!(joined.status.as_u16(), 201, "{profile}");
    }
    let answer = server
        .ask("POST", "/v1/rooms/hall/participants", SDP, OFFER)
        .await;
    let responses = &contract["paths"]["/v1/rooms/{room}/participants"]["post"]["responses"];
    assert!(responses.get(answer.status.as_str()).is_some());
    server.running.stop().await;
}
