//! A floor participant: the machine towards the floor participant (TS 24.380, 6.3.5). Of its states,
//! 'U: permitted', 'U: pending Floor Revoke' and the two of 'U: not permitted' follow from the general machine; what is
//! left to know here is 'U: not permitted but sends media' (6.3.5.7).

use std::time::{Duration, Instant};

use mixer::permit::Permit;

/// A participant of the room, as the floor sees it.
#[derive(Debug)]
pub(super) struct FloorParticipant {
    /// Its number among all who ever came.
    pub(super) arrival: u64,
    /// It can send audio.
    pub(super) talks: bool,
    /// Most it may ask for.
    pub(super) priority: u8,
    /// What the mixer was told last.
    pub(super) permit: Permit,
    /// Nobody hears it, so it gets no floor.
    pub(super) muted: bool,
    sending: Option<Sending>,
    /// T2 has ended its burst, and it has not paused since; when it was heard last.
    cut_off: Option<Instant>,
}

/// A burst without permission.
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

    /// It has talked too long, until `heard` at least.
    pub(super) fn is_cut_off(&mut self, heard: Instant) {
        self.cut_off = Some(heard);
    }

    /// It asks with a message, so it knows how things stand.
    pub(super) fn asks(&mut self) {
        self.cut_off = None;
    }

    /// A sound came from it; whether that is asking, where talking is. Whoever was cut off and just goes on talking
    /// would hold the floor for ever: he has to pause first.
    pub(super) fn asks_by_talking(&mut self, now: Instant) -> bool {
        let talks_on = self
            .cut_off
            .is_some_and(|heard| now.saturating_duration_since(heard) < PAUSE);
        self.cut_off = talks_on.then_some(now);
        !talks_on
    }

    /// It may send, or does not any more.
    pub(super) fn is_in_order(&mut self) {
        self.sending = None;
    }

    /// A sound came from it that nobody hears; whether it is to be told so, once in each burst.
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

/// Silence that ends a burst: longer than between two words, and than between two refreshes of DTX.
const PAUSE: Duration = Duration::from_secs(1);
/// Sound for so long is no mistake of timing: a request may be 300 ms behind its first word, and a burst may end some
/// packets after its release.
const PATIENCE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_cut_off_asks_by_talking_after_a_pause_only() {
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
    fn a_burst_is_complained_of_once() {
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
