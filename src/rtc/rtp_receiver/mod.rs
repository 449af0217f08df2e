//! One client's incoming RTP: decrypted where the datagram lies, and handed to the mixer at once.
//!
//! The client may change its source at any time; the core's tracks, which know one source per section, are not asked.

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

/// Receives the RTP streams of one client, one after the other.
pub(super) struct RtpReceiver {
    config: ReceiveConfig,
    decryptor: Option<Decryptor>,
    /// Of the source that was heard last.
    reception: Option<ReceptionStats>,
    /// Packets that the mixer may still get.
    rate: RateLimit,
    received: u64,
    received_bytes: u64,
}

/// What it is made of.
pub(super) struct ReceiveConfig {
    pub(super) participant: ParticipantId,
    /// What the client sends.
    pub(super) codec: Codec,
    /// The one payload type taken.
    pub(super) payload_type: u8,
    /// Header extension of RFC 6464, if negotiated.
    pub(super) level_id: Option<u8>,
    /// The mixer that gets the packets; `None` if the client does not send.
    pub(super) mixer: Option<MixerId>,
}

impl RtpReceiver {
    /// A stream that takes nothing before it has keys.
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

    /// Decrypts with this key from now on.
    ///
    /// Set-up only (allocates).
    ///
    /// # Errors
    ///
    /// When the key has not the length of its profile.
    pub(super) fn set_key(
        &mut self,
        crypto: &dyn RTCCrypto,
        key: &MasterKey<'_>,
    ) -> Result<(), CryptoError> {
        self.decryptor = Some(Decryptor::new(crypto, key)?);
        Ok(())
    }

    /// Packets that were authentic, and the bytes of their payload.
    pub(super) fn received(&self) -> (u64, u64) {
        (self.received, self.received_bytes)
    }

    /// Counters of the source heard last.
    pub(super) fn reception(&mut self) -> Option<&mut ReceptionStats> {
        self.reception.as_mut()
    }

    /// Takes a packet off the wire and hands it to its mixer.
    ///
    /// - `to_mixers`: the rings to the mixers, by their ids.
    ///
    /// # Errors
    ///
    /// Why it was dropped.
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
        // Only what is authentic counts: forged packets must not use up what the client may send.
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
                // A clock that wraps still does so at the same place when it is multiplied.
                time: RtpTime(head.time.wrapping_mul(self.config.codec.samples_per_unit())),
                ssrc: head.ssrc,
                marker: head.marker,
                // RFC 6464, 3: the low seven bits of the first byte.
                level: level.and_then(<[u8]>::first).copied().map(Level::from_wire),
                payload: Payload::copy_from(payload).ok_or(Dropped::Unusable)?,
            },
        };
        let to_mixer = to_mixers.get_mut(mixer.0).ok_or(Dropped::MixerFull)?;
        to_mixer.push(inbound).map_err(|_| Dropped::MixerFull)
    }
}

/// Packets a client may send at once, and how often one more: 500 a second. The shortest packets of Opus come 400 times
/// a second (2.5 ms), and a second of those may have been held up on the way.
const PACKETS_AT_ONCE: u32 = 500;
const PACKET_INTERVAL: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests;
