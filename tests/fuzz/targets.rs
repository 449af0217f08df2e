//! The fuzz targets: one function for each parser or machine that network input reaches, called
//! with any bytes.
//!
//! A target panics when the code under test does, and when an invariant does not hold. Both the
//! fuzzer's wrappers (`fuzz_targets/`) and `tests/corpus.rs`, which replays and mutates the corpus
//! in every test run, include this file.

#![allow(dead_code, reason = "a fuzzer's wrapper runs one target")]

#[path = "machines/mod.rs"]
mod machines;

use std::borrow::Cow;
use std::sync::OnceLock;

use mixer::ParticipantId;
use mixminus::config::Config;
use mixminus::http::sdpfrag;
use mixminus::protocol::{
    Change, CommandMessage, JsonReader, Name, PublicId, RoomChange, RoomName,
};
use mixminus::rtc::demux::{Protocol, classify, is_hostile_dtls, stun_head};
use mixminus::rtc::sdp::{MAX_CANDIDATES, Offer, remote_candidates};
use mixminus::rtc::stun::{is_authentic, without_nomination};
use mixminus::rtc::{AcceptOptions, Rtc, RtcConfig};
use rtc::crypto::RTCCryptoProvider;
use rtc::rtp;
use rtc::shared::marshal::{Marshal, Unmarshal};
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{Message, Setter};

pub use machines::{decoder, engine, playout};

/// Parses any bytes as a datagram: its protocol must be recognised before any field is believed.
pub fn demux(bytes: &[u8]) {
    let hostile = is_hostile_dtls(bytes);
    match classify(bytes) {
        Some(Protocol::Stun(head)) => {
            assert_eq!(stun_head(bytes), Some(head));
            assert!(bytes.len() >= 20 && bytes.len().is_multiple_of(4));
            if let Some((ours, theirs)) = head.username {
                assert!(ours.len() + 1 + theirs.len() <= bytes.len() - 24);
                assert!(!ours.contains(&b':'));
            }
        }
        Some(Protocol::Dtls) => assert!(bytes.len() >= 13),
        Some(Protocol::Rtp { ssrc }) => {
            let words = usize::from(bytes[0] & 15);
            assert!(bytes.len() >= 12 + 4 * words + 4, "sources and a tag fit");
            assert_eq!(bytes[8..12], ssrc.to_be_bytes());
        }
        Some(Protocol::Rtcp { ssrc }) => {
            assert!(bytes.len() >= 16, "a header, an index and a tag fit");
            assert_eq!(bytes[4..8], ssrc.to_be_bytes());
        }
        None => {}
    }
    // A datagram shorter than a DTLS record header must count as hostile, whatever its first byte.
    if bytes.len() < 13 && !bytes.is_empty() {
        assert!(hostile);
    }
}

/// Parses any bytes as a STUN message, unsigned and as signed by a client that knows the password.
pub fn stun(bytes: &[u8]) {
    static PROVIDER: OnceLock<std::sync::Arc<dyn RTCCryptoProvider>> = OnceLock::new();
    let crypto = PROVIDER
        .get_or_init(|| rtc::crypto::default_provider().expect("it is built in"))
        .crypto();
    assert!(
        !is_authentic(bytes, PASSWORD, crypto),
        "nobody guesses 160 bits"
    );
    let _ = without_nomination(bytes, PASSWORD, crypto);

    let mut signed = Message {
        raw: bytes.to_vec(),
        ..Message::default()
    };
    let integrity =
        MessageIntegrity::new_short_term_integrity_with_provider(PASSWORD.to_owned(), crypto);
    if signed.decode().is_err() || integrity.add_to(&mut signed).is_err() {
        return;
    }
    let signed = signed.raw;
    let Some(head) = stun_head(&signed).filter(|_| is_authentic(&signed, PASSWORD, crypto)) else {
        return;
    };
    let plain = without_nomination(&signed, PASSWORD, crypto).expect("what is authentic is STUN");
    assert!(is_authentic(&plain, PASSWORD, crypto));
    let plain = stun_head(&plain).expect("what is rebuilt is STUN");
    assert!(!plain.nominates);
    assert_eq!(plain.transaction, head.transaction);
}

const PASSWORD: &str = "P2uYro0UCOQ4zxjKXaWCBui1";

/// Parses any bytes as the content of valid SRTP and SRTCP, which an authenticated client can send
/// to the core's parsers.
pub fn media(bytes: &[u8]) {
    if let Ok(packet) = rtp::Packet::unmarshal(&mut &*bytes) {
        assert!(packet.payload.len() <= bytes.len());
        for id in 0..=255 {
            let _ = packet.header.get_extension(id);
        }
        if let Ok(again) = packet.marshal() {
            let _ = rtp::Packet::unmarshal(&mut &*again);
        }
    }
    let _ = rtc::rtcp::packet::unmarshal(&mut &*bytes);
}

