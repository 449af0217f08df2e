//! One who holds the floor, with the timers of the burst.

use std::time::{Duration, Instant};

use mixer::ParticipantId;

use super::{Asked, Grant, Holding, Precedence, RevokeCause, Settings};

/// One burst, from the grant until the floor may go on.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) participant: ParticipantId,
    pub(super) burst: u32,
    pub(super) precedence: Precedence,
    pub(super) asked: Asked,
    pub(super) state: State,
    /// T1 runs from here: the grant, then each packet.
    heard: Instant,
    /// T2 runs from here: the first packet.
    began: Option<Instant>,
    /// T20 runs from here, and so many have been: only for a grant out of the queue that has not been used yet.
    unused: Option<(Instant, u32)>,
}

/// The state of the general machine, seen from one of its holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// 'G: Floor Taken' (TS 24.380, 6.3.4.4).
    Taken,
    /// 'G: pending Floor Revoke' (6.3.4.5): still heard, until T3.
    PendingRevoke { cause: RevokeCause, since: Instant },
    /// Released, and what was on its way is still being played. The standard's server forwards packets and knows no
    /// such state.
    Draining { since: Instant, until: Instant },
}

/// What a timer demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// The burst is over, without a word: T1, T3, the last T20, or the buffer has had its time.
    End,
    /// T2.
    TooLong,
    /// T20: say again that the floor is granted.
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

    /// It waited and may not be there any more: starts T20.
    pub(super) fn expect_use(&mut self, now: Instant) {
        self.unused = Some((now, 0));
    }

    /// It knows of its grant: it has just asked for it again.
    pub(super) fn is_known(&mut self) {
        self.unused = None;
    }

    /// A packet came: restarts T1, starts T2 with the first, stops T20.
    pub(super) fn hear(&mut self, voiced: bool, now: Instant) {
        if voiced || self.asked == Asked::ByMessage {
            self.heard = now;
            self.began.get_or_insert(now);
            self.unused = None;
        }
    }

    /// It lets go. What is on its way may take its time, but no more than is left of a grace.
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

    /// Whether T2 ends it.
    pub(super) fn talked_too_long(&self) -> bool {
        let cause = RevokeCause::MediaBurstTooLong;
        matches!(self.state, State::PendingRevoke { cause: why, .. } if why == cause)
    }

    /// The grant, or the last packet.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// What is left of T2.
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

    /// The timer that is over, if one is.
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

    /// Whether the buffer may be called empty. Before two ticks are over the mixer need not have seen that the floor
    /// was held at all, let alone that it was let go.
    pub(super) fn may_be_drained(&self, now: Instant) -> bool {
        match self.state {
            State::Draining { since, .. } => now.saturating_duration_since(since) >= SHORTEST_DRAIN,
            _ => false,
        }
    }
}

/// T20, Floor Granted (TS 24.380, 11.1.3): repeated while a grant out of the queue is not used.
const T20: Duration = Duration::from_secs(1);
/// C20: so many T20, then the floor goes on. Together as long as T132, in which a client has to accept such a grant;
/// the standard's three repetitions make up for lost packets, which there are none of here.
const C20: u32 = 2;
/// Two ticks.
const SHORTEST_DRAIN: Duration = Duration::from_millis(40);
/// The mixer plays what is on its way for 500 ms at most; a tick or two later the floor goes on in any case.
const LONGEST_DRAIN: Duration = Duration::from_millis(550);
