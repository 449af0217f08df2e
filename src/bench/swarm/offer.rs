//! Creates a connection and its offer, which is the costly part of a join, on the caller's thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtc::crypto::{RTCCryptoProvider, SignatureScheme};
use rtc::interceptor::Registry;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::certificate::{CertificateParams, RTCCertificate};
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MediaEngine};
use rtc::peer_connection::configuration::setting_engine::{SettingEngine, SettingEngineBuilder};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::RTCIceCandidateInit;
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::shared::error::Error;

use super::sending::PAYLOAD_TYPE;
use crate::join::sdp::LEVEL_EXTENSION;

/// Creates offers; all clients of a swarm share its certificate.
pub(super) struct Offerer {
    crypto: Arc<dyn RTCCryptoProvider>,
    certificate: RTCCertificate,
}

/// A connection that waits for its answer.
pub(super) struct Offered {
    pub(super) pc: RTCPeerConnection,
    pub(super) ssrc: u32,
    pub(super) sdp: String,
}

impl Offerer {
    /// Creates the certificate that all clients share.
    pub(super) fn new() -> Result<Offerer, Error> {
        let crypto =
            rtc::crypto::default_provider().map_err(|error| Error::Other(error.to_string()))?;
        let params = CertificateParams::new(vec!["mixminus-bench".to_owned()])
            .map_err(|error| Error::Other(error.to_string()))?;
        let certificate =
            RTCCertificate::generate(crypto.crypto(), SignatureScheme::EcdsaP256Sha256, params)?;
        Ok(Offerer {
            crypto,
            certificate,
        })
    }

    /// Creates a connection on address `local` and its offer: to send and receive, or only to
    /// receive.
    pub(super) fn offer(&self, local: SocketAddr, sends: bool) -> Result<Offered, Error> {
        let now = Instant::now();
        let ssrc = rand::random_range(1..u32::MAX);
        let mut media = MediaEngine::default();
        media.register_codec(opus(), RtpCodecKind::Audio)?;
        let uri = LEVEL_EXTENSION.to_owned();
        media.register_header_extension(
            RTCRtpHeaderExtensionCapability { uri },
            RtpCodecKind::Audio,
            None,
        )?;
        let configuration = RTCConfigurationBuilder::new()
            .with_certificates(vec![self.certificate.clone()])
            .build();
        // Without interceptors: the client makes its own reports, and needs nothing else.
        let mut pc = RTCPeerConnectionBuilder::new()
            .with_configuration(configuration)
            .with_setting_engine(self.settings())
            .with_media_engine(media)
            .with_interceptor_registry(Registry::new())
            .build(now)?;
        if sends {
            pc.add_track(track(ssrc))?;
        } else {
            let only_listen = RTCRtpTransceiverInit {
                direction: RTCRtpTransceiverDirection::Recvonly,
                ..RTCRtpTransceiverInit::default()
            };
            pc.add_transceiver_from_kind(RtpCodecKind::Audio, Some(only_listen))?;
        }
        pc.add_local_candidate(RTCIceCandidateInit {
            candidate: format!(
                "1 1 udp 2130706431 {} {} typ host",
                local.ip(),
                local.port()
            ),
            ..RTCIceCandidateInit::default()
        })?;
        let offer = pc.create_offer(None)?;
        pc.set_local_description(now, offer)?;
        let described = pc.local_description();
        let sdp = described
            .map(|own| own.sdp)
            .ok_or_else(|| Error::Other("no description".to_owned()))?;
        Ok(Offered { pc, ssrc, sdp })
    }

    fn settings(&self) -> SettingEngine {
        // The intervals differ, so that the checks of thousands of clients do not coincide.
        let keep_alive = KEEP_ALIVE + Duration::from_millis(rand::random_range(0..1_000));
        SettingEngineBuilder::new()
            .with_crypto_provider(self.crypto.clone())
            .with_ice_connection_attempts(Some(CHECK_EVERY), Some(CHECKS))
            .with_ice_timeouts(Some(SHAKY_AFTER), Some(DOWN_AFTER), Some(keep_alive))
            // The client nominates, and the first candidate pair that works is good enough.
            .with_host_acceptance_min_wait(Some(Duration::ZERO))
            .with_prflx_acceptance_min_wait(Some(Duration::ZERO))
            .build()
    }
}

/// Applies the server's answer to a connection.
pub(super) fn accept(pc: &mut RTCPeerConnection, answer: &str) -> Result<(), Error> {
    let answer = RTCSessionDescription::answer(answer.to_owned())?;
    pc.set_remote_description(Instant::now(), answer)
}

fn track(ssrc: u32) -> MediaStreamTrack {
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(ssrc),
            ..RTCRtpCodingParameters::default()
        },
        codec: opus().rtp_codec,
        ..RTCRtpEncodingParameters::default()
    };
    MediaStreamTrack::new(
        "bench".to_owned(),
        "voice".to_owned(),
        "voice".to_owned(),
        RtpCodecKind::Audio,
        vec![encoding],
    )
}

fn opus() -> RTCRtpCodecParameters {
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: MIME_TYPE_OPUS.to_owned(),
            clock_rate: 48_000,
            channels: 2,
            // The parameters that browsers offer.
            sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
            rtcp_feedback: Vec::new(),
        },
        payload_type: PAYLOAD_TYPE,
    }
}

/// The pace of connectivity checks, at which the core also begins the DTLS handshake.
const CHECK_EVERY: Duration = Duration::from_millis(50);
/// Checks of one path before it is given up: five seconds, because a server with many joins is
/// slow.
const CHECKS: u16 = 100;
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// How long a connection may be without an answer before it counts as disconnected. Long, because a
/// benchmark also measures servers that are too busy to answer.
const SHAKY_AFTER: Duration = Duration::from_secs(20);
const DOWN_AFTER: Duration = Duration::from_secs(40);
