//! A floor holder, with the timers of its burst.

use std::time::{Duration, Instant};

use mixer::ParticipantId;

use super::{Asked, Grant, Holding, Precedence, RevokeCause, Settings};

/// One media burst of a floor holder, from the grant until the next participant can get the floor.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) participant: ParticipantId,
    pub(super) burst: u32,
    pub(super) precedence: Precedence,
    pub(super) asked: Asked,
    pub(super) state: State,
    /// Start of T1: the grant, then each packet.
    heard: Instant,
    /// Start of T2: the first packet of the burst.
    began: Option<Instant>,
    /// Start of T20 and the number of expired T20; set only for a grant out of the queue that has
    /// not been used yet.
    unused: Option<(Instant, u32)>,
}

/// State of one holder, in terms of the standard's general floor control machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// 'G: Floor Taken' (TS 24.380, 6.3.4.4).
    Taken,
    /// 'G: pending Floor Revoke' (6.3.4.5): the holder is still heard, until T3 expires.
    PendingRevoke { cause: RevokeCause, since: Instant },
    /// The holder has released the floor, and the mixer plays the packets already received. The
    /// standard's server only forwards packets and has no such state.
    Draining { since: Instant, until: Instant },
}

/// The consequence of an expired timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// The burst ends without a message to the holder: T1, T3, the last T20 or the draining time
    /// has expired.
    End,
    /// T2 has expired: the holder is revoked.
    TooLong,
    /// T20 has expired: the grant is sent again.
    Repeat,
}

impl Holder {
    pub(super) fn new(
        participant: ParticipantId,
        burst: u32,
        precedence: Precedence,
        now: Instant,
    ) -> Holder {
        Holder {
            participant,
            burst,
            precedence,
            asked: Asked::ByMessage,
            state: State::Taken,
            heard: now,
            began: None,
            unused: None,
        }
    }

    /// Starts T20, because a participant whose request has waited may no longer be ready to talk.
    pub(super) fn expect_use(&mut self, now: Instant) {
        self.unused = Some((now, 0));
    }

    /// Stops T20, because the holder has just requested again and so knows of its grant.
    pub(super) fn is_known(&mut self) {
        self.unused = None;
    }

    /// Notes a packet of the holder: restarts T1, starts T2 at the first packet, stops T20.
    ///
    /// A packet without sound is ignored if the holder requested the floor by talking.
    pub(super) fn hear(&mut self, voiced: bool, now: Instant) {
        if voiced || self.asked == Asked::ByMessage {
            self.heard = now;
            self.began.get_or_insert(now);
            self.unused = None;
        }
    }

    /// Starts to drain after a release, for [`LONGEST_DRAIN`] or the rest of a grace, whichever is
    /// shorter.
    pub(super) fn drain(&mut self, grace: Duration, now: Instant) {
        let longest = now + LONGEST_DRAIN;
        let until = match self.state {
            State::Taken => longest,
            State::PendingRevoke { since, .. } => longest.min(since + grace),
            State::Draining { .. } => return,
        };
        self.state = State::Draining { since: now, until };
    }

    pub(super) fn is_taken(&self) -> bool {
        self.state == State::Taken
    }

    pub(super) fn is_draining(&self) -> bool {
        matches!(self.state, State::Draining { .. })
    }

    /// Returns whether the holder has been revoked because T2 expired.
    pub(super) fn talked_too_long(&self) -> bool {
        let cause = RevokeCause::MediaBurstTooLong;
        matches!(self.state, State::PendingRevoke { cause: why, .. } if why == cause)
    }

    /// Returns the time of the last packet, or of the grant if none has arrived.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// Returns the time left of T2; `None` if the room has no talk limit.
    fn left(&self, settings: &Settings, now: Instant) -> Option<Duration> {
        let limit = settings.talk_limit?;
        let spent = self
            .began
            .map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        Some(limit.saturating_sub(spent))
    }

    pub(super) fn grant(&self, settings: &Settings, now: Instant) -> Grant {
        Grant {
            burst: self.burst,
            duration: self.left(settings, now),
            priority: self.precedence.priority,
        }
    }

    pub(super) fn holding(&self, settings: &Settings, now: Instant) -> Holding {
        Holding {
            participant: self.participant,
            burst: self.burst,
            left: self.left(settings, now),
        }
    }

    /// Returns the consequence of an expired timer, if one has expired.
    pub(super) fn expired(&mut self, settings: &Settings, now: Instant) -> Option<Expiry> {
        let over = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        match self.state {
            State::Draining { until, .. } => (now >= until).then_some(Expiry::End),
            State::PendingRevoke { since, .. } => {
                let grace = settings.effective_grace();
                let silent = over(self.heard, settings.end_of_media);
                (silent || over(since, grace)).then_some(Expiry::End)
            }
            State::Taken => {
                if over(self.heard, settings.end_of_media) {
                    return Some(Expiry::End);
                }
                let limit = settings.talk_limit;
                let too_long = self.began.zip(limit).is_some_and(|it| over(it.0, it.1));
                if too_long {
                    return Some(Expiry::TooLong);
                }
                let (since, count) = self.unused.filter(|(since, _)| over(*since, T20))?;
                if count + 1 >= C20 {
                    return Some(Expiry::End);
                }
                self.unused = Some((since + T20, count + 1));
                Some(Expiry::Repeat)
            }
        }
    }

    /// Returns whether the mixer's report that all packets of the holder have been played can be
    /// believed. During the first two ticks of draining, the mixer may still report the permit from
    /// before the release, or even from before the grant.
    pub(super) fn may_be_drained(&self, now: Instant) -> bool {
        match self.state {
            State::Draining { since, .. } => now.saturating_duration_since(since) >= SHORTEST_DRAIN,
            _ => false,
        }
    }
}

/// T20, Floor Granted (TS 24.380, 11.1.3): the grant of a request that has waited is repeated until
/// the holder uses it.
const T20: Duration = Duration::from_secs(1);
/// C20: number of times that T20 expires until the floor passes to the next request. Together these
/// times are as long as T132, within which a client must accept such a grant; the standard's three
/// repetitions compensate for lost packets, which reliable transports do not have.
const C20: u32 = 2;
/// Draining time during which the mixer's report is not believed: two ticks of 20 ms.
const SHORTEST_DRAIN: Duration = Duration::from_millis(40);
/// Draining time after which the floor passes on in any case: the mixer plays received packets for
/// 500 ms at most, and a tick or two are added.
const LONGEST_DRAIN: Duration = Duration::from_millis(550);
