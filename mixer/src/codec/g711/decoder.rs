//! G.711 decoder: bytes to PCM at 48 kHz.

use core::fmt;

use super::conceal::Memory;
use super::rate::{BLOCK, FACTOR};
use super::{Law, Rate};
use crate::codec::kind::{Codec, G711_RATE_HZ};
use crate::codec::{Decode, DecodeError, SKETCH_RATE_HZ};
use crate::format::Layout;

/// Decodes G.711 to PCM in the layout that the decoder was created for.
pub struct G711Decoder {
    law: Law,
    layout: Layout,
    memory: Memory,
    rate: Rate,
}

impl G711Decoder {
    /// Creates a decoder without history.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new(law: Law, layout: Layout) -> G711Decoder {
        G711Decoder {
            law,
            layout,
            memory: Memory::new(),
            rate: Rate::up(),
        }
    }

    /// Resamples one block to 48 kHz and writes it to every channel.
    fn write(&mut self, block: &[f32; BLOCK], pcm: &mut [f32]) {
        let channels = self.layout.channels();
        let frames = pcm.chunks_exact_mut(channels);
        for (frame, sample) in frames.zip(self.rate.take(block)) {
            frame.fill(*sample);
        }
    }

    /// Interleaved samples at 48 kHz that one block yields.
    fn block_samples(&self) -> usize {
        BLOCK * FACTOR * self.layout.channels()
    }
}

impl Decode for G711Decoder {
    fn decode(&mut self, payload: &[u8], pcm: &mut [f32]) -> Result<usize, DecodeError> {
        let got_samples = self.codec().samples(payload);
        let got_samples = got_samples.ok_or(DecodeError::Malformed)?;
        let max_samples = pcm.len() / self.layout.channels();
        if got_samples > max_samples {
            return Err(DecodeError::TooLong {
                got_samples,
                max_samples,
            });
        }
        let parts = pcm.chunks_exact_mut(self.block_samples());
        for (bytes, part) in payload.chunks_exact(BLOCK).zip(parts) {
            let mut block = [0.0; BLOCK];
            for (sample, byte) in block.iter_mut().zip(bytes) {
                *sample = self.law.expand(*byte);
            }
            self.memory.hear(&mut block);
            self.write(&block, part);
        }
        Ok(got_samples)
    }

    /// Conceals the lost packet, since G.711 packets carry no FEC.
    fn recover(&mut self, next_payload: &[u8], pcm: &mut [f32]) -> Result<(), DecodeError> {
        let is_packet = self.codec().samples(next_payload).is_some();
        self.conceal(pcm);
        is_packet.then_some(()).ok_or(DecodeError::Malformed)
    }

    fn conceal(&mut self, pcm: &mut [f32]) {
        for part in pcm.chunks_exact_mut(self.block_samples()) {
            let mut block = [0.0; BLOCK];
            self.memory.conceal(&mut block);
            self.write(&block, part);
        }
    }

    fn reset(&mut self) {
        self.memory = Memory::new();
        self.rate.reset();
    }

    fn codec(&self) -> Codec {
        match self.law {
            Law::Mu => Codec::Pcmu,
            Law::A => Codec::Pcma,
        }
    }

    /// Decodes without resampling and repeats every sample, which keeps the level.
    fn sketch(&mut self, payload: &[u8], pcm: &mut [f32]) -> Option<usize> {
        let samples = payload.len() * TWICE;
        let is_packet = self.codec().samples(payload).is_some();
        let pcm = pcm.get_mut(..samples).filter(|_| is_packet)?;
        for (pair, byte) in pcm.chunks_exact_mut(TWICE).zip(payload) {
            pair.fill(self.law.expand(*byte));
        }
        Some(samples)
    }
}

impl fmt::Debug for G711Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "G711Decoder({:?}, {:?})", self.law, self.layout)
    }
}

const TWICE: usize = (SKETCH_RATE_HZ / G711_RATE_HZ) as usize;
