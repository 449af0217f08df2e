//! Counters of the network thread, readable from any thread.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Why a datagram, a packet or a message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Dropped {
    /// Longer than any WebRTC datagram.
    Oversize,
    /// Not STUN, DTLS, RTP or RTCP, or with lengths that lie.
    Malformed,
    /// From an address that no authenticated connectivity check came from.
    Stranger,
    /// STUN without valid credentials of a peer.
    Unauthenticated,
    /// A peer has used up its addresses or candidates, or claims the address of another.
    Addresses,
    /// A peer sends more connectivity checks than ICE needs.
    Checks,
    /// A plaintext DTLS alert, or a ClientHello that offers nothing.
    HostileDtls,
    /// More handshake datagrams than a handshake has.
    Handshake,
    /// A handshake with a certificate that the offer does not name; it ends the peer.
    Certificate,
    /// RTCP whose source never authenticated, faster than new sources may come.
    Sources,
    /// RTP or RTCP that SRTP refuses: forged, damaged, or here before.
    Srtp,
    /// More RTP packets than the shortest packet time gives.
    PacketRate,
    /// More RTCP than any client has to say.
    RtcpRate,
    /// RTP of another payload type, or too long for the engine.
    Unusable,
    /// The mixer's link was full.
    MixerFull,
    /// A data-channel message that is binary, too long, or one of too many.
    Message,
    /// The socket's send buffer stayed full.
    SendBuffer,
    /// An event link was full.
    Event,
    /// Refused by the WebRTC core.
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

    /// A label for a metric.
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

/// What the network thread counts, over all peers.
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
    /// Datagrams the system did not take.
    pub send_errors_total: AtomicU64,
    /// Peers there are now, connected or not.
    pub peers: AtomicU64,
    /// Peers that found a path but never finished DTLS.
    pub dtls_failures_total: AtomicU64,
    /// Peers dropped because the core panicked on them.
    pub faults_total: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
}

impl RtcMetrics {
    /// How often something was dropped for `reason`.
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

/// What the network thread counts for one peer; the packets are brought up to date every few seconds.
#[derive(Debug, Default)]
pub struct PeerStats {
    /// RTP packets received and authenticated.
    pub received_total: AtomicU64,
    /// Their payload bytes.
    pub received_bytes_total: AtomicU64,
    /// RTP packets sent.
    pub sent_total: AtomicU64,
    /// Their payload bytes.
    pub sent_bytes_total: AtomicU64,
    /// Loss the client reports on what it receives, percent.
    pub loss_percent: AtomicU8,
    /// Interarrival jitter the client reports (RFC 3550, 6.4.1), 48 kHz samples.
    pub jitter_samples: AtomicU32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_counters_agree() {
        let metrics = RtcMetrics::default();
        for (index, reason) in Dropped::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            metrics.count(reason);
            assert_eq!(metrics.dropped_total(reason), 1, "{}", reason.label());
        }
    }
}
