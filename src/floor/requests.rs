//! Handles floor requests: grants, queues or denies them.

use std::time::Instant;

use mixer::ParticipantId;

use super::holder::State;
use super::queue::Waiting;
use super::{
    Answer, Asked, Denial, DenyCause, Floor, Mode, NO_FLOOR, Precedence, Request, RevokeCause,
    Standing,
};

impl Floor {
    /// Answers a floor request, and carries it out as far as possible at the moment.
    pub(super) fn answer(
        &mut self,
        from: ParticipantId,
        request: Request,
        asked: Asked,
        now: Instant,
    ) -> Answer {
        let most = self
            .participants
            .get(&from)
            .map_or(0, |participant| participant.priority);
        let precedence = Precedence {
            tier: request.tier,
            priority: request.priority.unwrap_or(most).min(most),
        };
        if !self.settings.mode.has_floor() {
            return Answer::Granted(NO_FLOOR);
        }
        if !self.may_talk(from) {
            return self.deny(DenyCause::ReceiveOnly, from);
        }
        if self
            .participants
            .get(&from)
            .is_some_and(|participant| participant.muted)
        {
            return self.deny(DenyCause::Muted, from);
        }
        if self.is_alone() {
            return self.deny(DenyCause::OnlyOneParticipant, from);
        }
        if let Some(at) = self.held_by(from)
            && let Some(answer) = self.asked_again(at, precedence, now)
        {
            return answer;
        }
        if self.queue.contains(from) {
            self.queue.raise(from, precedence, asked);
        } else if let Some(cause) = self.refusal(precedence, request.queue) {
            return self.deny(cause, from);
        } else {
            self.enqueue(from, precedence, asked, now);
        }
        self.settle(now);
        match self.standing(from, now) {
            Standing::Granted(grant) => Answer::Granted(grant),
            _ => Answer::Queued(self.position(from)),
        }
    }

    /// Answers a request of a floor holder; `None` if the request must be handled like that of a
    /// participant without the floor.
    fn asked_again(&mut self, at: usize, precedence: Precedence, now: Instant) -> Option<Answer> {
        let nobody_waits = self.queue.is_empty() && !self.is_moderated();
        let holder = &mut self.holders[at];
        match holder.state {
            State::Taken => {
                holder.precedence = holder.precedence.max(precedence);
                holder.asked = Asked::ByMessage;
                Some(Answer::Granted(holder.grant(&self.settings, now)))
            }
            State::PendingRevoke { since, .. } => {
                let asker = holder.participant;
                Some(Answer::Denied(Denial {
                    retry_after: Some(self.grace_left(since, now)),
                    ..self.denial(DenyCause::RetryAfterNotExpired, asker)
                }))
            }
            // The holder may continue at once, with a new burst.
            State::Draining { .. } if nobody_waits => {
                let from = holder.participant;
                self.end(at);
                self.take(from, precedence, Asked::ByMessage, now);
                self.settle(now);
                let standing = self.standing(from, now);
                let Standing::Granted(grant) = standing else {
                    return None;
                };
                Some(Answer::Granted(grant))
            }
            State::Draining { .. } => None,
        }
    }

    /// Returns why a request can neither be granted nor wait; `None` if it can.
    fn refusal(&self, precedence: Precedence, queue: bool) -> Option<DenyCause> {
        let served = !self.is_moderated() && self.would_be_served(precedence);
        if served {
            None
        } else if !queue {
            Some(if self.holders.is_empty() {
                DenyCause::Other
            } else {
                DenyCause::AnotherClientHasPermission
            })
        } else if self.queue.len() >= usize::from(self.settings.queue_limit) {
            Some(DenyCause::QueueFull)
        } else {
            None
        }
    }

    /// Returns whether a new request gets the floor without waiting for a talker to finish: a place
    /// is free, or will be free once a draining voice has been played, or the request pre-empts a
    /// holder.
    fn would_be_served(&self, precedence: Precedence) -> bool {
        if self.settings.mode == Mode::CutIn {
            return true;
        }
        let before = |waiting: &&Waiting| waiting.called || waiting.precedence >= precedence;
        let before = self.queue.iter().filter(before).count();
        let talking = self.holders.iter().filter(|holder| !holder.is_draining());
        let beaten = talking.filter(|holder| holder.precedence < precedence);
        let free = self.settings.mode.size().saturating_sub(self.holders.len());
        let draining = self.draining().count();
        before < free + draining + beaten.count()
    }

    fn enqueue(&mut self, from: ParticipantId, precedence: Precedence, asked: Asked, now: Instant) {
        let cuts_in = self.settings.mode == Mode::CutIn;
        self.queue.insert(Waiting {
            participant: from,
            precedence,
            called: cuts_in,
            asked,
        });
        self.touched.push(from);
        if cuts_in && !self.holders.is_empty() {
            if self.holders[0].is_taken() {
                self.revoke(0, RevokeCause::MediaBurstPreempted, now);
            } else {
                self.end(0);
            }
        }
    }

    /// Handles talking as a request in a room with an implicit floor; returns whether the request
    /// was granted or queued.
    pub(super) fn takes_by_talking(&mut self, from: ParticipantId, now: Instant) -> bool {
        // Two participants that talk at the same time would cut each other off with every packet.
        if self.settings.mode == Mode::CutIn && !self.holders.is_empty() {
            return false;
        }
        let request = Request {
            queue: false,
            ..Request::default()
        };
        match self.answer(from, request, Asked::ByTalking, now) {
            Answer::Granted(_) => {}
            // The request pre-empts a holder: the talker's voice is buffered until that holder has
            // stopped.
            Answer::Queued(_) => return true,
            Answer::Denied(_) => return false,
        }
        if let Some(at) = self.held_by(from) {
            self.holders[at].hear(true, now);
        }
        true
    }

    fn deny(&self, cause: DenyCause, asker: ParticipantId) -> Answer {
        Answer::Denied(self.denial(cause, asker))
    }

    pub(super) fn denial(&self, cause: DenyCause, asker: ParticipantId) -> Denial {
        let mut holders = self.holders.iter().map(|holder| holder.participant);
        Denial {
            cause,
            holder: holders.find(|holder| *holder != asker),
            retry_after: None,
        }
    }

    pub(super) fn may_talk(&self, id: ParticipantId) -> bool {
        let talks = self
            .participants
            .get(&id)
            .is_some_and(|participant| participant.talks);
        talks && (self.settings.mode != Mode::Broadcast || self.originator() == Some(id))
    }

    /// Returns the only participant that may talk in a broadcast room.
    fn originator(&self) -> Option<ParticipantId> {
        let talkers = self
            .participants
            .iter()
            .filter(|(_, participant)| participant.talks);
        let first = talkers.min_by_key(|(_, participant)| participant.arrival)?;
        Some(*first.0)
    }

    pub(super) fn is_alone(&self) -> bool {
        self.participants.len() < 2 && !self.overheard
    }

    pub(super) fn is_moderated(&self) -> bool {
        self.settings.mode == Mode::Moderated
    }
}
