//! Transitions of the floor: granting, revoking, ending bursts, and idling.

use std::time::{Duration, Instant};

use mixer::ParticipantId;

use super::holder::{Holder, State};
use super::{Action, Asked, DenyCause, Floor, Mode, NO_FLOOR, Precedence, RevokeCause};

impl Floor {
    /// Grants the floor until no waiting request can get it, then announces the changes.
    pub(super) fn settle(&mut self, now: Instant) {
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

    /// Grants waiting requests, as far as the mode allows further holders.
    fn promote(&mut self, now: Instant) {
        while self.holders.len() < self.settings.mode.size()
            && let Some(next) = self.queue.first().copied()
            && (next.called || !self.is_moderated())
        {
            self.queue.remove(next.participant);
            // In a multi-talker room the participant's last burst may still be draining.
            if let Some(at) = self.held_by(next.participant) {
                self.end(at);
            }
            self.take(next.participant, next.precedence, next.asked, now);
            if let Some(holder) = self.holders.last_mut() {
                holder.expect_use(now);
                let granted = Action::Granted(next.participant, holder.grant(&self.settings, now));
                self.actions.push(granted);
            }
        }
    }

    /// Enters 'G: Floor Taken' (6.3.4.4.2).
    pub(super) fn take(
        &mut self,
        id: ParticipantId,
        precedence: Precedence,
        asked: Asked,
        now: Instant,
    ) {
        self.bursts = self.bursts.wrapping_add(1);
        let mut holder = Holder::new(id, self.bursts, precedence, now);
        holder.asked = asked;
        let grant = holder.grant(&self.settings, now);
        self.holders.push(holder);
        self.touched.push(id);
        if let Some(participant) = self.participants.get_mut(&id) {
            participant.is_in_order();
        }
        // The permit precedes the messages, so that the mixer plays the holder's voice as early as
        // possible.
        self.tell_permits();
        self.actions.push(Action::Taken {
            participant: id,
            grant,
            may_request: self.settings.mode != Mode::Broadcast,
        });
    }

    /// Revokes the holders of lowest precedence in favour of waiting requests of higher precedence;
    /// returns whether a holder has lost the floor at once.
    fn preempt(&mut self, now: Instant) -> bool {
        // In moderated and cut-in rooms precedence does not count.
        if matches!(self.settings.mode, Mode::Moderated | Mode::CutIn) {
            return false;
        }
        let mut leaving = self.holders.iter().filter(|it| !it.is_taken()).count();
        let waiting: Vec<Precedence> = self.queue.iter().map(|it| it.precedence).collect();
        let before = self.holders.len();
        for (nth, precedence) in waiting.into_iter().enumerate() {
            // The places of holders that are already leaving go to the first requests of the queue.
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

    /// Enters 'G: pending Floor Revoke' (6.3.4.5.2), and ends the burst at once if there is no
    /// grace.
    pub(super) fn revoke(&mut self, at: usize, cause: RevokeCause, now: Instant) {
        let grace = self.settings.effective_grace();
        let holder = &mut self.holders[at];
        self.actions.push(Action::Revoked {
            participant: holder.participant,
            burst: holder.burst,
            cause,
            grace,
        });
        holder.state = State::PendingRevoke { cause, since: now };
        if grace.is_zero() {
            self.end(at);
        }
    }

    /// Ends the burst of the holder at index `at`, which frees its place.
    pub(super) fn end(&mut self, at: usize) {
        let holder = self.holders.remove(at);
        self.touched.push(holder.participant);
        if holder.talked_too_long()
            && let Some(participant) = self.participants.get_mut(&holder.participant)
        {
            participant.is_cut_off(holder.heard());
        }
        if !self.holders.is_empty() {
            self.actions.push(Action::Released {
                participant: holder.participant,
                burst: holder.burst,
            });
        }
    }

    /// Enters 'G: Floor Idle' (6.3.4.3.2).
    fn enter_idle(&mut self, now: Instant) {
        self.idle_since = Some(now);
        if self.bursts > 0 {
            self.idles = self.idles.wrapping_add(1);
            self.actions.push(Action::Idle { n: self.idles });
        }
    }

    /// If a participant is left alone, denies its request or revokes its floor, because nobody
    /// would hear it.
    pub(super) fn may_be_alone(&mut self, now: Instant) {
        if self.is_alone() {
            self.dismiss(|_, _| true, DenyCause::OnlyOneParticipant);
        }
        self.settle(now);
        if self.is_alone()
            && let Some(at) = self.holders.iter().position(Holder::is_taken)
        {
            self.revoke(at, RevokeCause::OnlyOneClient, now);
            self.settle(now);
        }
    }

    /// Removes the holders and denies the waiting requests that the present mode does not allow.
    pub(super) fn fit(&mut self, now: Instant) {
        self.dismiss(|floor, id| !floor.may_talk(id), DenyCause::ReceiveOnly);
        while let Some(at) = self.unfit() {
            self.oust(at);
        }
        self.settle(now);
    }

    /// Revokes a holder without grace.
    pub(super) fn oust(&mut self, at: usize) {
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

    /// Denies the waiting requests that `which` selects.
    pub(super) fn dismiss(
        &mut self,
        which: impl Fn(&Floor, ParticipantId) -> bool,
        cause: DenyCause,
    ) {
        let dismissed: Vec<ParticipantId> = self.queue().filter(|id| which(self, *id)).collect();
        for id in dismissed {
            self.queue.remove(id);
            self.touched.push(id);
            let denial = self.denial(cause, id);
            self.actions.push(Action::Denied(id, denial));
        }
    }

    /// Returns the index of a holder that the present mode does not allow; `None` if it allows all
    /// holders.
    ///
    /// A holder that may not talk comes first. If there are too many holders, a draining holder
    /// comes next, then the holder of lowest precedence.
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

    /// Grants all waiting requests and ends all bursts, for a room without a floor.
    pub(super) fn open(&mut self) {
        let waiting: Vec<ParticipantId> = self.queue().collect();
        for id in waiting {
            self.queue.remove(id);
            self.actions.push(Action::Granted(id, NO_FLOOR));
        }
        self.holders.clear();
    }

    /// Tells the mixer the permits of all participants.
    pub(super) fn tell_all_permits(&mut self) {
        let ids: Vec<ParticipantId> = self.participants.keys().copied().collect();
        for id in ids {
            let permit = self.permit(id);
            if let Some(participant) = self.participants.get_mut(&id) {
                participant.permit = permit;
            }
        }
        self.actions.push(Action::Permits);
    }

    /// Tells the mixer the permits that have changed.
    fn tell_permits(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            let permit = self.permit(id);
            if let Some(participant) = self.participants.get_mut(&id)
                && participant.permit != permit
            {
                participant.permit = permit;
                self.actions.push(Action::Permit(id, permit));
            }
        }
    }
}
