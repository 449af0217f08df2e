//! Opus encoder in memory of its own, so that its state can be copied.
//!
//! A listener who leaves a shared stream goes on with a copy of the encoder that made it, so that
//! the listener's decoder notices no seam. The `opus` crate hides the encoder's memory, so this
//! file uses `opusic-sys` directly, on which that crate is built too.
//!
//! Only this file and the decoder's use `unsafe` in the engine. These calls are sound because of
//! three promises of libopus (`opus.h`, "Opus Encoder"): `opus_encoder_get_size` says how much
//! memory an encoder takes; `opus_encoder_init` makes one in any memory of that size that is
//! aligned like an allocation; and that memory may be copied as a whole, since it holds no pointer
//! into itself.
#![allow(unsafe_code)]

use core::any::Any;
use core::ffi::c_int;
use core::fmt;

use opusic_sys as sys;

use super::bandwidth_detector::BandwidthDetector;
use crate::codec::{Application, Encoding};
use crate::codec::{Bandwidth, Encode, EncodeError, EncoderSettings};
use crate::format::{Layout, SAMPLE_RATE_HZ};
use crate::packet::Payload;

/// Encodes PCM in the layout of its encoding as Opus.
pub struct OpusEncoder {
    state: State,
    application: Application,
    layout: Layout,
    /// Widest bandwidth that the settings allow.
    bandwidth: Bandwidth,
    /// Follows the bandwidth of the sound where libopus does not: in CELT-only streams, which are
    /// mono.
    width: Option<Box<BandwidthDetector>>,
}

/// Memory with an initialised libopus encoder.
///
/// Words of 16 bytes have the alignment of an allocation.
struct State(Box<[u128]>);

impl OpusEncoder {
    /// Creates an encoder without history, with the settings of `encoding` and prepared for no
    /// loss.
    ///
    /// Real-time: set-up only (allocates).
    ///
    /// # Panics
    /// If memory is exhausted, like any allocation.
    pub fn new(encoding: &Encoding) -> OpusEncoder {
        let mut encoder = OpusEncoder {
            state: State::new(encoding.layout, encoding.application),
            application: encoding.application,
            layout: encoding.layout,
            bandwidth: Bandwidth::Full,
            width: follows_width(encoding).then(|| Box::new(BandwidthDetector::new())),
        };
        encoder.configure(&encoding.settings(0));
        encoder
    }

    /// Lookahead of the encoder: by how many samples at 48 kHz its stream lags behind its input.
    pub fn lookahead_samples(&mut self) -> usize {
        let mut samples: i32 = 0;
        // SAFETY: the state is an initialised encoder, which is borrowed mutably; the request takes
        // a pointer to an `opus_int32` and writes one.
        unsafe {
            sys::opus_encoder_ctl(
                self.state.pointer(),
                sys::OPUS_GET_LOOKAHEAD_REQUEST,
                &raw mut samples,
            )
        };
        samples.max(0) as usize
    }
}

impl State {
    fn new(layout: Layout, application: Application) -> State {
        let channels = layout.channels() as c_int;
        // SAFETY: the function only computes a size from the number of channels.
        let bytes = unsafe { sys::opus_encoder_get_size(channels) }.max(0) as usize;
        let mut state = State(crate::memory::filled(bytes.div_ceil(size_of::<u128>()), 0));
        // SAFETY: the memory is as large as libopus asked for, aligned to 16 bytes, and borrowed by
        // nobody else.
        let outcome = unsafe {
            sys::opus_encoder_init(
                state.pointer(),
                SAMPLE_RATE_HZ as i32,
                channels,
                coder(application),
            )
        };
        assert_eq!(
            outcome,
            sys::OPUS_OK,
            "libopus knows 48 kHz, mono, stereo and every application there is"
        );
        state
    }

    fn pointer(&mut self) -> *mut sys::OpusEncoder {
        self.0.as_mut_ptr().cast()
    }

    /// Sets a value that an encoder can change in place.
    fn set(&mut self, request: c_int, value: c_int) {
        // SAFETY: the state is an initialised encoder, which is borrowed mutably; every request
        // made here takes one `opus_int32` by value. All values are within the documented ranges,
        // so none is refused; a refused one would change nothing.
        let outcome = unsafe { sys::opus_encoder_ctl(self.pointer(), request, value) };
        debug_assert_eq!(outcome, sys::OPUS_OK, "request {request}, value {value}");
    }
}

impl Encode for OpusEncoder {
    fn encode(&mut self, pcm: &[f32], payload: &mut Payload) -> Result<(), EncodeError> {
        let samples = pcm.len() / self.layout.channels();
        debug_assert_eq!(pcm.len() % self.layout.channels(), 0);
        if let Some(width) = &mut self.width {
            let bandwidth = width.judge(pcm).min(self.bandwidth);
            let request = sys::OPUS_SET_MAX_BANDWIDTH_REQUEST;
            self.state.set(request, band(bandwidth));
        }
        payload
            .fill_with(|bytes| {
                // SAFETY: the state is an initialised encoder for this many channels, which is
                // borrowed mutably; `pcm` holds `samples` for each of them and is only read; at
                // most `bytes.len()` bytes are written to `bytes`.
                let written = unsafe {
                    sys::opus_encode_float(
                        self.state.pointer(),
                        pcm.as_ptr(),
                        samples as c_int,
                        bytes.as_mut_ptr(),
                        bytes.len() as i32,
                    )
                };
                usize::try_from(written)
            })
            .map_err(|_| EncodeError::Length {
                got_samples: pcm.len(),
            })
    }

