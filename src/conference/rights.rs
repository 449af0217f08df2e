//! Rights: who may do what. Each is asked for here and nowhere else, before anything is done.
//!
//! There are no accounts. Everybody who reaches the interface may list, watch, make, set and end rooms, for which nothing
//! is asked here, and may mute, rename or remove the participants of a room. What a session does to itself needs its
//! secret. Whether there is place for something and how often it may be done are no rights, and are asked elsewhere.

use mixer::ParticipantId;

use super::machine::Machine;
use super::{CommandError, JoinError, UnknownParticipant, UnknownSession};
use crate::protocol::{MonitorEntry, RoomName};

/// Who wants to do something.
#[derive(Debug, Clone, Copy)]
pub(super) enum Actor<'a> {
    /// Somebody who has said no secret, or one that no session has.
    Anybody,
    /// Somebody who joins this room.
    Newcomer(&'a RoomName),
    /// The participant whose secret was said, or whose data channel it came over.
    Participant(ParticipantId),
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Join a room, which makes it if it is not there.
    Join,
    /// Listen to a room from another one.
    Monitor,
    /// Mute, rename, amplify or remove a participant.
    Moderate,
    /// Send a command over the WebSocket of a room.
    Command,
    /// Ask for the floor, let go of it, or see how it stands; restart ICE; leave.
    UseSession,
}

