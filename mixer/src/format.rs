//! Sample rate, tick and packet limits, from which every other constant is derived.

use core::time::Duration;

/// Sampling rate everywhere inside the engine.
///
/// Opus decodes and encodes any of its bandwidths at this rate (RFC 6716, 2.1). Only G.711, which
/// has 8 kHz, is resampled.
pub const SAMPLE_RATE_HZ: u32 = 48_000;

/// Length of one slot, the time grid on which a mixer wakes up. Rooms are spread over the slots of
/// a tick.
pub const SLOT: Duration = Duration::from_micros(2_500);

/// Samples per channel that pass in one [`SLOT`].
pub const SLOT_SAMPLES: usize = 120;

/// Samples per channel of the longest tick (20 ms).
pub const MAX_TICK_SAMPLES: usize = 960;

/// Number of channels of the widest layout.
pub const MAX_CHANNELS: usize = 2;

/// Samples per channel of the longest packet Opus allows: 120 ms (RFC 6716, 3.2.5).
pub const MAX_PACKET_SAMPLES: usize = 5_760;

/// Samples per channel of the shortest Opus frame: 2.5 ms.
pub const MIN_PACKET_SAMPLES: usize = 120;

/// Bytes of the largest payload the engine accepts or produces.
///
/// The space in an Ethernet frame beside IPv6, UDP, RTP with fifteen CSRCs and SRTP, rounded down:
/// a longer payload could only arrive fragmented, which a WebRTC sender never does.
pub const MAX_PAYLOAD_BYTES: usize = 1_300;

/// Maximum number of contributing sources (CSRCs) named in one packet: the RTP header has four bits
/// for the count (RFC 3550, 5.1).
pub const MAX_CSRCS: usize = 15;

/// Length of a tick of a room's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TickLength {
    /// 10 ms, for rooms that request the lowest delay.
    Ms10,
    /// 20 ms, the default.
    #[default]
    Ms20,
}

impl TickLength {
    /// Number of samples per channel in one tick.
    pub const fn samples(self) -> usize {
        match self {
            TickLength::Ms10 => 480,
            TickLength::Ms20 => 960,
        }
    }

    /// Number of slots in one tick.
    pub const fn slots(self) -> usize {
        self.samples() / SLOT_SAMPLES
    }

    /// Duration of one tick.
    pub const fn duration(self) -> Duration {
        Duration::from_micros(self.samples() as u64 * 1_000 / 48)
    }

    /// Milliseconds of one tick.
    pub const fn ms(self) -> u32 {
        match self {
            TickLength::Ms10 => 10,
            TickLength::Ms20 => 20,
        }
    }
}

/// Channel layout of a room's bus and of every frame that is added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// One channel.
    #[default]
    Mono,
    /// Left and right, interleaved.
    Stereo,
}

impl Layout {
    /// Number of channels: 1 or 2.
    pub const fn channels(self) -> usize {
        match self {
            Layout::Mono => 1,
            Layout::Stereo => 2,
        }
    }
}
