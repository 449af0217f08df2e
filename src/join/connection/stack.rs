//! The configuration of the WebRTC stack: codec, header extensions, timers and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::configuration::media_engine::MIME_TYPE_OPUS;
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, Registry,
    SettingEngineBuilder, configure_rtcp_reports,
};

use super::super::sdp::LEVEL_EXTENSION;
use super::{ConnectionError, Reach};

/// Builds a peer connection of the WebRTC stack that has no media sections yet.
pub(super) async fn build(
    handler: Arc<dyn PeerConnectionEventHandler>,
    reach: Reach,
) -> Result<Arc<dyn PeerConnection>, ConnectionError> {
    let mut media = MediaEngine::default();
    media.register_codec(opus(), RtpCodecKind::Audio)?;
    for uri in LEVEL_EXTENSIONS {
        let uri = uri.to_owned();
        media.register_header_extension(
            RTCRtpHeaderExtensionCapability { uri },
            RtpCodecKind::Audio,
            None,
        )?;
    }
    let settings = SettingEngineBuilder::new()
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        // `trust.rs` checks the certificate against all fingerprints of the other side; the stack
        // would check only one.
        .with_disable_certificate_fingerprint_verification(true)
        // For the answering side: the side that starts the DTLS handshake first waits 200 ms for a
        // timer.
        .with_answering_dtls_role(RTCDtlsRole::Server)
        .with_ice_connection_attempts(Some(CHECK_EVERY), Some(CHECKS))
        .with_ice_timeouts(Some(SHAKY_AFTER), Some(DOWN_AFTER), Some(KEEP_ALIVE))
        .build();
    let peer = PeerConnectionBuilder::new()
        .with_media_engine(media)
        .with_setting_engine(settings)
        .with_interceptor_registry(configure_rtcp_reports(Registry::new()))
        .with_handler(handler)
        .with_udp_addrs(addresses(reach)?)
        .build()
        .await?;
    Ok(Arc::new(peer))
}

/// Returns the local addresses to bind for a connection. A wildcard address would leave loopback
/// out, so every interface is listed. Loopback is included if the other side may be on this
/// machine, or if there is no other address.
fn addresses(reach: Reach) -> Result<Vec<SocketAddr>, ConnectionError> {
    if let Reach::From(ip) = reach {
        return Ok(vec![SocketAddr::new(ip, 0)]);
    }
    let interfaces = if_addrs::get_if_addrs().map_err(|_| ConnectionError::NoAddress)?;
    let all: Vec<IpAddr> = interfaces.iter().map(|interface| interface.ip()).collect();
    let chosen = choose(&all, reach == Reach::Anywhere);
    if chosen.is_empty() {
        return Err(ConnectionError::NoAddress);
    }
    Ok(chosen
        .into_iter()
        .map(|ip| SocketAddr::new(ip, 0))
        .collect())
}

fn choose(all: &[IpAddr], local: bool) -> Vec<IpAddr> {
    let is_link_local = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let mut chosen: Vec<IpAddr> = all
        .iter()
        .filter(|ip| !ip.is_loopback() && !is_link_local(ip))
        .copied()
        .collect();
    if local || chosen.is_empty() {
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        chosen.extend(loopback.iter().filter(|ip| all.contains(ip)));
    }
    chosen.truncate(MAX_ADDRESSES);
    chosen
}

/// The parameters of Opus with which the client receives.
pub(super) fn opus() -> RTCRtpCodecParameters {
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: MIME_TYPE_OPUS.to_owned(),
            clock_rate: 48_000,
            channels: 2,
            sdp_fmtp_line: "minptime=10;useinbandfec=1;usedtx=1".to_owned(),
            rtcp_feedback: Vec::new(),
        },
        payload_type: OPUS_PAYLOAD_TYPE,
    }
}

/// The payload type that browsers use for Opus.
pub(super) const OPUS_PAYLOAD_TYPE: u8 = 111;

/// The header extensions for the sent audio level (RFC 6464) and for the levels of the contributors
/// (RFC 6465).
const LEVEL_EXTENSIONS: [&str; 2] = [
    LEVEL_EXTENSION,
    "urn:ietf:params:rtp-hdrext:csrc-audio-level",
];

/// The largest number of candidates in a description: enough for any client machine.
const MAX_ADDRESSES: usize = 16;

/// The pace of connectivity checks (RFC 8445, 14.2). The stack also starts the DTLS handshake only
/// at the next check, so that at its default pace every join would take 200 ms longer.
const CHECK_EVERY: Duration = Duration::from_millis(50);

/// The number of checks after which the stack gives up a path: three seconds.
const CHECKS: u16 = 60;

/// After this time without an answer a connection counts as shaky: three consecutive keep-alives.
const SHAKY_AFTER: Duration = Duration::from_secs(3);

/// How long the stack tries to recover a shaky connection before it gives up.
const DOWN_AFTER: Duration = Duration::from_secs(20);

const KEEP_ALIVE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_bound_if_the_remote_peer_may_be_local_or_no_other_address_exists() {
        let ips =
            |list: &[&str]| -> Vec<IpAddr> { list.iter().map(|ip| ip.parse().unwrap()).collect() };
        let all = ips(&[
            "127.0.0.1",
            "::1",
            "192.0.2.7",
            "fe80::1",
            "169.254.3.3",
            "2001:db8::1",
        ]);
        assert_eq!(choose(&all, false), ips(&["192.0.2.7", "2001:db8::1"]));
        assert_eq!(
            choose(&all, true),
            ips(&["192.0.2.7", "2001:db8::1", "127.0.0.1", "::1"])
        );
        assert_eq!(choose(&ips(&["127.0.0.1"]), false), ips(&["127.0.0.1"]));
        assert_eq!(choose(&[], true), ips(&[]));
    }
}