/// What somebody wants to do it to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    /// The session of the actor.
    Own,
    Room(&'a RoomName),
    /// A participant of this room.
    Participant(&'a RoomName, ParticipantId),
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Denied {
    /// The room is not there, and nobody may make it by joining it.
    UnknownRoom,
    /// The participant is not in this room.
    UnknownParticipant,
    /// The secret is of no session, or of one in another room.
    UnknownSession,
    /// The room lets nobody listen to it from elsewhere.
    MonitoringRefused,
}

impl Machine {
    /// Whether somebody may do something.
    ///
    /// # Errors
    /// [`Denied`].
    pub(super) fn may(
        &self,
        actor: Actor<'_>,
        action: Action,
        target: Target<'_>,
    ) -> Result<(), Denied> {
        let allow_if = |is_allowed, denied| match is_allowed {
            true => Ok(()),
            false => Err(denied),
        };
        let rooms = &self.registry.rooms;
        let home = match actor {
            Actor::Anybody => None,
            Actor::Newcomer(room) => Some(room),
            Actor::Participant(id) => self.registry.place(id),
        };
        match (action, target) {
            (Action::Join, Target::Room(room)) => allow_if(
                self.limits.open_rooms || rooms.contains_key(room),
                Denied::UnknownRoom,
            ),
            (Action::Monitor, Target::Room(room)) => {
                self.may(actor, Action::Join, target)?;
                allow_if(
                    home == Some(room) || self.registry.allows_monitors(room),
                    Denied::MonitoringRefused,
                )
            }
            (Action::Moderate, Target::Participant(room, id)) => {
                allow_if(rooms.contains_key(room), Denied::UnknownRoom)?;
                let is_in = self.registry.place(id) == Some(room);
                allow_if(is_in, Denied::UnknownParticipant)
            }
            (Action::Command, Target::Room(room)) => {
                let is_there = matches!(actor, Actor::Participant(_)) && home == Some(room);
                allow_if(is_there, Denied::UnknownSession)
            }
            (Action::UseSession, _) => {
                let is_there = matches!(actor, Actor::Participant(_)) && home.is_some();
                allow_if(is_there, Denied::UnknownSession)
            }
            // Nothing else is an action on such a target.
            (Action::Join | Action::Monitor | Action::Command, _) => Err(Denied::UnknownRoom),
            (Action::Moderate, _) => Err(Denied::UnknownParticipant),
        }
    }

    /// Whether somebody may listen to all of these rooms; if not, why, and which room it is about. Of several reasons,
    /// that a room is not there counts most.
    pub(super) fn may_monitor(
        &self,
        actor: Actor<'_>,
        list: &[MonitorEntry],
    ) -> Result<(), (Denied, RoomName)> {
        let denied = list.iter().filter_map(|entry| {
            let may = self.may(actor, Action::Monitor, Target::Room(&entry.room));
            Some((may.err()?, &entry.room))
        });
        match denied.min_by_key(|(denied, _)| *denied) {
            Some((denied, room)) => Err((denied, room.clone())),
            None => Ok(()),
        }
    }

    /// The participant whose session this is the secret of.
    ///
    /// # Errors
    /// [`UnknownSession`], the same for a session that never was and one that is over.
    pub(super) fn session(&self, secret: &str) -> Result<ParticipantId, UnknownSession> {
        let id = self.registry.of_session(secret).ok_or(UnknownSession)?;
        self.may(Actor::Participant(id), Action::UseSession, Target::Own)
            .map_err(|_| UnknownSession)?;
        Ok(id)
    }
}

impl From<Denied> for UnknownParticipant {
    fn from(denied: Denied) -> UnknownParticipant {
        match denied {
            Denied::UnknownRoom => UnknownParticipant::Room,
            _ => UnknownParticipant::Participant,
        }
    }
}

impl From<(Denied, RoomName)> for JoinError {
    fn from((denied, room): (Denied, RoomName)) -> JoinError {
        match denied {
            Denied::MonitoringRefused => JoinError::MonitoringRefused { room },
            _ => JoinError::UnknownChannel { room },
        }
    }
}

impl From<(Denied, RoomName)> for CommandError {
    fn from((denied, room): (Denied, RoomName)) -> CommandError {
        match denied {
            Denied::MonitoringRefused => CommandError::MonitoringRefused { room },
            _ => CommandError::UnknownRoom { room },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::Denied::{MonitoringRefused, UnknownParticipant, UnknownRoom, UnknownSession};
    use super::*;
    use crate::conference::Limits;
    use crate::conference::member::tests::member;
    use crate::protocol::RoomConfig;

    fn name(room: &str) -> RoomName {
        RoomName::parse(room).expect("a good name")
    }

    /// Ann, 1, is in `hall`, which refuses monitors, and Bob, 2, in `radio`, which allows them.
    fn machine(open_rooms: bool) -> Machine {
        let limits = Limits {
            max_rooms: 9,
            max_sessions: 9,
            open_rooms,
            hangovers: mixer::profile::Hangovers::default(),
            room: RoomConfig::default(),
            rates: crate::rate_limit::Rates::default(),
        };
        let mut machine = Machine::new(limits, 1, Instant::now());
        for (id, room, allows) in [(1, "hall", false), (2, "radio", true)] {
            let config = RoomConfig {
                allow_monitors: Some(allows),
                ..limits.room
            };
            let made = machine.registry.new_room(config, true);
            machine.registry.rooms.insert(name(room), made);
            let member = member(id, &format!("secret {id}"));
            machine.registry.add(&name(room), member);
        }
        machine
    }

    #[test]
    fn every_action_is_allowed_to_those_it_is_meant_for_and_to_nobody_else() {
        let (hall, radio, gone) = (name("hall"), name("radio"), name("gone"));
        let (ann, bob, eve) = (ParticipantId(1), ParticipantId(2), ParticipantId(3));
        let actors = [
            Actor::Anybody,
            Actor::Newcomer(&hall),
            Actor::Participant(ann),
            Actor::Participant(bob),
            Actor::Participant(eve),
        ];
        let yes = Ok(());
        let same = |outcome| [outcome; 5];
        let session = Err(UnknownSession);
        let refused = Err(MonitoringRefused);
        let room = Target::Room;
        let member = Target::Participant;
        // What comes of it for each of the actors; with `true`, where a join makes rooms.
        let table = [
            (true, Action::Join, room(&hall), same(yes)),
            (true, Action::Join, room(&gone), same(yes)),
            (false, Action::Join, room(&hall), same(yes)),
            (false, Action::Join, room(&gone), same(Err(UnknownRoom))),
            (
                true,
                Action::Monitor,
                room(&hall),
                [refused, yes, yes, refused, refused],
            ),
            (true, Action::Monitor, room(&radio), same(yes)),
            (true, Action::Monitor, room(&gone), same(yes)),
            (false, Action::Monitor, room(&gone), same(Err(UnknownRoom))),
            (true, Action::Moderate, member(&hall, ann), same(yes)),
            (
                true,
                Action::Moderate,
                member(&hall, bob),
                same(Err(UnknownParticipant)),
            ),
            (
                true,
                Action::Moderate,
                member(&gone, ann),
                same(Err(UnknownRoom)),
            ),
            (
                true,
                Action::Command,
                room(&hall),
                [session, session, yes, session, session],
            ),
            (
                true,
                Action::UseSession,
                Target::Own,
                [session, session, yes, yes, session],
            ),
        ];
        for (open_rooms, action, target, outcomes) in table {
            let machine = machine(open_rooms);
            for (actor, outcome) in actors.iter().zip(outcomes) {
                let may = machine.may(*actor, action, target);
                assert_eq!(may, outcome, "{actor:?} {action:?} {target:?}");
            }
        }
    }

    #[test]
    fn room_that_is_not_there_is_told_before_one_that_refuses() {
        let machine = machine(false);
        let list = MonitorEntry::parse("hall,radio,gone").expect("good names");
        let denied = machine.may_monitor(Actor::Anybody, &list);
        assert_eq!(denied, Err((UnknownRoom, name("gone"))));
        let denied = machine.may_monitor(Actor::Anybody, &list[..2]);
        assert_eq!(denied, Err((MonitoringRefused, name("hall"))));
    }

    #[test]
    fn secret_of_nobody_is_no_session() {
        let machine = machine(true);
        assert_eq!(machine.session("secret 1"), Ok(ParticipantId(1)));
        assert!(machine.session("secret 3").is_err());
    }
}
