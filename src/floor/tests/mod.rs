//! Tests of the floor, with a room of four participants and a clock; each file covers one part of
//! the floor's behaviour.

mod audience;
mod busy;
mod implicit;
mod modes;
mod properties;
mod requests;
mod timers;

use std::time::{Duration, Instant};

use super::*;

const ANN: ParticipantId = ParticipantId(1);
const BEN: ParticipantId = ParticipantId(2);
const CAT: ParticipantId = ParticipantId(3);
const DAN: ParticipantId = ParticipantId(4);

/// A floor with a clock and four participants, of whom Dan has a priority of 9.
struct Room {
    floor: Floor,
    now: Instant,
}

impl Room {
    fn of(mode: Mode) -> Room {
        Room::with(Settings {
            mode,
            ..Settings::default()
        })
    }

    fn with(settings: Settings) -> Room {
        let mut floor = Floor::new(settings);
        for id in [ANN, BEN, CAT] {
            floor.join(id, true, 0);
        }
        floor.join(DAN, true, 9);
        Room {
            floor,
            now: Instant::now(),
        }
    }

    fn ask(&mut self, id: ParticipantId) -> Answer {
        self.floor.request(id, Request::default(), self.now)
    }

    /// Requests the floor without queueing.
    fn ask_now(&mut self, id: ParticipantId) -> Answer {
        let request = Request {
            queue: false,
            ..Request::default()
        };
        self.floor.request(id, request, self.now)
    }

    fn release(&mut self, id: ParticipantId) {
        self.floor.release(id, self.now);
    }

    /// Releases the floor, and reports that the draining voice has been played.
    fn stop(&mut self, id: ParticipantId) {
        self.release(id);
        self.pass(60);
        self.floor.drained(id, self.now);
    }

    fn speak(&mut self, id: ParticipantId) {
        self.floor.media(id, true, self.now);
    }

    /// Advances the time, tick by tick.
    fn pass(&mut self, ms: u64) {
        self.pass_with(ms, None);
    }

    /// Advances the time, tick by tick, while a participant sends packets.
    fn talk(&mut self, id: ParticipantId, ms: u64) {
        self.pass_with(ms, Some(id));
    }

    fn pass_with(&mut self, ms: u64, talker: Option<ParticipantId>) {
        for _ in 0..ms / 20 {
            self.now += Duration::from_millis(20);
            if let Some(id) = talker {
                self.speak(id);
            }
            self.floor.tick(self.now);
        }
    }

    fn holders(&self) -> Vec<ParticipantId> {
        self.floor
            .holders(self.now)
            .map(|it| it.participant)
            .collect()
    }

    fn queue(&self) -> Vec<ParticipantId> {
        self.floor.queue().collect()
    }

    fn said(&mut self) -> Vec<Action> {
        let actions = self.floor.take_actions();
        let said = actions
            .into_iter()
            .filter(|action| !matches!(action, Action::Permit(..) | Action::Permits));
        said.collect()
    }

    fn permit(&self, id: ParticipantId) -> Permit {
        self.floor.permit(id)
    }
}

fn burst(answer: Answer) -> u32 {
    match answer {
        Answer::Granted(grant) => grant.burst,
        other => panic!("not granted but {other:?}"),
    }
}

fn position(answer: Answer) -> usize {
    match answer {
        Answer::Queued(position) => position.position,
        other => panic!("not queued but {other:?}"),
    }
}

fn cause(answer: Answer) -> DenyCause {
    match answer {
        Answer::Denied(denial) => denial.cause,
        other => panic!("not denied but {other:?}"),
    }
}

fn taken_by(actions: &[Action]) -> Option<ParticipantId> {
    actions.iter().find_map(|action| match action {
        Action::Taken { participant, .. } => Some(*participant),
        _ => None,
    })
}

fn revoked(actions: &[Action]) -> Option<(ParticipantId, RevokeCause)> {
    actions.iter().find_map(|action| match action {
        Action::Revoked {
            participant, cause, ..
        } => Some((*participant, *cause)),
        _ => None,
    })
}
