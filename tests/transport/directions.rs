//! Checks in which directions audio passes: every DTLS setup, media direction and refusal of an
//! offer.

use std::time::{Duration, Instant};

use mixer::ParticipantId;
use mixminus::rtc::{AcceptOptions, Dropped, OfferError, Reason, RtcEvent};

use super::client::{Client, Kind};
use super::{SECOND, Server, same};

#[test]
fn client_connects_at_once_with_every_dtls_setup() {
    let server = Server::start(|_| {});
    for (id, setup) in [(1, "actpass"), (2, "active"), (3, "passive")] {
        let mut client = Client::new(1_000 + id, true);
        let begin = Instant::now();
        let answer = server.join(&mut client, id, |offer| {
            offer.replace("a=setup:actpass", &format!("a=setup:{setup}"))
        });
        // The server takes the active DTLS role where it may, so that a pause of the client after
        // ICE causes no delay.
        assert!(answer.contains(if setup == "active" {
            "a=setup:passive"
        } else {
            "a=setup:active"
        }));
        assert!(client.run(5 * SECOND, |client| client.connected), "{setup}");
        let connected = begin.elapsed();
        assert!(
            client.run(2 * SECOND, |client| client.channel.is_some()),
            "{setup}: data channel"
        );
        client.send(&[0xfc, 9]);
        assert!(
            client.run(SECOND, |client| !client.packets.is_empty()),
            "{setup}: echo"
        );
        println!("{setup}: connected after {connected:?}");
    }
    server.rtc.stop();
}

#[test]
fn server_respects_media_directions_and_missing_data_channels() {
    let server = Server::start(|_| {});
    for (id, direction) in [(1, "sendonly"), (2, "recvonly"), (3, "inactive")] {
        let mut client = Client::new(1_000 + id, false);
        let offer = client
            .offer()
            .replace("a=sendrecv", &format!("a={direction}"));
        let accepted = server
            .handle
            .accept(
                &offer,
                ParticipantId(id),
                AcceptOptions {
                    uplink_bitrate_bps: Some(24_000),
                    ..AcceptOptions::default()
                },
            )
            .expect("accepted");
        assert_eq!(
            (accepted.talks, accepted.listens),
            (direction == "sendonly", direction == "recvonly")
        );
        assert!(accepted.answer.contains("maxaveragebitrate=24000"));
        assert!(
            accepted
                .answer
                .contains(&format!("a=ice-ufrag:{}\r\n", accepted.ice_ufrag))
        );
        assert!(server.control().start(accepted.peer).is_ok());
        client.answer(&accepted.answer);
        assert!(
            client.run(5 * SECOND, |client| client.connected),
            "{direction}"
        );
        client.send(&[0xfc, 9]);
        client.run(Duration::from_millis(50), |_| false);
        assert_eq!(
            server.echoed.try_iter().count(),
            usize::from(direction == "sendonly"),
            "{direction}"
        );
    }
    server.rtc.stop();
}

#[test]
fn server_attributes_packets_to_the_right_client_even_with_a_new_ssrc() {
    // The server works whether or not the system permits the priority.
    let server = Server::start(|config| config.fifo_priority = Some(10));
    let (mut one, mut two) = (Client::new(11, false), Client::new(22, false));
    server.join(&mut one, 1, same);
    server.join(&mut two, 2, same);
    let both = |one: &mut Client, two: &mut Client, done: &dyn Fn(&Client, &Client) -> bool| {
        one.run(5 * SECOND, |one| {
            two.turn();
            done(one, two)
        })
    };
    assert!(both(&mut one, &mut two, &|one, two| one.connected
        && two.connected));
    for ssrc in [11, 12, 13] {
        one.send_from(ssrc, &[1, 1]);
        two.send(&[2, 2]);
    }
    assert!(both(&mut one, &mut two, &|one, two| one.packets.len() == 3
        && two.packets.len() == 3));
    assert!(
        one.packets
            .iter()
            .all(|packet| packet.payload.as_ref() == [1, 1])
    );
    assert!(
        two.packets
            .iter()
            .all(|packet| packet.payload.as_ref() == [2, 2])
    );
    let sources: Vec<u32> = server
        .echoed
        .try_iter()
        .filter(|inbound| inbound.from == ParticipantId(1))
        .map(|inbound| inbound.packet.ssrc)
        .collect();
    assert_eq!(sources, [11, 12, 13]);
    server.rtc.stop();
}

