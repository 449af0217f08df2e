//! Reads a server's answer to an offer of the headless client.
//!
//! An answer has the grammar of an offer and is read as one. The client's WebRTC stack then gets an
//! answer written from the result, always of one shape: servers may put the transport's attributes
//! at session level (RFC 4145, section 4; RFC 8839, section 5.4) and list several certificates (RFC
//! 8122, section 5), which the stack does not understand.

use std::fmt::Write;

use mixer::codec::{Codec, ReceiverLimits};
use thiserror::Error;

use super::error::OfferError;
use super::lexer::{attribute_in, attributes_in, sections};
use super::offer::{NO_FINGERPRINT, SectionKind, URI_CSRC_LEVEL, URI_SSRC_LEVEL};
use super::{Fingerprints, Offer};

/// An answer that the headless client can use.
#[derive(Debug, Clone)]
pub struct RemoteAnswer {
    read: Offer,
    fingerprints: Fingerprints,
    /// Whether the server starts the DTLS handshake.
    starts_handshake: bool,
    /// SSRC of the server's audio, if stated.
    ssrc: Option<u32>,
    /// Port of the server's SCTP association.
    sctp_port: u16,
    /// Ids of the header extensions for the client's own level (RFC 6464) and for the contributors'
    /// levels (RFC 6465).
    levels: [Option<u8>; 2],
}

/// Why a server's answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// The answer is not valid SDP.
    #[error("the server's answer is not valid SDP (RFC 8866)")]
    Unparsable,
    /// No audio section accepts Opus.
    #[error("the server's answer accepts no Opus audio")]
    NoAudio,
    /// The answer is valid SDP, but this client does not support something in it.
    #[error("the server's answer cannot be used: {what}")]
    Unsupported {
        /// The reason, as a clause that follows a colon.
        what: &'static str,
    },
}

impl RemoteAnswer {
    /// Reads a server's answer to an offer of the headless client.
    ///
    /// # Errors
    /// Returns an [`AnswerError`]; the result depends only on `sdp`.
    pub fn read(sdp: &str) -> Result<RemoteAnswer, AnswerError> {
        let read = Offer::read(sdp).map_err(|error| match error {
            OfferError::NoAudio | OfferError::NoCodec => AnswerError::NoAudio,
            OfferError::Unsupported { what } => AnswerError::Unsupported { what },
            _ => AnswerError::Unparsable,
        })?;
        if read.codec != Codec::Opus {
            return Err(AnswerError::NoAudio);
        }
        let (session, media) = sections(sdp).map_err(|_| AnswerError::Unparsable)?;
        let section = |kind| {
            let at = read
                .sections
                .iter()
                .position(|section| section.kind == kind)?;
            media.get(at)
        };
        let audio = section(SectionKind::Audio).ok_or(AnswerError::NoAudio)?;
        let lines = [audio, &session];
        let fingerprints = lines
            .iter()
            .flat_map(|lines| attributes_in(lines, "fingerprint"));
        let fingerprints = Fingerprints::read(fingerprints).ok_or(AnswerError::Unsupported {
            what: NO_FINGERPRINT,
        })?;
        let setup = lines.iter().find_map(|lines| attribute_in(lines, "setup"));
        let sctp_port = section(SectionKind::Data)
            .and_then(|data| attribute_in(data, "sctp-port")?.parse().ok())
            .unwrap_or(SCTP_PORT);
        let ssrc = attribute_in(audio, "ssrc");
        let ssrc = ssrc.and_then(|value| value.split(' ').next()?.parse().ok());
        // The directions are the server's: it receives our level, and sends the contributors'
        // levels.
        let level = |uri, other_way| {
            attributes_in(audio, "extmap").find_map(|value| {
                let (number, name) = value.split_once(' ')?;
                let (number, direction) = number.split_once('/').unwrap_or((number, "sendrecv"));
                let is_meant = name.split_ascii_whitespace().next() == Some(uri)
                    && ![other_way, "inactive"].contains(&direction);
                let number = number.parse().ok()?;
                // Only these ids fit into the one-byte header form (RFC 8285, section 4.2).
                (is_meant && (1..=14).contains(&number)).then_some(number)
            })
        };
        let levels = [
            level(URI_SSRC_LEVEL, "sendonly"),
            level(URI_CSRC_LEVEL, "recvonly"),
        ];
        Ok(RemoteAnswer {
            read,
            fingerprints,
            // An answer without a setup attribute means `passive`, while an offer means `active`
            // (RFC 4145, section 4).
            starts_handshake: setup == Some("active"),
            ssrc,
            sctp_port,
            levels,
        })
    }

