//! Settings of a room's floor.

use std::fmt;
use std::time::Duration;

/// Talk mode of a room: which participants may talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// All participants may talk: there is no floor.
    #[default]
    Open,
    /// One participant at a time, by request.
    Ptt,
    /// Up to this many participants at a time, by request (multi-talker floor control).
    Multi(u16),
    /// The participant with the latest request, whatever the priorities and without a grace T3
    /// (audio cut-in).
    CutIn,
    /// Only the originator: the earliest of the present participants that can talk.
    Broadcast,
    /// One participant at a time; a request waits until another participant grants it.
    Moderated,
}

impl Mode {
    /// Maximum number of floor holders that [`Mode::Multi`] can allow.
    pub const MOST_HOLDERS: u16 = 100;

    /// Returns whether rooms of this mode are conferences rather than radio rooms, which have other
    /// defaults for their profile and for monitors.
    pub fn is_conference(self) -> bool {
        matches!(self, Mode::Open | Mode::Moderated)
    }

    /// Parses the name of a mode, such as `ptt` or `multi:3`.
    pub fn parse(text: &str) -> Option<Mode> {
        if let Some(count) = text.strip_prefix("multi:") {
            // Only digits are allowed, because the standard library also parses `+3`.
            let digits = count.bytes().all(|byte| byte.is_ascii_digit());
            let count: u16 = count.parse().ok().filter(|_| digits)?;
            return (1..=Mode::MOST_HOLDERS)
                .contains(&count)
                .then_some(Mode::Multi(count));
        }
        let named = |mode: &Mode| mode.to_string() == text;
        let plain = [
            Mode::Open,
            Mode::Ptt,
            Mode::CutIn,
            Mode::Broadcast,
            Mode::Moderated,
        ];
        plain.into_iter().find(named)
    }

    /// The names of all modes, for error messages.
    pub const NAMES: &str = "open, ptt, multi:1 to multi:100, cut-in, broadcast, moderated";

    /// Returns whether participants need the floor to talk.
    pub const fn has_floor(self) -> bool {
        !matches!(self, Mode::Open)
    }

    /// Returns the maximum number of floor holders at one time.
    pub(super) const fn size(self) -> usize {
        match self {
            Mode::Open => 0,
            Mode::Multi(count) => count as usize,
            Mode::Ptt | Mode::CutIn | Mode::Broadcast | Mode::Moderated => 1,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Open => f.write_str("open"),
            Mode::Ptt => f.write_str("ptt"),
            Mode::Multi(count) => write!(f, "multi:{count}"),
            Mode::CutIn => f.write_str("cut-in"),
            Mode::Broadcast => f.write_str("broadcast"),
            Mode::Moderated => f.write_str("moderated"),
        }
    }
}

/// Settings of a room's floor: its mode and its timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Talk mode of the room.
    pub mode: Mode,
    /// T1, end of media: a holder that sends no packet for this time loses the floor. The
    /// standard's 4 s allow for a mobile network; in this server comfort noise counts as media, so
    /// a shorter time suffices.
    pub end_of_media: Duration,
    /// T2, stop talking: longest burst; `None` means no limit.
    pub talk_limit: Option<Duration>,
    /// T3, stop talking grace: how long a revoked holder is still heard. Zero in rooms of
    /// [`Mode::CutIn`].
    pub grace: Duration,
    /// Maximum number of waiting requests.
    pub queue_limit: u16,
    /// Whether talking requests the floor, for clients that can send only audio.
    pub implicit: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            mode: Mode::Open,
            end_of_media: Duration::from_secs(2),
            talk_limit: Some(Duration::from_secs(30)),
            grace: Duration::from_secs(3),
            queue_limit: 10,
            implicit: false,
        }
    }
}

impl Settings {
    /// Returns T3 as the mode applies it: zero in rooms of [`Mode::CutIn`].
    pub(super) fn effective_grace(&self) -> Duration {
        match self.mode {
            Mode::CutIn => Duration::ZERO,
            _ => self.grace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_mode_names_parse_as_they_are_written() {
        for mode in [
            Mode::Open,
            Mode::Ptt,
            Mode::Multi(3),
            Mode::CutIn,
            Mode::Broadcast,
            Mode::Moderated,
        ] {
            assert_eq!(Mode::parse(&mode.to_string()), Some(mode));
        }
        for bad in [
            "",
            "Open",
            "multi",
            "multi:",
            "multi:0",
            "multi:101",
            "multi:+3",
            "multi:-1",
            "multi:99999",
            "ptt ",
        ] {
            assert_eq!(Mode::parse(bad), None, "{bad}");
        }
    }
}
