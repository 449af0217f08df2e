//! Finds when a sender's present talk-spurt began, and counts the packets that hold sound.
//!
//! Every packet is recorded here, whether it is played or not.

use core::time::Duration;

use crate::codec::DTX_MAX_BYTES;
use crate::packet::Packet;
use crate::units::Time;

/// The talk-spurts and pauses of one sender's packets.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TalkSpurt {
    last_arrival: Option<Time>,
    /// Length of the last packet, in samples at 48 kHz.
    packet_samples: usize,
    /// When the present talk-spurt began.
    began: Option<Time>,
    /// Only the first packet of the talk-spurt has come so far. It may be a DTX refresh (RFC 6716,
    /// 2.1.9), of which one is sent every 400 ms.
    is_lone: bool,
    /// A floor request for this talk-spurt was answered, so none of it is held any longer.
    is_answered: bool,
}

impl TalkSpurt {
    /// Records one packet; returns how many more packets are now known to hold a sound.
    ///
    /// - `samples`: length of the packet at 48 kHz.
    /// - `is_silent`: the sender signals silence and is believed.
    pub fn record(
        &mut self,
        packet: &Packet,
        samples: usize,
        is_silent: bool,
        arrival: Time,
    ) -> u64 {
        let payload = packet.payload.as_slice();
        self.packet_samples = samples;
        let length = Duration::from_micros(self.packet_samples as u64 * 1_000 / 48);
        let last = self.last_arrival.replace(arrival);
        if is_silent || payload.len() <= DTX_MAX_BYTES {
            self.began = None;
            return 0;
        }
        let goes_on = last.is_some_and(|last| arrival.since(last) <= PAUSE + length);
        if self.began.is_none() || !goes_on {
            self.began = Some(arrival);
            self.is_lone = true;
            self.is_answered = false;
            return 0;
        }
        1 + u64::from(core::mem::take(&mut self.is_lone))
    }

    /// Whether the present talk-spurt began at most `limit` ago and is unanswered; `None` in a
    /// pause.
    pub fn is_young(&self, now: Time, limit: Duration) -> Option<bool> {
        let began = self.began?;
        Some(!self.is_answered && now.since(began) <= limit)
    }

    /// Marks the present talk-spurt as answered: only speech after a pause counts as new.
    pub fn mark_answered(&mut self) {
        self.is_answered = true;
    }

    /// Whether a packet that arrives now follows a pause of over 100 ms.
    pub fn follows_pause(&self, arrival: Time) -> bool {
        let last = self.last_arrival;
        last.is_none_or(|last| arrival.since(last) > PAUSE)
    }

    /// Whether the sender still sends: its last packet arrived within the time of two DTX
    /// refreshes.
    pub fn is_going_on(&self, now: Time) -> bool {
        let last = self.last_arrival;
        last.is_some_and(|last| now.since(last) <= TWO_REFRESHES)
    }

    /// When the last packet of the sender arrived; `None` before the first packet.
    pub fn last_arrival(&self) -> Option<Time> {
        self.last_arrival
    }

    /// Length of the last packet, in samples at 48 kHz.
    pub fn packet_samples(&self) -> usize {
        self.packet_samples
    }
}

/// A longer gap than this between two packets means that the sender was silent.
const PAUSE: Duration = Duration::from_millis(100);

/// A silent sender refreshes its silence every 400 ms (RFC 6716, 2.1.9), and one refresh may be
/// lost.
const TWO_REFRESHES: Duration = Duration::from_millis(900);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::packet::Payload;
    use crate::units::{Level, RtpTime, Seq};

    fn note(spurt: &mut TalkSpurt, ms: u64, payload: &[u8], level: Option<u8>) -> u64 {
        let packet = Packet {
            seq: Seq(0),
            time: RtpTime(0),
            ssrc: 1,
            marker: false,
            level: level.map(Level::from_wire),
            payload: Payload::copy_from(payload).unwrap(),
        };
        let samples = Codec::Opus.samples(payload).unwrap();
        let is_silent = packet.level == Some(Level::SILENCE);
        spurt.record(&packet, samples, is_silent, Time::from_us(ms * 1_000))
    }

    const VOICE: &[u8] = &[0xf8, 1, 2];

    #[test]
    fn talk_spurt_ignores_dtx_refreshes_and_counts_speech_from_the_start() {
        let mut spurt = TalkSpurt::default();
        for refresh in 0..10 {
            assert_eq!(note(&mut spurt, refresh * 400, VOICE, None), 0);
            assert_eq!(note(&mut spurt, refresh * 400 + 20, &VOICE[..1], None), 0);
        }
        let told: Vec<u64> = (0..4)
            .map(|n| note(&mut spurt, 5_000 + n * 20, VOICE, None))
            .collect();
        assert_eq!(told, [0, 2, 1, 1]);
        assert_eq!(note(&mut spurt, 5_080, VOICE, Some(127)), 0);
    }

    #[test]
    fn talk_spurt_is_young_until_its_time_limit_or_the_answer_to_its_floor_request() {
        let limit = Duration::from_millis(300);
        let mut spurt = TalkSpurt::default();
        assert_eq!(spurt.is_young(Time::ZERO, limit), None);
        for ms in (1_000..1_400).step_by(20) {
            note(&mut spurt, ms, VOICE, Some(30));
            let young = spurt.is_young(Time::from_us(ms * 1_000), limit);
            assert_eq!(young, Some(ms <= 1_300), "{ms}");
        }
        note(&mut spurt, 1_400, VOICE, Some(127));
        assert_eq!(spurt.is_young(Time::from_us(1_400_000), limit), None);
        note(&mut spurt, 1_420, VOICE, Some(30));
        assert_eq!(spurt.is_young(Time::from_us(1_420_000), limit), Some(true));
        spurt.mark_answered();
        note(&mut spurt, 1_440, VOICE, Some(30));
        assert_eq!(spurt.is_young(Time::from_us(1_440_000), limit), Some(false));
        note(&mut spurt, 1_600, VOICE, Some(30));
        assert_eq!(spurt.is_young(Time::from_us(1_600_000), limit), Some(true));
    }

    #[test]
    fn talk_spurt_does_not_mistake_a_long_packet_for_a_pause() {
        let mut spurt = TalkSpurt::default();
        // Six frames of 20 ms.
        let long = [0xfb, 6, 1, 1, 1, 1, 1, 1];
        let told: u64 = (0..10)
            .map(|n| note(&mut spurt, n * 120, &long, None))
            .sum();
        assert_eq!(told, 10);
    }
}
