//! Reads the limits in an SDP answer, and adds requests to the offer that the WebRTC stack makes
//! (RFC 8866, RFC 7587). [`crate::rtc::sdp`] parses the answers, as it parses offers.

use crate::rtc::sdp::RemoteAnswer;

/// The limits that a receiver of Opus sets for its sender (RFC 7587, 6.1 and 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendLimits {
    /// The highest average bitrate, if there is a limit.
    pub max_average_bitrate_bps: Option<u32>,
    /// The highest sample rate that the receiver makes use of.
    pub max_playback_rate_hz: u32,
    /// Whether silence need not be sent.
    pub dtx: bool,
    /// Whether every packet is to have the same size.
    pub cbr: bool,
    /// The id of the header extension for the audio level (RFC 6464), if agreed on.
    pub level_extension: Option<u8>,
}

impl Default for SendLimits {
    /// The limits that apply when an answer sets none.
    fn default() -> SendLimits {
        SendLimits {
            max_average_bitrate_bps: None,
            max_playback_rate_hz: 48_000,
            dtx: false,
            cbr: false,
            level_extension: None,
        }
    }
}

impl SendLimits {
    /// Returns the limits that an answer sets.
    pub fn of(answer: &RemoteAnswer) -> SendLimits {
        let limits = answer.limits();
        SendLimits {
            max_average_bitrate_bps: limits.max_average_bitrate_bps,
            max_playback_rate_hz: limits.max_playback_rate_hz,
            dtx: limits.dtx,
            cbr: limits.cbr,
            level_extension: answer.level_extension(),
        }
    }
}

/// The URI of the header extension for a packet's audio level (RFC 6464, 4).
pub const LEVEL_EXTENSION: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

/// Returns the offer with a request for packets of `ptime_ms` (`a=ptime`).
pub fn with_ptime(offer: &str, ptime_ms: u32) -> String {
    let mut asked = String::with_capacity(offer.len() + 16);
    let mut in_audio = false;
    for line in offer.lines() {
        if in_audio && line.starts_with("m=") {
            asked.push_str(&format!("a=ptime:{ptime_ms}\r\n"));
        }
        if let Some(media) = line.strip_prefix("m=") {
            in_audio = media.starts_with("audio");
        }
        asked.push_str(line);
        asked.push_str("\r\n");
    }
    if in_audio {
        asked.push_str(&format!("a=ptime:{ptime_ms}\r\n"));
    }
    asked
}

/// Returns the offer with a request for Opus of `bitrate_bps` (`maxaveragebitrate`, RFC 7587, 6.1).
pub fn with_bitrate(offer: &str, bitrate_bps: u32) -> String {
    let opus = offer.lines().find_map(|line| {
        let (payload_type, encoding) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
        let is_opus = encoding.get(..5)?.eq_ignore_ascii_case("opus/");
        is_opus.then(|| (line, format!("a=fmtp:{payload_type} ")))
    });
    let Some((rtpmap, fmtp)) = opus else {
        return offer.to_owned();
    };
    let has_fmtp = offer.lines().any(|line| line.starts_with(&fmtp));
    let mut asked = String::with_capacity(offer.len() + 48);
    for line in offer.lines() {
        asked.push_str(line);
        if line.starts_with(&fmtp) {
            asked.push_str(&format!(";maxaveragebitrate={bitrate_bps}"));
        }
        asked.push_str("\r\n");
        if !has_fmtp && line == rtpmap {
            asked.push_str(&format!("{fmtp}maxaveragebitrate={bitrate_bps}\r\n"));
        }
    }
    asked
}

/// Returns the SDP fragment for a `PATCH` that names a session's ICE credentials without changing
/// the session (RFC 8840, 9); `None` if the offer has no credentials.
pub fn fragment_of(offer: &str) -> Option<String> {
    let ufrag = offer
        .lines()
        .find(|line| line.starts_with("a=ice-ufrag:"))?;
    let pwd = offer.lines().find(|line| line.starts_with("a=ice-pwd:"))?;
    let mid = offer.lines().find(|line| line.starts_with("a=mid:"))?;
    Some(format!(
        "{ufrag}\r\n{pwd}\r\nm=audio 9 RTP/AVP 0\r\n{mid}\r\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\na=group:BUNDLE 0 1\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 8\r\na=mid:0\r\na=ice-ufrag:abcd\r\n\
        a=ice-pwd:aaaaaaaaaaaaaaaaaaaaaa\r\na=setup:passive\r\n\
        a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:\
        77:88:99:AA:BB:CC:DD:EE:FF\r\n\
        a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=extmap:3/sendrecv urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=on\r\n\
        a=rtpmap:8 PCMA/8000\r\na=rtpmap:111 OPUS/48000/2\r\na=fmtp:8 maxaveragebitrate=7000\r\n\
        a=fmtp:111 minptime=10; useinbandfec=1;usedtx=1; maxaveragebitrate=24000;cbr=0;maxplaybackrate=16000\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\n";

    fn limits(answer: &str) -> SendLimits {
        SendLimits::of(&RemoteAnswer::read(answer).unwrap())
    }

    #[test]
    fn send_limits_are_read_from_the_answer() {
        let expected = SendLimits {
            max_average_bitrate_bps: Some(24_000),
            max_playback_rate_hz: 16_000,
            dtx: true,
            cbr: false,
            level_extension: Some(3),
        };
        assert_eq!(limits(ANSWER), expected);
        // Values outside the range of RFC 7587, 7.1, are ignored.
        let out_of_range = ANSWER.replace("maxaveragebitrate=24000", "maxaveragebitrate=900");
        let expected = SendLimits {
            max_average_bitrate_bps: None,
            ..expected
        };
        assert_eq!(limits(&out_of_range), expected);
    }

    #[test]
    fn ptime_is_added_to_the_audio_section_only() {
        let asked = with_ptime(ANSWER, 40);
        let (audio, rest) = asked.split_once("m=application").unwrap();
        assert!(audio.ends_with("a=ptime:40\r\n") && !rest.contains("ptime:"));
        let short = "v=0\r\nm=audio 9 X 111\r\n";
        assert_eq!(
            with_ptime(short, 60),
            "v=0\r\nm=audio 9 X 111\r\na=ptime:60\r\n"
        );
    }

    #[test]
    fn bitrate_is_added_to_the_opus_parameters_only() {
        let plain = ANSWER.replace("maxaveragebitrate=24000;", "");
        let asked = with_bitrate(&plain, 48_000);
        assert_eq!(limits(&asked).max_average_bitrate_bps, Some(48_000));
        assert_eq!(asked.len(), plain.len() + ";maxaveragebitrate=48000".len());
        let bare = "m=audio 9 X 8 96\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:96 opus/48000/2\r\n";
        let asked = with_bitrate(bare, 48_000);
        assert!(asked.ends_with("a=fmtp:96 maxaveragebitrate=48000\r\n"));
        assert_eq!(with_bitrate("v=0\r\n", 48_000), "v=0\r\n");
    }

    #[test]
    fn sdp_fragment_contains_the_ice_credentials_of_its_session_description() {
        let fragment = fragment_of(ANSWER).unwrap();
        assert!(
            fragment.starts_with("a=ice-ufrag:abcd\r\na=ice-pwd:aaaa")
                && fragment.contains("\r\nm=audio 9")
        );
        assert_eq!(fragment_of("v=0\r\n"), None);
    }
}
