//! Writes SDP answers, line by line; each section has everything that a client needs, and nothing
//! else.

use std::fmt::Write;
use std::net::SocketAddr;

use mixer::codec::Codec;

use super::offer::{Section, SectionKind, URI_CSRC_LEVEL, URI_MID, URI_SSRC_LEVEL};
use super::{Credentials, Offer};

/// The server's values for an answer; all other values come from the offer.
#[derive(Debug)]
pub(in crate::rtc) struct Answer<'a> {
    /// The server's ICE credentials.
    pub(in crate::rtc) credentials: &'a Credentials,
    /// SHA-256 fingerprint of the server's DTLS certificate.
    pub(in crate::rtc) fingerprint: &'a str,
    /// Addresses at which the server is reachable, best first; never empty.
    pub(in crate::rtc) addresses: &'a [SocketAddr],
    /// The same addresses as values of `a=candidate` lines.
    pub(in crate::rtc) candidates: &'a [String],
    /// SSRC of the stream that the server sends.
    pub(in crate::rtc) ssrc: u32,
    /// Canonical name (RFC 7022) of the stream that the server sends.
    pub(in crate::rtc) cname: &'a str,
    /// Most bits per second that the client should send on average; `None` for no limit.
    pub(in crate::rtc) max_average_bitrate_bps: Option<u32>,
    /// Whether the client should send long packets of low bandwidth without FEC, to save bytes.
    pub(in crate::rtc) thrifty: bool,
    /// Longest data-channel message that may be sent to the server, in bytes.
    pub(in crate::rtc) max_message_bytes: u32,
    /// Session id of the `o=` line.
    pub(in crate::rtc) session: u64,
}

