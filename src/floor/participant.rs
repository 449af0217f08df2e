//! A participant as the floor sees it: the machine towards the floor participant (TS 24.380,
//! 6.3.5). Its states 'U: permitted', 'U: pending Floor Revoke' and the two states of 'U: not
//! permitted' follow from the general machine; this module keeps 'U: not permitted but sends media'
//! (6.3.5.7).

use std::time::{Duration, Instant};

use mixer::permit::Permit;

/// A participant of the room, as the floor sees it.
#[derive(Debug)]
pub(super) struct FloorParticipant {
    /// Sequence number of the participant among all that ever joined.
    pub(super) arrival: u64,
    /// Whether the participant can send audio.
    pub(super) talks: bool,
    /// Highest priority that the participant may request.
    pub(super) priority: u8,
    /// The permit that the mixer was told last.
    pub(super) permit: Permit,
    /// Whether the participant is muted and so gets no floor.
    pub(super) muted: bool,
    sending: Option<Sending>,
    /// Time of the last sound since T2 ended the participant's burst; `None` once it has paused.
    cut_off: Option<Instant>,
}

/// A series of voiced packets that a participant sends without the floor.
#[derive(Debug, Clone, Copy)]
struct Sending {
    since: Instant,
    last: Instant,
    told: bool,
}

impl FloorParticipant {
    pub(super) fn new(arrival: u64, talks: bool, priority: u8, permit: Permit) -> FloorParticipant {
        FloorParticipant {
            arrival,
            talks,
            priority,
            permit,
            muted: false,
            sending: None,
            cut_off: None,
        }
    }

    /// Notes that T2 has ended the participant's burst, whose last packet arrived at `heard`.
    pub(super) fn is_cut_off(&mut self, heard: Instant) {
        self.cut_off = Some(heard);
    }

    /// Notes a request by message, which ends the ban on requests by talking.
    pub(super) fn asks(&mut self) {
        self.cut_off = None;
    }

    /// Notes a voiced packet; returns whether it counts as a request in a room with an implicit
    /// floor. A talker that was cut off by T2 must pause first, or it would hold the floor forever.
    pub(super) fn asks_by_talking(&mut self, now: Instant) -> bool {
        let talks_on = self
            .cut_off
            .is_some_and(|heard| now.saturating_duration_since(heard) < PAUSE);
        self.cut_off = talks_on.then_some(now);
        !talks_on
    }

    /// Forgets the voiced packets sent without the floor, because the participant gets the floor.
    pub(super) fn is_in_order(&mut self) {
        self.sending = None;
    }

    /// Notes a voiced packet sent without the floor; returns true once per burst, when the
    /// participant must be told that it is not heard.
    pub(super) fn sends_unpermitted(&mut self, now: Instant) -> bool {
        let between = |since: Instant, until: Instant| until.saturating_duration_since(since);
        let goes_on = self
            .sending
            .filter(|sending| between(sending.last, now) < PAUSE);
        let mut sending = goes_on.unwrap_or(Sending {
            since: now,
            last: now,
            told: false,
        });
        sending.last = now;
        let tell = !sending.told && between(sending.since, now) >= PATIENCE;
        sending.told |= tell;
        self.sending = Some(sending);
        tell
    }
}

/// Silence that ends a burst: longer than a pause between two words, and than the interval of DTX
/// refreshes.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a participant may send voiced packets without the floor before it is told. A shorter
/// time may pass by chance: a request may arrive 300 ms after the first word, and the last packets
/// of a burst after the release.
const PATIENCE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_off_participant_requests_the_floor_by_talking_only_after_a_pause() {
        let mut participant = FloorParticipant::new(0, true, 0, Permit::Closed);
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert!(participant.asks_by_talking(start));
        participant.is_cut_off(start);
        assert!((1..100).all(|n| !participant.asks_by_talking(at(n * 900))));
        assert!(participant.asks_by_talking(at(99 * 900 + 1_000)));
        participant.is_cut_off(at(100_000));
        participant.asks();
        assert!(participant.asks_by_talking(at(100_020)));
    }

    #[test]
    fn participant_is_notified_once_for_each_burst_sent_without_the_floor() {
        let mut participant = FloorParticipant::new(0, true, 0, Permit::Closed);
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let told = |participant: &mut FloorParticipant, range: std::ops::Range<u64>| {
            let packets = range.step_by(20);
            packets
                .filter(|ms| participant.sends_unpermitted(at(*ms)))
                .count()
        };
        assert_eq!(told(&mut participant, 0..400), 0);
        assert_eq!(told(&mut participant, 400..5_000), 1);
        assert_eq!(told(&mut participant, 7_000..7_400), 0);
        assert_eq!(told(&mut participant, 7_400..9_000), 1);
    }
}