/// A section that is not offered or not available is left out of the answer, and the audio works.
#[test]
fn audio_works_without_bundle_rtcp_mux_or_data_channel() {
    let server = Server::start(|_| {});
    let without = |offer: String, start: &str| -> String {
        let lines = offer.split_inclusive("\r\n");
        lines.filter(|line| !line.starts_with(start)).collect()
    };
    for (id, start, refused) in [
        (1, "a=group:BUNDLE", "m=application 0 "),
        (2, "a=rtcp-mux", ""),
        (3, "a=sctp-port:", "m=application 0 "),
    ] {
        let mut client = Client::new(1_000 + id, true);
        let answer = server.join(&mut client, id, |offer| match id {
            3 => offer.replace("a=sctp-port:5000", "a=sctp-port:0"),
            _ => without(offer, start),
        });
        assert!(answer.contains(refused), "{start}: {answer}");
        assert!(!answer.contains(start), "{start}: {answer}");
        let connected = client.run(5 * SECOND, |client| client.connected);
        assert!(connected, "{start}: connected");
        client.send(&[0xfc, 9]);
        let heard = client.run(SECOND, |client| !client.packets.is_empty());
        assert!(heard, "{start}: echo");
        let reports = client.wire.iter().filter(|came| came.kind == Kind::Rtcp);
        if start == "a=rtcp-mux" {
            assert_eq!(reports.count(), 0, "there is no way for them");
        }
    }
    server.rtc.stop();
}

#[test]
fn every_offer_of_the_fixtures_is_answered() {
    let server = Server::start(|_| {});
    for entry in std::fs::read_dir("tests/offers").expect("fixtures") {
        let path = entry.expect("fixture").path();
        let offer = std::fs::read_to_string(&path).expect("text");
        for offer in [offer.clone(), offer.replace('\n', "\r\n")] {
            let accepted = server
                .handle
                .accept(&offer, ParticipantId(9), AcceptOptions::default());
            let accepted = accepted.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(accepted.answer.len() < 4_096);
        }
    }
    server.rtc.stop();
}

#[test]
fn refused_sdp_offers_name_the_cause() {
    let server = Server::start(|_| {});
    let refuse = |offer: &str| {
        let result = server
            .handle
            .accept(offer, ParticipantId(1), AcceptOptions::default());
        result.err().expect("refused")
    };
    let offer = Client::new(1, true).offer();
    assert_eq!(refuse(""), OfferError::Unparsable);
    assert_eq!(refuse("v=0\r\n"), OfferError::NoAudio);
    assert_eq!(refuse(&offer.replace("opus", "nope")), OfferError::NoCodec);
    assert_eq!(
        refuse(&offer.replace("m=audio 9", "m=audio 0")),
        OfferError::NoAudio
    );
    for missing in ["fingerprint", "ice-ufrag", "ice-pwd"] {
        let offer = offer.replace(missing, "missing");
        assert!(
            matches!(refuse(&offer), OfferError::Unsupported { .. }),
            "{missing}"
        );
    }
    server.rtc.stop();
}

/// The client's certificate must match one of the fingerprints in its offer; any of them will do.
#[test]
fn client_certificate_may_match_any_fingerprint_of_the_offer() {
    let server = Server::start(|_| {});
    let wrong = |hash: &str, bytes: usize| {
        let value = vec!["AB"; bytes].join(":");
        format!("a=fingerprint:{hash} {value}\r\n")
    };
    let first = |offer: String, lines: &str| {
        let lines = format!("{lines}a=fingerprint:");
        offer.replace("a=fingerprint:", &lines)
    };
    let others = [
        wrong("sha-256", 32),
        wrong("sha-512", 64),
        wrong("sha-1", 20) + &wrong("sha-256", 32) + &wrong("sha-384", 48),
    ];
    for (id, lines) in (1..).zip(&others) {
        let mut client = Client::new(id, true);
        server.join(&mut client, id, |offer| first(offer, lines));
        assert!(client.run(5 * SECOND, |client| client.connected), "{lines}");
        client.send(&[0xfc, 9]);
        let heard = client.run(SECOND, |client| !client.packets.is_empty());
        assert!(heard, "{lines}");
    }
    for (id, lines) in (11..).zip(&others) {
        let mut client = Client::new(id, true);
        server.join(&mut client, id, |offer| {
            first(offer, lines)
                .split_inclusive("\r\n")
                .filter(|line| !line.starts_with("a=fingerprint:") || lines.contains(*line))
                .collect()
        });
        let mut gone = None;
        client.run(5 * SECOND, |client| {
            client.send(&[0xfc, 9]);
            gone = gone.take().or_else(|| {
                server.event(|event| matches!(event, RtcEvent::Gone(..)), Duration::ZERO)
            });
            gone.is_some()
        });
        let refused = RtcEvent::Gone(ParticipantId(id), Reason::Fault);
        assert_eq!(gone, Some(refused), "{lines}");
        assert!(client.packets.is_empty(), "{lines}");
    }
    let metrics = server.handle.metrics();
    assert_eq!(metrics.dropped_total(Dropped::Certificate), 3);
    server.rtc.stop();
}
