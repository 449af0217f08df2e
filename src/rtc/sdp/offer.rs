//! Reads a client's SDP offer: checks it, and extracts everything that the answer needs.

use mixer::codec::{Codec, ReceiverLimits};

use super::candidate::{RemoteCandidate, remote_candidates};
use super::error::OfferError;
use super::fingerprint::Fingerprints;
use super::lexer::{Lines, attribute_in, attributes_in, sections};
use super::{Credentials, codec, opus};

/// A client's offer that the server can answer, as far as the server uses it.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The client's ICE credentials.
    pub credentials: Credentials,
    /// Whether the client is an ICE-lite agent, which only answers checks.
    pub ice_lite: bool,
    /// The fingerprints of the certificates that the client may present.
    pub fingerprints: Fingerprints,
    /// Which side starts DTLS, according to the offer.
    pub setup: Setup,
    /// The client's candidates that the server can use.
    pub candidates: Vec<RemoteCandidate>,
    /// The codec that the answer chooses, for both directions.
    pub codec: Codec,
    /// The client's payload type for the codec.
    pub payload_type: u8,
    /// Direction of the audio, as the client states it.
    pub direction: Direction,
    /// The limits that the client sets for the stream that it receives.
    pub limits: ReceiverLimits,
    /// Ids of the RTP header extensions that both sides support.
    pub extensions: Extensions,
    /// Longest data-channel message the client accepts, in bytes (RFC 8841, section 6.1); 0 means
    /// any length.
    pub max_message_bytes: u32,
    /// The media sections in the offer's order, with how each is answered.
    pub(super) sections: Vec<Section>,
    /// Whether RTP and RTCP may share a port (RFC 5761).
    pub rtcp_mux: bool,
    /// Identifiers of the sections that share the audio's transport (RFC 9143), its own included;
    /// empty without BUNDLE.
    pub(super) bundle: Vec<String>,
    /// Whether the client trickles candidates (RFC 8838).
    pub(super) trickles: bool,
    /// Whether the client has the ICE option `ice2` (RFC 8445, section 10), so nominates regularly.
    pub(super) ice2: bool,
}

/// Which side starts DTLS (RFC 8842, section 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// `actpass`: the answerer chooses.
    ActPass,
    /// `active`: the client starts.
    Active,
    /// `passive`: the server has to start.
    Passive,
}

impl Setup {
    /// Whether the server starts DTLS, which it does whenever it may (RFC 5763, section 5): the
    /// server is the first to know that there is a path, so a client would start later.
    pub fn server_starts(self) -> bool {
        self != Setup::Active
    }
}

/// Direction of audio, from the view of the side that states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `sendrecv`: the side sends and receives.
    SendRecv,
    /// `sendonly`: the side only sends.
    SendOnly,
    /// `recvonly`: the side only receives.
    RecvOnly,
    /// `inactive`: the side neither sends nor receives.
    Inactive,
}

impl Direction {
    /// Returns the same direction from the other side's view.
    #[must_use]
    pub const fn mirrored(self) -> Direction {
        match self {
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            same => same,
        }
    }

    /// Whether the side that states the direction sends.
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the side that states the direction receives.
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// The name of the direction's SDP attribute.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    const ALL: [Direction; 4] = [
        Direction::SendRecv,
        Direction::SendOnly,
        Direction::RecvOnly,
        Direction::Inactive,
    ];
}

/// Ids of the RTP header extensions (RFC 8285) that the client offers in a direction that the
/// server can use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extensions {
    /// Identifier of the packet's media section (RFC 9143), in both directions.
    pub mid: Option<u8>,
    /// Audio level of the client (RFC 6464), from the client to the server.
    pub ssrc_level: Option<Extension>,
    /// Audio levels of the contributors (RFC 6465), from the server to the client.
    pub csrc_level: Option<Extension>,
}

/// An RTP header extension: its id, and whether the offer states a direction that the answer has to
/// mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    /// The id, 1..=14: the range that the one-byte header form allows.
    pub id: u8,
    /// Whether the offer limits the extension to one direction.
    pub directed: bool,
}

