//! Answers an offer and builds the client's peer: the costly part of a join, on the caller's
//! thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mixer::ParticipantId;
use mixer::codec::{Codec, LITTLE_BPS, ReceiverLimits};
use rtc::crypto::{RTCCryptoProvider, SignatureScheme};
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc::interceptor::{Registry, Slot};
use rtc::peer_connection::certificate::{CertificateParams, RTCCertificate};
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MediaEngine};
use rtc::peer_connection::configuration::setting_engine::{
    SctpMaxMessageSize, SettingEngine, SettingEngineBuilder,
};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::{RTCDtlsRole, RTCIceCandidateInit};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind};
use rtc::shared::error::Error;

use super::candidates::{self, LocalAddresses};
use super::config::RtcConfig;
use super::error::RtcError;
use super::metrics::{PeerStats, RtcMetrics};
use super::peer;
use super::peer::{Core, Peer, PeerParts};
use super::rtcp_interceptor::{RtcpInterceptor, RtcpState};
use super::rtp_receiver::{ReceiveConfig, RtpReceiver};
use super::rtp_sender::{RtpSender, SendConfig};
use super::sdp::{Answer, Credentials, Offer, OfferError, PLAIN_TYPE, attribute, plain_offer};
use super::srtp::key_capture::KeyCapture;
use crate::queues::MixerId;

/// Options for the answer to one client.
#[derive(Debug, Clone, Copy, Default)]
pub struct AcceptOptions {
    /// Most bits per second the client should send on average (RFC 7587, `maxaveragebitrate`).
    pub uplink_bitrate_bps: Option<u32>,
    /// Whether to save bytes: the client is asked to send at a low bitrate, and is sent as little
    /// besides media as the standards allow. Also applies, whatever this says, to clients whose
    /// offer asks for 16 kbit/s or less.
    pub thrifty: bool,
    /// The mixer that gets the client's packets; the first mixer by default.
    pub mixer: MixerId,
}

impl AcceptOptions {
    /// Whether to save bytes for the client that made `offer`; see [`AcceptOptions::thrifty`].
    fn is_thrifty(&self, offer: &Offer) -> bool {
        self.thrifty || offer.limits.wants_little()
    }
}

/// The result of accepting an offer: the answer, and a peer that can be started.
pub struct Accepted {
    /// The answer, to be sent to the client.
    pub answer: String,
    /// The server's ICE user fragment, which identifies the new ICE session.
    pub ice_ufrag: String,
    /// The client's ICE user fragment, by which the client refers to the new ICE session.
    pub client_ufrag: String,
    /// Whether the client sends audio.
    pub talks: bool,
    /// Whether the client receives audio.
    pub listens: bool,
    /// The limits that the client sets for the stream it receives.
    pub limits: ReceiverLimits,
    /// The codec that the client sends.
    pub codec: Codec,
    /// Counters of this peer.
    pub stats: Arc<PeerStats>,
    /// The peer, to be passed to [`NetworkControl::start`](super::NetworkControl::start).
    pub peer: Box<Peer>,
}

/// Identifiers of the RTP stream that the server sends to one client.
struct OwnStream {
    ssrc: u32,
    cname: String,
}

impl OwnStream {
    fn new() -> OwnStream {
        OwnStream {
            ssrc: rand::random_range(1..u32::MAX),
            cname: format!("{:016x}", rand::random::<u64>()),
        }
    }

    fn sender(&self, offer: &Offer) -> RtpSender {
        RtpSender::new(SendConfig {
            ssrc: self.ssrc,
            codec: offer.codec,
            payload_type: offer.payload_type,
            levels_id: offer.extensions.csrc_level.map(|extension| extension.id),
            mid: offer
                .extensions
                .mid
                .zip(offer.audio_mid())
                .filter(|(_, mid)| mid.len() <= MAX_EXTENSION_BYTES)
                .map(|(id, mid)| (id, mid.as_bytes().into())),
        })
    }
}

/// Builds the receiver of the client's RTP. It has a mixer only if the client sends audio.
fn receiver(offer: &Offer, participant: ParticipantId, mixer: MixerId) -> RtpReceiver {
    RtpReceiver::new(ReceiveConfig {
        participant,
        codec: offer.codec,
        payload_type: offer.payload_type,
        level_id: offer.extensions.ssrc_level.map(|extension| extension.id),
        mixer: offer.direction.sends().then_some(mixer),
    })
}

/// Answers offers. Contains everything that the peers of one media socket share.
pub(super) struct Acceptor {
    crypto: Arc<dyn RTCCryptoProvider>,
    certificate: RTCCertificate,
    fingerprint: String,
    addresses: Vec<SocketAddr>,
    candidates: Vec<String>,
    local: LocalAddresses,
    config: RtcConfig,
    metrics: Arc<RtcMetrics>,
}

