//! Who has a permit comes in: the door between a strip's packets and the mix.
//!
//! Behind a shut door nothing is decoded or played. What may be the beginning of a request's words
//! waits in the jitter buffer until it is let in or too old; of everything else only the last few
//! packets are kept, for the decoder.

use core::time::Duration;

use super::{Parked, Strip};
use crate::format::SAMPLE_RATE_HZ;
use crate::ingest::Pushed;
use crate::packet::Packet;
use crate::permit::Permit;
use crate::phase::Rhythm;
use crate::units::{Decibels, Time};

/// A permit as the strip lives it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Door {
    /// What the control side said last.
    told: Permit,
    /// What that has come to.
    permit: Permit,
    /// When what is on its way was let go.
    let_go: Time,
}

impl Door {
    pub fn permit(&self) -> Permit {
        self.permit
    }

    /// What it says is heard, or would be.
    pub fn is_open(&self) -> bool {
        !matches!(self.permit, Permit::Closed | Permit::Asked)
    }

    /// It is heard because it holds the floor, or has just let it go.
    pub fn is_held(&self) -> bool {
        matches!(self.permit, Permit::Held | Permit::Draining)
    }

    /// Follows what it is told; a door that is told the same once more stays as it has become.
    fn tell(&mut self, told: Permit, now: Time) {
        if told != self.told {
            self.told = told;
            self.permit = told;
            self.let_go = now;
        }
    }

    /// Whether a packet that arrives now still belongs to what was let go.
    fn admits(&self, arrival: Time, target: Duration) -> bool {
        self.permit != Permit::Draining || arrival.since(self.let_go) <= target + ON_THE_WAY
    }

    /// Whether what was let go has been heard.
    fn is_over(&self, now: Time, target: Duration, has_run_dry: bool) -> bool {
        let since = now.since(self.let_go);
        self.permit == Permit::Draining
            && (since >= LONGEST_DRAIN || has_run_dry && since > target + ON_THE_WAY)
    }
}

impl Strip {
    /// What its voice may do, as far as that has come.
    pub fn permit(&self) -> Permit {
        self.door.permit()
    }

    /// Tells what its voice may do from now on.
    ///
    /// Real-time: safe.
    pub fn allow(&mut self, told: Permit, now: Time) {
        let (was, was_open) = (self.door.permit(), self.door.is_open());
        self.door.tell(told, now);
        match (was_open, self.door.is_open()) {
            (false, true) => self.let_in(now),
            (true, true) if was == told => {}
            (true, true) if told == Permit::Draining => self.playout.finish(),
            (true, true) if was == Permit::Draining => self.playout.catch_up(),
            (true, true) => {}
            (true, false) => self.burst.spend(),
            (false, false) if was == Permit::Asked && told != was => {
                self.burst.spend();
                self.forget_kept();
            }
            (false, false) => {}
        }
        if !self.door.is_open() && self.applied == 0.0 {
            self.park_outside();
        }
    }

    /// Whether it is heard because it holds the floor, or has just let it go.
    pub fn has_floor(&self) -> bool {
        self.door.is_held()
    }

    /// When packets that wait for a permit could be played; `None` if there are none.
    pub(crate) fn kept_rhythm(&self) -> Option<Rhythm> {
        let last = self.burst.last_arrival().filter(|_| self.is_keeping())?;
        Some(Rhythm {
            ready: last + self.playout.target(),
            packet_samples: self.burst.packet_samples(),
        })
    }

    fn is_keeping(&self) -> bool {
        self.parked == Some(Parked::Closed) && self.playout.has_packets()
    }

    /// Takes in one packet at a shut door, or one that comes after what was let go.
    pub(super) fn push_outside(&mut self, packet: &Packet, arrival: Time) -> Option<Pushed> {
        if self.door.is_open() && self.door.admits(arrival, self.playout.target()) {
            return None;
        }
        if self.door.is_open() {
            return Some(self.playout.refuse(packet, arrival));
        }
        if self.parked != Some(Parked::Closed) {
            // What was heard so far fades in the next tick, and that out of sound.
            return Some(self.playout.push(packet, arrival));
        }
        let is_kept = !self.muted
            && match self.burst.is_young(arrival, KEPT) {
                _ if self.door.permit() == Permit::Asked => true,
                Some(is_young) => is_young,
                None => self.is_keeping(),
            };
        if is_kept {
            self.forget_older(arrival);
            self.ssrc = packet.ssrc;
            return Some(self.playout.push(packet, arrival));
        }
        self.forget_kept();
        self.ssrc = packet.ssrc;
        self.unheard.keep(packet, self.playout.codec());
        Some(self.playout.pass(packet, arrival))
    }

