//! Chooses how one listener's stream is encoded: the profile, limited by the listener's SDP and
//! rounded to a short ladder of values, so that as many listeners as possible can share an encoder.

use super::profile::{Profile, Traits};
use super::{Bandwidth, Codec, EncoderSettings};
use crate::format::{Layout, TickLength};

/// Limits and wishes that a receiver declares in its SDP (RFC 7587, section 6.1, and
/// `ptime`/`maxptime`).
///
/// They concern the stream that the *receiver* gets: the bitrate and the bandwidth are never
/// exceeded, and stereo is never sent unless requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverLimits {
    /// The codec that the receiver is sent: Opus, unless its SDP rules Opus out.
    pub codec: Codec,
    /// Highest sampling rate to play (`maxplaybackrate`) in Hz; 48,000 when absent.
    pub max_playback_rate_hz: u32,
    /// Highest average bitrate (`maxaveragebitrate`) in bits per second; values outside
    /// 6,000..=510,000 are ignored (RFC 7587).
    pub max_average_bitrate_bps: Option<u32>,
    /// Whether the receiver prefers stereo (`stereo=1`).
    pub stereo: bool,
    /// Whether the receiver can use in-band FEC (`useinbandfec=1`).
    pub fec: bool,
    /// Whether the receiver prefers DTX (`usedtx=1`).
    pub dtx: bool,
    /// Whether the receiver prefers a constant bitrate (`cbr=1`).
    pub cbr: bool,
    /// Packet length that the receiver prefers (`a=ptime`), in milliseconds.
    pub ptime_ms: Option<u32>,
    /// Longest packet that the receiver accepts (`a=maxptime`), in milliseconds; 120 when absent.
    pub max_ptime_ms: u32,
}

impl ReceiverLimits {
    /// Whether the receiver requests 16 kbit/s or less, as clients on thin networks do.
    pub fn wants_little(&self) -> bool {
        self.max_average_bitrate_bps
            .is_some_and(|bps| bps <= LITTLE_BPS)
    }
}

impl Default for ReceiverLimits {
    fn default() -> ReceiverLimits {
        ReceiverLimits {
            codec: Codec::Opus,
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

/// Bitrate at or below which a client's request means that it is on a thin network.
pub const LITTLE_BPS: u32 = 16_000;

/// The coder inside Opus, which is fixed for the life of an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Application {
    /// SILK and hybrid: best for speech.
    Voip,
    /// General audio, such as music.
    Audio,
    /// CELT only: least lookahead.
    LowDelay,
}

/// The exact encoding of one stream. Listeners of equal encodings and equal mixes can share an
/// encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Encoding {
    /// The codec. With G.711, only the packet length can be chosen.
    pub codec: Codec,
    /// The coder inside Opus.
    pub application: Application,
    /// Channels of the stream.
    pub layout: Layout,
    /// Packet length in milliseconds: 5, 10, 20, 40 or 60.
    pub packet_ms: u32,
    /// Bitrate in bits per second.
    pub bitrate_bps: u32,
    /// libopus complexity, 0..=10.
    pub complexity: u8,
    /// Widest audio bandwidth.
    pub bandwidth: Bandwidth,
    /// Whether FEC may be sent once loss is reported.
    pub fec: bool,
    /// Whether the encoder uses its own DTX under low-level sound.
    pub dtx: bool,
    /// Whether the bitrate is constant.
    pub cbr: bool,
    /// Milliseconds for which the stream keeps its full packet rate after the last sound.
    pub hangover_ms: u32,
}

impl Encoding {
    /// Creates the encoding of one listener: `profile` within `limits`, rounded to the bitrates and
    /// packet lengths that streams may have.
    ///
    /// - bandwidth: the widest that `maxplaybackrate` allows, never wider (RFC 7587, 6.1: a sender
    ///   to a single destination must not send more).
    /// - bitrate: the profile's usual one; `maxaveragebitrate` lowers it to the next step at or
    ///   below (it must not be exceeded on average), and raises it as far as the profile allows.
    /// - packet length: `ptime` where stated, not below the tick, and never above `maxptime` (RFC
    ///   3264, 8): a tick then becomes several packets, of 5 ms at least.
    /// - stereo, in-band FEC, DTX and CBR: only on request (defaults 0), except that `thin` always
    ///   uses DTX. FEC exists in SILK only, so a CELT-only stream has none.
    pub fn new(profile: Profile, limits: &ReceiverLimits, tick: TickLength) -> Encoding {
        let traits = Traits::of(profile);
        if limits.codec != Codec::Opus {
            return Encoding::g711(limits, &traits, tick);
        }
        Encoding {
            codec: Codec::Opus,
            application: traits.application,
            layout: if limits.stereo && profile == Profile::Music {
                Layout::Stereo
            } else {
                Layout::Mono
            },
            packet_ms: packet_ms(traits.packet_ms, limits, tick),
            bitrate_bps: bitrate_bps(traits, limits.max_average_bitrate_bps),
            complexity: traits.complexity,
            bandwidth: bandwidth_of(limits.max_playback_rate_hz).min(traits.bandwidth),
            fec: limits.fec && traits.application != Application::LowDelay,
            dtx: limits.dtx || profile == Profile::Thin,
            cbr: limits.cbr,
            hangover_ms: traits.hangover_ms,
        }
    }

