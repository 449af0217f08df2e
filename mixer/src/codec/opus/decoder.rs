//! The decoder, on memory of our own, so that it can change its rate in place.
//!
//! Whoever is not heard need not be decoded in full: to know when that changes, 16 kHz in mono will
//! do, at half the cost. The same memory holds one decoder or the other.
#![allow(unsafe_code)]

use core::ffi::c_int;
use core::fmt;

use opusic_sys as sys;

use crate::codec::{Decode, DecodeError, SKETCH_RATE_HZ};
use crate::format::{Layout, MIN_PACKET_SAMPLES, SAMPLE_RATE_HZ};

/// Decodes any Opus packet, mono or stereo, to the layout it was made for.
pub struct OpusDecoder {
    /// The memory that libopus keeps a decoder in, initialised. Words of 16 bytes have the alignment
    /// of an allocation.
    state: Box<[u128]>,
    layout: Layout,
    detail: Detail,
}

/// What the memory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// A decoder at 48 kHz, in the layout.
    Full,
    /// One at [`SKETCH_RATE_HZ`], in mono.
    Sketch,
}

impl OpusDecoder {
    /// A decoder without history.
    ///
    /// Real-time: set-up only (allocates).
    ///
    /// # Panics
    /// When memory is exhausted, as any allocation does; with a libopus whose decoders are larger than
    /// 32 kB.
    pub fn new(layout: Layout) -> OpusDecoder {
        // SAFETY: takes a number and gives one.
        let bytes = unsafe { sys::opus_decoder_get_size(layout.channels() as c_int) };
        let words = (bytes.max(0) as usize).div_ceil(size_of::<u128>());
        assert!(words <= MOST_WORDS, "libopus asks for {bytes} bytes");
        let mut decoder = OpusDecoder {
            state: crate::memory::filled(words, 0),
            layout,
            detail: Detail::Full,
        };
        decoder.begin(Detail::Full);
        decoder
    }

    /// Makes a decoder without history in the memory.
    fn begin(&mut self, detail: Detail) {
        self.detail = detail;
        let (rate_hz, channels) = match detail {
            Detail::Full => (SAMPLE_RATE_HZ as i32, self.layout.channels()),
            Detail::Sketch => (SKETCH_RATE_HZ as i32, 1),
        };
        // SAFETY: the memory is as large as libopus asked for the layout's channels, and a decoder for
        // one channel is never larger than one for two; it is aligned to 16 bytes, and ours alone.
        let outcome = unsafe { sys::opus_decoder_init(self.pointer(), rate_hz, channels as c_int) };
        assert_eq!(
            outcome,
            sys::OPUS_OK,
            "libopus knows 16 and 48 kHz, mono and stereo"
        );
    }

    fn need(&mut self, detail: Detail) {
        if self.detail != detail {
            self.begin(detail);
        }
    }

    fn pointer(&mut self) -> *mut sys::OpusDecoder {
        self.state.as_mut_ptr().cast()
    }

    fn channels(&self) -> usize {
        match self.detail {
            Detail::Full => self.layout.channels(),
            Detail::Sketch => 1,
        }
    }

    /// One call into libopus: samples per channel, or what it is displeased with.
    ///
    /// - `payload`: none for a packet that was lost.
    /// - `fec`: what it holds of the packet before is wanted.
    fn call(&mut self, payload: Option<&[u8]>, pcm: &mut [f32], fec: bool) -> Result<usize, c_int> {
        let most_samples = pcm.len() / self.channels();
        let (bytes, len) = match payload {
            Some(payload) => (payload.as_ptr(), payload.len()),
            None => (core::ptr::null(), 0),
        };
        // SAFETY: the memory holds an initialised decoder for this many channels, which is borrowed
        // mutably; `bytes` is null, which stands for a lost packet, or points to `len` bytes that are
        // only read; at most `most_samples` for each channel are written to `pcm`.
        let decoded = unsafe {
            sys::opus_decode_float(
                self.pointer(),
                bytes,
                len as i32,
                pcm.as_mut_ptr(),
                most_samples as c_int,
                c_int::from(fec),
            )
        };
        usize::try_from(decoded).map_err(|_| decoded)
    }
}