    fn configure(&mut self, settings: &EncoderSettings) {
        self.bandwidth = settings.bandwidth;
        let state = &mut self.state;
        let bitrate_bps = settings.bitrate_bps.clamp(6_000, 510_000) as c_int;
        let fec = settings.fec && settings.loss_percent > 0;
        state.set(sys::OPUS_SET_BITRATE_REQUEST, bitrate_bps);
        state.set(
            sys::OPUS_SET_COMPLEXITY_REQUEST,
            c_int::from(settings.complexity.min(10)),
        );
        state.set(
            sys::OPUS_SET_PACKET_LOSS_PERC_REQUEST,
            c_int::from(settings.loss_percent.min(100)),
        );
        state.set(sys::OPUS_SET_INBAND_FEC_REQUEST, c_int::from(fec));
        state.set(sys::OPUS_SET_DTX_REQUEST, c_int::from(settings.dtx));
        state.set(sys::OPUS_SET_VBR_REQUEST, c_int::from(!settings.cbr));
        // A VBR burst above the average would exceed the bitrate that a thin link was promised.
        state.set(sys::OPUS_SET_VBR_CONSTRAINT_REQUEST, 1);
        state.set(
            sys::OPUS_SET_MAX_BANDWIDTH_REQUEST,
            band(settings.bandwidth),
        );
    }

    fn reset(&mut self) {
        // SAFETY: the state is an initialised encoder, which is borrowed mutably; the request takes
        // nothing.
        unsafe { sys::opus_encoder_ctl(self.state.pointer(), sys::OPUS_RESET_STATE) };
    }

    /// Copies the memory of the other encoder: libopus allows that, and the settings are part of
    /// it.
    fn follow(&mut self, other: &dyn Encode) -> bool {
        let Some(other) = other.as_any().downcast_ref::<OpusEncoder>() else {
            return false;
        };
        let alike = self.application == other.application && self.layout == other.layout;
        if alike {
            self.state.0.copy_from_slice(&other.state.0);
            self.bandwidth = other.bandwidth;
            if let (Some(own), Some(theirs)) = (&mut self.width, &other.width) {
                own.clone_from(theirs);
            }
        }
        alike
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl fmt::Debug for OpusEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpusEncoder({:?}, {:?})", self.application, self.layout)
    }
}

fn follows_width(encoding: &Encoding) -> bool {
    encoding.application == Application::LowDelay && encoding.layout == Layout::Mono
}

fn coder(application: Application) -> c_int {
    match application {
        Application::Voip => sys::OPUS_APPLICATION_VOIP,
        Application::Audio => sys::OPUS_APPLICATION_AUDIO,
        Application::LowDelay => sys::OPUS_APPLICATION_RESTRICTED_LOWDELAY,
    }
}

fn band(bandwidth: Bandwidth) -> c_int {
    match bandwidth {
        Bandwidth::Narrow => sys::OPUS_BANDWIDTH_NARROWBAND,
        Bandwidth::Wide => sys::OPUS_BANDWIDTH_WIDEBAND,
        Bandwidth::SuperWide => sys::OPUS_BANDWIDTH_SUPERWIDEBAND,
        Bandwidth::Full => sys::OPUS_BANDWIDTH_FULLBAND,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Profile, ReceiverLimits};
    use crate::format::TickLength;

    /// Noise of varying loudness, so that the encoder's state matters.
    fn packet(number: u32) -> Vec<f32> {
        let mut state = number.wrapping_mul(2_654_435_761) | 1;
        let loudness = 0.05 + 0.2 * (number % 7) as f32 / 7.0;
        (0..960)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                loudness * ((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
            })
            .collect()
    }

    #[test]
    fn opus_encoder_copy_encodes_the_same_as_the_original() {
        for profile in Profile::ALL {
            let encoding = Encoding::new(profile, &ReceiverLimits::default(), TickLength::Ms20);
            let mut shared = OpusEncoder::new(&encoding);
            let mut own = OpusEncoder::new(&encoding);
            let (mut one, mut other) = (Payload::EMPTY, Payload::EMPTY);
            for number in 0..30 {
                shared.encode(&packet(number), &mut one).unwrap();
            }
            assert!(own.follow(&shared));
            for number in 30..60 {
                shared.encode(&packet(number), &mut one).unwrap();
                own.encode(&packet(number), &mut other).unwrap();
                assert_eq!(one.as_slice(), other.as_slice(), "{profile}, {number}");
            }
        }
    }

    #[test]
    fn opus_encoder_does_not_follow_another_application() {
        let of = |profile| {
            OpusEncoder::new(&Encoding::new(
                profile,
                &ReceiverLimits::default(),
                TickLength::Ms20,
            ))
        };
        assert!(!of(Profile::Voice).follow(&of(Profile::LowDelay)));
        assert!(of(Profile::Voice).follow(&of(Profile::Thin)));
    }

    #[test]
    fn opus_encoder_reports_the_lookahead_of_libopus() {
        for (profile, samples) in [(Profile::Voice, 312), (Profile::LowDelay, 120)] {
            let encoding = Encoding::new(profile, &ReceiverLimits::default(), TickLength::Ms20);
            assert_eq!(OpusEncoder::new(&encoding).lookahead_samples(), samples);
        }
    }
}