impl Answer<'_> {
    /// Writes the answer to `offer`.
    ///
    /// Lines end in CRLF. Every accepted section has the transport and all candidates, because
    /// small clients read only the section they need.
    pub(in crate::rtc) fn write(&self, offer: &Offer) -> String {
        let mut sdp = String::with_capacity(2_048);
        self.write_session(&mut sdp, offer);
        for section in &offer.sections {
            match section.kind {
                SectionKind::Audio => self.write_audio(&mut sdp, offer, section),
                SectionKind::Data => self.write_data(&mut sdp, offer, section),
                SectionKind::Refused => write_refused(&mut sdp, section),
            }
        }
        sdp
    }

    fn write_session(&self, sdp: &mut String, offer: &Offer) {
        let _ = write!(
            sdp,
            "v=0\r\no=- {} 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n",
            self.session
        );
        // RFC 9143, section 7.3: only identifiers that the offer's group names, and none of a
        // refused section.
        let bundled = offer.sections.iter().filter_map(|section| {
            let mid = section.mid.as_ref()?;
            (section.kind != SectionKind::Refused && offer.bundle.contains(mid))
                .then_some(mid.as_str())
        });
        let bundled: Vec<&str> = bundled.collect();
        if !bundled.is_empty() {
            let _ = write!(sdp, "a=group:BUNDLE {}\r\n", bundled.join(" "));
        }
        sdp.push_str("a=msid-semantic:WMS *\r\n");
    }

    fn write_audio(&self, sdp: &mut String, offer: &Offer, section: &Section) {
        let pt = offer.payload_type;
        self.write_media_line(sdp, section, &pt.to_string());
        // RFC 5761, section 5.1.1: rtcp-mux only if the offer has it.
        if offer.rtcp_mux {
            sdp.push_str("a=rtcp-mux\r\n");
        }
        match offer.codec {
            Codec::Opus => self.write_opus(sdp, pt),
            codec => {
                let (name, hz) = (codec.name(), codec.clock_hz());
                let _ = write!(sdp, "a=rtpmap:{pt} {name}/{hz}\r\n");
            }
        }
        let thrifty_ms = self.thrifty.then_some(THRIFTY_PACKET_MS);
        if let Some(ptime) = offer.limits.ptime_ms.or(thrifty_ms) {
            let _ = write!(sdp, "a=ptime:{ptime}\r\n");
        }
        self.write_extensions(sdp, offer);
        let direction = offer.direction.mirrored();
        let _ = write!(sdp, "a={}\r\n", direction.name());
        if direction.sends() {
            let _ = write!(
                sdp,
                "a=msid:mix mix\r\na=ssrc:{} cname:{}\r\n",
                self.ssrc, self.cname
            );
        }
        self.write_transport(sdp, offer);
    }

    /// Writes the Opus parameters that the server wants to receive (RFC 7587, section 7): few bytes
    /// from thrifty clients, FEC from all others.
    fn write_opus(&self, sdp: &mut String, pt: u8) {
        let _ = write!(sdp, "a=rtpmap:{pt} opus/48000/2\r\na=fmtp:{pt} ");
        sdp.push_str(match self.thrifty {
            true => THRIFTY_WISHES,
            false => "minptime=10;useinbandfec=1;usedtx=1",
        });
        if let Some(bitrate) = self.max_average_bitrate_bps {
            let _ = write!(sdp, ";maxaveragebitrate={bitrate}");
        }
        sdp.push_str("\r\n");
    }

    fn write_extensions(&self, sdp: &mut String, offer: &Offer) {
        let extensions = offer.extensions;
        if let Some(level) = extensions.ssrc_level {
            let direction = if level.directed { "/recvonly" } else { "" };
            let _ = write!(sdp, "a=extmap:{}{direction} {URI_SSRC_LEVEL}\r\n", level.id);
        }
        if let Some(level) = extensions.csrc_level {
            let direction = if level.directed { "/sendonly" } else { "" };
            let _ = write!(sdp, "a=extmap:{}{direction} {URI_CSRC_LEVEL}\r\n", level.id);
        }
        if let Some(id) = extensions.mid {
            let _ = write!(sdp, "a=extmap:{id} {URI_MID}\r\n");
        }
    }

    fn write_data(&self, sdp: &mut String, offer: &Offer, section: &Section) {
        // Before RFC 8841 the format of the section was the SCTP port, and an attribute described
        // it.
        let old = section.format.parse::<u16>().is_ok();
        let format = if old {
            section.format.as_str()
        } else {
            "webrtc-datachannel"
        };
        self.write_media_line(sdp, section, format);
        if old {
            let _ = write!(sdp, "a=sctpmap:{format} webrtc-datachannel 1024\r\n");
        } else {
            sdp.push_str("a=sctp-port:5000\r\n");
        }
        let _ = write!(sdp, "a=max-message-size:{}\r\n", self.max_message_bytes);
        self.write_transport(sdp, offer);
    }

    /// Writes `m=`, `c=` and `a=mid`; `c=` has the address of the default candidate (RFC 8839,
    /// section 4.2.1.2).
    fn write_media_line(&self, sdp: &mut String, section: &Section, format: &str) {
        let default = self
            .addresses
            .first()
            .copied()
            .unwrap_or(([0, 0, 0, 0], 9).into());
        let family = if default.is_ipv4() { "IP4" } else { "IP6" };
        let _ = write!(
            sdp,
            "m={} {} {} {format}\r\nc=IN {family} {}\r\n",
            section.media,
            default.port(),
            section.protocol,
            default.ip()
        );
        write_mid(sdp, section);
    }

    fn write_transport(&self, sdp: &mut String, offer: &Offer) {
        let setup = match offer.setup.server_starts() {
            true => "active",
            false => "passive",
        };
        let _ = write!(
            sdp,
            "a=setup:{setup}\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
            self.credentials.ufrag, self.credentials.pwd
        );
        match (offer.trickles, offer.ice2) {
            (true, true) => sdp.push_str("a=ice-options:trickle ice2\r\n"),
            (true, false) => sdp.push_str("a=ice-options:trickle\r\n"),
            (false, true) => sdp.push_str("a=ice-options:ice2\r\n"),
            (false, false) => {}
        }
        let _ = write!(sdp, "a=fingerprint:sha-256 {}\r\n", self.fingerprint);
        for candidate in self.candidates {
            let _ = write!(sdp, "a={candidate}\r\n");
        }
        sdp.push_str("a=end-of-candidates\r\n");
    }
}

/// Opus parameters asked of thrifty clients: 8 kHz of audio bandwidth, which the smallest encoders
/// have, and no FEC, which costs as many bytes as the packets themselves.
const THRIFTY_WISHES: &str = "maxplaybackrate=16000;usedtx=1";

/// Packet time asked of thrifty clients, in milliseconds: a third as many packets as with 20 ms.
const THRIFTY_PACKET_MS: u32 = 60;

