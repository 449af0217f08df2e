//! Writing the answer, line by line: everything a client needs inline, and nothing else.

use std::fmt::Write;
use std::net::SocketAddr;

use super::offer::{Section, SectionKind, URI_CSRC_LEVEL, URI_MID, URI_SSRC_LEVEL};
use super::{Credentials, Offer, Setup};

/// What the server puts into an answer, beside what the offer says.
#[derive(Debug)]
pub(in crate::rtc) struct Answer<'a> {
    /// The server's ICE credentials.
    pub(in crate::rtc) credentials: &'a Credentials,
    /// SHA-256 of the server's certificate.
    pub(in crate::rtc) fingerprint: &'a str,
    /// Where the server is reachable, best first; never empty.
    pub(in crate::rtc) addresses: &'a [SocketAddr],
    /// The same as `a=candidate` values.
    pub(in crate::rtc) candidates: &'a [String],
    /// The server's RTP source.
    pub(in crate::rtc) ssrc: u32,
    /// Its canonical name (RFC 7022).
    pub(in crate::rtc) cname: &'a str,
    /// Most bits per second the client should send, on average.
    pub(in crate::rtc) max_average_bitrate_bps: Option<u32>,
    /// Longest data-channel message taken.
    pub(in crate::rtc) max_message_bytes: usize,
    /// Session id of the `o=` line.
    pub(in crate::rtc) session: u64,
}

impl Answer<'_> {
    /// The answer to `offer`.
    ///
    /// Lines end in CRLF, and every answered section carries the transport and all candidates: small clients read no
    /// further than the section they care for.
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
        let _ = write!(sdp, "v=0\r\no=- {} 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", self.session);
        if let Some(bundle) = &offer.bundle {
            sdp.push_str("a=group:BUNDLE");
            for section in &offer.sections {
                // RFC 9143, 7.3: only identifiers the offer named, and none of a refused section.
                let mid = section.mid.as_ref().filter(|mid| bundle.contains(mid));
                if let (Some(mid), true) = (mid, section.kind != SectionKind::Refused) {
                    let _ = write!(sdp, " {mid}");
                }
            }
            sdp.push_str("\r\n");
        }
        sdp.push_str("a=msid-semantic:WMS *\r\n");
    }

    fn write_audio(&self, sdp: &mut String, offer: &Offer, section: &Section) {
        let pt = offer.payload_type;
        self.write_media_line(sdp, section, &pt.to_string());
        sdp.push_str("a=rtcp-mux\r\n");
        let _ = write!(sdp, "a=rtpmap:{pt} opus/48000/2\r\na=fmtp:{pt} minptime=10;useinbandfec=1;usedtx=1");
        if let Some(bitrate) = self.max_average_bitrate_bps {
            let _ = write!(sdp, ";maxaveragebitrate={bitrate}");
        }
        sdp.push_str("\r\n");
        if let Some(ptime) = offer.limits.ptime_ms {
            let _ = write!(sdp, "a=ptime:{ptime}\r\n");
        }
        self.write_extensions(sdp, offer);
        let direction = offer.direction.mirrored();
        let _ = write!(sdp, "a={}\r\n", direction.name());
        if direction.sends() {
            let _ = write!(sdp, "a=msid:mix mix\r\na=ssrc:{} cname:{}\r\n", self.ssrc, self.cname);
        }
        self.write_transport(sdp, offer);
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
        // Before RFC 8841 the format was the port, and an attribute gave it its meaning.
        let old = section.format.parse::<u16>().is_ok();
        let format = if old { section.format.as_str() } else { "webrtc-datachannel" };
        self.write_media_line(sdp, section, format);
        if old {
            let _ = write!(sdp, "a=sctpmap:{format} webrtc-datachannel 1024\r\n");
        } else {
            sdp.push_str("a=sctp-port:5000\r\n");
        }
        let _ = write!(sdp, "a=max-message-size:{}\r\n", self.max_message_bytes);
        self.write_transport(sdp, offer);
    }

    /// `m=`, `c=` and `a=mid`: the default candidate's address, as RFC 8839, 4.2.1.2, wants it.
    fn write_media_line(&self, sdp: &mut String, section: &Section, format: &str) {
        let default = self.addresses.first().copied().unwrap_or(([0, 0, 0, 0], 9).into());
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
        let setup = match offer.setup {
            Setup::Passive => "active",
            Setup::ActPass | Setup::Active => "passive",
        };
        let _ = write!(
            sdp,
            "a=setup:{setup}\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
            self.credentials.ufrag, self.credentials.pwd
        );
        if offer.trickles {
            sdp.push_str("a=ice-options:trickle\r\n");
        }
        let _ = write!(sdp, "a=fingerprint:sha-256 {}\r\n", self.fingerprint);
        for candidate in self.candidates {
            let _ = write!(sdp, "a={candidate}\r\n");
        }
        sdp.push_str("a=end-of-candidates\r\n");
    }
}

fn write_refused(sdp: &mut String, section: &Section) {
    let format = if section.format.is_empty() { "0" } else { &section.format };
    let _ = write!(sdp, "m={} 0 {} {format}\r\nc=IN IP4 0.0.0.0\r\n", section.media, section.protocol);
    write_mid(sdp, section);
    sdp.push_str("a=inactive\r\n");
}

fn write_mid(sdp: &mut String, section: &Section) {
    if let Some(mid) = &section.mid {
        let _ = write!(sdp, "a=mid:{mid}\r\n");
    }
}