    /// The encoding of a G.711 stream. Only the packet length is chosen, so that listeners who hear
    /// the same mix mostly share an encoder.
    fn g711(limits: &ReceiverLimits, traits: &Traits, tick: TickLength) -> Encoding {
        Encoding {
            codec: limits.codec,
            application: Application::Voip,
            layout: Layout::Mono,
            packet_ms: packet_ms(traits.packet_ms, limits, tick),
            bitrate_bps: 64_000,
            complexity: 0,
            bandwidth: Bandwidth::Narrow,
            fec: false,
            dtx: false,
            cbr: true,
            hangover_ms: traits.hangover_ms,
        }
    }

    /// Returns this encoding with another hangover.
    pub fn with_hangover(self, hangover_ms: u32) -> Encoding {
        Encoding {
            hangover_ms,
            ..self
        }
    }

    /// The encoder's settings under this encoding when the listener reports `loss_percent`.
    pub fn settings(&self, loss_percent: u8) -> EncoderSettings {
        EncoderSettings {
            bitrate_bps: self.bitrate_bps,
            complexity: self.complexity,
            loss_percent,
            fec: self.fec && loss_percent > 0,
            dtx: self.dtx,
            cbr: self.cbr,
            bandwidth: self.bandwidth,
        }
    }
}

/// Rounds a reported loss to the nearest class that encoders are set for: 0, 2, 5, 10 or 20
/// percent.
///
/// A loss of 1 percent counts as 2.
pub fn loss_class(percent: u8) -> u8 {
    match percent {
        0 => 0,
        1..=3 => 2,
        4..=7 => 5,
        8..=14 => 10,
        _ => 20,
    }
}

fn bandwidth_of(max_playback_rate_hz: u32) -> Bandwidth {
    match max_playback_rate_hz {
        0..16_000 => Bandwidth::Narrow,
        16_000..24_000 => Bandwidth::Wide,
        24_000..48_000 => Bandwidth::SuperWide,
        48_000.. => Bandwidth::Full,
    }
}

fn bitrate_bps(traits: Traits, max_average_bps: Option<u32>) -> u32 {
    let wish_bps = max_average_bps
        .filter(|bps| (6_000..=510_000).contains(bps))
        .unwrap_or(traits.usual_bps)
        .min(traits.most_bps);
    rung(&BITRATES_BPS, wish_bps)
}

fn packet_ms(usual_ms: u32, limits: &ReceiverLimits, tick: TickLength) -> u32 {
    let wish_ms = limits.ptime_ms.unwrap_or(usual_ms).max(tick.ms());
    rung(&PACKETS_MS, wish_ms.min(limits.max_ptime_ms))
}

/// The highest step of the ladder at or below `wish`, or the lowest step.
fn rung(ladder: &[u32], wish: u32) -> u32 {
    let below = ladder.iter().rev().find(|&&rung| rung <= wish);
    *below.unwrap_or(&ladder[0])
}

/// Bitrates that an Opus stream may have: few, so that listeners share encoders, and close
/// together, so that rounding down costs little quality.
const BITRATES_BPS: [u32; 10] = [
    6_000, 8_000, 12_000, 16_000, 24_000, 32_000, 48_000, 56_000, 64_000, 96_000,
];

/// Packet lengths that a stream may have, each of which fits one Opus frame. Each divides every
/// longer tick and is a multiple of every shorter one. Packets below 5 ms would be mostly headers.
const PACKETS_MS: [u32; 5] = [5, 10, 20, 40, 60];

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(change: impl FnOnce(&mut ReceiverLimits)) -> ReceiverLimits {
        let mut limits = ReceiverLimits::default();
        change(&mut limits);
        limits
    }

