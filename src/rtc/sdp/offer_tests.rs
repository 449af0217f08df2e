use super::*;
use proptest::prelude::*;

pub(in crate::rtc::sdp) const OFFERS: [(&str, &str); 12] = [
    ("chrome", include_str!("../../../tests/offers/chrome.sdp")),
    ("firefox", include_str!("../../../tests/offers/firefox.sdp")),
    ("libpeer", include_str!("../../../tests/offers/libpeer.sdp")),
    ("esp", include_str!("../../../tests/offers/esp.sdp")),
    ("ffmpeg", include_str!("../../../tests/offers/ffmpeg.sdp")),
    ("obs", include_str!("../../../tests/offers/obs.sdp")),
    (
        "gstreamer",
        include_str!("../../../tests/offers/gstreamer.sdp"),
    ),
    ("aiortc", include_str!("../../../tests/offers/aiortc.sdp")),
    ("whep", include_str!("../../../tests/offers/whep.sdp")),
    ("bare", include_str!("../../../tests/offers/bare.sdp")),
    (
        "webrtcbin",
        include_str!("../../../tests/offers/webrtcbin.sdp"),
    ),
    (
        "libpeer-pcma",
        include_str!("../../../tests/offers/libpeer-pcma.sdp"),
    ),
];

pub(in crate::rtc::sdp) fn read(name: &str) -> Offer {
    let (_, sdp) = OFFERS
        .iter()
        .find(|(offer, _)| *offer == name)
        .expect("fixture");
    Offer::read(sdp).expect("readable")
}

/// Values that must be read from each fixture offer: its name, payload type, direction, DTLS role,
/// whether it has data channels, number of candidates, user fragment.
const UNDERSTOOD: [(&str, u8, Direction, Setup, bool, usize, &str); 12] = [
    (
        "chrome",
        111,
        Direction::SendRecv,
        Setup::ActPass,
        true,
        1,
        "xZ3K",
    ),
    (
        "firefox",
        109,
        Direction::SendRecv,
        Setup::ActPass,
        true,
        0,
        "b6c1a2f4",
    ),
    (
        "libpeer",
        111,
        Direction::SendRecv,
        Setup::Passive,
        true,
        1,
        "a1b2",
    ),
    (
        "esp",
        111,
        Direction::SendOnly,
        Setup::ActPass,
        false,
        1,
        "Q7wE",
    ),
    (
        "ffmpeg",
        111,
        Direction::SendOnly,
        Setup::Passive,
        false,
        0,
        "9f0c6b1e",
    ),
    (
        "obs",
        111,
        Direction::SendOnly,
        Setup::ActPass,
        false,
        1,
        "Lw3n",
    ),
    (
        "gstreamer",
        97,
        Direction::SendOnly,
        Setup::ActPass,
        false,
        0,
        "tG5kL0pQ2wXz8Rn1Vb7Mc4Yd6Hs3Jf9A",
    ),
    (
        "aiortc",
        96,
        Direction::SendRecv,
        Setup::ActPass,
        true,
        2,
        "Vn2s",
    ),
    (
        "whep",
        100,
        Direction::RecvOnly,
        Setup::Active,
        false,
        0,
        "7sFv",
    ),
    (
        "bare",
        120,
        Direction::SendRecv,
        Setup::Active,
        false,
        1,
        "bare",
    ),
    (
        "webrtcbin",
        97,
        Direction::SendRecv,
        Setup::ActPass,
        false,
        1,
        "+UzMIH7q7ZzgE2qY2MuHbh2J9FmVfSjY",
    ),
    (
        "libpeer-pcma",
        8,
        Direction::SendRecv,
        Setup::Passive,
        true,
        1,
        "c3d4",
    ),
];

