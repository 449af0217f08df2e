//! Rights: which actor may do which action. Every right is checked in this module and nowhere else,
//! before the action begins.
//!
//! There are no accounts. Every client that reaches the HTTP interface may list, watch, create,
//! configure and end rooms without a check in this module, and may mute, rename or remove the
//! participants of a room. Actions of a session need its secret. Capacity and rate limits are not
//! rights; other modules check them.

use mixer::ParticipantId;

use super::machine::Machine;
use super::{CommandError, JoinError, UnknownParticipant, UnknownSession};
use crate::protocol::{MonitorEntry, RoomName};

/// The actor that asks for an action.
#[derive(Debug, Clone, Copy)]
pub(super) enum Actor<'a> {
    /// A client without a secret, or with a secret that belongs to no session.
    Anybody,
    /// A client that joins this room.
    Newcomer(&'a RoomName),
    /// The participant whose secret or data channel the request came with.
    Participant(ParticipantId),
}

/// An action that needs a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Join a room, which creates the room if it does not exist.
    Join,
    /// Listen to a room from another room.
    Monitor,
    /// Mute, rename, amplify or remove a participant.
    Moderate,
    /// Send a command over the WebSocket of a room.
    Command,
    /// Request, release or query the floor; restart ICE; leave.
    UseSession,
}

/// The target of an action.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    /// The actor's own session.
    Own,
    Room(&'a RoomName),
    /// A participant of this room.
    Participant(&'a RoomName, ParticipantId),
}

/// Why an action is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Denied {
    /// The room does not exist, and joins do not create rooms on this server.
    UnknownRoom,
    /// The participant is not in this room.
    UnknownParticipant,
    /// The secret belongs to no session, or to a session in another room.
    UnknownSession,
    /// The room allows no monitors.
    MonitoringRefused,
}

impl Machine {
    /// Checks whether an actor may do an action with a target.
    ///
    /// # Errors
    /// [`Denied`] if the action is not allowed.
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
            // The action does not apply to this kind of target.
            (Action::Join | Action::Monitor | Action::Command, _) => Err(Denied::UnknownRoom),
            (Action::Moderate, _) => Err(Denied::UnknownParticipant),
        }
    }

    /// Checks whether an actor may listen to all rooms of a list; an error names the reason and the
    /// room. An unknown room takes precedence over a room that allows no monitors.
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

    /// Returns the participant of a session secret.
    ///
    /// # Errors
    /// [`UnknownSession`], equally for a session that never existed and one that has ended.
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
            _ => JoinError::UnknownMonitoredRoom { room },
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

    /// A conference in which Ann (1) is in `hall`, which refuses monitors, and Bob (2) in `radio`,
    /// which allows them.
    fn machine(open_rooms: bool) -> Machine {
        let limits = Limits {
            max_rooms: 9,
            max_sessions: 9,
            open_rooms,
            hangovers: mixer::codec::Hangovers::default(),
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
    #[expect(clippy::too_many_lines, reason = "one row for each rule")]
    fn rights_table_allows_each_action_only_to_its_intended_actors() {
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
        // Each row: whether joins create rooms, the action, its target, and the outcome for each
        // actor.
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
    fn error_for_an_unknown_room_takes_precedence_over_the_refusal_of_monitors() {
        let machine = machine(false);
        let list = MonitorEntry::parse("hall,radio,gone").expect("good names");
        let denied = machine.may_monitor(Actor::Anybody, &list);
        assert_eq!(denied, Err((UnknownRoom, name("gone"))));
        let denied = machine.may_monitor(Actor::Anybody, &list[..2]);
        assert_eq!(denied, Err((MonitoringRefused, name("hall"))));
    }

    #[test]
    fn unknown_secret_belongs_to_no_session() {
        let machine = machine(true);
        assert_eq!(machine.session("secret 1"), Ok(ParticipantId(1)));
        assert!(machine.session("secret 3").is_err());
    }
}