    #[test]
    fn encoding_of_the_voice_profile_has_the_documented_defaults() {
        let encoding = Encoding::new(Profile::Voice, &ReceiverLimits::default(), TickLength::Ms20);
        let expected = Encoding {
            codec: Codec::Opus,
            application: Application::Voip,
            layout: Layout::Mono,
            packet_ms: 20,
            bitrate_bps: 56_000,
            complexity: 9,
            bandwidth: Bandwidth::Full,
            fec: false,
            dtx: false,
            cbr: false,
            hangover_ms: 6_000,
        };
        assert_eq!(encoding, expected);
    }

    #[test]
    fn encoding_limits_the_bandwidth_to_maxplaybackrate() {
        for (hz, bandwidth) in [
            (0, Bandwidth::Narrow),
            (8_000, Bandwidth::Narrow),
            (12_000, Bandwidth::Narrow),
            (16_000, Bandwidth::Wide),
            (24_000, Bandwidth::SuperWide),
            (44_100, Bandwidth::SuperWide),
            (48_000, Bandwidth::Full),
            (u32::MAX, Bandwidth::Full),
        ] {
            let limits = limited(|limits| limits.max_playback_rate_hz = hz);
            let encoding = Encoding::new(Profile::Voice, &limits, TickLength::Ms20);
            assert_eq!(encoding.bandwidth, bandwidth, "{hz} Hz");
            let thin = Encoding::new(Profile::Thin, &limits, TickLength::Ms20);
            assert_eq!(thin.bandwidth, bandwidth.min(Bandwidth::Wide), "{hz} Hz");
        }
    }

    #[test]
    fn encoding_rounds_the_bitrate_down_to_a_step_of_the_ladder() {
        for (profile, asked, got) in [
            (Profile::Voice, None, 56_000),
            (Profile::Radio, None, 32_000),
            (Profile::Voice, Some(20_000), 16_000),
            (Profile::Voice, Some(48_000), 48_000),
            (Profile::Voice, Some(510_000), 64_000),
            (Profile::Voice, Some(6_000), 6_000),
            (Profile::Voice, Some(5_999), 56_000),
            (Profile::Voice, Some(510_001), 56_000),
            (Profile::LowDelay, None, 64_000),
            (Profile::LowDelay, Some(50_000), 48_000),
            (Profile::Thin, None, 12_000),
            (Profile::Thin, Some(64_000), 12_000),
            (Profile::Thin, Some(9_000), 8_000),
            (Profile::Music, None, 96_000),
            (Profile::Music, Some(95_999), 64_000),
        ] {
            let limits = limited(|limits| limits.max_average_bitrate_bps = asked);
            let encoding = Encoding::new(profile, &limits, TickLength::Ms20);
            assert_eq!(encoding.bitrate_bps, got, "{profile} {asked:?}");
        }
    }

