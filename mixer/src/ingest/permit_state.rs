//! State of a permit: what the control side ordered, and what it means for packets that arrive now.

use core::time::Duration;

use crate::permit::Permit;
use crate::units::Time;

/// The state of one participant's permit to be heard.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PermitState {
    /// The permit that the control side ordered last.
    ordered: Permit,
    /// The permit in effect: a draining permit closes by itself.
    effective: Permit,
    /// When the participant released the floor.
    released_at: Time,
}

impl PermitState {
    /// The permit that is in effect now.
    pub fn effective(&self) -> Permit {
        self.effective
    }

    /// Whether the participant is heard whenever it says something.
    pub fn is_open(&self) -> bool {
        !matches!(self.effective, Permit::Closed | Permit::Asked)
    }

    /// Whether the participant is heard because it holds the floor or has just released it.
    pub fn is_held(&self) -> bool {
        matches!(self.effective, Permit::Held | Permit::Draining)
    }

    /// Applies an order of the control side. A repeated order changes nothing.
    pub fn order(&mut self, permit: Permit, now: Time) {
        if permit != self.ordered {
            self.ordered = permit;
            self.effective = permit;
            self.released_at = now;
        }
    }

    /// Closes a permit that was draining.
    pub fn close(&mut self) {
        self.effective = Permit::Closed;
    }

    /// Whether a packet that arrives now may have been in flight when the floor was released.
    ///
    /// - `target`: how long packets wait before they are played.
    pub fn admits(&self, arrival: Time, target: Duration) -> bool {
        let since = arrival.since(self.released_at);
        self.effective != Permit::Draining || since <= target + ON_THE_WAY
    }

    /// Whether every packet that was in flight when the floor was released has been heard.
    pub fn has_drained(&self, now: Time, target: Duration, has_run_dry: bool) -> bool {
        let since = now.since(self.released_at);
        let is_heard = has_run_dry && since > target + ON_THE_WAY;
        self.effective == Permit::Draining && (since >= LONGEST_DRAIN || is_heard)
    }
}

/// How much longer than the target the end of a word may be in flight after the floor was released:
/// the packet that the sender was filling at that moment.
const ON_THE_WAY: Duration = Duration::from_millis(20);

/// The longest time that a draining permit stays open, however many packets wait: after that, the
/// floor may belong to another participant.
const LONGEST_DRAIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(10);

    fn at(ms: u64) -> Time {
        Time::from_us(ms * 1_000)
    }

    #[test]
    fn draining_floor_permit_admits_packets_in_flight_and_stays_closed_once_drained() {
        let mut state = PermitState::default();
        assert!(state.is_open() && !state.is_held());
        state.order(Permit::Held, at(0));
        state.order(Permit::Draining, at(1_000));
        assert!(state.admits(at(990), TARGET) && state.admits(at(1_030), TARGET));
        assert!(!state.admits(at(1_031), TARGET));
        assert!(!state.has_drained(at(1_030), TARGET, true), "more may come");
        assert!(
            !state.has_drained(at(1_499), TARGET, false),
            "more is to be heard"
        );
        assert!(
            state.has_drained(at(1_031), TARGET, true)
                && state.has_drained(at(1_500), TARGET, false)
        );
        state.effective = Permit::Closed;
        // Another order to drain does not open the closed permit again.
        state.order(Permit::Draining, at(2_000));
        assert!(!state.is_open());
        state.order(Permit::Held, at(3_000));
        assert!(state.is_held() && !state.has_drained(at(9_000), TARGET, true));
    }

    #[test]
    fn permit_is_open_unless_closed_or_asked() {
        for number in 0..=u8::MAX {
            let mut state = PermitState::default();
            let permit = Permit::from_wire(number);
            state.order(permit, at(1));
            assert_eq!(state.is_open(), [0, 3, 4].contains(&number), "{permit:?}");
        }
    }
}
