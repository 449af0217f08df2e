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
mod queue;
mod timers;
mod user;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mixer::ParticipantId;
use mixer::permit::Permit;

pub use cause::{DenyCause, RevokeCause};
pub use message::{
    Action, Answer, Denial, Grant, Holding, Position, Precedence, Request, Standing, Tier,
};
pub use mode::{Mode, Settings};

use holder::{Holder, State};
use queue::{Queue, Waiting};
use user::User;

/// The floor of one room.
///
/// Every input leaves what is to be done in a list that [`Floor::take_actions`] gives out.
#[derive(Debug)]
pub struct Floor {
    settings: Settings,
    users: BTreeMap<ParticipantId, User>,
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
    /// By sending sound where that is enough; then silence is enough to let go.
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

/// Inputs.
impl Floor {
    /// The floor of an empty room.
    pub fn new(settings: Settings) -> Floor {
        Floor {
            settings,
            users: BTreeMap::new(),
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
        let user = User::new(self.arrivals, talks, priority, self.first_permit());
        self.users.insert(id, user);
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
        if self.users.remove(&id).is_none() {
            return;
        }
        self.queue.remove(id);
        if let Some(at) = self.held_by(id) {
            self.end(at);
        }
        if self.is_alone() {
            self.dismiss(|_, _| true, DenyCause::OnlyOneParticipant);
        }
        self.settle(now);
        self.revoke_the_last(now);
    }

    /// Whether somebody outside the room listens to it, so that one who is alone in it is not alone.
    pub fn set_overheard(&mut self, overheard: bool, now: Instant) {
        self.overheard = overheard;
        self.revoke_the_last(now);
    }

    /// Floor Request (6.3.4.3.3, 6.3.4.4.7 and on): the same again changes nothing, a more important one makes the
    /// first more important.
    pub fn request(&mut self, from: ParticipantId, request: Request, now: Instant) -> Answer {
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

    /// A moderator grants a request that waits. Whoever talks is revoked for it.
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
        if self.settings.implicit && self.takes_by_talking(from, now) {
            return;
        }
        if let Some(user) = self.users.get_mut(&from)
            && user.sends_unpermitted(now)
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

/// Views.
impl Floor {
    /// What it is set to.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is to be done since this was last asked.
    #[must_use]
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Who holds the floor, in the order of their bursts.
    pub fn holders(&self, now: Instant) -> impl Iterator<Item = Holding> {
        self.holders
            .iter()
            .map(move |holder| holder.holding(&self.settings, now))
    }

    /// Those of them who have released and are still being played.
    pub fn draining(&self) -> impl Iterator<Item = ParticipantId> {
        let draining = self.holders.iter().filter(|holder| holder.is_draining());
        draining.map(|holder| holder.participant)
    }

    /// Who waits, the next one first.
    pub fn queue(&self) -> impl Iterator<Item = ParticipantId> {
        self.queue.iter().map(|waiting| waiting.participant)
    }

    /// Where somebody stands.
    pub fn standing(&self, id: ParticipantId, now: Instant) -> Standing {
        if let Some(at) = self.held_by(id) {
            let holder = &self.holders[at];
            let grant = holder.grant(&self.settings, now);
            match holder.state {
                State::Taken => return Standing::Granted(grant),
                State::PendingRevoke { cause, since } => {
                    let grace = self.grace_left(since, now);
                    return Standing::Revoking {
                        grant,
                        cause,
                        grace,
                    };
                }
                State::Draining { .. } => {}
            }
        }
        let position = self.queue.position(id);
        position.map_or(Standing::None, Standing::Queued)
    }

    /// A Floor Queue Position Request (8.2.11).
    pub fn position(&self, id: ParticipantId) -> Position {
        self.queue.position(id).unwrap_or(Position {
            position: 0,
            size: self.queue.len(),
        })
    }

    /// What a participant's voice may do.
    pub fn permit(&self, id: ParticipantId) -> Permit {
        if !self.settings.mode.has_floor() {
            return Permit::Free;
        }
        match self.held_by(id).map(|at| self.holders[at].state) {
            Some(State::Taken | State::PendingRevoke { .. }) => Permit::Held,
            Some(State::Draining { .. }) => Permit::Draining,
            None if self.queue.contains(id) => Permit::Asked,
            None => Permit::Closed,
        }
    }

    fn held_by(&self, id: ParticipantId) -> Option<usize> {
        self.holders
            .iter()
            .position(|holder| holder.participant == id)
    }

    fn grace_left(&self, since: Instant, now: Instant) -> Duration {
        let spent = now.saturating_duration_since(since);
        self.settings.effective_grace().saturating_sub(spent)
    }
}

/// Requests.
impl Floor {
    fn answer(
        &mut self,
        from: ParticipantId,
        request: Request,
        asked: Asked,
        now: Instant,
    ) -> Answer {
        let Some(user) = self.users.get(&from) else {
            return self.deny(DenyCause::InternalError);
        };
        let most = user.priority;
        let precedence = Precedence {
            tier: request.tier,
            priority: request.priority.unwrap_or(most).min(most),
        };
        if !self.settings.mode.has_floor() {
            return Answer::Granted(NO_FLOOR);
        }
        if !self.may_talk(from) {
            return self.deny(DenyCause::ReceiveOnly);
        }
        if self.is_alone() {
            return self.deny(DenyCause::OnlyOneParticipant);
        }
        if let Some(at) = self.held_by(from)
            && let Some(answer) = self.asked_again(at, precedence, now)
        {
            return answer;
        }
        if self.queue.contains(from) {
            self.queue.raise(from, precedence);
        } else if let Some(cause) = self.refusal(precedence, request.queue) {
            return self.deny(cause);
        } else {
            self.enqueue(from, precedence, asked, now);
        }
        self.settle(now);
        match self.standing(from, now) {
            Standing::Granted(grant) => Answer::Granted(grant),
            _ => Answer::Queued(self.position(from)),
        }
    }

    /// A request of one who holds the floor; `None` if it has to be looked at like anybody's.
    fn asked_again(&mut self, at: usize, precedence: Precedence, now: Instant) -> Option<Answer> {
        let nobody_waits = self.queue.is_empty() && !self.is_moderated();
        let holder = &mut self.holders[at];
        match holder.state {
            State::Taken => {
                holder.precedence = holder.precedence.max(precedence);
                holder.asked = Asked::ByMessage;
                Some(Answer::Granted(holder.grant(&self.settings, now)))
            }
            State::PendingRevoke { since, .. } => Some(Answer::Denied(Denial {
                cause: DenyCause::RetryAfterNotExpired,
                holder: Some(holder.participant),
                retry_after: Some(self.grace_left(since, now)),
            })),
            // It may go on at once, as a new burst.
            State::Draining { .. } if nobody_waits => {
                let holder = self.holders.remove(at);
                self.take(holder.participant, precedence, Asked::ByMessage, now);
                self.settle(now);
                let standing = self.standing(holder.participant, now);
                let Standing::Granted(grant) = standing else {
                    return None;
                };
                Some(Answer::Granted(grant))
            }
            State::Draining { .. } => None,
        }
    }

    /// Why a request cannot even wait.
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

    /// Whether a new request gets the floor without waiting for anybody to finish what he says: there is place, or it
    /// pre-empts, or there will be place as soon as a buffer has drained.
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

    /// Somebody talks where talking is asking; whether that was enough.
    fn takes_by_talking(&mut self, from: ParticipantId, now: Instant) -> bool {
        let request = Request {
            queue: false,
            ..Request::default()
        };
        match self.answer(from, request, Asked::ByTalking, now) {
            Answer::Granted(_) => {}
            // It pre-empts: what it says now is kept until the other has stopped.
            Answer::Queued(_) => return true,
            Answer::Denied(_) => return false,
        }
        if let Some(at) = self.held_by(from) {
            self.holders[at].hear(true, now);
        }
        true
    }

    fn deny(&self, cause: DenyCause) -> Answer {
        Answer::Denied(self.denial(cause))
    }

    fn denial(&self, cause: DenyCause) -> Denial {
        Denial {
            cause,
            holder: self.holders.first().map(|holder| holder.participant),
            retry_after: None,
        }
    }

    fn may_talk(&self, id: ParticipantId) -> bool {
        let talks = self.users.get(&id).is_some_and(|user| user.talks);
        talks && (self.settings.mode != Mode::Broadcast || self.originator() == Some(id))
    }

    /// Who alone may talk in a broadcast.
    fn originator(&self) -> Option<ParticipantId> {
        let talkers = self.users.iter().filter(|(_, user)| user.talks);
        let first = talkers.min_by_key(|(_, user)| user.arrival)?;
        Some(*first.0)
    }

    fn is_alone(&self) -> bool {
        self.users.len() < 2 && !self.overheard
    }

    fn is_moderated(&self) -> bool {
        self.settings.mode == Mode::Moderated
    }
}

/// The ways of the floor.
impl Floor {
    /// Gives the floor on until nobody can get it, then says how it stands.
    fn settle(&mut self, now: Instant) {
        loop {
            self.promote(now);
            if !self.preempt(now) {
                break;
            }
        }
        if self.holders.is_empty() {
            if self.idle_since.is_none() {
                self.enter_idle(now);
            }
        } else {
            self.idle_since = None;
        }
        if !self.queue().eq(self.told_queue.iter().copied()) {
            self.told_queue = self.queue().collect();
            self.actions.push(Action::QueueChanged);
        }
        self.tell_permits();
    }

    /// Grants what waits, as far as there is place.
    fn promote(&mut self, now: Instant) {
        while self.holders.len() < self.settings.mode.size()
            && let Some(next) = self.queue.first().copied()
            && (next.called || !self.is_moderated())
        {
            self.queue.remove(next.participant);
            // Its last burst may still be draining, in a floor of several.
            self.holders
                .retain(|holder| holder.participant != next.participant);
            self.take(next.participant, next.precedence, next.asked, now);
            if let Some(holder) = self.holders.last_mut() {
                holder.expect_use(now);
                let granted = Action::Granted(next.participant, holder.grant(&self.settings, now));
                self.actions.push(granted);
            }
        }
    }

    /// 'G: Floor Taken' (6.3.4.4.2).
    fn take(&mut self, id: ParticipantId, precedence: Precedence, asked: Asked, now: Instant) {
        self.bursts = self.bursts.wrapping_add(1);
        let mut holder = Holder::new(id, self.bursts, precedence, now);
        holder.asked = asked;
        let grant = holder.grant(&self.settings, now);
        self.holders.push(holder);
        self.touched.push(id);
        if let Some(user) = self.users.get_mut(&id) {
            user.is_in_order();
        }
        // The permit goes first: the mixer need not wait for anybody to be told.
        self.tell_permits();
        self.actions.push(Action::Taken {
            participant: id,
            grant,
            may_request: self.settings.mode != Mode::Broadcast,
        });
    }

    /// Revokes the least important holders for requests that beat them; whether somebody is gone at once.
    fn preempt(&mut self, now: Instant) -> bool {
        if self.is_moderated() {
            return false;
        }
        let mut leaving = self.holders.iter().filter(|it| !it.is_taken()).count();
        let waiting: Vec<Precedence> = self.queue.iter().map(|it| it.precedence).collect();
        let before = self.holders.len();
        for (nth, precedence) in waiting.into_iter().enumerate() {
            // The places that are about to be free are for those who are first.
            if nth < leaving {
                continue;
            }
            let talking = self.holders.iter().enumerate();
            let weakest = talking
                .filter(|(_, holder)| holder.is_taken())
                .min_by_key(|(_, holder)| (holder.precedence, std::cmp::Reverse(holder.burst)));
            let Some((at, _)) = weakest.filter(|(_, holder)| holder.precedence < precedence) else {
                break;
            };
            self.revoke(at, RevokeCause::MediaBurstPreempted, now);
            leaving += 1;
        }
        self.holders.len() < before
    }

    /// 'G: pending Floor Revoke' (6.3.4.5.2), or right through it where there is no grace.
    fn revoke(&mut self, at: usize, cause: RevokeCause, now: Instant) {
        let grace = self.settings.effective_grace();
        let holder = &mut self.holders[at];
        self.actions.push(Action::Revoked {
            participant: holder.participant,
            burst: holder.burst,
            cause,
            grace,
        });
        if grace.is_zero() {
            self.end(at);
        } else {
            holder.state = State::PendingRevoke { cause, since: now };
        }
    }

    /// A burst is over.
    fn end(&mut self, at: usize) {
        let holder = self.holders.remove(at);
        self.touched.push(holder.participant);
        if !self.holders.is_empty() {
            self.actions.push(Action::Released {
                participant: holder.participant,
                burst: holder.burst,
            });
        }
    }

    /// 'G: Floor Idle' (6.3.4.3.2).
    fn enter_idle(&mut self, now: Instant) {
        self.idle_since = Some(now);
        if self.bursts > 0 {
            self.idles = self.idles.wrapping_add(1);
            self.actions.push(Action::Idle { n: self.idles });
        }
    }

    /// The only one left talks to nobody.
    fn revoke_the_last(&mut self, now: Instant) {
        if self.is_alone()
            && let Some(at) = self.holders.iter().position(Holder::is_taken)
        {
            self.revoke(at, RevokeCause::OnlyOneClient, now);
            self.settle(now);
        }
    }

    /// Makes holders and queue such as the mode allows.
    fn fit(&mut self, now: Instant) {
        self.dismiss(|floor, id| !floor.may_talk(id), DenyCause::ReceiveOnly);
        while let Some(at) = self.unfit() {
            let holder = &self.holders[at];
            if !holder.is_draining() {
                self.actions.push(Action::Revoked {
                    participant: holder.participant,
                    burst: holder.burst,
                    cause: RevokeCause::Other,
                    grace: Duration::ZERO,
                });
            }
            self.end(at);
        }
        self.settle(now);
    }

    /// Denies requests that waited.
    fn dismiss(&mut self, which: impl Fn(&Floor, ParticipantId) -> bool, cause: DenyCause) {
        let dismissed: Vec<ParticipantId> = self.queue().filter(|id| which(self, *id)).collect();
        for id in dismissed {
            self.queue.remove(id);
            self.touched.push(id);
            let denial = self.denial(cause);
            self.actions.push(Action::Denied(id, denial));
        }
    }

    /// A holder the mode has no place for: who may not talk in it, then who is draining, then the least important.
    fn unfit(&self) -> Option<usize> {
        let banned = |holder: &Holder| !self.may_talk(holder.participant);
        if let Some(at) = self.holders.iter().position(banned) {
            return Some(at);
        }
        let place = |holder: &Holder| {
            (
                !holder.is_draining(),
                holder.precedence,
                std::cmp::Reverse(holder.burst),
            )
        };
        let least = self.holders.iter().enumerate();
        let (at, _) = least.min_by_key(|(_, holder)| place(holder))?;
        (self.holders.len() > self.settings.mode.size()).then_some(at)
    }

    /// There is no floor any more.
    fn open(&mut self) {
        let waiting: Vec<ParticipantId> = self.queue().collect();
        for id in waiting {
            self.queue.remove(id);
            self.actions.push(Action::Granted(id, NO_FLOOR));
        }
        self.holders.clear();
    }

    /// Tells the mixer everything anew.
    fn tell_all_permits(&mut self) {
        let ids: Vec<ParticipantId> = self.users.keys().copied().collect();
        for id in ids {
            let permit = self.permit(id);
            if let Some(user) = self.users.get_mut(&id) {
                user.permit = permit;
            }
        }
        self.actions.push(Action::Permits);
    }

    /// Tells the mixer what has changed.
    fn tell_permits(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            let permit = self.permit(id);
            if let Some(user) = self.users.get_mut(&id)
                && user.permit != permit
            {
                user.permit = permit;
                self.actions.push(Action::Permit(id, permit));
            }
        }
    }
}

/// What everybody has where there is no floor.
const NO_FLOOR: Grant = Grant {
    burst: 0,
    duration: None,
    priority: 0,
};