impl Acceptor {
    /// Generates the DTLS certificate and lists the server's addresses; `bound` is the media
    /// socket's address.
    ///
    /// # Errors
    ///
    /// Returns an error if the system cannot list its interfaces or the certificate cannot be
    /// generated.
    pub(super) fn new(
        config: RtcConfig,
        bound: SocketAddr,
        metrics: Arc<RtcMetrics>,
    ) -> Result<Acceptor, RtcError> {
        let crypto = rtc::crypto::default_provider().map_err(|_| RtcError::Certificate)?;
        let certificate = certificate(crypto.as_ref()).map_err(|_| RtcError::Certificate)?;
        let fingerprint = certificate
            .get_fingerprints(crypto.crypto())
            .ok()
            .and_then(|all| all.into_iter().next())
            .map(|fingerprint| fingerprint.value.to_ascii_uppercase())
            .ok_or(RtcError::Certificate)?;
        let addresses = candidates::reachable(bound, &config.announce)?;
        Ok(Acceptor {
            crypto,
            certificate,
            fingerprint,
            candidates: candidates::lines(&addresses),
            local: LocalAddresses::new(bound, &addresses),
            addresses,
            config,
            metrics,
        })
    }

    /// The values of the server's `a=candidate` lines.
    pub(super) fn candidates(&self) -> &[String] {
        &self.candidates
    }

    /// Answers `offer` and builds the peer of `participant`.
    pub(super) fn accept(
        &self,
        offer: &str,
        participant: ParticipantId,
        options: AcceptOptions,
    ) -> Result<Accepted, OfferError> {
        let offer = Offer::read(offer)?;
        let now = Instant::now();
        let own = OwnStream::new();
        let shared = Arc::new(RtcpState::default());
        let stream = RtcpInterceptor::new(own.ssrc, offer.codec, shared.clone());
        let capture = KeyCapture::new(self.crypto.clone());
        let material = capture.material();
        let refused = |_| OfferError::Unsupported {
            what: "the WebRTC stack rejected the offer",
        };
        // The interval is randomised per peer, so that the consent checks of all peers do not
        // coincide (RFC 7675, section 5.1).
        let check_interval = CHECK_INTERVAL + Duration::from_millis(rand::random_range(0..800));
        let settings = self.settings(
            &offer,
            Arc::new(capture),
            check_interval,
            options.is_thrifty(&offer),
        );
        let pc = self
            .connection(now, &offer, stream, settings)
            .map_err(refused)?;
        let credentials = pc
            .local_description()
            .and_then(|local| credentials(&local.sdp))
            .ok_or(refused(()))?;
        let answer = self.answer(&offer, &credentials, &own, options);
        Ok(Accepted {
            answer,
            ice_ufrag: credentials.ufrag.clone(),
            client_ufrag: offer.credentials.ufrag.clone(),
            talks: offer.direction.sends(),
            listens: offer.direction.receives(),
            limits: offer.limits,
            codec: offer.codec,
            stats: shared.stats.clone(),
            peer: Box::new(Peer::new(
                now,
                PeerParts {
                    participant,
                    core: Core::new(pc),
                    local: credentials,
                    local_addresses: self.local,
                    sending: own.sender(&offer),
                    receiving: receiver(&offer, participant, options.mixer),
                    material,
                    cname: own.cname,
                    shared,
                    crypto: self.crypto.clone(),
                    metrics: self.metrics.clone(),
                    check_interval,
                    connect_timeout: self.config.connect_timeout,
                    handshake_timeout: self.config.handshake_timeout,
                    disconnected_after: self.config.disconnected_after,
                    consent_timeout: self.config.consent_timeout,
                    offer,
                },
            )),
        })
    }

    fn answer(
        &self,
        offer: &Offer,
        credentials: &Credentials,
        own: &OwnStream,
        options: AcceptOptions,
    ) -> String {
        let thrifty = options.is_thrifty(offer);
        let answer = Answer {
            credentials,
            fingerprint: &self.fingerprint,
            addresses: &self.addresses,
            candidates: &self.candidates,
            ssrc: own.ssrc,
            cname: &own.cname,
            max_average_bitrate_bps: match thrifty {
                true => Some(LITTLE_BPS),
                false => options.uplink_bitrate_bps,
            },
            thrifty,
            max_message_bytes: peer::MAX_SENT_BYTES,
            session: rand::random::<u64>() >> 2,
        };
        answer.write(offer)
    }

