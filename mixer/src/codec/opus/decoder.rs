//! Opus decoder in memory of its own, so that its sampling rate can change in place.
//!
//! For a participant who is not heard, decoding to 16 kHz mono is enough to notice when they begin
//! to speak, and costs half as much. The same memory holds either the full or the rough decoder.
#![allow(unsafe_code)]

use core::ffi::c_int;
use core::fmt;

use opusic_sys as sys;

use crate::codec::{Decode, DecodeError, SKETCH_RATE_HZ};
use crate::format::{Layout, MIN_PACKET_SAMPLES, SAMPLE_RATE_HZ};

/// Decodes any Opus packet, mono or stereo, to the layout that the decoder was created for.
pub struct OpusDecoder {
    state: State,
    layout: Layout,
    detail: Detail,
    guess: Guess,
    concealed_samples: u64,
}

/// Memory with an initialised libopus decoder. Words of 16 bytes have the alignment of an
/// allocation. libopus keeps no pointers in the memory, so that it may be copied.
type State = Box<[u128]>;

/// Copy of the decoder in which the packets predicted so far count as lost.
///
/// The copy is kept from one prediction to the next, so that each continues the one before, and a
/// stall of n ticks conceals n ticks, not 1 + 2 + ... + n.
struct Guess {
    state: State,
    /// How far the copy is ahead of the decoder, in samples per channel; 0 means that `state` is
    /// not valid.
    ahead_samples: usize,
}

/// The kind of decoder that the memory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// A decoder at 48 kHz, in the requested layout.
    Full,
    /// A decoder at [`SKETCH_RATE_HZ`], in mono.
    Sketch,
}

impl OpusDecoder {
    /// Creates a decoder without history.
    ///
    /// Real-time: set-up only (allocates).
    ///
    /// # Panics
    /// If memory is exhausted, like any allocation.
    pub fn new(layout: Layout) -> OpusDecoder {
        // SAFETY: the function only computes a size from the number of channels.
        let bytes = unsafe { sys::opus_decoder_get_size(layout.channels() as c_int) };
        let words = (bytes.max(0) as usize).div_ceil(size_of::<u128>());
        let mut decoder = OpusDecoder {
            state: crate::memory::filled(words, 0),
            layout,
            detail: Detail::Full,
            guess: Guess {
                state: crate::memory::filled(words, 0),
                ahead_samples: 0,
            },
            concealed_samples: 0,
        };
        decoder.begin(Detail::Full);
        decoder
    }

    /// Samples per channel that libopus has concealed so far, predictions included.
    pub fn concealed_samples(&self) -> u64 {
        self.concealed_samples
    }