/// Parses any bytes as an offer, and answers it with a peer that is ready to start.
pub fn offer(bytes: &[u8]) {
    static RTC: OnceLock<Rtc> = OnceLock::new();
    let text = text(bytes);
    let read = Offer::read(&text);
    let rtc = RTC.get_or_init(|| {
        let config = RtcConfig::new(([127, 0, 0, 1], 0).into());
        let (network_ends, _) = mixminus::queues::media(1);
        let (rtc, _) = mixminus::rtc::start(config, network_ends).expect("loopback has a port");
        rtc
    });
    let accepted = rtc
        .handle()
        .accept(&text, ParticipantId(7), AcceptOptions::default());
    let offer = match (read, accepted) {
        (Ok(offer), Ok(accepted)) => {
            check_answer(&text, &accepted.answer);
            offer
        }
        (Err(read), Err(refused)) => {
            assert_eq!(read, refused);
            assert!(!refused.to_string().contains("0x"), "an address of memory");
            return assert_sentence(&refused.to_string());
        }
        (read, accepted) => {
            let refusal = accepted
                .map(|_| ())
                .expect_err("what is not read is not answered");
            panic!("{refusal} after {read:?}");
        }
    };
    assert!(offer.candidates.len() <= MAX_CANDIDATES && offer.payload_type < 128);
    assert!(offer.audio_mid().is_none_or(|mid| !mid.is_empty()));
}

/// Asserts that an answer has the offer's media sections in the offer's order, and no line that the
/// offer smuggled into it.
fn check_answer(offer: &str, answer: &str) {
    assert!(answer.ends_with("\r\n"));
    for line in answer.split_terminator("\r\n") {
        let (kind, value) = line.split_once('=').expect("every line is x=value");
        assert!(
            kind.len() == 1 && !value.contains(['\r', '\n', '\0']),
            "{line:?}"
        );
    }
    let media = |sdp: &str| -> Vec<String> {
        sdp.lines()
            .filter_map(|line| line.strip_prefix("m="))
            .filter_map(|line| line.split_ascii_whitespace().next())
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(media(offer), media(answer));
    let candidates = answer.matches("a=candidate:").count();
    assert!((1..=64).contains(&candidates), "ours: {candidates}");
}

/// Parses any bytes as a trickled SDP fragment with candidates.
pub fn sdpfrag(bytes: &[u8]) {
    match sdpfrag::parse(&text(bytes)) {
        Ok(fragment) => {
            assert!(fragment.candidates.len() <= sdpfrag::MAX_CANDIDATES);
            let used = remote_candidates(fragment.candidates.iter().map(String::as_str));
            assert!(used.len() <= fragment.candidates.len());
            for candidate in used {
                let candidate = candidate.to_string();
                assert_eq!(candidate.split(' ').count(), 8, "{candidate}");
                assert_eq!(remote_candidates([candidate.as_str()]).len(), 1);
            }
            let graphic = |text: &String| text.bytes().all(|byte| byte.is_ascii_graphic());
            assert!(fragment.ufrag.iter().chain(&fragment.pwd).all(graphic));
            assert!(fragment.mid.iter().all(graphic));
        }
        Err(error) => assert_sentence(&error.to_string()),
    }
}

/// Parses any bytes as the body of each JSON request.
pub fn json(bytes: &[u8]) {
    match Change::parse(bytes) {
        Ok(change) => {
            assert!(change.gain_db.is_none_or(|db| (-60.0..=12.0).contains(&db)));
            if let Some(name) = change.name {
                assert_name(&name.into_string());
            }
        }
        Err(invalid) => assert_sentence(&invalid.to_string()),
    }
    let room = || -> Result<RoomChange, mixminus::protocol::Invalid> {
        let mut fields = JsonReader::parse(bytes)?;
        let change = RoomChange::read(&mut fields)?;
        fields.finish()?;
        Ok(change)
    };
    match room() {
        Ok(change) => {
            let config = change.over(mixminus::protocol::RoomConfig::default());
            assert!((1..=10_000).contains(&config.max_participants));
            assert!(
                config
                    .gate_db
                    .is_none_or(|db| (-90.0..=-10.0).contains(&db))
            );
            assert!(config.max_contributors.is_none_or(|most| most >= 1));
        }
        Err(invalid) => assert_sentence(&invalid.to_string()),
    }
}

/// Parses any bytes as a command of the WebSocket or the data channel, and as the names in URLs.
pub fn command(bytes: &[u8]) {
    let text = text(bytes);
    if let Err((invalid, _)) = CommandMessage::parse(&text) {
        assert_sentence(&invalid.to_string());
    }
    if let Ok(name) = Name::parse(&text) {
        assert_name(&name.into_string());
    }
    if let Ok(name) = RoomName::parse(&text) {
        assert!(!name.as_str().starts_with('.') && !name.as_str().contains(['/', '\\', '%']));
    }
    if let Some(id) = PublicId::parse(&text) {
        assert_eq!(id.to_string(), text);
    }
}

/// Parses any bytes as the TOML configuration file.
pub fn config(bytes: &[u8]) {
    match Config::load(Some(("fuzz.toml", &text(bytes))), Vec::new()) {
        Ok(config) => {
            let shown = config.to_string();
            let again = Config::load(Some(("shown.toml", &shown)), Vec::new());
            assert_eq!(again.as_ref(), Ok(&config), "{shown}");
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|problem| !problem.0.is_empty()));
        }
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Asserts that an error text for clients is one short line without control characters, which would
/// break a log.
fn assert_sentence(sentence: &str) {
    assert!((1..=300).contains(&sentence.len()), "{sentence:?}");
    assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
}

fn assert_name(name: &str) {
    assert!((1..=64).contains(&name.chars().count()), "{name:?}");
    assert!(!name.chars().any(char::is_control), "{name:?}");
}