    #[test]
    fn encoding_packet_length_follows_ptime_up_to_maxptime() {
        for (profile, ptime, max_ptime, tick, got) in [
            (Profile::Voice, None, 120, TickLength::Ms20, 20),
            (Profile::Voice, Some(10), 120, TickLength::Ms20, 20),
            (Profile::Voice, Some(10), 120, TickLength::Ms10, 10),
            (Profile::Voice, Some(30), 120, TickLength::Ms20, 20),
            (Profile::Voice, Some(60), 40, TickLength::Ms20, 40),
            (Profile::Voice, Some(120), 120, TickLength::Ms20, 60),
            (Profile::Voice, Some(0), 120, TickLength::Ms20, 20),
            (Profile::Voice, None, 10, TickLength::Ms10, 10),
            (Profile::Voice, None, 10, TickLength::Ms20, 10),
            (Profile::Voice, Some(60), 15, TickLength::Ms20, 10),
            (Profile::Thin, None, 5, TickLength::Ms20, 5),
            (Profile::Voice, Some(5), 120, TickLength::Ms20, 20),
            (Profile::Music, None, 0, TickLength::Ms10, 5),
            (Profile::Thin, None, 120, TickLength::Ms20, 60),
            (Profile::Thin, Some(20), 120, TickLength::Ms20, 20),
            (Profile::Thin, None, 40, TickLength::Ms20, 40),
            (Profile::LowDelay, None, 120, TickLength::Ms10, 10),
            (Profile::LowDelay, None, 120, TickLength::Ms20, 20),
        ] {
            let limits = limited(|limits| {
                limits.ptime_ms = ptime;
                limits.max_ptime_ms = max_ptime;
            });
            let encoding = Encoding::new(profile, &limits, tick);
            assert_eq!(
                encoding.packet_ms, got,
                "{profile} {ptime:?} {max_ptime} {tick:?}"
            );
            let (ms, tick_ms) = (encoding.packet_ms, tick.ms());
            assert!(ms % tick_ms == 0 || tick_ms % ms == 0);
        }
    }

    #[test]
    fn encoding_has_stereo_fec_and_cbr_only_on_request() {
        let asked = limited(|limits| {
            limits.stereo = true;
            limits.fec = true;
            limits.dtx = true;
            limits.cbr = true;
        });
        for profile in Profile::ALL {
            let plain = Encoding::new(profile, &ReceiverLimits::default(), TickLength::Ms20);
            assert_eq!(plain.layout, Layout::Mono);
            assert!(!plain.fec && !plain.cbr);
            let full = Encoding::new(profile, &asked, TickLength::Ms20);
            assert_eq!(full.layout == Layout::Stereo, profile == Profile::Music);
            assert_eq!(full.fec, profile != Profile::LowDelay);
            assert!(full.cbr && full.dtx);
            assert!(!full.settings(0).fec);
            assert_eq!(full.settings(5).fec, full.fec);
        }
    }

    #[test]
    fn encoding_of_g711_lets_only_the_packet_length_vary() {
        let of = |profile, change: fn(&mut ReceiverLimits)| {
            let limits = limited(|limits| {
                limits.codec = Codec::Pcma;
                change(limits);
            });
            Encoding::new(profile, &limits, TickLength::Ms20)
        };
        let voice = of(Profile::Voice, |_| {});
        assert_eq!((voice.codec, voice.packet_ms), (Codec::Pcma, 20));
        let asked = of(Profile::Music, |limits| {
            limits.stereo = true;
            limits.fec = true;
            limits.dtx = true;
            limits.max_average_bitrate_bps = Some(6_000);
        });
        assert_eq!(asked, voice, "one group for all");
        assert_eq!(of(Profile::Thin, |_| {}).packet_ms, 60);
        let long = of(Profile::Voice, |limits| limits.ptime_ms = Some(40));
        assert_eq!(long.packet_ms, 40);
    }

    #[test]
    fn loss_class_rounds_to_five_classes() {
        let classes: Vec<u8> = [0, 1, 3, 4, 7, 8, 14, 15, 100].map(loss_class).into();
        assert_eq!(classes, [0, 2, 2, 5, 5, 10, 10, 20, 20]);
    }
}
