//! Reading an offer: limits, checks, and everything an answer needs to know about it.

use mixer::codec::Codec;
use mixer::profile::ReceiverLimits;

use super::candidate::{RemoteCandidate, remote_candidates};
use super::fingerprint::Fingerprints;
use super::lexer::{Lines, attribute_in, attributes_in, sections};
use super::{Credentials, codec, opus};
use crate::rtc::error::OfferError;

/// An offer that can be answered.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The client's ICE credentials.
    pub credentials: Credentials,
    /// The client is an ICE-lite agent: it only answers checks.
    pub ice_lite: bool,
    /// The certificates the client may present.
    pub fingerprints: Fingerprints,
    /// Who starts DTLS.
    pub setup: Setup,
    /// Usable candidates.
    pub candidates: Vec<RemoteCandidate>,
    /// The codec of the answer, both ways.
    pub codec: Codec,
    /// What the client calls it.
    pub payload_type: u8,
    /// Direction of the audio, as the client sees it.
    pub direction: Direction,
    /// What the client wants to receive.
    pub limits: ReceiverLimits,
    /// Header extensions that both sides know.
    pub extensions: Extensions,
    /// Longest data-channel message the client takes (RFC 8841, 6.1); 0 is any.
    pub max_message_bytes: u32,
    /// The sections in their order, with what becomes of each.
    pub(super) sections: Vec<Section>,
    /// RTP and RTCP may share a port (RFC 5761).
    pub rtcp_mux: bool,
    /// The sections that share the audio's transport (RFC 9143), itself included; empty without BUNDLE.
    pub(super) bundle: Vec<String>,
    /// The client trickles candidates (RFC 8838).
    pub(super) trickles: bool,
    /// The client follows RFC 8445 and nominates regularly (its section 10).
    pub(super) ice2: bool,
}

/// Who is to start DTLS (RFC 8842, 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// The answerer chooses.
    ActPass,
    /// The client starts.
    Active,
    /// The server has to start.
    Passive,
}

impl Setup {
    /// Whether the server starts DTLS, which it does where it may (RFC 5763, 5): it knows first that there is a path,
    /// and a client that learns of it later would start later.
    pub fn server_starts(self) -> bool {
        self != Setup::Active
    }
}

/// Which way audio flows, seen from the side that says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// Only away from it.
    SendOnly,
    /// Only towards it.
    RecvOnly,
    /// Not at all.
    Inactive,
}

impl Direction {
    /// The same, seen from the other side.
    #[must_use]
    pub const fn mirrored(self) -> Direction {
        match self {
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            same => same,
        }
    }

    /// Whether the side that says it sends.
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the side that says it receives.
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// The attribute's name.
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

/// Identifiers of the RTP header extensions (RFC 8285) that the client offers in a direction of use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extensions {
    /// RFC 9143: the section a packet belongs to, both ways.
    pub mid: Option<u8>,
    /// RFC 6464: the client's level, towards the server.
    pub ssrc_level: Option<Extension>,
    /// RFC 6465: levels of those heard, towards the client.
    pub csrc_level: Option<Extension>,
}

/// One extension: its identifier, and whether the offer states a direction that the answer has to mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    /// 1..=14, the range of the one-byte header.
    pub id: u8,
    /// The offer limits it to one direction.
    pub directed: bool,
}

/// One media section of the offer.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) kind: SectionKind,
    /// First word of the `m=` line.
    pub(super) media: String,
    /// The transport, to be mirrored.
    pub(super) protocol: String,
    /// First format, to be repeated where the section is refused.
    pub(super) format: String,
    pub(super) mid: Option<String>,
}

/// What becomes of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SectionKind {
    /// The audio section that is answered.
    Audio,
    /// The data channels.
    Data,
    /// Answered with port 0.
    Refused,
}

impl Offer {
    /// Reads an offer.
    ///
    /// # Errors
    ///
    /// See [`OfferError`]; never depends on anything but `sdp`.
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

    /// Whether data channels are offered.
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

/// The sections that describe the audio's transport, the audio's own first, then the session.
struct Transport<'a>(Vec<&'a Lines<'a>>);

impl<'a> Transport<'a> {
    /// With BUNDLE the client may have put its transport's attributes into another section than the audio's. Without
    /// it each section has a transport of its own.
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

