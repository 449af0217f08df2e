//! What a room's floor is set to.

use std::fmt;
use std::time::Duration;

/// Who may talk in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Everybody: there is no floor.
    #[default]
    Open,
    /// One at a time, by request.
    Ptt,
    /// Several at a time, by request (multi-talker floor control).
    Multi(u16),
    /// One at a time, and whoever asks last, whatever the priorities: T3 is none (audio cut-in).
    CutIn,
    /// Only the originator: who came first of those who are in and can talk.
    Broadcast,
    /// One at a time; requests wait until another participant grants them.
    Moderated,
}

impl Mode {
    /// Most holders of a floor of several.
    pub const MOST_HOLDERS: u16 = 100;

    /// Whether rooms of this mode are conferences; all others are radio rooms.
    pub fn is_conference(self) -> bool {
        matches!(self, Mode::Open | Mode::Moderated)
    }

    /// Reads the name of a mode, such as `ptt` or `multi:3`.
    pub fn parse(text: &str) -> Option<Mode> {
        if let Some(count) = text.strip_prefix("multi:") {
            // The digits alone: `+3` is a number to the standard library.
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

    /// The names there are, for a sentence.
    pub const NAMES: &str = "open, ptt, multi:1 to multi:100, cut-in, broadcast, moderated";

    /// Whether talking takes a permission.
    pub const fn has_floor(self) -> bool {
        !matches!(self, Mode::Open)
    }

    /// Most holders at one time.
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

/// A room's floor: its mode and its timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Who may talk.
    pub mode: Mode,
    /// T1, end of media: a holder who sends nothing for so long has stopped. The standard's 4 s are a network's; here
    /// comfort noise counts as media, so silence is no reason to wait that long.
    pub end_of_media: Duration,
    /// T2, stop talking: longest burst; `None` is no limit.
    pub talk_limit: Option<Duration>,
    /// T3, stop talking grace: how long a revoked holder is heard on. None in a room of [`Mode::CutIn`].
    pub grace: Duration,
    /// Most requests that wait.
    pub queue_limit: u16,
    /// Talking is asking: for clients that can send nothing but audio.
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
    /// T3 as it is applied.
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
    fn modes_are_read_as_they_are_written() {
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