    /// The fingerprints of the certificates that the server may present.
    pub fn fingerprints(&self) -> &Fingerprints {
        &self.fingerprints
    }

    /// The limits that the server sets for the stream that it receives.
    pub fn limits(&self) -> &ReceiverLimits {
        &self.read.limits
    }

    /// The server's payload type for Opus.
    pub fn payload_type(&self) -> u8 {
        self.read.payload_type
    }

    /// Id of the audio-level header extension (RFC 6464), if negotiated.
    pub fn level_extension(&self) -> Option<u8> {
        self.levels[0]
    }

    /// Writes the answer for the client's WebRTC stack, always of one shape.
    ///
    /// - `offer`: the client's offer that was answered. Its sections are answered in their order,
    ///   with their identifiers.
    pub fn plain(&self, offer: &Offer) -> String {
        let takes_data = self.read.has_data();
        let is_taken = |kind| match kind {
            SectionKind::Audio => true,
            SectionKind::Data => takes_data,
            SectionKind::Refused => false,
        };
        let taken = offer
            .sections
            .iter()
            .filter(|section| is_taken(section.kind));
        let mids: Vec<&str> = taken.filter_map(|section| section.mid.as_deref()).collect();
        let mut sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n",
            mids.join(" ")
        );
        if self.read.ice_lite {
            sdp.push_str("a=ice-lite\r\n");
        }
        for section in &offer.sections {
            let port = if is_taken(section.kind) { 9 } else { 0 };
            let format = match section.kind {
                SectionKind::Audio => self.read.payload_type.to_string(),
                _ => section.format.clone(),
            };
            let _ = write!(
                sdp,
                "m={} {port} {} {format}\r\nc=IN IP4 0.0.0.0\r\n",
                section.media, section.protocol
            );
            if let Some(mid) = &section.mid {
                let _ = write!(sdp, "a=mid:{mid}\r\n");
            }
            match section.kind {
                SectionKind::Audio => self.write_audio(&mut sdp),
                SectionKind::Data if takes_data => {
                    let _ = write!(
                        sdp,
                        "a=sctp-port:{}\r\na=max-message-size:{}\r\n",
                        self.sctp_port, self.read.max_message_bytes
                    );
                }
                _ => {
                    sdp.push_str("a=inactive\r\n");
                    continue;
                }
            }
            self.write_transport(&mut sdp);
        }
        sdp
    }

    fn write_audio(&self, sdp: &mut String) {
        let pt = self.read.payload_type;
        let direction = self.read.direction;
        let _ = write!(
            sdp,
            "a=rtcp-mux\r\na=rtpmap:{pt} opus/48000/2\r\na={}\r\n",
            direction.name()
        );
        for (id, uri) in self.levels.iter().zip([URI_SSRC_LEVEL, URI_CSRC_LEVEL]) {
            if let Some(id) = id {
                let _ = write!(sdp, "a=extmap:{id} {uri}\r\n");
            }
        }
        if let Some(ssrc) = self.ssrc.filter(|_| direction.sends()) {
            let _ = write!(sdp, "a=msid:mix mix\r\na=ssrc:{ssrc} cname:mix\r\n");
        }
    }

    fn write_transport(&self, sdp: &mut String) {
        let setup = match self.starts_handshake {
            true => "active",
            false => "passive",
        };
        let credentials = &self.read.credentials;
        let _ = write!(
            sdp,
            "a=setup:{setup}\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n\
             a=fingerprint:sha-256 {UNUSED_FINGERPRINT}\r\n",
            credentials.ufrag, credentials.pwd
        );
        for candidate in &self.read.candidates {
            let _ = write!(sdp, "a=candidate:{candidate}\r\n");
        }
        sdp.push_str("a=end-of-candidates\r\n");
    }
}

/// The usual SCTP port of data channels (RFC 8841, section 5.1).
const SCTP_PORT: u16 = 5_000;

/// Placeholder fingerprint. The stack requires a fingerprint but compares it with nothing; the
/// client itself compares the certificate with all of [`RemoteAnswer::fingerprints`].
const UNUSED_FINGERPRINT: &str = "00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:\
    00:00:00:00:00:00:00:00";

#[cfg(test)]
#[path = "remote_answer_tests.rs"]
mod tests;
