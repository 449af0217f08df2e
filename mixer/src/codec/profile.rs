//! Encoding profiles and their settings. A profile is requested for a room, or by a participant
//! that joins.

use core::fmt;
use core::str::FromStr;

use thiserror::Error;

use super::{Application, Bandwidth};

/// A named set of encoder settings, requested for a room or by a participant that joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Profile {
    /// VOIP, 56 kbit/s, complexity 9, FEC once loss is reported: the default of conferences.
    #[default]
    Voice,
    /// VOIP, 32 kbit/s: the default of radio rooms.
    Radio,
    /// CELT only, 64 kbit/s: 4 ms less delay and a quarter of the encoding time. The bandwidth
    /// follows that of the sound, so that a voice of 8 kHz also gets the bits of the empty bands
    /// above.
    LowDelay,
    /// 16 kHz, 12 kbit/s, 60 ms packets, DTX: for thin networks and small devices.
    Thin,
    /// 96 kbit/s, stereo if the listener requests it.
    Music,
}

impl Profile {
    /// All profiles, the default first.
    pub const ALL: [Profile; 5] = [
        Profile::Voice,
        Profile::Radio,
        Profile::LowDelay,
        Profile::Thin,
        Profile::Music,
    ];

    /// The names of all profiles, for error messages.
    pub const NAMES: &str = "voice, radio, low-delay, thin, music";

    /// Bits per second of the profile, unless the receiver requests another bitrate.
    pub const fn usual_bps(self) -> u32 {
        Traits::of(self).usual_bps
    }

    /// The profile's name in requests and configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Voice => "voice",
            Profile::Radio => "radio",
            Profile::LowDelay => "low-delay",
            Profile::Thin => "thin",
            Profile::Music => "music",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Profile, UnknownProfile> {
        Profile::ALL
            .into_iter()
            .find(|profile| profile.name() == name)
            .ok_or(UnknownProfile)
    }
}

/// The error for a name that is not a profile's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("unknown profile; the profiles are: {}", Profile::NAMES)]
pub struct UnknownProfile;

/// How long streams of each profile keep their full packet rate after the last sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hangovers([u32; Profile::ALL.len()]);

impl Hangovers {
    /// Hangover of one profile in milliseconds.
    pub fn of_ms(&self, profile: Profile) -> u32 {
        self.0[profile as usize]
    }

    /// Sets the hangover of one profile in milliseconds.
    pub fn set_ms(&mut self, profile: Profile, hangover_ms: u32) {
        self.0[profile as usize] = hangover_ms;
    }
}

impl Default for Hangovers {
    fn default() -> Hangovers {
        Hangovers(Profile::ALL.map(|profile| Traits::of(profile).hangover_ms))
    }
}

/// The settings of a profile, before a receiver limits them.
#[derive(Clone, Copy)]
pub(super) struct Traits {
    pub application: Application,
    pub usual_bps: u32,
    pub most_bps: u32,
    pub complexity: u8,
    pub bandwidth: Bandwidth,
    pub packet_ms: u32,
    pub hangover_ms: u32,
}

impl Traits {
    pub(super) const fn of(profile: Profile) -> Traits {
        // Complexity 9 gains a whole PESQ point over 0 at 32 kbit/s and is the last step that costs
        // little.
        let voice = Traits {
            application: Application::Voip,
            // The highest bitrate at which libopus keeps to its hybrid coder, which has FEC.
            usual_bps: 56_000,
            most_bps: 64_000,
            complexity: 9,
            bandwidth: Bandwidth::Full,
            packet_ms: 20,
            hangover_ms: 6_000,
        };
        match profile {
            Profile::Voice => voice,
            Profile::Radio => Traits {
                usual_bps: 32_000,
                ..voice
            },
            Profile::LowDelay => Traits {
                application: Application::LowDelay,
                usual_bps: 64_000,
                // One tick: rooms with ticks of 20 ms raise this to 20 ms.
                packet_ms: 10,
                ..voice
            },
            Profile::Thin => Traits {
                usual_bps: 12_000,
                most_bps: 12_000,
                bandwidth: Bandwidth::Wide,
                packet_ms: 60,
                hangover_ms: 0,
                ..voice
            },
            Profile::Music => Traits {
                application: Application::Audio,
                usual_bps: 96_000,
                most_bps: 96_000,
                ..voice
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_names_parse_to_their_profile() {
        for profile in Profile::ALL {
            assert_eq!(profile.to_string().parse(), Ok(profile));
        }
        let names = Profile::ALL.map(Profile::name);
        assert_eq!(Profile::NAMES, names.join(", "));
        assert_eq!("Voice".parse::<Profile>(), Err(UnknownProfile));
    }
}
