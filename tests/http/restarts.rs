//! Trickled candidates and ICE restarts by `PATCH`.

use crate::harness::{Answer, Guest, SDPFRAG, TestServer};

/// Sends an SDP fragment for a session by `PATCH`, with `etag`, which names its ICE session, in
/// `If-Match`.
async fn patch(server: &TestServer, guest: &Guest, etag: &str, fragment: &str) -> Answer {
    let headers = [("content-type", SDPFRAG), ("if-match", etag)];
    server
        .ask_with("PATCH", &guest.session, &headers, fragment.to_owned())
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_accepts_trickled_candidates_and_restarts_ice() {
    let server = TestServer::open();
    let guest = server.join("lobby", "Ann").await;
    let trickle = "a=ice-ufrag:xZ3K\r\na=ice-pwd:hGf8Qm2LrT0uYvB6nWc4sPdJ\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n";
    for etag in ["", "*", "\"*\"", &guest.etag] {
        let answer = patch(&server, &guest, etag, trickle).await;
        assert_eq!(answer.status, 204, "{etag}: {}", answer.body);
        assert!(!answer.headers.contains_key("etag"));
    }
    let stale = patch(&server, &guest, "\"old\"", trickle).await;
    assert_eq!(
        (stale.status.as_u16(), stale.problem().as_str()),
        (412, "stale-etag")
    );

    let restart = trickle.replace("xZ3K", "n3wU").replace("hGf8", "n3wP");
    let answer = patch(&server, &guest, "*", &restart).await;
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
    let former = patch(&server, &guest, &guest.etag, trickle).await;
    assert_eq!(former.status, 412);
    let late = server.ask("PATCH", &guest.session, SDPFRAG, trickle).await;
    assert_eq!(late.status, 412, "no restart back to the old session");
    assert_eq!(
        server.ask("DELETE", &guest.session, "", "").await.status,
        200
    );
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ice_restarts_are_limited_and_the_session_continues() {
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