/// One media section of the offer.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) kind: SectionKind,
    /// First word of the `m=` line.
    pub(super) media: String,
    /// Transport of the `m=` line, to be repeated in the answer.
    pub(super) protocol: String,
    /// First format of the `m=` line, to be repeated in the answer if the section is refused.
    pub(super) format: String,
    pub(super) mid: Option<String>,
}

/// How a section is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SectionKind {
    /// The audio section that is accepted.
    Audio,
    /// The section of the data channels.
    Data,
    /// A section that is refused with port 0.
    Refused,
}

impl Offer {
    /// Reads an offer, within the limits of this module.
    ///
    /// # Errors
    ///
    /// Returns an [`OfferError`]; the result depends only on `sdp`.
    pub fn read(sdp: &str) -> Result<Offer, OfferError> {
        let (session, media) = sections(sdp)?;
        let (audio, codec, payload_type) = find_audio(&media)?;
        let lines = &media[audio];
        let bundle = bundle_of(&session, lines);
        let sections = read_sections(&media, audio, &bundle)?;
        let transport = Transport::of(lines, &session, &media, &bundle);
        Ok(Offer {
            credentials: transport.credentials()?,
            ice_lite: attribute_in(&session, "ice-lite").is_some(),
            fingerprints: transport.fingerprints()?,
            setup: transport.setup()?,
            candidates: remote_candidates(transport.all("candidate")),
            codec,
            payload_type,
            direction: direction(lines, &session),
            limits: ReceiverLimits {
                codec,
                ..opus::limits(lines, payload_type)
            },
            extensions: read_extensions(lines),
            max_message_bytes: max_message(&media, &sections),
            rtcp_mux: attribute_in(lines, "rtcp-mux").is_some(),
            sections,
            trickles: transport.has_option("trickle"),
            ice2: transport.has_option("ice2"),
            bundle,
        })
    }

    /// Whether the offer has data channels that the server accepts.
    pub fn has_data(&self) -> bool {
        self.sections
            .iter()
            .any(|section| section.kind == SectionKind::Data)
    }

    /// The audio section's identifier, if it has one.
    pub fn audio_mid(&self) -> Option<&str> {
        let mut sections = self.sections.iter();
        sections
            .find(|section| section.kind == SectionKind::Audio)?
            .mid
            .as_deref()
    }
}

/// The parts of an offer that can describe the audio's transport: the audio section first, then
/// other sections, then the session part.
struct Transport<'a>(Vec<&'a Lines<'a>>);

impl<'a> Transport<'a> {
    /// Collects the sections of the audio's transport. With BUNDLE the client may have put the
    /// transport's attributes into another section. Without BUNDLE each section has its own
    /// transport.
    fn of(
        audio: &'a Lines<'a>,
        session: &'a Lines<'a>,
        media: &'a [Lines<'a>],
        bundle: &[String],
    ) -> Transport<'a> {
        let shares = |lines: &&Lines<'_>| {
            mid(lines).is_some_and(|mid| bundle.iter().any(|bundled| bundled == mid))
        };
        let bundled = media.iter().filter(shares);
        Transport([audio, session].into_iter().chain(bundled).collect())
    }

    /// The first value of an attribute in these parts.
    fn first(&self, name: &str) -> Option<&'a str> {
        let mut sections = self.0.iter();
        sections.find_map(|lines| attribute_in(lines, name))
    }

    /// All values of an attribute in these parts.
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a str> {
        let sections = self.0.iter();
        sections.flat_map(move |lines| attributes_in(lines, name))
    }

    fn credentials(&self) -> Result<Credentials, OfferError> {
        let credentials = self.first("ice-ufrag").zip(self.first("ice-pwd"));
        let credentials = credentials.and_then(|(ufrag, pwd)| Credentials::new(ufrag, pwd));
        credentials.ok_or(OfferError::Unsupported {
            what: "no valid ice-ufrag and ice-pwd",
        })
    }

    fn fingerprints(&self) -> Result<Fingerprints, OfferError> {
        Fingerprints::read(self.all("fingerprint")).ok_or(OfferError::Unsupported {
            what: NO_FINGERPRINT,
        })
    }

    fn setup(&self) -> Result<Setup, OfferError> {
        match self.first("setup") {
            Some("actpass") => Ok(Setup::ActPass),
            // An offer without a setup attribute means `active` (RFC 4145, section 4).
            None | Some("active") => Ok(Setup::Active),
            Some("passive") => Ok(Setup::Passive),
            Some(_) => Err(OfferError::Unsupported {
                what: "a=setup is neither actpass, active nor passive",
            }),
        }
    }

    /// Whether any of the parts lists an ICE option.
    fn has_option(&self, option: &str) -> bool {
        self.all("ice-options")
            .flat_map(|options| options.split([' ', ',']))
            .any(|word| word == option)
    }
}