#[test]
fn sdp_offer_of_every_client_is_understood() {
    for (name, payload_type, direction, setup, data, candidates, ufrag) in UNDERSTOOD {
        let offer = read(name);
        assert_eq!(offer.payload_type, payload_type, "{name}");
        let is_g711 = name == "libpeer-pcma";
        assert_eq!(offer.codec == Codec::Pcma, is_g711, "{name}");
        assert_eq!(offer.limits.codec, offer.codec, "{name}");
        assert_eq!(offer.direction, direction, "{name}");
        assert_eq!(offer.setup, setup, "{name}");
        assert_eq!(offer.has_data(), data, "{name}");
        assert_eq!(
            offer.candidates.len(),
            candidates,
            "{name}: {:?}",
            offer.candidates
        );
        assert_eq!(offer.credentials.ufrag, ufrag, "{name}");
        let fingerprints = format!("{:?}", offer.fingerprints);
        assert!(fingerprints.contains("[154, 60, 17, "), "{name}");
        assert_eq!(offer.ice_lite, name == "bare", "{name}");
    }
}

#[test]
fn sdp_offer_header_extensions_are_accepted_only_in_a_direction_that_the_server_uses() {
    let extension = |id, directed| Some(Extension { id, directed });
    let chrome = read("chrome").extensions;
    assert_eq!(
        (chrome.mid, chrome.ssrc_level, chrome.csrc_level),
        (Some(4), extension(1, false), None)
    );
    let firefox = read("firefox").extensions;
    assert_eq!(firefox.csrc_level, extension(2, true));
    assert_eq!(read("libpeer").extensions, Extensions::default());
    let with = |line: &str| {
        let sdp = format!(
            "{}a=extmap:{line}\n",
            include_str!("../../../tests/offers/bare.sdp")
        );
        Offer::read(&sdp).expect("readable").extensions
    };
    assert_eq!(
        with(&format!("3/sendonly {URI_SSRC_LEVEL}")).ssrc_level,
        extension(3, true)
    );
    assert_eq!(
        with(&format!("3/recvonly {URI_SSRC_LEVEL}")).ssrc_level,
        None
    );
    assert_eq!(
        with(&format!("3/sendonly {URI_CSRC_LEVEL}")).csrc_level,
        None
    );
    for id in ["0", "15", "16", "300", "-1", "x", ""] {
        assert_eq!(
            with(&format!("{id} {URI_CSRC_LEVEL}")),
            Extensions::default(),
            "{id}"
        );
    }
}

#[test]
fn sdp_offer_limits_describe_what_the_client_can_receive() {
    let whep = read("whep").limits;
    assert_eq!(whep.max_average_bitrate_bps, Some(16_000));
    assert!(whep.dtx && whep.cbr && !whep.fec);
    assert_eq!((whep.ptime_ms, whep.max_ptime_ms), (Some(60), 60));
    assert_eq!(read("esp").limits.max_playback_rate_hz, 16_000);
    assert!(read("firefox").limits.stereo);
}

/// Reads the bare fixture offer with the text `from` replaced by `to`.
fn changed(from: &str, to: &str) -> Result<Offer, OfferError> {
    let bare = include_str!("../../../tests/offers/bare.sdp");
    assert!(bare.contains(from), "{from}");
    Offer::read(&bare.replace(from, to))
}

#[test]
fn sdp_offer_states_the_longest_message_the_client_accepts() {
    assert_eq!(read("chrome").max_message_bytes, 262_144);
    let (_, chrome) = OFFERS
        .iter()
        .find(|(name, _)| *name == "chrome")
        .expect("there");
    let of = |line: &str| {
        let offer = chrome.replace("a=max-message-size:262144", line);
        Offer::read(&offer).expect("good").max_message_bytes
    };
    assert_eq!(of("a=max-message-size:1200"), 1_200);
    assert_eq!(of("a=max-message-size:0"), 0);
    for silent in ["a=x", "a=max-message-size:-1", "a=max-message-size:many"] {
        assert_eq!(of(silent), 65_536, "{silent}");
    }
}

