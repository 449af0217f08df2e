//! Noise gate: compares the meter's reading with a threshold, with hysteresis and hangover.
//!
//! Belongs to the strip. The gate only decides whether somebody speaks; the strip's ramp changes
//! the samples.

use core::time::Duration;

use crate::format::TickLength;
use crate::meter::LevelReading;
use crate::units::Decibels;

/// Level at which the noise gate opens unless the room sets another.
pub const DEFAULT_THRESHOLD: Decibels = Decibels(-50.0);

/// How far below the opening threshold a voice may fall while the gate stays open.
pub const HYSTERESIS: Decibels = Decibels(6.0);

/// How long the gate stays open after the last sound: this covers the pauses inside words and most
/// pauses between them.
pub const HANGOVER: Duration = Duration::from_millis(200);

/// The noise gate of one strip.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    open: bool,
    hang_ms: u32,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate::new()
    }
}

impl Gate {
    /// Creates a closed gate.
    pub const fn new() -> Gate {
        Gate {
            open: false,
            hang_ms: 0,
        }
    }

    /// Whether the gate is open.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Closes the gate without hangover.
    pub fn close(&mut self) {
        *self = Gate::new();
    }

    /// Opens or closes the gate for one tick, and returns whether it is open. Without a
    /// `threshold`, the gate opens for anything but digital silence.
    ///
    /// Real-time: safe.
    pub fn judge(
        &mut self,
        reading: LevelReading,
        threshold: Option<Decibels>,
        tick: TickLength,
    ) -> bool {
        let opens_at = threshold.unwrap_or(ANYTHING).0;
        let needed = if self.open {
            opens_at - HYSTERESIS.0
        } else {
            opens_at
        };
        if reading.onset.0 >= needed.max(ANYTHING.0) {
            self.open = true;
            self.hang_ms = HANGOVER.as_millis() as u32;
        } else {
            self.hang_ms = self.hang_ms.saturating_sub(tick.ms());
            self.open &= self.hang_ms > 0;
        }
        self.open
    }
}

/// The quietest sound that is not silence: one step above the lowest level of RFC 6464.
const ANYTHING: Decibels = Decibels(-126.0);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(db: f32) -> LevelReading {
        LevelReading {
            level: Decibels(db),
            onset: Decibels(db),
            sane: true,
        }
    }

    #[test]
    fn noise_gate_opens_at_the_threshold_with_hysteresis_and_hangover() {
        let mut gate = Gate::new();
        let mut judge = |db: f32| gate.judge(at(db), Some(DEFAULT_THRESHOLD), TickLength::Ms20);
        assert!(!judge(-51.0));
        assert!(judge(-49.0));
        assert!((0..100).all(|_| judge(-55.0)), "hysteresis");
        let open = (0..20).filter(|_| judge(-57.0)).count();
        assert_eq!(open, 9, "the tick that empties the hangover closes");
        assert!(!judge(-55.0), "closed, the full threshold counts again");
    }

    #[test]
    fn noise_gate_without_a_threshold_opens_for_any_sound() {
        let mut gate = Gate::new();
        assert!(!gate.judge(LevelReading::SILENCE, None, TickLength::Ms20));
        assert!(gate.judge(at(-100.0), None, TickLength::Ms20));
    }
}