fn write_refused(sdp: &mut String, section: &Section) {
    let format = if section.format.is_empty() {
        "0"
    } else {
        &section.format
    };
    let _ = write!(
        sdp,
        "m={} 0 {} {format}\r\nc=IN IP4 0.0.0.0\r\n",
        section.media, section.protocol
    );
    write_mid(sdp, section);
    sdp.push_str("a=inactive\r\n");
}

fn write_mid(sdp: &mut String, section: &Section) {
    if let Some(mid) = &section.mid {
        let _ = write!(sdp, "a=mid:{mid}\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::candidates;
    use crate::rtc::sdp::offer::tests::{OFFERS, read};
    use rtc::peer_connection::sdp::RTCSessionDescription;

    fn write(offer: &Offer) -> String {
        write_thrifty(offer, false)
    }

    fn write_thrifty(offer: &Offer, thrifty: bool) -> String {
        let addresses: Vec<SocketAddr> = (1..=8)
            .map(|n| SocketAddr::from(([192, 0, 2, n], 7_882)))
            .collect();
        Answer {
            credentials: &Credentials::new("ours", "ourpasswordislongenough").expect("allowed"),
            fingerprint: &["AB"; 32].join(":"),
            addresses: &addresses,
            candidates: &candidates::lines(&addresses),
            ssrc: 4_000_000_000,
            cname: "0123456789abcdef",
            max_average_bitrate_bps: Some(32_000),
            thrifty,
            max_message_bytes: 16_384,
            session: u64::MAX >> 2,
        }
        .write(offer)
    }

    fn media_lines(sdp: &str) -> Vec<String> {
        let lines = sdp.lines().filter(|line| line.starts_with("m="));
        lines.map(|line| line.trim_end().to_owned()).collect()
    }

    #[test]
    fn sdp_answer_to_every_client_mirrors_the_offers_sections() {
        for (name, sdp) in OFFERS {
            let answer = write(&read(name));
            assert!(answer.len() < 4_096, "{name}: {} bytes", answer.len());
            assert_eq!(
                answer.matches('\n').count(),
                answer.matches("\r\n").count(),
                "{name}"
            );
            RTCSessionDescription::answer(answer.clone()).expect("parses");
            let (offered, answered) = (media_lines(sdp), media_lines(&answer));
            assert_eq!(offered.len(), answered.len(), "{name}");
            for (offered, answered) in offered.iter().zip(&answered) {
                let (offered, answered): (Vec<_>, Vec<_>) =
                    (offered.split(' ').collect(), answered.split(' ').collect());
                assert_eq!(
                    (offered[0], offered[2]),
                    (answered[0], answered[2]),
                    "{name}"
                );
                assert_eq!(answered[1] == "0", offered[0] == "m=video", "{name}");
                assert_eq!(answered.len(), 4, "{name}: one format");
            }
            for unwanted in [
                "ice-lite",
                "transport-cc",
                "nack",
                "red/",
                "actpass",
                "rtcp-rsize",
            ] {
                assert!(!answer.contains(unwanted), "{name}: {unwanted}");
            }
            let wishes = "minptime=10;useinbandfec=1;usedtx=1;maxaveragebitrate=32000\r\n";
            let is_opus = name != "libpeer-pcma";
            assert_eq!(answer.contains(wishes), is_opus, "{name}");
            let muxes = sdp.contains("a=rtcp-mux\n");
            assert_eq!(answer.contains("a=rtcp-mux\r\n"), muxes, "{name}");
            for wanted in [
                "a=end-of-candidates\r\n",
                "a=candidate:1 1 udp 2130706431 192.0.2.1 7882 typ host\r\n",
            ] {
                assert!(answer.contains(wanted), "{name}: {wanted}");
            }
            for mid in sdp.lines().filter(|line| line.starts_with("a=mid:")) {
                assert!(answer.contains(&format!("{mid}\r\n")), "{name}: {mid}");
            }
        }
    }

    /// Lines that the answers to the named offers contain.
    const DETAILS: &[(&str, &str)] = &[
        ("chrome", "a=group:BUNDLE 0 1\r\n"),
        ("chrome", "a=setup:active\r\n"),
        ("chrome", "a=ice-options:trickle\r\n"),
        (
            "chrome",
            "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n",
        ),
        (
            "chrome",
            "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n",
        ),
        (
            "chrome",
            "a=sendrecv\r\na=msid:mix mix\r\na=ssrc:4000000000 cname:0123456789abcdef\r\n",
        ),
        (
            "firefox",
            "a=extmap:2/sendonly urn:ietf:params:rtp-hdrext:csrc-audio-level\r\n",
        ),
        ("libpeer", "a=setup:active\r\n"),
        (
            "libpeer",
            "m=audio 7882 UDP/TLS/RTP/SAVP 111\r\nc=IN IP4 192.0.2.1\r\n",
        ),
        (
            "libpeer",
            "m=application 7882 UDP/DTLS/SCTP webrtc-datachannel\r\n",
        ),
        ("esp", "a=recvonly\r\n"),
        ("esp", "a=ptime:20\r\n"),
        ("ffmpeg", "a=group:BUNDLE 0\r\n"),
        ("ffmpeg", "a=setup:active\r\n"),
        (
            "obs",
            "m=video 0 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=inactive\r\n",
        ),
        ("obs", "a=group:BUNDLE 0\r\n"),
        ("obs", "a=ice-options:trickle ice2\r\n"),
        ("gstreamer", "a=group:BUNDLE audio1\r\n"),
        ("aiortc", "m=application 7882 DTLS/SCTP 5000\r\n"),
        ("aiortc", "a=sctpmap:5000 webrtc-datachannel 1024\r\n"),
        ("whep", "a=sendonly\r\n"),
        ("whep", "a=setup:passive\r\n"),
        ("bare", "a=setup:passive\r\n"),
        ("bare", "m=audio 7882 RTP/SAVPF 120\r\n"),
        (
            "libpeer-pcma",
            "m=audio 7882 UDP/TLS/RTP/SAVP 8\r\nc=IN IP4 192.0.2.1\r\n",
        ),
        ("libpeer-pcma", "a=rtpmap:8 PCMA/8000\r\n"),
    ];

    #[test]
    fn sdp_answer_contains_the_details_each_client_needs() {
        for (name, line) in DETAILS {
            let answer = write(&read(name));
            assert!(answer.contains(line), "{name}: {line}\n{answer}");
        }
        assert!(
            !write(&read("esp")).contains("a=ssrc"),
            "nothing is sent to a sender"
        );
        assert!(!write(&read("bare")).contains("BUNDLE"), "not offered");
        assert!(!write(&read("libpeer-pcma")).contains("fmtp"));
        let libpeer = write(&read("libpeer"));
        let candidates = libpeer.matches("a=candidate:1 ").count();
        assert_eq!(candidates, 2, "in each section");
    }

    #[test]
    fn sdp_answer_has_nothing_that_was_not_offered() {
        let offer = |name: &str| {
            let path = format!("{}/tests/offers/{name}.sdp", env!("CARGO_MANIFEST_DIR"));
            let sdp = std::fs::read_to_string(path).expect("fixture");
            write(&Offer::read(&sdp).expect("readable"))
        };
        let alone = offer("field-no-rtcp-mux");
        assert!(!alone.contains("rtcp-mux"), "{alone}");
        let unbundled = offer("field-unbundled-data");
        let refused = "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n";
        assert!(unbundled.contains(refused), "{unbundled}");
        assert!(!unbundled.contains("BUNDLE"));
        let closed = offer("field-sctp-port-0");
        assert!(closed.contains(refused), "{closed}");
        assert!(closed.contains("a=group:BUNDLE 0\r\n"));
        assert!(!write(&read("chrome")).contains("ice2"));
    }

    #[test]
    fn sdp_answer_asks_thrifty_clients_for_long_packets_of_8_khz_audio_without_fec() {
        let libpeer = write_thrifty(&read("libpeer"), true);
        let wishes = "maxplaybackrate=16000;usedtx=1;maxaveragebitrate=32000\r\na=ptime:60\r\n";
        assert!(libpeer.contains(wishes), "{libpeer}");
        assert!(!libpeer.contains("fec"));
        let esp = write_thrifty(&read("esp"), true);
        assert!(esp.contains("a=ptime:20\r\n"), "as it says itself");
        let pcma = write_thrifty(&read("libpeer-pcma"), true);
        assert!(pcma.contains("a=ptime:60\r\n") && !pcma.contains("fmtp"));
    }
}