impl Decode for OpusDecoder {
    fn decode(&mut self, payload: &[u8], pcm: &mut [f32]) -> Result<usize, DecodeError> {
        // libopus takes no bytes for "a packet was lost" and would fill all of `pcm`.
        if payload.is_empty() {
            return Err(DecodeError::Malformed);
        }
        let got_samples = samples_of(payload, SAMPLE_RATE_HZ)?;
        let max_samples = pcm.len() / self.layout.channels();
        if got_samples > max_samples {
            return Err(DecodeError::TooLong {
                got_samples,
                max_samples,
            });
        }
        self.need(Detail::Full);
        self.call(Some(payload), pcm, false)
            .map_err(|_| DecodeError::Malformed)
    }

    fn recover(&mut self, next_payload: &[u8], pcm: &mut [f32]) -> Result<(), DecodeError> {
        if next_payload.is_empty() {
            return Err(DecodeError::Malformed);
        }
        self.need(Detail::Full);
        self.call(Some(next_payload), pcm, true)
            .map(|_| ())
            .map_err(|_| DecodeError::Malformed)
    }

    fn conceal(&mut self, pcm: &mut [f32]) {
        debug_assert_eq!(pcm.len() % (MIN_PACKET_SAMPLES * self.layout.channels()), 0);
        self.need(Detail::Full);
        match self.call(None, pcm, false) {
            Ok(samples) => pcm[samples * self.layout.channels()..].fill(0.0),
            Err(_) => pcm.fill(0.0),
        }
    }

    /// The guess is made by a copy, on the stack: libopus allows a plain one. What was guessed before is
    /// guessed again, since the copy is not kept.
    fn guess(&mut self, after: usize, pcm: &mut [f32]) -> bool {
        if self.detail != Detail::Full {
            pcm.fill(0.0);
            return true;
        }
        let mut kept = [0; MOST_WORDS];
        let kept = &mut kept[..self.state.len()];
        kept.copy_from_slice(&self.state);
        self.miss(after);
        self.conceal(pcm);
        self.state.copy_from_slice(kept);
        true
    }

    fn miss(&mut self, samples: usize) {
        let mut unheard = [0.0; 2 * MISSED_SAMPLES];
        let mut left = samples;
        while left > 0 {
            let now = left.min(MISSED_SAMPLES);
            self.conceal(&mut unheard[..now * self.layout.channels()]);
            left -= now;
        }
    }

    fn reset(&mut self) {
        self.begin(self.detail);
    }

    fn sketch(&mut self, payload: &[u8], pcm: &mut [f32]) -> Option<usize> {
        let samples = samples_of(payload, SKETCH_RATE_HZ).ok()?;
        if payload.is_empty() || samples > pcm.len() {
            return None;
        }
        self.need(Detail::Sketch);
        self.call(Some(payload), pcm, false).ok()
    }
}

/// A decoder takes 18 kB in mono and 27 kB in stereo: 32 kB.
const MOST_WORDS: usize = 32 * 1_024 / size_of::<u128>();

/// What is missing is made up in pieces of 20 ms, as a packet usually is.
const MISSED_SAMPLES: usize = 960;

/// Samples per channel that a packet holds at a rate.
fn samples_of(payload: &[u8], rate_hz: u32) -> Result<usize, DecodeError> {
    // SAFETY: reads at most the given number of bytes, and there is at least one.
    let samples = unsafe {
        sys::opus_packet_get_nb_samples(payload.as_ptr(), payload.len() as i32, rate_hz as i32)
    };
    usize::try_from(samples).map_err(|_| DecodeError::Malformed)
}

impl fmt::Debug for OpusDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpusDecoder({:?}, {:?})", self.layout, self.detail)
    }
}
