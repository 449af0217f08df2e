//! Floor control: decides which participants may talk in a room, as a pure state machine. Inputs
//! carry the time; the outputs are actions.
//!
//! The floor handles no audio: its decisions reach the mixer as each participant's [`Permit`] and
//! the participants as messages, both sent by the conference. It is the floor control server of
//! 3GPP TS 24.380, clauses 6.3.4 (the room) and 6.3.5 (towards each participant), and uses the
//! names of that standard. Differences from the standard:
//!
//! - Each holder has a state of its own, so that one machine serves both a single talker and
//!   several.
//! - Between a release and 'G: Floor Idle' the mixer plays the packets already received
//!   (`Draining`).
//! - Messages use reliable transports, so only a grant that may come as a surprise is repeated
//!   (T20); there are no T7 and T8.
//!
//! | timer (11.1.3) | here |
//! |---|---|
//! | T1, end of media | [`Settings::end_of_media`] |
//! | T2, stop talking | [`Settings::talk_limit`] |
//! | T3, stop talking grace | [`Settings::grace`] |
//! | T4, inactivity | 30 s, then [`Action::Inactive`] |
//! | T20 and C20, floor granted | 1 s, twice, then the floor passes on |
//!
//! Timers are checked in [`Floor::tick`], so their resolution is the interval of its calls.

mod cause;
mod holder;
mod message;
mod mode;
mod participant;
mod queries;
mod queue;
mod requests;
mod timers;
mod transitions;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Instant;

use mixer::ParticipantId;
use mixer::permit::Permit;

pub use cause::{DenyCause, RevokeCause};
pub use message::{
    Action, Answer, Denial, Grant, Holding, Position, Precedence, Request, Standing, Tier,
};
pub use mode::{Mode, Settings};

use holder::Holder;
use participant::FloorParticipant;
use queue::Queue;

/// The floor of one room.
///
/// Every input appends its actions to a list, which [`Floor::take_actions`] returns.
#[derive(Debug)]
pub struct Floor {
    settings: Settings,
    participants: BTreeMap<ParticipantId, FloorParticipant>,
    /// Holders in the order of their bursts, oldest first.
    holders: Vec<Holder>,
    queue: Queue,
    /// The queue as it was last announced.
    told_queue: Vec<ParticipantId>,
    /// Whether participants outside the room listen to the room.
    overheard: bool,
    arrivals: u64,
    bursts: u32,
    idles: u32,
    /// Since when the floor is in 'G: Floor Idle' (6.3.4.3); T4 starts here.
    idle_since: Option<Instant>,
    /// Participants whose permit may have changed.
    touched: Vec<ParticipantId>,
    actions: Vec<Action>,
}

/// How a participant requested the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// By a floor request message.
    ByMessage,
    /// By sending voiced packets in a room with an implicit floor; silence then releases the floor.
    /// A talker cut off by T2 must pause first.
    ByTalking,
}

/// Why a moderator's grant is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The room is not moderated.
    #[error("the floor can be granted only in a moderated room")]
    NotModerated,
    /// The granting participant names itself, or waits for the floor.
    #[error(
        "a participant cannot grant the floor to itself, and cannot grant it while waiting for it"
    )]
    Asking,
    /// The participant has not requested the floor.
    #[error("the participant to be granted the floor is not waiting for it")]
    NotAsked,
}