/// Reads the direction of the audio; the session part may state it for all sections.
fn direction(audio: &Lines<'_>, session: &Lines<'_>) -> Direction {
    let of = |lines: &Lines<'_>| {
        let mut all = Direction::ALL.into_iter();
        all.find(|direction| attribute_in(lines, direction.name()).is_some())
    };
    of(audio)
        .or_else(|| of(session))
        .unwrap_or(Direction::SendRecv)
}

/// Finds the first audio section over DTLS-SRTP that offers a supported codec; returns its index,
/// the codec and the payload type.
fn find_audio(media: &[Lines<'_>]) -> Result<(usize, Codec, u8), OfferError> {
    let mut error = OfferError::NoAudio;
    for (index, lines) in media.iter().enumerate() {
        let Some((head, formats)) = media_line(lines) else {
            return Err(OfferError::Unparsable);
        };
        let rejected = head[1] == "0" && attribute_in(lines, "bundle-only").is_none();
        if head[0] != "audio" || rejected {
            continue;
        }
        if !head[2].contains("RTP/SAVP") {
            error = OfferError::Unsupported {
                what: "the audio section is not encrypted with DTLS-SRTP",
            };
            continue;
        }
        match codec::choose(lines, &formats) {
            Some((codec, payload_type)) => return Ok((index, codec, payload_type)),
            None => error = OfferError::NoCodec,
        }
    }
    Err(error)
}

/// Splits the `m=` line into its media, port and transport, and its formats; `None` if it is too
/// short.
fn media_line<'a>(lines: &Lines<'a>) -> Option<([&'a str; 3], Vec<&'a str>)> {
    let (_, line) = lines.first()?;
    let mut words = line.split_ascii_whitespace();
    let head = [words.next()?, words.next()?, words.next()?];
    Some((head, words.collect()))
}

/// The identifier (`a=mid`) of a section, if it has one.
fn mid<'a>(lines: &Lines<'a>) -> Option<&'a str> {
    attribute_in(lines, "mid").filter(|mid| !mid.is_empty())
}

/// Identifiers of the BUNDLE group that contains the audio section; empty if there is none.
fn bundle_of(session: &Lines<'_>, audio: &Lines<'_>) -> Vec<String> {
    let Some(audio) = mid(audio) else {
        return Vec::new();
    };
    let groups = attributes_in(session, "group").map(|group| {
        let mut words = group.split_ascii_whitespace();
        (words.next(), words)
    });
    let mut bundles = groups.filter_map(|(semantics, mids)| {
        (semantics == Some("BUNDLE") && mids.clone().any(|mid| mid == audio)).then_some(mids)
    });
    let bundle = bundles.next().into_iter().flatten();
    bundle.map(str::to_owned).collect()
}

