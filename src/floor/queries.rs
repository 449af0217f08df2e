//! Queries of the floor's state.

use std::time::{Duration, Instant};

use mixer::ParticipantId;
use mixer::permit::Permit;

use super::holder::State;
use super::{Action, Floor, Holding, Mode, Position, Settings, Standing};

impl Floor {
    /// Returns the floor's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the actions that have been added since the last call, to be performed in order.
    #[must_use]
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Returns the floor holders, in the order of their bursts, oldest first.
    pub fn holders(&self, now: Instant) -> impl Iterator<Item = Holding> {
        self.holders
            .iter()
            .map(move |holder| holder.holding(&self.settings, now))
    }

    /// Returns whether a participant holds the floor.
    pub fn holds(&self, id: ParticipantId) -> bool {
        self.held_by(id).is_some()
    }

    /// Returns the actions that would bring a new participant from an idle floor to the present
    /// state of this floor.
    pub fn snapshot(&self, now: Instant) -> impl Iterator<Item = Action> {
        let may_request = self.settings.mode != Mode::Broadcast;
        let taken = self.holders.iter().map(move |holder| Action::Taken {
            participant: holder.participant,
            grant: holder.grant(&self.settings, now),
            may_request,
        });
        let revoked = self.holders.iter().filter_map(move |holder| {
            let State::PendingRevoke { cause, since } = holder.state else {
                return None;
            };
            Some(Action::Revoked {
                participant: holder.participant,
                burst: holder.burst,
                cause,
                grace: self.grace_left(since, now),
            })
        });
        let queue = (!self.queue.is_empty()).then_some(Action::QueueChanged);
        taken.chain(revoked).chain(queue)
    }

    /// Returns the holders that have released the floor and whose received packets are still being
    /// played.
    pub fn draining(&self) -> impl Iterator<Item = ParticipantId> {
        let draining = self.holders.iter().filter(|holder| holder.is_draining());
        draining.map(|holder| holder.participant)
    }

    /// Returns the waiting participants in queue order.
    pub fn queue(&self) -> impl Iterator<Item = ParticipantId> {
        self.queue.iter().map(|waiting| waiting.participant)
    }

    /// Returns whether a participant holds the floor or waits for it.
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

    /// Answers a Floor Queue Position Request (8.2.11).
    pub fn position(&self, id: ParticipantId) -> Position {
        self.queue.position(id).unwrap_or(Position {
            position: 0,
            size: self.queue.len(),
        })
    }

    /// Returns the permit of a participant: whether its voice may be heard.
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

    pub(super) fn held_by(&self, id: ParticipantId) -> Option<usize> {
        self.holders
            .iter()
            .position(|holder| holder.participant == id)
    }

    pub(super) fn grace_left(&self, since: Instant, now: Instant) -> Duration {
        let spent = now.saturating_duration_since(since);
        self.settings.effective_grace().saturating_sub(spent)
    }
}