impl Floor {
    /// Creates the floor of an empty room.
    pub fn new(settings: Settings) -> Floor {
        Floor {
            settings,
            participants: BTreeMap::new(),
            holders: Vec::new(),
            queue: Queue::default(),
            told_queue: Vec::new(),
            overheard: false,
            arrivals: 0,
            bursts: 0,
            idles: 0,
            idle_since: None,
            touched: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// Adds a participant to the floor.
    ///
    /// - `talks`: whether the participant can send audio.
    /// - `priority`: the highest priority that the participant may request.
    pub fn join(&mut self, id: ParticipantId, talks: bool, priority: u8) {
        self.arrivals += 1;
        let participant =
            FloorParticipant::new(self.arrivals, talks, priority, self.first_permit());
        self.participants.insert(id, participant);
    }

    /// Returns the permit of a participant that has just joined.
    pub fn first_permit(&self) -> Permit {
        if self.settings.mode.has_floor() {
            Permit::Closed
        } else {
            Permit::Free
        }
    }

    /// Removes a participant from the floor; frees the floor if the participant holds it, and its
    /// place in the queue.
    pub fn leave(&mut self, id: ParticipantId, now: Instant) {
        if self.participants.remove(&id).is_none() {
            return;
        }
        self.queue.remove(id);
        if let Some(at) = self.held_by(id) {
            self.end(at);
        }
        self.may_be_alone(now);
    }

    /// Sets whether participants outside the room listen to the room, in which case a single
    /// participant in the room can talk.
    pub fn set_overheard(&mut self, overheard: bool, now: Instant) {
        if self.overheard != overheard {
            self.overheard = overheard;
            self.may_be_alone(now);
        }
    }

    /// Handles a Floor Request (6.3.4.3.3, 6.3.4.4.7 and on). A repeated request changes nothing,
    /// unless it has a higher precedence, which the waiting request or the held floor then takes.
    pub fn request(&mut self, from: ParticipantId, request: Request, now: Instant) -> Answer {
        if let Some(participant) = self.participants.get_mut(&from) {
            participant.asks();
        }
        let answer = self.answer(from, request, Asked::ByMessage, now);
        // The answer already carries the grant, so the participant needs no message with the grant.
        self.actions
            .retain(|action| !matches!(action, Action::Granted(to, _) if *to == from));
        if let Some(at) = self.held_by(from) {
            self.holders[at].is_known();
        }
        answer
    }

    /// Handles a Floor Release: releases a held floor or removes a waiting request; otherwise does
    /// nothing.
    pub fn release(&mut self, from: ParticipantId, now: Instant) {
        if self.queue.remove(from).is_some() {
            self.touched.push(from);
        }
        if let Some(at) = self.held_by(from) {
            self.holders[at].drain(self.settings.effective_grace(), now);
            self.touched.push(from);
        }
        self.settle(now);
    }

    /// Mutes a participant: the participant loses the floor and its place in the queue, and gets no
    /// floor until [`Floor::unmute`].
    pub fn mute(&mut self, id: ParticipantId, now: Instant) {
        if let Some(participant) = self.participants.get_mut(&id) {
            participant.muted = true;
        }
        self.dismiss(|_, waiting| waiting == id, DenyCause::Muted);
        if let Some(at) = self.held_by(id) {
            self.oust(at);
        }
        self.settle(now);
    }

    /// Unmutes a participant, who may then request the floor.
    pub fn unmute(&mut self, id: ParticipantId) {
        if let Some(participant) = self.participants.get_mut(&id) {
            participant.muted = false;
        }
    }

    /// Grants a waiting request on behalf of a moderator, and revokes the present holder. A second
    /// grant during the holder's grace replaces the first grant, and the request granted first goes
    /// on waiting.
    ///
    /// # Errors
    /// [`GrantError`]; the floor is then unchanged.
    pub fn grant(
        &mut self,
        by: ParticipantId,
        to: ParticipantId,
        now: Instant,
    ) -> Result<(), GrantError> {
        if self.settings.mode != Mode::Moderated {
            return Err(GrantError::NotModerated);
        }
        if by == to || self.queue.contains(by) {
            return Err(GrantError::Asking);
        }
        if !self.queue.contains(to) {
            return Err(GrantError::NotAsked);
        }
        self.queue.call(to);
        if let Some(at) = self.holders.iter().position(Holder::is_taken) {
            self.revoke(at, RevokeCause::ByAnotherClient, now);
        }
        self.settle(now);
        Ok(())
    }

    /// Notes that packets of a participant have arrived.
    ///
    /// - `voiced`: whether any of the packets carried sound.
    pub fn media(&mut self, from: ParticipantId, voiced: bool, now: Instant) {
        if !self.settings.mode.has_floor() {
            return;
        }
        if let Some(at) = self.held_by(from) {
            self.holders[at].hear(voiced, now);
            return;
        }
        if !voiced || self.queue.contains(from) {
            return;
        }
        let participant = self.participants.get_mut(&from);
        let asks = participant.is_some_and(|participant| participant.asks_by_talking(now));
        if asks && self.settings.implicit && self.takes_by_talking(from, now) {
            return;
        }
        if let Some(participant) = self.participants.get_mut(&from)
            && participant.sends_unpermitted(now)
        {
            self.actions.push(Action::Unpermitted(from));
        }
    }

    /// Notes that the mixer has played all packets of a participant that released the floor.
    pub fn drained(&mut self, id: ParticipantId, now: Instant) {
        if let Some(at) = self.held_by(id)
            && self.holders[at].may_be_drained(now)
        {
            self.end(at);
            self.settle(now);
        }
    }

    /// Changes the settings of the room's floor, at any time.
    ///
    /// Running timers keep their start time. As many holders stay as the new mode allows, by
    /// precedence and among equals by age; the other holders are revoked without grace. Requests
    /// stay in the queue. In an open room every waiting request is granted.
    pub fn set(&mut self, settings: Settings, now: Instant) {
        let from = std::mem::replace(&mut self.settings, settings);
        if from.mode == settings.mode {
            return;
        }
        if settings.mode.has_floor() {
            self.fit(now);
        } else {
            self.open();
        }
        self.settle(now);
        self.tell_all_permits();
    }
}

/// The grant that answers every request in a room without a floor.
const NO_FLOOR: Grant = Grant {
    burst: 0,
    duration: None,
    priority: 0,
};