    /// The first value of an attribute.
    fn first(&self, name: &str) -> Option<&'a str> {
        let mut sections = self.0.iter();
        sections.find_map(|lines| attribute_in(lines, name))
    }

    /// All values of an attribute.
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a str> {
        let sections = self.0.iter();
        sections.flat_map(move |lines| attributes_in(lines, name))
    }

    fn credentials(&self) -> Result<Credentials, OfferError> {
        let credentials = self.first("ice-ufrag").zip(self.first("ice-pwd"));
        let credentials = credentials.and_then(|(ufrag, pwd)| Credentials::new(ufrag, pwd));
        credentials.ok_or(OfferError::Unsupported {
            what: "it has no usable ice-ufrag and ice-pwd",
        })
    }

    fn fingerprints(&self) -> Result<Fingerprints, OfferError> {
        Fingerprints::read(self.all("fingerprint")).ok_or(OfferError::Unsupported {
            what: "it has no sha-256, sha-384 or sha-512 DTLS fingerprint",
        })
    }

    fn setup(&self) -> Result<Setup, OfferError> {
        match self.first("setup") {
            Some("actpass") => Ok(Setup::ActPass),
            // What an offer means that does not tell (RFC 4145, 4).
            None | Some("active") => Ok(Setup::Active),
            Some("passive") => Ok(Setup::Passive),
            Some(_) => Err(OfferError::Unsupported {
                what: "its a=setup is neither actpass, active nor passive",
            }),
        }
    }

    /// Whether an ICE option is among those of any section.
    fn has_option(&self, option: &str) -> bool {
        self.all("ice-options")
            .flat_map(|options| options.split([' ', ',']))
            .any(|word| word == option)
    }
}

/// The audio's direction, which the session may say for all its sections.
fn direction(audio: &Lines<'_>, session: &Lines<'_>) -> Direction {
    let of = |lines: &Lines<'_>| {
        let mut all = Direction::ALL.into_iter();
        all.find(|direction| attribute_in(lines, direction.name()).is_some())
    };
    of(audio)
        .or_else(|| of(session))
        .unwrap_or(Direction::SendRecv)
}

/// The first audio section that offers a codec of ours over DTLS-SRTP, which, and its payload type.
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
                what: "its audio is not encrypted by DTLS-SRTP",
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

/// The `m=` line as media, port and transport, and its formats.
fn media_line<'a>(lines: &Lines<'a>) -> Option<([&'a str; 3], Vec<&'a str>)> {
    let (_, line) = lines.first()?;
    let mut words = line.split_ascii_whitespace();
    let head = [words.next()?, words.next()?, words.next()?];
    Some((head, words.collect()))
}

/// The identifier of a section.
fn mid<'a>(lines: &Lines<'a>) -> Option<&'a str> {
    attribute_in(lines, "mid").filter(|mid| !mid.is_empty())
}

/// The identifiers of the BUNDLE group that the audio section is in; empty if it is in none.
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

/// What becomes of each section. There is one transport, the audio's, so data channels are refused that would need
/// another (RFC 9143, 7.3), and those whose association is closed (RFC 8841, 9.4: a port of 0).
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
                what: "two sections have the same mid",
            });
        }
        let data_taken = sections
            .iter()
            .any(|section| section.kind == SectionKind::Data);
        // libpeer leaves the format away; data channels are all that DTLS/SCTP ever carried.
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

/// The port of the client's SCTP association: before RFC 8841 the format was the port.
fn sctp_port(lines: &Lines<'_>, formats: &[&str]) -> Option<u32> {
    let port = attribute_in(lines, "sctp-port").or(formats.first().copied());
    port.and_then(|port| port.parse().ok())
}

/// What the section of the data channels says, or what saying nothing means.
fn max_message(media: &[Lines<'_>], sections: &[Section]) -> u32 {
    let data = sections
        .iter()
        .position(|section| section.kind == SectionKind::Data);
    data.and_then(|data| attribute_in(&media[data], "max-message-size")?.parse().ok())
        .unwrap_or(DEFAULT_MESSAGE_BYTES)
}

/// RFC 8841, 6.1.
const DEFAULT_MESSAGE_BYTES: u32 = 65_536;

/// `a=extmap:<id>[/<direction>] <uri>` (RFC 8285, 5).
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
        // Only the one-byte header is written, which ends at 14.
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
