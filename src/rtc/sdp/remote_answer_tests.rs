use proptest::prelude::*;

use super::*;
use crate::rtc::sdp::Direction;
use crate::rtc::sdp::Setup;

/// A shortened offer of the headless client.
const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=setup:actpass\r\na=ice-ufrag:abcd\r\n\
    a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa\r\n\
    a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:\
    88:99:AA:BB:CC:DD:EE:FF\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\na=sctp-port:5000\r\n";

fn answer(name: &str) -> String {
    let path = format!("{}/tests/answers/{name}.sdp", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("fixture")
}

fn read(name: &str) -> RemoteAnswer {
    RemoteAnswer::read(&answer(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn plain(name: &str) -> String {
    read(name).plain(&Offer::read(OFFER).expect("our own offer"))
}

#[test]
fn remote_answer_of_every_server_is_understood() {
    for (name, ufrag, address, setup, data, lite) in [
        (
            "janus",
            "bYtL",
            "198.18.3.2 21234",
            Setup::Active,
            false,
            false,
        ),
        (
            "gstreamer",
            "Uq3xQm+P7cDL1q0ZpYTAfYHtRZR9kQfh",
            "192.0.2.20 41782",
            Setup::Active,
            false,
            false,
        ),
        (
            "livekit",
            "RpcYxDWQsTnlmhxX",
            "192.0.2.30 50012",
            Setup::Active,
            true,
            true,
        ),
        (
            "mediasoup",
            "dznj3cfuwfzgpr5s",
            "192.0.2.40 40533",
            Setup::Passive,
            true,
            true,
        ),
        (
            "session-level",
            "8hhY",
            "192.0.2.4 61665",
            Setup::Active,
            true,
            false,
        ),
    ] {
        let RemoteAnswer { read, .. } = read(name);
        assert_eq!(read.credentials.ufrag, ufrag, "{name}");
        assert_eq!(read.candidates.len(), 1, "{name}");
        let candidate = read.candidates[0].to_string();
        assert!(candidate.contains(address), "{name}: {candidate}");
        assert_eq!(read.setup, setup, "{name}");
        assert_eq!(read.has_data(), data, "{name}");
        assert_eq!(read.ice_lite, lite, "{name}");
    }
}

#[test]
fn remote_answer_is_normalised_for_the_webrtc_stack() {
    for name in [
        "janus",
        "gstreamer",
        "livekit",
        "mediasoup",
        "session-level",
    ] {
        let plain = plain(name);
        let (session, media) = sections(&plain).expect("SDP");
        assert_eq!(media.len(), 2, "{name}");
        // All transport attributes are in the sections, and each section has one fingerprint.
        for attribute in ["setup", "ice-ufrag", "ice-pwd", "fingerprint", "candidate"] {
            assert_eq!(attribute_in(&session, attribute), None, "{name}");
        }
        let takes_data = !["janus", "gstreamer"].contains(&name);
        for (at, section) in media.iter().enumerate() {
            let taken = at == 0 || takes_data;
            assert_eq!(attribute_in(section, "mid"), Some(["0", "1"][at]), "{name}");
            for attribute in ["setup", "ice-ufrag", "ice-pwd", "fingerprint", "candidate"] {
                let count = attributes_in(section, attribute).count();
                assert_eq!(
                    count,
                    usize::from(taken),
                    "{name}: {attribute} in {section:?}"
                );
            }
            assert_eq!(
                section[0].1.split(' ').nth(1) == Some("0"),
                !taken,
                "{name}"
            );
        }
        let bundle = if takes_data { "BUNDLE 0 1" } else { "BUNDLE 0" };
        assert_eq!(attribute_in(&session, "group"), Some(bundle), "{name}");
        // Reading the rewritten answer gives the same values as the original.
        let again = RemoteAnswer::read(&plain).expect("readable");
        assert_eq!(again.read.candidates, read(name).read.candidates, "{name}");
        assert_eq!(again.levels, read(name).levels, "{name}");
        assert_eq!(again.ssrc, read(name).ssrc, "{name}");
    }
    assert!(plain("mediasoup").contains("a=sctp-port:5001\r\na=max-message-size:262144\r\n"));
    assert!(plain("mediasoup").contains("a=ice-lite\r\n"));
    assert!(plain("livekit").contains("a=recvonly\r\n"));
    assert!(plain("janus").contains("a=ssrc:2834761204 cname:"));
}

#[test]
fn remote_answer_contains_the_limits_and_extensions_for_sending_to_the_server() {
    let mediasoup = read("mediasoup");
    assert_eq!(mediasoup.payload_type(), 100);
    assert!(mediasoup.limits().dtx && mediasoup.limits().stereo);
    // The client sends its level; the answer states the direction of that extension from the
    // server's view.
    assert_eq!(mediasoup.level_extension(), Some(10));
    assert_eq!(mediasoup.read.direction, Direction::SendRecv);
    assert_eq!(read("livekit").level_extension(), Some(1));
    assert_eq!(read("gstreamer").level_extension(), None);
    for (from, to) in [
        ("10/recvonly", "10/sendonly"),
        ("10/recvonly", "10/inactive"),
        ("10/recvonly", "15"),
        ("10/recvonly", "x"),
        ("ssrc-audio-level", "other"),
    ] {
        let other = answer("mediasoup").replace(from, to);
        let other = RemoteAnswer::read(&other).expect("readable");
        assert_eq!(other.level_extension(), None, "{to}");
    }
}

#[test]
fn remote_answer_may_omit_which_side_starts_dtls() {
    let silent = answer("session-level").replace("a=setup:active\n", "");
    let silent = RemoteAnswer::read(&silent).expect("readable");
    let offer = Offer::read(OFFER).expect("our own offer");
    assert!(silent.plain(&offer).contains("a=setup:passive\r\n"));
    assert!(plain("session-level").contains("a=setup:active\r\n"));
}

#[test]
fn unusable_remote_answer_is_refused_with_its_reason() {
    let changed = |from: &str, to: &str| {
        let error = RemoteAnswer::read(&answer("session-level").replace(from, to));
        error.expect_err("unusable").to_string()
    };
    for (from, to, reason) in [
        ("v=0", "{}", "is not valid SDP"),
        ("m=audio 54400", "m=audio 0", "accepts no Opus"),
        ("opus/48000/2", "PCMA/8000", "accepts no Opus"),
        ("a=ice-pwd", "a=other", "ice-ufrag and ice-pwd"),
        ("a=fingerprint", "a=other", "fingerprint"),
        ("setup:active", "setup:holdconn", "a=setup"),
    ] {
        let said = changed(from, to);
        assert!(said.contains(reason), "{said}");
    }
}

proptest! {
    #[test]
    fn damaged_remote_answer_is_refused_or_rewritten_as_valid_sdp(
        name in prop::sample::select(vec!["janus", "mediasoup", "session-level"]),
        at in 0usize..2_000, text in "\\PC{0,12}", cut in 0usize..40,
    ) {
        let sdp = answer(name);
        let at = at.min(sdp.len());
        let end = (at + cut).min(sdp.len());
        // Slicing at bytes is safe because the fixtures are ASCII.
        let sdp = format!("{}{text}{}", &sdp[..at], &sdp[end..]);
        if let Ok(read) = RemoteAnswer::read(&sdp) {
            let plain = read.plain(&Offer::read(OFFER).expect("our own offer"));
            prop_assert!(sections(&plain).is_ok(), "{plain}");
        }
    }
}
