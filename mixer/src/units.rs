//! Newtypes for numbers that have a unit, so that a sequence number cannot be added to a time.

use core::fmt;
use core::time::Duration;

use crate::format::SAMPLE_RATE_HZ;

/// A point on the caller's monotonic clock, in microseconds since an origin of the caller's choice.
///
/// The engine has no clock of its own: every call that needs the time takes a [`Time`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The origin of the clock.
    pub const ZERO: Time = Time(0);

    /// A time `us` microseconds after the origin.
    pub const fn from_us(us: u64) -> Time {
        Time(us)
    }

    /// Microseconds since the origin.
    pub const fn us(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero if `earlier` is in the future.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Samples at 48 kHz since the origin, rounded down.
    pub const fn samples(self) -> u64 {
        // 48 samples per millisecond, split so that the product cannot overflow.
        self.0 / 1_000 * 48 + self.0 % 1_000 * 48 / 1_000
    }
}

impl core::ops::Add<Duration> for Time {
    type Output = Time;
    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(duration.as_micros() as u64))
    }
}

/// Number of ticks that a room has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(pub u64);

/// RTP sequence number (RFC 3550, 5.1): 16 bits with wraparound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Seq(pub u16);

impl Seq {
    /// How far `self` is after `other`, negative if before; exact within half the number range.
    pub const fn distance_from(self, other: Seq) -> i16 {
        self.0.wrapping_sub(other.0) as i16
    }

    /// The sequence number `by` packets later.
    #[must_use]
    pub const fn plus(self, by: u16) -> Seq {
        Seq(self.0.wrapping_add(by))
    }
}

/// RTP media time (RFC 3550, 5.1): 32 bits of 48 kHz samples with wraparound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RtpTime(pub u32);

impl RtpTime {
    /// Samples from `other` to `self`, negative if `self` is earlier; exact within half the number
    /// range.
    pub const fn distance_from(self, other: RtpTime) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }

    /// The media time `samples` samples later.
    #[must_use]
    pub const fn plus(self, samples: u32) -> RtpTime {
        RtpTime(self.0.wrapping_add(samples))
    }
}

/// A linear amplitude factor, never negative and always finite.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Gain(f32);

impl Gain {
    /// Unity gain, which leaves the signal unchanged.
    pub const UNITY: Gain = Gain(1.0);
    /// Zero gain, which silences the signal.
    pub const MUTE: Gain = Gain(0.0);
    /// +12 dB, the largest gain allowed.
    pub const MAX: Gain = Gain(4.0);

    /// Creates a gain from a linear factor, clamped to `0.0..=4.0`; NaN becomes silence.
    pub fn linear(factor: f32) -> Gain {
        if factor.is_nan() {
            Gain::MUTE
        } else {
            Gain(factor.clamp(0.0, Gain::MAX.0))
        }
    }

    /// The linear amplitude factor of this gain.
    pub const fn factor(self) -> f32 {
        self.0
    }
}

impl Default for Gain {
    fn default() -> Gain {
        Gain::UNITY
    }
}

impl From<Decibels> for Gain {
    fn from(db: Decibels) -> Gain {
        Gain::linear(db.factor())
    }
}

/// A ratio or a level in decibels; full scale is 0 dBFS.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Decibels(pub f32);

impl Decibels {
    /// The level that [`Decibels::from_factor`] returns for silence.
    pub const SILENCE: Decibels = Decibels(-127.0);

    /// Converts decibels to a linear amplitude factor.
    pub fn factor(self) -> f32 {
        10f32.powf(self.0 / 20.0)
    }

    /// Converts a linear amplitude factor to decibels, at least [`Decibels::SILENCE`].
    pub fn from_factor(factor: f32) -> Decibels {
        if factor > 0.0 {
            Decibels((20.0 * factor.log10()).max(Decibels::SILENCE.0))
        } else {
            Decibels::SILENCE
        }
    }
}

impl fmt::Display for Decibels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} dB", self.0)
    }
}

/// An audio level as RFC 6464 and RFC 6465 carry it: 0 (full scale) to 127 (silence), in -dBov.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// Digital silence.
    pub const SILENCE: Level = Level(127);

    /// Reads a level from a packet; only the low seven bits count.
    pub const fn from_wire(bits: u8) -> Level {
        Level(bits & 0x7f)
    }

    /// The seven bits that stand for the level in a packet.
    pub const fn wire(self) -> u8 {
        self.0
    }

    /// The level as decibels relative to full scale, `-127.0..=0.0`.
    pub fn decibels(self) -> Decibels {
        Decibels(-f32::from(self.0))
    }

    /// The level of the same sound, multiplied by a gain.
    #[must_use]
    pub fn amplified(self, gain: Gain) -> Level {
        match (self, gain) {
            (Level::SILENCE, _) | (_, Gain::UNITY) => self,
            _ => Level::from(Decibels(
                self.decibels().0 + Decibels::from_factor(gain.factor()).0,
            )),
        }
    }
}

impl From<Decibels> for Level {
    fn from(db: Decibels) -> Level {
        Level((-db.0).round().clamp(0.0, 127.0) as u8)
    }
}

/// Identifies a room; the server assigns the numbers and never reuses one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(pub u32);

/// Identifies a participant; also its CSRC in the packets that others receive, so never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParticipantId(pub u32);

/// Converts a duration to samples at 48 kHz, rounded down.
pub const fn samples_of(duration: Duration) -> u64 {
    duration.as_micros() as u64 * (SAMPLE_RATE_HZ as u64 / 1_000) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_number_and_rtp_time_wrap_around() {
        assert_eq!(Seq(2).distance_from(Seq(65_534)), 4);
        assert_eq!(Seq(65_534).distance_from(Seq(2)), -4);
        assert_eq!(RtpTime(100).distance_from(RtpTime(u32::MAX - 99)), 200);
        assert_eq!(RtpTime(u32::MAX).plus(1), RtpTime(0));
    }

    #[test]
    fn decibels_convert_to_linear_factors_and_back() {
        for (db, factor) in [(0.0, 1.0), (-6.0206, 0.5), (-20.0, 0.1), (12.0412, 4.0)] {
            assert!((Decibels(db).factor() - factor).abs() < 1e-4);
            assert!((Decibels::from_factor(factor).0 - db).abs() < 1e-3);
        }
        assert_eq!(Decibels::from_factor(0.0), Decibels::SILENCE);
        assert_eq!(Gain::linear(f32::NAN), Gain::MUTE);
        assert_eq!(Gain::linear(9.0), Gain::MAX);
    }

    #[test]
    fn level_converts_decibels_to_rfc_6464_values() {
        assert_eq!(Level::from(Decibels(-30.4)).wire(), 30);
        assert_eq!(Level::from(Decibels(3.0)).wire(), 0);
        assert_eq!(Level::from(Decibels::SILENCE), Level::SILENCE);
        assert_eq!(Level::from_wire(0xff), Level::SILENCE);
    }

    #[test]
    fn time_converts_to_samples_at_48_khz() {
        assert_eq!(Time::from_us(20_000).samples(), 960);
        assert_eq!(
            Time::from_us(u64::MAX / 2).samples(),
            (u64::MAX / 2) / 1_000 * 48 + (u64::MAX / 2) % 1_000 * 48 / 1_000
        );
        assert_eq!(samples_of(Duration::from_millis(120)), 5_760);
    }
}
