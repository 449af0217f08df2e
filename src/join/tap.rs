//! Where a measurement listens in.

use std::time::Instant;

use mixer::RtpTime;
use rtc::rtp::header::Header;

/// Hears of everything that passes, at the instant it passes. All methods do nothing unless overridden.
///
/// They are called on the client's own threads: what takes long here is heard in the audio.
pub trait Tap: Send + Sync {
    /// A frame was taken from the source, and will be encoded unless the client is not to talk now.
    ///
    /// - `at`: for a microphone, the instant of the frame's last sample: its first is as long ago as the
    ///   frame lasts.
    /// - `time`: the RTP time of its first sample, as [`Tap::sent`] will see it.
    fn taken(&self, at: Instant, time: RtpTime, pcm: &[f32]) {
        let _ = (at, time, pcm);
    }

    /// A packet was handed to the network.
    fn sent(&self, at: Instant, header: &Header, payload: &[u8]) {
        let _ = (at, header, payload);
    }

    /// A packet arrived, before any jitter buffer.
    fn received(&self, at: Instant, header: &Header, payload: &[u8]) {
        let _ = (at, header, payload);
    }

    /// A frame of 20 ms left the playout.
    ///
    /// - `due`: the instant at which a sound card would have wanted its first sample.
    fn played(&self, due: Instant, pcm: &[f32]) {
        let _ = (due, pcm);
    }
}

/// The tap that hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTap;

impl Tap for NoTap {}
