//! The floor's timers: checks which have expired, and ends bursts, revokes holders or repeats
//! grants.

use std::time::{Duration, Instant};

use mixer::ParticipantId;

use super::holder::Expiry;
use super::{Action, Floor, RevokeCause};

impl Floor {
    /// Checks all timers of the floor.
    ///
    /// Each holder advances by at most one step: a holder past T2 is revoked in this call, and its
    /// burst ends in the next call at the earliest.
    pub fn tick(&mut self, now: Instant) {
        let holders: Vec<ParticipantId> = self.holders.iter().map(|it| it.participant).collect();
        let mut changed = false;
        for id in holders {
            let Some(at) = self.held_by(id) else { continue };
            let holder = &mut self.holders[at];
            match holder.expired(&self.settings, now) {
                Some(Expiry::End) => self.end(at),
                Some(Expiry::TooLong) => self.revoke(at, RevokeCause::MediaBurstTooLong, now),
                Some(Expiry::Repeat) => {
                    let grant = holder.grant(&self.settings, now);
                    self.actions.push(Action::Granted(id, grant));
                    continue;
                }
                None => continue,
            }
            changed = true;
        }
        if changed {
            self.settle(now);
        }
        self.rest(now);
    }

    /// Checks T4: reports a floor that has been unused for T4, and again each time T4 expires.
    fn rest(&mut self, now: Instant) {
        let has_floor = self.settings.mode.has_floor();
        if let Some(since) = self.idle_since.filter(|_| has_floor)
            && now.saturating_duration_since(since) >= T4
        {
            self.idle_since = Some(now);
            self.actions.push(Action::Inactive);
        }
    }
}

/// T4, inactivity (TS 24.380, 11.1.3).
const T4: Duration = Duration::from_secs(30);
