//! One client's incoming RTP, which is decrypted in place and passed to the mixer at once.
//!
//! The client may change its SSRC at any time. The core's tracks know only one SSRC per media
//! section, so they are not used.

use std::time::{Duration, Instant};

use mixer::codec::Codec;
use mixer::packet::{Packet, Payload};
use mixer::{Level, ParticipantId, RtpTime, Seq};
use rtc::crypto::{CryptoError, RTCCrypto};

use super::metrics::Dropped;
use super::reception_stats::ReceptionStats;
use super::rtp_header::RtpHeader;
use super::srtp::{Decryptor, MasterKey};
use crate::queues::{Inbound, MixerId, Producer};
use crate::rate_limit::{Rate, RateLimit};

/// Receives the RTP streams of one client, one SSRC after another.
pub(super) struct RtpReceiver {
    config: ReceiveConfig,
    decryptor: Option<Decryptor>,
    /// Reception statistics of the client's most recent SSRC.
    reception: Option<ReceptionStats>,
    /// Rate limiter of the packets that are passed to the mixer.
    rate: RateLimit,
    received: u64,
    received_bytes: u64,
}

/// Settings of an [`RtpReceiver`].
pub(super) struct ReceiveConfig {
    pub(super) participant: ParticipantId,
    /// The codec that the client sends.
    pub(super) codec: Codec,
    /// The only accepted payload type.
    pub(super) payload_type: u8,
    /// Id of the audio-level header extension (RFC 6464), if negotiated.
    pub(super) level_id: Option<u8>,
    /// The mixer that gets the packets; `None` if the client does not send.
    pub(super) mixer: Option<MixerId>,
}

impl RtpReceiver {
    /// Builds a receiver that drops all packets until it has keys.
    pub(super) fn new(config: ReceiveConfig) -> RtpReceiver {
        RtpReceiver {
            config,
            decryptor: None,
            reception: None,
            rate: RateLimit::new(Rate {
                burst: PACKETS_AT_ONCE,
                interval: PACKET_INTERVAL,
            }),
            received: 0,
            received_bytes: 0,
        }
    }

    /// Sets the key with which packets are decrypted from now on.
    ///
    /// Set-up only (allocates).
    ///
    /// # Errors
    ///
    /// Returns an error if the key does not have the length of its profile.
    pub(super) fn set_key(
        &mut self,
        crypto: &dyn RTCCrypto,
        key: &MasterKey<'_>,
    ) -> Result<(), CryptoError> {
        self.decryptor = Some(Decryptor::new(crypto, key)?);
        Ok(())
    }

    /// Number of authentic packets, and number of their payload bytes.
    pub(super) fn received(&self) -> (u64, u64) {
        (self.received, self.received_bytes)
    }

    /// Reception statistics of the client's most recent SSRC; `None` before the first packet.
    pub(super) fn reception(&mut self) -> Option<&mut ReceptionStats> {
        self.reception.as_mut()
    }

    /// Decrypts a received packet and passes it to the mixer.
    ///
    /// - `to_mixers`: the rings to the mixers, by mixer id.
    ///
    /// # Errors
    ///
    /// Returns the reason why the packet was dropped.
    pub(super) fn take(
        &mut self,
        datagram: &mut [u8],
        now: Instant,
        to_mixers: &mut [Producer<Inbound>],
    ) -> Result<(), Dropped> {
        let decryptor = self.decryptor.as_mut().ok_or(Dropped::Handshake)?;
        let head = RtpHeader::read(datagram).ok_or(Dropped::Malformed)?;
        let end = decryptor
            .open(datagram, head.length_bytes, head.ssrc, head.sequence)
            .ok_or(Dropped::Srtp)?;
        // Only authentic packets are counted, so that forged packets cannot use up the client's
        // rate.
        if !self.rate.passes(now) {
            return Err(Dropped::PacketRate);
        }
        if head.payload_type != self.config.payload_type {
            return Err(Dropped::Unusable);
        }
        match &mut self.reception {
            Some(known) if known.ssrc() == head.ssrc => known.count(head.sequence, head.time, now),
            other => {
                let clock_hz = self.config.codec.clock_hz();
                let (ssrc, sequence) = (head.ssrc, head.sequence);
                *other = Some(ReceptionStats::new(
                    ssrc, clock_hz, sequence, head.time, now,
                ));
            }
        }
        let packet = &datagram[..end];
        let payload = head.payload(packet).ok_or(Dropped::Unusable)?;
        self.received += 1;
        self.received_bytes += payload.len() as u64;
        let Some(mixer) = self.config.mixer else {
            return Ok(());
        };
        let level = self
            .config
            .level_id
            .and_then(|id| head.extension(packet, id));
        let inbound = Inbound {
            from: self.config.participant,
            arrival: crate::clock::at(now),
            packet: Packet {
                seq: Seq(head.sequence),
                // Multiplying the wrapping clock keeps the instant of its wraparound.
                time: RtpTime(head.time.wrapping_mul(self.config.codec.samples_per_unit())),
                ssrc: head.ssrc,
                marker: head.marker,
                // RFC 6464, section 3: the level is the low seven bits of the first byte.
                level: level.and_then(<[u8]>::first).copied().map(Level::from_wire),
                payload: Payload::copy_from(payload).ok_or(Dropped::Unusable)?,
            },
        };
        let to_mixer = to_mixers.get_mut(mixer.0).ok_or(Dropped::MixerFull)?;
        to_mixer.push(inbound).map_err(|_| Dropped::MixerFull)
    }
}

/// Number of packets that a client may send at once, and the interval at which one more is allowed:
/// 500 a second. The shortest Opus packets (2.5 ms) come 400 times a second, and a second's worth
/// may arrive at once after the network has stalled.
const PACKETS_AT_ONCE: u32 = 500;
const PACKET_INTERVAL: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests;
