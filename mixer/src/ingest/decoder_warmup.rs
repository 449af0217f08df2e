//! What a decoder has to know before it can go on after packets that nobody was to hear.
//!
//! The last few payloads that were not decoded are kept for that.

use crate::codec::Codec;
use crate::packet::Packet;

/// The last packets that were not decoded, of one source.
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
    /// Keeps one packet, and lets go of the oldest.
    pub fn keep(&mut self, packet: &Packet, codec: Codec) {
        self.keep_payload(packet.ssrc, packet.payload.as_slice(), codec);
    }

    /// The same with its payload and its source.
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

    /// Whether a payload is worth keeping: short enough, and of a duration of which a few will do.
    pub fn fits(payload: &[u8], codec: Codec) -> bool {
        let frame_samples = codec.frame_samples(payload);
        frame_samples.is_some_and(|samples| samples >= WARMUP_SAMPLES)
            && payload.len() <= WARMUP_BYTES
    }

    /// Whether a decoder that is given what is kept is where it would be.
    pub fn is_complete(&self) -> bool {
        self.payloads.iter().all(|payload| payload.len_bytes > 0)
    }

    /// What was kept of this source, oldest first.
    pub fn of(&self, ssrc: u32) -> impl Iterator<Item = &[u8]> {
        self.iter().filter(move |_| self.ssrc == ssrc)
    }

    /// How long all of that is, at 48 kHz.
    pub fn samples_of(&self, ssrc: u32, codec: Codec) -> usize {
        let samples = self.of(ssrc).filter_map(|payload| codec.samples(payload));
        samples.sum()
    }

    /// What was kept, oldest first.
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

/// As many packets as an Opus decoder needs to be where it would be: in frames of 20 ms, what it
/// predicts of one from the one before counts for half (RFC 6716, 4.3.2.1), and for more in shorter
/// ones.
const WARMUP_PACKETS: usize = 3;
const WARMUP_SAMPLES: usize = 960;

/// 20 ms at 192 kbit/s.
const WARMUP_BYTES: usize = 480;