    /// Initialises a decoder of the kind `detail`, without history, in `state`.
    fn begin(&mut self, detail: Detail) {
        self.detail = detail;
        self.guess.ahead_samples = 0;
        let (rate_hz, channels) = match detail {
            Detail::Full => (SAMPLE_RATE_HZ as i32, self.layout.channels()),
            Detail::Sketch => (SKETCH_RATE_HZ as i32, 1),
        };
        // SAFETY: the memory is as large as libopus asked for the layout's channels, and a decoder
        // for one channel is never larger than one for two; it is aligned to 16 bytes, and borrowed
        // by nobody else.
        let outcome =
            unsafe { sys::opus_decoder_init(pointer(&mut self.state), rate_hz, channels as c_int) };
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

    fn channels(&self) -> usize {
        match self.detail {
            Detail::Full => self.layout.channels(),
            Detail::Sketch => 1,
        }
    }

    /// Makes a call into libopus that changes the decoder and voids its predictions. Returns
    /// samples per channel, or libopus's error code.
    fn call(&mut self, input: Input<'_>, pcm: &mut [f32]) -> Result<usize, c_int> {
        self.guess.ahead_samples = 0;
        let channels = self.channels();
        call(&mut self.state, channels, input, pcm)
    }

    /// Continues the concealment on the copy of the decoder, after the predictions made so far.
    fn conceal_ahead(&mut self, pcm: &mut [f32]) {
        let channels = self.layout.channels();
        self.concealed_samples += conceal(&mut self.guess.state, channels, pcm);
        self.guess.ahead_samples += pcm.len() / channels;
    }
}

/// Input of one call into libopus.
#[derive(Clone, Copy)]
enum Input<'a> {
    /// A packet to be decoded.
    Packet(&'a [u8]),
    /// The packet after a lost one, for the FEC in it.
    AfterLost(&'a [u8]),
    /// No packet: it was lost.
    Lost,
}

/// Makes a call into libopus with a decoder for `channels` channels. Returns samples per channel,
/// or libopus's error code.
fn call(
    state: &mut State,
    channels: usize,
    input: Input<'_>,
    pcm: &mut [f32],
) -> Result<usize, c_int> {
    let most_samples = pcm.len() / channels;
    let (payload, fec) = match input {
        Input::Packet(payload) => (Some(payload), false),
        Input::AfterLost(payload) => (Some(payload), true),
        Input::Lost => (None, false),
    };
    let (bytes, len) = match payload {
        Some(payload) => (payload.as_ptr(), payload.len()),
        None => (core::ptr::null(), 0),
    };
    // SAFETY: the memory holds an initialised decoder for this many channels, which is borrowed
    // mutably; `bytes` is null, which stands for a lost packet, or points to `len` bytes that are
    // only read; at most `most_samples` for each channel are written to `pcm`.
    let decoded = unsafe {
        sys::opus_decode_float(
            pointer(state),
            bytes,
            len as i32,
            pcm.as_mut_ptr(),
            most_samples as c_int,
            c_int::from(fec),
        )
    };
    usize::try_from(decoded).map_err(|_| decoded)
}

/// Fills `pcm` with libopus's concealment of a lost packet. Returns samples per channel.
fn conceal(state: &mut State, channels: usize, pcm: &mut [f32]) -> u64 {
    debug_assert_eq!(pcm.len() % (MIN_PACKET_SAMPLES * channels), 0);
    let samples = call(state, channels, Input::Lost, pcm).unwrap_or(0);
    pcm[samples * channels..].fill(0.0);
    samples as u64
}

fn pointer(state: &mut State) -> *mut sys::OpusDecoder {
    state.as_mut_ptr().cast()
}

impl Decode for OpusDecoder {
    fn decode(&mut self, payload: &[u8], pcm: &mut [f32]) -> Result<usize, DecodeError> {
        // libopus takes an empty payload for a lost packet and would fill all of `pcm`.
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
        self.call(Input::Packet(payload), pcm)
            .map_err(|_| DecodeError::Malformed)
    }

    fn recover(&mut self, next_payload: &[u8], pcm: &mut [f32]) -> Result<(), DecodeError> {
        if next_payload.is_empty() {
            return Err(DecodeError::Malformed);
        }
        self.need(Detail::Full);
        self.call(Input::AfterLost(next_payload), pcm)
            .map(|_| ())
            .map_err(|_| DecodeError::Malformed)
    }

    fn conceal(&mut self, pcm: &mut [f32]) {
        self.need(Detail::Full);
        self.guess.ahead_samples = 0;
        self.concealed_samples += conceal(&mut self.state, self.layout.channels(), pcm);
    }

    /// Predicts with a copy of the decoder, which is kept for the next prediction.
    fn guess(&mut self, after: usize, pcm: &mut [f32]) -> bool {
        if self.detail != Detail::Full {
            pcm.fill(0.0);
            return true;
        }
        if after == 0 || self.guess.ahead_samples != after {
            self.guess.state.copy_from_slice(&self.state);
            self.guess.ahead_samples = 0;
            in_packets(after, self.layout, |unheard| self.conceal_ahead(unheard));
        }
        self.conceal_ahead(pcm);
        true
    }

    /// Makes the predicted samples, now known to be lost, the decoder's history as they were
    /// played.
    fn miss(&mut self, samples: usize) {
        if samples > 0 && self.guess.ahead_samples == samples {
            core::mem::swap(&mut self.state, &mut self.guess.state);
            self.guess.ahead_samples = 0;
            return;
        }
        in_packets(samples, self.layout, |unheard| self.conceal(unheard));
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
        self.call(Input::Packet(payload), pcm).ok()
    }
}

/// Calls `conceal` with space for `samples` samples per channel in all, at most a packet of 20 ms
/// at a time.
fn in_packets(samples: usize, layout: Layout, mut conceal: impl FnMut(&mut [f32])) {
    let mut unheard = [0.0; 2 * PACKET_SAMPLES];
    let mut left = samples;
    while left > 0 {
        let now = left.min(PACKET_SAMPLES);
        conceal(&mut unheard[..now * layout.channels()]);
        left -= now;
    }
}

const PACKET_SAMPLES: usize = 960;

/// Samples per channel that a packet holds at a sampling rate.
fn samples_of(payload: &[u8], rate_hz: u32) -> Result<usize, DecodeError> {
    // SAFETY: reads at most `payload.len()` bytes, and none of an empty payload, for which libopus
    // returns an error.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Encode;
    use crate::codec::opus::OpusEncoder;
    use crate::codec::{Encoding, Profile, ReceiverLimits};
    use crate::format::TickLength;
    use crate::packet::Payload;

    /// Packets of 20 ms of a voice-like sound.
    fn packets(profile: Profile, count: usize) -> Vec<Payload> {
        let mut encoding = Encoding::new(profile, &ReceiverLimits::default(), TickLength::Ms20);
        encoding.packet_ms = 20;
        let mut encoder = OpusEncoder::new(&encoding);
        let channels = encoding.layout.channels();
        (0..count)
            .map(|number| {
                let pcm: Vec<f32> = (0..960 * channels)
                    .map(|at| {
                        let at = (number * 960 + at / channels) as f64;
                        let turns = |hz: f64| (hz * at / 48_000.0).fract() * std::f64::consts::TAU;
                        0.2 * (turns(197.3).sin() + 0.5 * turns(631.1).sin()) as f32
                    })
                    .collect();
                let mut payload = Payload::EMPTY;
                encoder.encode(&pcm, &mut payload).unwrap();
                payload
            })
            .collect()
    }

    /// A decoder that has decoded `payloads`, and the PCM of the last of them.
    fn after(payloads: &[Payload], layout: Layout) -> (OpusDecoder, Vec<f32>) {
        let mut decoder = OpusDecoder::new(layout);
        let mut pcm = vec![0.0; 960 * layout.channels()];
        for payload in payloads {
            decoder.decode(payload.as_slice(), &mut pcm).unwrap();
        }
        (decoder, pcm)
    }

    #[test]
    fn opus_predictions_equal_concealment_and_cost_no_more() {
        for profile in Profile::ALL {
            for layout in [Layout::Mono, Layout::Stereo] {
                let packets = packets(profile, 12);
                let (mut guesses, _) = after(&packets[..10], layout);
                let (mut conceals, _) = after(&packets[..10], layout);
                let mut guessed = vec![0.0; 960 * layout.channels()];
                let mut concealed = guessed.clone();
                for tick in 0..6 {
                    assert!(guesses.guess(tick * 960, &mut guessed));
                    conceals.conceal(&mut concealed);
                    assert!(guessed == concealed, "{profile}, {layout:?}, tick {tick}");
                }
                assert_eq!(guesses.concealed_samples(), 6 * 960);
                // Once recorded as lost, the predictions equal immediate concealment, at no further
                // cost.
                guesses.miss(6 * 960);
                assert_eq!(guesses.concealed_samples(), 6 * 960);
                guesses
                    .decode(packets[11].as_slice(), &mut guessed)
                    .unwrap();
                conceals
                    .decode(packets[11].as_slice(), &mut concealed)
                    .unwrap();
                assert!(guessed == concealed, "{profile}, {layout:?}, after");
            }
        }
    }

    #[test]
    fn opus_predictions_that_were_not_needed_leave_no_trace() {
        for profile in Profile::ALL {
            let packets = packets(profile, 14);
            let (mut decoder, _) = after(&packets[..10], Layout::Mono);
            let mut pcm = [0.0; 960];
            // Several times, since the memory of earlier predictions is used again.
            for next in 10..14 {
                (0..4).for_each(|tick| assert!(decoder.guess(tick * 960, &mut pcm)));
                decoder.decode(packets[next].as_slice(), &mut pcm).unwrap();
                let (_, meant) = after(&packets[..=next], Layout::Mono);
                assert!(pcm[..] == meant[..], "{profile}, packet {next}");
            }
        }
    }

    /// A prediction that does not start where the last one ended, as after a change of the decoder.
    #[test]
    fn opus_prediction_apart_from_the_last_starts_from_the_decoder_state() {
        let packets = packets(Profile::Voice, 10);
        let (mut one, _) = after(&packets, Layout::Mono);
        let (mut other, _) = after(&packets, Layout::Mono);
        let (mut guessed, mut expected) = ([0.0; 960], [0.0; 960]);
        one.guess(0, &mut guessed);
        one.guess(1_920, &mut guessed);
        (0..3).for_each(|_| other.conceal(&mut expected));
        assert!(guessed == expected);
        let (mut other, _) = after(&packets, Layout::Mono);
        one.guess(0, &mut guessed);
        other.conceal(&mut expected);
        assert!(guessed == expected);
        one.miss(480);
        let (mut other, _) = after(&packets, Layout::Mono);
        other.conceal(&mut expected[..480]);
        one.conceal(&mut guessed);
        other.conceal(&mut expected);
        assert!(guessed == expected);
    }
}
