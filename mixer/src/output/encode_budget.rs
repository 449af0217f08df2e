//! The time that one encode may take on another thread.

use core::time::Duration;

use crate::codec::{Application, Codec, Encoding};

/// The longest time that encoding one packet may take: twice the usual time.
///
/// - `complexity_cap`: highest Opus complexity that the encode may use.
pub(crate) fn encode_budget(encoding: &Encoding, complexity_cap: u8) -> Duration {
    let complexity = u32::from(encoding.complexity.min(complexity_cap));
    // For 20 ms of mono on one core of the reference machine.
    let usual_us = match (encoding.codec, encoding.application) {
        (Codec::Opus, Application::Voip | Application::Audio) => 50 + 10 * complexity,
        (Codec::Opus, Application::LowDelay) => 25 + 4 * complexity,
        _ => 25,
    };
    let frames = encoding.packet_ms * encoding.layout.channels() as u32;
    Duration::from_micros((2 * usual_us * frames).div_ceil(20).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Profile, ReceiverLimits};
    use crate::format::{Layout, TickLength};

    #[test]
    fn encode_budget_follows_profile_complexity_length_and_channels() {
        let limits = ReceiverLimits::default();
        let us = |profile, change: fn(&mut Encoding), cap| {
            let mut encoding = Encoding::new(profile, &limits, TickLength::Ms20);
            change(&mut encoding);
            encode_budget(&encoding, cap).as_micros()
        };
        assert_eq!(us(Profile::Voice, |_| {}, 9), 280);
        assert_eq!(us(Profile::Voice, |_| {}, 0), 100);
        assert_eq!(us(Profile::LowDelay, |_| {}, 9), 122);
        assert_eq!(us(Profile::Thin, |_| {}, 9), 840, "60 ms");
        let stereo = |encoding: &mut Encoding| encoding.layout = Layout::Stereo;
        assert_eq!(us(Profile::Music, stereo, 9), 560);
    }
}
