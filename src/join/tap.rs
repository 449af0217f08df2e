//! The interface through which a measurement observes a client's media.

use std::time::Instant;

use mixer::RtpTime;
use rtc::rtp::header::Header;

/// Observes every frame and packet of a client at the instant at which it passes. All methods do
/// nothing unless overridden.
///
/// The methods are called on the client's own threads: a slow method disturbs the audio.
pub trait Tap: Send + Sync {
    /// Called when a frame was taken from the source. The frame will be encoded unless the client
    /// may not talk now or is not connected.
    ///
    /// - `at`: for a microphone, the instant of the frame's last sample; its first sample is one
    ///   frame duration earlier.
    /// - `time`: the RTP time of the frame's first sample, as in the header that [`Tap::sent`]
    ///   gets.
    fn taken(&self, at: Instant, time: RtpTime, pcm: &[f32]) {
        let _ = (at, time, pcm);
    }

    /// Called when a packet was handed to the network.
    fn sent(&self, at: Instant, header: &Header, payload: &[u8]) {
        let _ = (at, header, payload);
    }

    /// Called when a packet arrived, before any jitter buffer.
    fn received(&self, at: Instant, header: &Header, payload: &[u8]) {
        let _ = (at, header, payload);
    }

    /// Called when a frame of 20 ms left the playout.
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
