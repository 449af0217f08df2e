//! The last payloads that were not decoded, kept to warm up a decoder.
//!
//! A decoder that resumes after skipped packets first decodes these payloads, so that its state
//! fits the stream.

use crate::codec::Codec;
use crate::packet::Packet;

/// The last packets of one SSRC that were not decoded.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WarmupPackets {
    ssrc: u32,
    payloads: [WarmupPayload; WARMUP_PACKETS],
}

#[derive(Debug, Clone, Copy)]
struct WarmupPayload {
    len_bytes: u16,
    bytes: [u8; WARMUP_BYTES],
}

impl WarmupPackets {
    /// Keeps the payload of one packet and drops the oldest kept payload.
    pub fn keep(&mut self, packet: &Packet, codec: Codec) {
        self.keep_payload(packet.ssrc, packet.payload.as_slice(), codec);
    }

    /// Keeps one payload of the SSRC `ssrc` and drops the oldest kept payload.
    pub fn keep_payload(&mut self, ssrc: u32, payload: &[u8], codec: Codec) {
        if ssrc != self.ssrc {
            *self = WarmupPackets {
                ssrc,
                ..WarmupPackets::default()
            };
        }
        self.payloads.rotate_left(1);
        let last = &mut self.payloads[WARMUP_PACKETS - 1];
        *last = WarmupPayload::default();
        if !WarmupPackets::fits(payload, codec) {
            return;
        }
        if let Some(bytes) = last.bytes.get_mut(..payload.len()) {
            bytes.copy_from_slice(payload);
            last.len_bytes = payload.len() as u16;
        }
    }

    /// Whether a payload is short enough to be kept, and its codec frames are so long (at least 20
    /// ms) that three payloads suffice.
    pub fn fits(payload: &[u8], codec: Codec) -> bool {
        let frame_samples = codec.frame_samples(payload);
        frame_samples.is_some_and(|samples| samples >= WARMUP_SAMPLES)
            && payload.len() <= WARMUP_BYTES
    }

    /// Whether enough payloads are kept to bring a decoder into the state that it would have had if
    /// no packet had been skipped.
    pub fn is_complete(&self) -> bool {
        self.payloads.iter().all(|payload| payload.len_bytes > 0)
    }

    /// The kept payloads of the SSRC `ssrc`, oldest first.
    pub fn of(&self, ssrc: u32) -> impl Iterator<Item = &[u8]> {
        self.iter().filter(move |_| self.ssrc == ssrc)
    }

    /// Total length of the kept payloads of the SSRC `ssrc`, in samples at 48 kHz.
    pub fn samples_of(&self, ssrc: u32, codec: Codec) -> usize {
        let samples = self.of(ssrc).filter_map(|payload| codec.samples(payload));
        samples.sum()
    }

    /// The kept payloads, oldest first.
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let payloads = self.payloads.iter();
        payloads
            .map(|payload| &payload.bytes[..usize::from(payload.len_bytes)])
            .filter(|payload| !payload.is_empty())
    }
}

impl Default for WarmupPayload {
    fn default() -> WarmupPayload {
        WarmupPayload {
            len_bytes: 0,
            bytes: [0; WARMUP_BYTES],
        }
    }
}

/// Number of packets that bring an Opus decoder into the state that it would have had if no packet
/// had been skipped. In frames of 20 ms, the prediction from the frame before counts for half (RFC
/// 6716, 4.3.2.1), and for more in shorter frames.
const WARMUP_PACKETS: usize = 3;
const WARMUP_SAMPLES: usize = 960;

/// A packet of 20 ms at 192 kbit/s.
const WARMUP_BYTES: usize = 480;