/// Decides how each section is answered. The server has only the audio's transport, so data
/// channels on another transport are refused (RFC 9143, section 7.3), and so are data channels with
/// a closed SCTP association (RFC 8841, section 9.4: port 0).
fn read_sections(
    media: &[Lines<'_>],
    audio: usize,
    bundle: &[String],
) -> Result<Vec<Section>, OfferError> {
    let mut sections: Vec<Section> = Vec::new();
    for (index, lines) in media.iter().enumerate() {
        let ([name, port, protocol], formats) = media_line(lines).ok_or(OfferError::Unparsable)?;
        let mid = mid(lines);
        if mid.is_some() && sections.iter().any(|section| section.mid.as_deref() == mid) {
            return Err(OfferError::Unsupported {
                what: "two media sections have the same mid",
            });
        }
        let data_taken = sections
            .iter()
            .any(|section| section.kind == SectionKind::Data);
        // The client libpeer omits the format; DTLS/SCTP has only ever carried data channels.
        let is_data = name == "application"
            && protocol.contains("DTLS/SCTP")
            && mid.is_some_and(|mid| bundle.iter().any(|bundled| bundled == mid))
            && sctp_port(lines, &formats) != Some(0)
            && (port != "0" || attribute_in(lines, "bundle-only").is_some());
        sections.push(Section {
            kind: match () {
                () if index == audio => SectionKind::Audio,
                () if is_data && !data_taken => SectionKind::Data,
                () => SectionKind::Refused,
            },
            media: name.to_owned(),
            protocol: protocol.to_owned(),
            format: formats.first().copied().unwrap_or_default().to_owned(),
            mid: mid.map(str::to_owned),
        });
    }
    Ok(sections)
}

/// The port of the client's SCTP association; before RFC 8841 the format was the port.
fn sctp_port(lines: &Lines<'_>, formats: &[&str]) -> Option<u32> {
    let port = attribute_in(lines, "sctp-port").or(formats.first().copied());
    port.and_then(|port| port.parse().ok())
}

/// The longest data-channel message that the client accepts; the default if the offer states none.
fn max_message(media: &[Lines<'_>], sections: &[Section]) -> u32 {
    let data = sections
        .iter()
        .position(|section| section.kind == SectionKind::Data);
    data.and_then(|data| attribute_in(&media[data], "max-message-size")?.parse().ok())
        .unwrap_or(DEFAULT_MESSAGE_BYTES)
}

/// Error text for a description without a fingerprint that can be checked.
pub(super) const NO_FINGERPRINT: &str = "no DTLS fingerprint with sha-256, sha-384 or sha-512";

/// Longest data-channel message if the offer states none (RFC 8841, section 6.1), in bytes.
const DEFAULT_MESSAGE_BYTES: u32 = 65_536;

/// Reads `a=extmap:<id>[/<direction>] <uri>` (RFC 8285, section 5).
fn read_extensions(lines: &Lines<'_>) -> Extensions {
    let mut extensions = Extensions::default();
    for value in attributes_in(lines, "extmap") {
        let mut words = value.split_ascii_whitespace();
        let (Some(number), Some(uri)) = (words.next(), words.next()) else {
            continue;
        };
        let (number, direction) = match number.split_once('/') {
            Some((number, direction)) => (number, Some(direction)),
            None => (number, None),
        };
        // The server writes only the one-byte header form, whose ids end at 14.
        let Some(id) = number.parse().ok().filter(|id| (1..=14).contains(id)) else {
            continue;
        };
        let directed = matches!(direction, Some("sendonly" | "recvonly"));
        let extension = Extension { id, directed };
        match uri {
            URI_MID if !directed => extensions.mid = Some(id),
            URI_SSRC_LEVEL if !matches!(direction, Some("recvonly" | "inactive")) => {
                extensions.ssrc_level = Some(extension);
            }
            URI_CSRC_LEVEL if !matches!(direction, Some("sendonly" | "inactive")) => {
                extensions.csrc_level = Some(extension);
            }
            _ => {}
        }
    }
    extensions
}

pub(super) const URI_MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
pub(super) const URI_SSRC_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
pub(super) const URI_CSRC_LEVEL: &str = "urn:ietf:params:rtp-hdrext:csrc-audio-level";

#[cfg(test)]
#[path = "offer_tests.rs"]
pub(super) mod tests;