#[test]
fn sdp_offer_that_cannot_be_served_is_refused_with_its_reason() {
    let video = include_str!("../../../tests/offers/obs.sdp");
    let video = video.replace("m=audio 58211", "m=audio 0");
    let cases = [
        ("video only", Offer::read(&video), OfferError::NoAudio),
        (
            "no sections",
            changed("m=audio 5004 RTP/SAVPF 120\n", ""),
            OfferError::NoAudio,
        ),
        (
            "rejected",
            changed("m=audio 5004", "m=audio 0"),
            OfferError::NoAudio,
        ),
        (
            "other codec",
            changed("opus/48000/2", "G722/8000"),
            OfferError::NoCodec,
        ),
        (
            "clock",
            changed("opus/48000/2", "opus/0/2"),
            OfferError::NoCodec,
        ),
        ("payload type", changed("120", "200"), OfferError::NoCodec),
        (
            "not in formats",
            changed("RTP/SAVPF 120", "RTP/SAVPF 121"),
            OfferError::NoCodec,
        ),
    ];
    for (name, result, error) in cases {
        assert_eq!(result.err(), Some(error), "{name}");
    }
    let unparsable = [
        ("empty", Offer::read("")),
        ("json", Offer::read("{\"sdp\":\"v=0\"}")),
        ("control characters", changed("s=-", "s=\u{1}")),
        ("a word", changed("s=-", "hello")),
        (
            "media line",
            changed("m=audio 5004 RTP/SAVPF 120", "m=audio"),
        ),
    ];
    for (name, result) in unparsable {
        assert_eq!(result.err(), Some(OfferError::Unparsable), "{name}");
    }
}