    /// Builds the WebRTC core's peer connection with both descriptions set, so that it only waits
    /// for connectivity checks.
    fn connection(
        &self,
        now: Instant,
        offer: &Offer,
        stream: RtcpInterceptor,
        settings: SettingEngine,
    ) -> Result<RTCPeerConnection, ()> {
        let failed = |_: Error| ();
        let mut media = MediaEngine::default();
        media
            .register_codec(opus(), RtpCodecKind::Audio)
            .map_err(failed)?;
        let configuration = RTCConfigurationBuilder::new()
            .with_certificates(vec![self.certificate.clone()])
            .build();
        let mut pc = RTCPeerConnectionBuilder::new()
            .with_configuration(configuration)
            .with_setting_engine(settings)
            .with_media_engine(media)
            .with_interceptor_registry(Registry::new().with(Slot::ReceiverReport, stream))
            .build(now)
            .map_err(failed)?;
        let plain = plain_offer(offer, &offer.credentials, &offer.candidates, 1);
        let plain = RTCSessionDescription::offer(plain).map_err(failed)?;
        pc.set_remote_description(now, plain).map_err(failed)?;
        for address in self.local.each() {
            add_local_candidate(&mut pc, address).map_err(failed)?;
        }
        let answer = pc.create_answer(None).map_err(failed)?;
        pc.set_local_description(now, answer).map_err(failed)?;
        Ok(pc)
    }

    fn settings(
        &self,
        offer: &Offer,
        crypto: Arc<dyn RTCCryptoProvider>,
        check_interval: Duration,
        thrifty: bool,
    ) -> SettingEngine {
        let silent = self
            .config
            .disconnected_after
            .min(self.config.consent_timeout);
        let role = match offer.setup.server_starts() {
            true => RTCDtlsRole::Client,
            false => RTCDtlsRole::Server,
        };
        // Every client supports this profile (RFC 8827, section 6.5), and its packets are the
        // shortest: six bytes less than with the profile that the core would choose.
        let srtp = match thrifty {
            true => vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80],
            false => Vec::new(),
        };
        SettingEngineBuilder::new()
            .with_crypto_provider(crypto)
            .with_srtp_protection_profiles(srtp)
            .with_lite(false)
            // The peer compares against every fingerprint of the offer; the core supports only one.
            .with_disable_certificate_fingerprint_verification(true)
            .with_answering_dtls_role(role)
            .with_ice_timeouts(
                Some(silent),
                Some(self.config.consent_timeout - silent),
                Some(check_interval),
            )
            // Towards an ICE-lite client we nominate, and accept any pair that works.
            .with_srflx_acceptance_min_wait(Some(Duration::ZERO))
            .with_prflx_acceptance_min_wait(Some(Duration::ZERO))
            .with_relay_acceptance_min_wait(Some(Duration::ZERO))
            .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(peer::MAX_SENT_BYTES))
            .build()
    }
}

/// Adds the media socket's address to the peer connection as a local candidate.
pub(super) fn add_local_candidate(
    pc: &mut RTCPeerConnection,
    address: SocketAddr,
) -> Result<(), Error> {
    pc.add_local_candidate(RTCIceCandidateInit {
        candidate: format!(
            "1 1 udp 2130706431 {} {} typ host",
            address.ip(),
            address.port()
        ),
        ..RTCIceCandidateInit::default()
    })
}

/// Reads the ICE credentials from a description that the WebRTC core wrote.
pub(super) fn credentials(sdp: &str) -> Option<Credentials> {
    Credentials::new(attribute(sdp, "ice-ufrag")?, attribute(sdp, "ice-pwd")?)
}

fn certificate(provider: &dyn RTCCryptoProvider) -> Result<RTCCertificate, Error> {
    let params = CertificateParams::new(vec!["mixminus".to_owned()])
        .map_err(|error| Error::Other(error.to_string()))?;
    RTCCertificate::generate(provider.crypto(), SignatureScheme::EcdsaP256Sha256, params)
}

fn opus() -> RTCRtpCodecParameters {
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: MIME_TYPE_OPUS.to_owned(),
            clock_rate: mixer::format::SAMPLE_RATE_HZ,
            channels: 2,
            ..RTCRtpCodec::default()
        },
        payload_type: PLAIN_TYPE,
    }
}

/// Longest value of an extension in the one-byte form (RFC 8285, section 4.2), in bytes.
const MAX_EXTENSION_BYTES: usize = 16;

/// Shortest time between two consent checks of a peer: RFC 7675 asks for 5 s, randomised by a
/// fifth. The smallest clients hang up after 10 s without a check.
const CHECK_INTERVAL: Duration = Duration::from_secs(4);