    /// Shuts the door behind what was let go, if all of it has been heard.
    pub(super) fn finish_drain(&mut self, now: Time) {
        let target = self.playout.target();
        if (self.door).is_over(now, target, self.playout.has_run_dry()) {
            self.door.permit = Permit::Closed;
            self.burst.spend();
        }
    }

    /// Parks it at a shut door, once nothing of it is heard.
    pub(super) fn park_outside(&mut self) {
        if self.parked == Some(Parked::Closed) {
            return;
        }
        self.parked = Some(Parked::Closed);
        self.unheard = super::Unheard::default();
        self.quiet_ms = 0;
        self.playout.park();
        self.gate.close();
        self.level = Decibels::SILENCE;
        self.loudness = Decibels::SILENCE;
    }

    /// Plays what has waited for a permit, or goes on as if it had never been shut out: it may be let in
    /// before what was heard so far has faded.
    fn let_in(&mut self, now: Time) {
        if self.parked == Some(Parked::Closed) {
            self.parked = None;
            self.forget_older(now);
            self.warm_up(self.ssrc, now);
        }
        match self.door.permit() {
            Permit::Draining => self.playout.finish(),
            _ => self.playout.catch_up(),
        }
    }

    fn forget_older(&mut self, now: Time) {
        let codec = self.playout.codec();
        let Strip { unheard, ssrc, .. } = self;
        let keep = |payload: &[u8]| unheard.keep_payload(*ssrc, payload, codec);
        self.playout.forget_older(now, KEPT_SAMPLES, keep);
    }

    fn forget_kept(&mut self) {
        let codec = self.playout.codec();
        let Strip { unheard, ssrc, .. } = self;
        self.playout
            .forget_all(|payload| unheard.keep_payload(*ssrc, payload, codec));
    }
}

/// As much of what was said before a request was granted is heard: longer than any answer takes on
/// a working network, and not so long that anybody would have begun something else.
const KEPT: Duration = Duration::from_millis(KEPT_MS);
const KEPT_SAMPLES: i64 = SAMPLE_RATE_HZ as i64 * KEPT_MS as i64 / 1_000;
const KEPT_MS: u64 = 300;

/// Beside what the network holds up, the end of a word may be on its way for so long after the word
/// that lets go: the packet that was being filled then.
const ON_THE_WAY: Duration = Duration::from_millis(20);

/// However much waits: after this the floor is another one's.
const LONGEST_DRAIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(10);

    fn at(ms: u64) -> Time {
        Time::from_us(ms * 1_000)
    }

    #[test]
    fn a_door_let_go_admits_what_was_on_its_way_and_shuts_once() {
        let mut door = Door::default();
        assert!(door.is_open() && !door.is_held());
        door.tell(Permit::Held, at(0));
        door.tell(Permit::Draining, at(1_000));
        assert!(door.admits(at(990), TARGET) && door.admits(at(1_030), TARGET));
        assert!(!door.admits(at(1_031), TARGET));
        assert!(!door.is_over(at(1_030), TARGET, true), "more may come");
        assert!(
            !door.is_over(at(1_499), TARGET, false),
            "more is to be heard"
        );
        assert!(door.is_over(at(1_031), TARGET, true) && door.is_over(at(1_500), TARGET, false));
        door.permit = Permit::Closed;
        // Told the same once more, it stays shut.
        door.tell(Permit::Draining, at(2_000));
        assert!(!door.is_open());
        door.tell(Permit::Held, at(3_000));
        assert!(door.is_held() && !door.is_over(at(9_000), TARGET, true));
    }

    #[test]
    fn only_what_is_closed_or_asked_for_is_shut() {
        for number in 0..=u8::MAX {
            let mut door = Door::default();
            let permit = Permit::from_wire(number);
            door.tell(permit, at(1));
            assert_eq!(door.is_open(), [0, 3, 4].contains(&number), "{permit:?}");
        }
    }
}
