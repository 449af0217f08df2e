//! The observer of a client's media, for measurements.

use std::time::Instant;

use mixer::RtpTime;
use rtc::rtp::header::Header;

/// Is told of every frame and packet at the instant it passes. All methods do nothing unless
/// overridden.
///
/// They are called on the client's own threads: a slow method disturbs the audio.
pub trait Tap: Send + Sync {
    /// A frame was taken from the source. It will be encoded unless the client may not talk now or
    /// is not connected.
    ///
    /// - `at`: for a microphone, the instant of the frame's last sample; its first sample is one
    ///   frame duration earlier.
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
    /// - `due`: the instant at which a sound card would need its first sample.
    fn played(&self, due: Instant, pcm: &[f32]) {
        let _ = (due, pcm);
    }
}

/// A tap that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTap;

impl Tap for NoTap {}