/// Returns the text of the `OfferError::Unsupported` in `result`.
fn unsupported(result: Result<Offer, OfferError>) -> &'static str {
    match result {
        Err(OfferError::Unsupported { what }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn unsupported_sdp_offer_is_refused_with_a_text_that_names_the_fault() {
    const NO_CREDENTIALS: &str = "no valid ice-ufrag and ice-pwd";
    const NO_FINGERPRINT: &str = "no DTLS fingerprint with sha-256, sha-384 or sha-512";
    for (from, to, what) in [
        (
            "RTP/SAVPF",
            "RTP/AVP",
            "the audio section is not encrypted with DTLS-SRTP",
        ),
        ("a=fingerprint", "a=other", NO_FINGERPRINT),
        ("SHA-256 9a:3c", "SHA-1 9a:3c", NO_FINGERPRINT),
        ("SHA-256 9a:3c", "SHA-256 3c", NO_FINGERPRINT),
        ("a=ice-ufrag:bare", "a=ice-ufrag:x", NO_CREDENTIALS),
        ("a=ice-pwd:bareminimum", "a=ice-pwd:", NO_CREDENTIALS),
        ("a=ice-ufrag:bare", "a=ice-ufrag:ba:re", NO_CREDENTIALS),
        (
            "a=ice-lite",
            "a=setup:holdconn",
            "a=setup is neither actpass, active nor passive",
        ),
    ] {
        assert_eq!(unsupported(changed(from, to)), what, "{to}");
    }
    let twice = include_str!("../../../tests/offers/obs.sdp").replace("a=mid:1", "a=mid:0");
    assert_eq!(
        unsupported(Offer::read(&twice)),
        "two media sections have the same mid"
    );
}

#[test]
fn sdp_offer_attributes_are_read_at_session_and_media_level() {
    assert_eq!(
        unsupported(changed("a=ice-ufrag:bare\n", "")),
        "no valid ice-ufrag and ice-pwd",
        "gone from the session"
    );
    let moved = include_str!("../../../tests/offers/bare.sdp").replace("a=ice-ufrag:bare\n", "")
        + "a=ice-ufrag:media\na=recvonly\n";
    let offer = Offer::read(&moved).expect("readable");
    assert_eq!(
        (offer.credentials.ufrag.as_str(), offer.direction),
        ("media", Direction::RecvOnly)
    );
    let session = changed("a=ice-lite", "a=inactive").expect("readable");
    assert_eq!(session.direction, Direction::Inactive);
}

/// The text of a fixture offer.
fn field(name: &str) -> String {
    let path = format!("{}/tests/offers/{name}.sdp", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("fixture")
}

#[test]
fn sdp_offer_candidates_beyond_the_limit_are_ignored() {
    for (name, first) in [
        ("field-121-candidates", "10.0.1.7:50001"),
        ("field-40-candidates-in-each-of-3", "10.0.1.7:50001"),
    ] {
        let offer = Offer::read(&field(name)).expect("readable");
        assert_eq!(offer.candidates.len(), 20, "{name}");
        assert_eq!(offer.candidates[0].address.to_string(), first, "{name}");
    }
}

/// Without BUNDLE each section has its own transport, while the server has one (RFC 9143, section
/// 7.3).
#[test]
fn sdp_offer_data_channels_must_share_the_audios_transport() {
    let unbundled = Offer::read(&field("field-unbundled-data")).expect("readable");
    assert!(!unbundled.has_data());
    assert_eq!(unbundled.credentials.ufrag, "audi", "its own transport's");
    assert_eq!(unbundled.candidates.len(), 1);
    let (_, chrome) = OFFERS[0];
    for (groups, has_data) in [
        ("a=group:BUNDLE 0 1", true),
        ("a=group:BUNDLE 1 0", true),
        ("a=group:LS 0 1\na=group:BUNDLE 0 1", true),
        ("a=group:BUNDLE 7\na=group:BUNDLE 0 1", true),
        ("a=group:BUNDLE 0\na=group:BUNDLE 1", false),
        ("a=group:BUNDLE 0", false),
        ("a=group:BUNDLED 0 1", false),
        ("a=x", false),
    ] {
        let offer = chrome.replace("a=group:BUNDLE 0 1", groups);
        let offer = Offer::read(&offer).expect("readable");
        assert_eq!(offer.has_data(), has_data, "{groups}");
    }
}

#[test]
fn sdp_offer_with_a_closed_sctp_association_has_no_data_channels() {
    assert!(
        !Offer::read(&field("field-sctp-port-0"))
            .expect("readable")
            .has_data()
    );
    let (_, aiortc) = OFFERS[7];
    let old = aiortc.replace("DTLS/SCTP 5000", "DTLS/SCTP 0");
    assert!(!Offer::read(&old).expect("readable").has_data());
}

#[test]
fn sdp_offer_ice_options_are_read_at_both_levels() {
    let obs = read("obs");
    assert!(obs.trickles && obs.ice2, "ice2,trickle");
    let (_, firefox) = OFFERS[1];
    for (line, trickles, ice2) in [
        ("a=ice-options:trickle", true, false),
        ("a=ice-options:ice2", false, true),
        ("a=ice-options:trickle ice2", true, true),
        ("a=ice-options:trickles", false, false),
    ] {
        let offer = firefox.replace("a=ice-options:trickle", line);
        let offer = Offer::read(&offer).expect("readable");
        assert_eq!((offer.trickles, offer.ice2), (trickles, ice2), "{line}");
    }
    let both = firefox.replace("a=mid:0", "a=mid:0\na=ice-options:ice2");
    let both = Offer::read(&both).expect("readable");
    assert!(both.trickles && both.ice2);
}

#[test]
fn truncated_sdp_offers_are_read_or_refused_without_panic() {
    for (name, sdp) in OFFERS {
        for end in (0..sdp.len()).step_by(7) {
            if let Ok(offer) = Offer::read(&sdp[..end]) {
                assert!(offer.payload_type < 128, "{name}");
            }
        }
    }
}

proptest! {
    #[test]
    fn sdp_offer_parser_never_panics_on_any_text(text in "\\PC{0,300}") {
        let _ = Offer::read(&text);
        let _ = Offer::read(&format!("v=0\r\n{text}"));
        let _ = Offer::read(&format!("{}{text}\n", include_str!("../../../tests/offers/bare.sdp")));
    }

    #[test]
    fn damaged_sdp_offer_is_refused_or_stays_within_the_limits(which in 0usize..12, cuts in proptest::collection::vec((0usize..3_000, 0usize..40, "[ -~\r\n]{0,6}"), 1..6)) {
        let mut text = OFFERS[which].1.to_owned();
        for (at, length, insert) in cuts {
            let at = at.min(text.len());
            let end = (at + length).min(text.len());
            text.replace_range(at..end, &insert);
        }
        if let Ok(offer) = Offer::read(&text) {
            prop_assert!(offer.candidates.len() <= 20);
            prop_assert!(offer.sections.len() <= 32);
            prop_assert_eq!(offer.sections.iter().filter(|s| s.kind == SectionKind::Audio).count(), 1);
        }
    }
}
