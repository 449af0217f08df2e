//! Counters of the network thread, readable from any thread.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Why the network thread dropped a datagram, packet, message or event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Dropped {
    /// Longer than any WebRTC datagram.
    Oversize,
    /// Not STUN, DTLS, RTP or RTCP, or with wrong length fields.
    Malformed,
    /// From an address without an authenticated connectivity check.
    Stranger,
    /// STUN without valid credentials of a peer.
    Unauthenticated,
    /// The client has used up its addresses or candidates, or claims an address that another client
    /// uses.
    Addresses,
    /// More connectivity checks of a peer than ICE needs.
    Checks,
    /// A plaintext DTLS alert, or a ClientHello without an encrypting cipher suite.
    HostileDtls,
    /// A handshake datagram beyond the limit, or media that cannot be processed before DTLS is up
    /// or during an ICE restart.
    Handshake,
    /// A handshake with a certificate that the offer does not name; ends the peer.
    Certificate,
    /// RTCP of an unknown SSRC, arriving faster than new SSRCs are admitted.
    Sources,
    /// RTP or RTCP that SRTP rejects: forged, damaged or replayed.
    Srtp,
    /// More RTP packets than a client sends with the shortest packet time.
    PacketRate,
    /// More RTCP than any client needs.
    RtcpRate,
    /// RTP of another payload type, or too long for the engine.
    Unusable,
    /// The ring to the client's mixer was full.
    MixerFull,
    /// A data-channel message that is binary, too long, or over the rate limit.
    Message,
    /// The socket's send buffer stayed full.
    SendBuffer,
    /// The ring for events to the conference was full.
    Event,
    /// Refused by the WebRTC core, or too much waited for the core during an ICE restart.
    Core,
}

impl Dropped {
    /// Every reason, in the order of the counters.
    pub const ALL: [Dropped; 19] = [
        Dropped::Oversize,
        Dropped::Malformed,
        Dropped::Stranger,
        Dropped::Unauthenticated,
        Dropped::Addresses,
        Dropped::Checks,
        Dropped::HostileDtls,
        Dropped::Handshake,
        Dropped::Certificate,
        Dropped::Sources,
        Dropped::Srtp,
        Dropped::PacketRate,
        Dropped::RtcpRate,
        Dropped::Unusable,
        Dropped::MixerFull,
        Dropped::Message,
        Dropped::SendBuffer,
        Dropped::Event,
        Dropped::Core,
    ];

    /// The reason as a metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Dropped::Oversize => "oversize",
            Dropped::Malformed => "malformed",
            Dropped::Stranger => "stranger",
            Dropped::Unauthenticated => "unauthenticated",
            Dropped::Addresses => "addresses",
            Dropped::Checks => "checks",
            Dropped::HostileDtls => "hostile_dtls",
            Dropped::Handshake => "handshake",
            Dropped::Certificate => "certificate",
            Dropped::Sources => "sources",
            Dropped::Srtp => "srtp",
            Dropped::PacketRate => "packet_rate",
            Dropped::RtcpRate => "rtcp_rate",
            Dropped::Unusable => "unusable",
            Dropped::MixerFull => "mixer_full",
            Dropped::Message => "message",
            Dropped::SendBuffer => "send_buffer",
            Dropped::Event => "event",
            Dropped::Core => "core",
        }
    }
}

/// Counters of the network thread, summed over all peers.
#[derive(Debug, Default)]
pub struct RtcMetrics {
    /// Datagrams received.
    pub datagrams_in_total: AtomicU64,
    /// Bytes received, UDP payload.
    pub bytes_in_total: AtomicU64,
    /// Datagrams sent.
    pub datagrams_out_total: AtomicU64,
    /// Bytes sent, UDP payload.
    pub bytes_out_total: AtomicU64,
    /// Datagrams that the system refused to send.
    pub send_errors_total: AtomicU64,
    /// Current number of peers, connected or not.
    pub peers: AtomicU64,
    /// Peers that found a path but did not complete DTLS in time.
    pub dtls_failures_total: AtomicU64,
    /// Panics of the WebRTC core or of a peer's packet processing; each ends the peer.
    pub faults_total: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
}

impl RtcMetrics {
    /// Number of drops for `reason`.
    pub fn dropped_total(&self, reason: Dropped) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, reason: Dropped) {
        self.count_many(reason, 1);
    }

    pub(super) fn count_many(&self, reason: Dropped, times: usize) {
        self.dropped[reason as usize].fetch_add(times as u64, Ordering::Relaxed);
    }
}

/// Counters of one peer; the packet counters are updated every few seconds.
#[derive(Debug, Default)]
pub struct PeerStats {
    /// RTP packets received and authenticated.
    pub received_total: AtomicU64,
    /// Payload bytes of the RTP packets received.
    pub received_bytes_total: AtomicU64,
    /// RTP packets sent.
    pub sent_total: AtomicU64,
    /// Payload bytes of the RTP packets sent.
    pub sent_bytes_total: AtomicU64,
    /// Loss that the client reports for the stream that it receives, in percent; falls slowly.
    pub loss_percent: AtomicU8,
    /// Interarrival jitter that the client reports for the stream that it receives (RFC 3550,
    /// section 6.4.1), in 48 kHz samples.
    pub jitter_samples: AtomicU32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_reasons_match_the_order_of_their_counters() {
        let metrics = RtcMetrics::default();
        for (index, reason) in Dropped::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            metrics.count(reason);
            assert_eq!(metrics.dropped_total(reason), 1, "{}", reason.label());
        }
    }
}
