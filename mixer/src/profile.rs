//! How one listener's stream is encoded: a profile, narrowed by what the listener's SDP allows,
//! quantised to a short ladder so that listeners who can share an encoder do.

use crate::codec::Bandwidth;
use crate::format::Layout;

/// What a room or a join asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Profile {
    /// VOIP, 32 kbit/s, complexity 9, FEC once loss is reported: the default.
    #[default]
    Voice,
    /// CELT only, 64 kbit/s: 4 ms less delay and a quarter of the encode time.
    LowDelay,
    /// 16 kHz, 12 kbit/s, 60 ms packets, DTX: for thin networks and small devices.
    Thin,
    /// 96 kbit/s, stereo where asked.
    Music,
}

/// What a receiver declares in its SDP (RFC 7587, section 6.1, and `ptime`/`maxptime`).
///
/// These are limits and wishes of the *receiver*: the bitrate and the bandwidth are never exceeded,
/// and stereo is never sent unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverLimits {
    /// `maxplaybackrate`, Hz; 48,000 when absent.
    pub max_playback_rate_hz: u32,
    /// `maxaveragebitrate`, bits per second; values outside 6,000..=510,000 are ignored (RFC 7587).
    pub max_average_bitrate_bps: Option<u32>,
    /// `stereo=1`.
    pub stereo: bool,
    /// `useinbandfec=1`.
    pub fec: bool,
    /// `usedtx=1`.
    pub dtx: bool,
    /// `cbr=1`.
    pub cbr: bool,
    /// `a=ptime`, milliseconds.
    pub ptime_ms: Option<u32>,
    /// `a=maxptime`, milliseconds; 120 when absent.
    pub max_ptime_ms: u32,
}

impl Default for ReceiverLimits {
    fn default() -> ReceiverLimits {
        ReceiverLimits {
            max_playback_rate_hz: 48_000,
            max_average_bitrate_bps: None,
            stereo: false,
            fec: false,
            dtx: false,
            cbr: false,
            ptime_ms: None,
            max_ptime_ms: 120,
        }
    }
}

/// Which coder inside Opus: fixed for the life of an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Application {
    /// SILK and hybrid: best for speech.
    Voip,
    /// General audio.
    Audio,
    /// CELT only: least look-ahead.
    LowDelay,
}

/// Exactly how one stream is encoded. Listeners with equal recipes and equal mixes can share an
/// encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Recipe {
    /// Which coder.
    pub application: Application,
    /// Channels sent.
    pub layout: Layout,
    /// Packet length in milliseconds: 10, 20, 40 or 60.
    pub packet_ms: u32,
    /// Bits per second.
    pub bitrate_bps: u32,
    /// libopus complexity, 0..=10.
    pub complexity: u8,
    /// Widest bandwidth.
    pub bandwidth: Bandwidth,
    /// FEC may be sent once loss is reported.
    pub fec: bool,
    /// The encoder's own DTX under low-level sound.
    pub dtx: bool,
    /// Constant bitrate.
    pub cbr: bool,
}
