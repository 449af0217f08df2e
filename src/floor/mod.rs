//! Floor control: who may talk in a room, as a pure machine. Time is passed in, what is to be done comes out.
//!
//! Stands beside the picture: what it decides reaches the mixer as each participant's [`Permit`], and the participants
//! as messages; it sends neither. It is the floor control server of 3GPP TS 24.380, clauses 6.3.4 (the room) and 6.3.5
//! (towards each participant), and uses its names. Where this server differs from the standard's:
//!
//! - A holder's state is its own, so that the machine for one talker and for several is the same.
//! - Between a release and 'G: Floor Idle' the mixer plays what is still on its way (`Draining`).
//! - Messages go over reliable transports, so nothing is repeated but a grant that may have come as a surprise (T20);
//!   there are no T7 and no T8.
//!
//! | timer (11.1.3) | here |
//! |---|---|
//! | T1, end of media | [`Settings::end_of_media`] |
//! | T2, stop talking | [`Settings::talk_limit`] |
//! | T3, stop talking grace | [`Settings::grace`] |
//! | T4, inactivity | 30 s, then [`Action::Inactive`] |
//! | T20 and C20, floor granted | 1 s, twice, then the floor goes on |
//!
//! Timers are looked at in [`Floor::tick`] and are as fine as that is called often.

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
/// Every input leaves what is to be done in a list that [`Floor::take_actions`] gives out.
#[derive(Debug)]
pub struct Floor {
    settings: Settings,
    participants: BTreeMap<ParticipantId, FloorParticipant>,
    /// In the order of their bursts.
    holders: Vec<Holder>,
    queue: Queue,
    /// Who waited when that was told last.
    told_queue: Vec<ParticipantId>,
    /// Somebody outside the room listens to it.
    overheard: bool,
    arrivals: u64,
    bursts: u32,
    idles: u32,
    /// 'G: Floor Idle' since (6.3.4.3); T4 runs from here.
    idle_since: Option<Instant>,
    /// Whose permit may be another one now.
    touched: Vec<ParticipantId>,
    actions: Vec<Action>,
}

/// How somebody asks for the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// By a message.
    ByMessage,
    /// By sending sound where that is enough; then silence is enough to let go. Not by going on to talk after T2.
    ByTalking,
}

/// A moderator's grant that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The room goes by itself.
    #[error("The room is not moderated.")]
    NotModerated,
    /// Nobody judges his own case.
    #[error("Who asks for the floor cannot grant it.")]
    Asking,
    /// Nobody is made to talk.
    #[error("The participant does not ask for the floor.")]
    NotAsked,
}

impl Floor {
    /// The floor of an empty room.
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

    /// Somebody came.
    ///
    /// - `talks`: it can send audio.
    /// - `priority`: the most it may ask for.
    pub fn join(&mut self, id: ParticipantId, talks: bool, priority: u8) {
        self.arrivals += 1;
        let participant =
            FloorParticipant::new(self.arrivals, talks, priority, self.first_permit());
        self.participants.insert(id, participant);
    }

    /// What holds for somebody who has just come.
    pub fn first_permit(&self) -> Permit {
        if self.settings.mode.has_floor() {
            Permit::Closed
        } else {
            Permit::Free
        }
    }

    /// Somebody went: with the floor, or out of the queue.
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

    /// Whether somebody outside the room listens to it, so that one who is alone in it is not alone.
    pub fn set_overheard(&mut self, overheard: bool, now: Instant) {
        if self.overheard != overheard {
            self.overheard = overheard;
            self.may_be_alone(now);
        }
    }

    /// Floor Request (6.3.4.3.3, 6.3.4.4.7 and on): the same again changes nothing, a more important one makes the
    /// first more important.
    pub fn request(&mut self, from: ParticipantId, request: Request, now: Instant) -> Answer {
        if let Some(participant) = self.participants.get_mut(&from) {
            participant.asks();
        }
        let answer = self.answer(from, request, Asked::ByMessage, now);
        // What it comes to is the answer; it is not to be told twice.
        self.actions
            .retain(|action| !matches!(action, Action::Granted(to, _) if *to == from));
        if let Some(at) = self.held_by(from) {
            self.holders[at].is_known();
        }
        answer
    }

    /// Floor Release, or the end of a request that waits; nothing from anybody else.
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

    /// Nobody hears a participant from now on: it keeps no floor from others, waits for none and gets none until
    /// [`Floor::unmute`].
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

    /// A participant can be heard again, and may ask for the floor.
    pub fn unmute(&mut self, id: ParticipantId) {
        if let Some(participant) = self.participants.get_mut(&id) {
            participant.muted = false;
        }
    }

    /// A moderator grants a request that waits. Whoever talks is revoked for it; a grant during his grace takes the
    /// place of the one he was revoked for, whose request waits on.
    ///
    /// # Errors
    /// [`GrantError`]; nothing has changed then.
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

    /// Packets came from somebody.
    ///
    /// - `voiced`: there was a sound in them.
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

    /// The mixer has played what was on its way from one who released.
    pub fn drained(&mut self, id: ParticipantId, now: Instant) {
        if let Some(at) = self.held_by(id)
            && self.holders[at].may_be_drained(now)
        {
            self.end(at);
            self.settle(now);
        }
    }

    /// Sets the room to something else, with whoever is in it.
    ///
    /// Timers count from when they were started. Holders stay, the most important first and among equals the longest,
    /// as far as the new mode has place for them; the others are revoked without grace. Requests wait on. In an open
    /// room there is nothing to wait for: who waited is granted what everybody has.
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

/// What everybody has where there is no floor.
const NO_FLOOR: Grant = Grant {
    burst: 0,
    duration: None,
    priority: 0,
};
