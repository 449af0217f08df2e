//! Changes and removals of participants.

use std::time::Instant;

use mixer::{Decibels, Gain, ParticipantId};

use super::UnknownParticipant;
use super::machine::Machine;
use super::request::ReplyTo;
use super::rights::{Action, Actor, Target};
use crate::protocol::{Change, Event, LeaveReason, Name, Participant, PublicId, RoomName};

/// A request about a participant.
#[derive(Debug)]
pub(super) enum ParticipantRequest {
    /// Mutes, renames or amplifies a participant; the reply carries its new state.
    Change {
        room: RoomName,
        participant: PublicId,
        change: Change,
        reply: ReplyTo<Result<Participant, UnknownParticipant>>,
    },
    /// Removes a participant from its room.
    Kick {
        room: RoomName,
        participant: PublicId,
        reply: ReplyTo<Result<(), UnknownParticipant>>,
    },
}

impl Machine {
    /// Answers a request about a participant.
    pub(super) fn on_participant(&mut self, request: ParticipantRequest, now: Instant) {
        match request {
            ParticipantRequest::Change {
                room,
                participant,
                change,
                reply,
            } => {
                let changed = self.change(&room, participant, change, now);
                self.effects.reply(reply, changed);
            }
            ParticipantRequest::Kick {
                room,
                participant,
                reply,
            } => {
                let kicked = self.kick(&room, participant, now);
                self.effects.reply(reply, kicked);
            }
        }
    }

    /// Removes a participant from its room.
    ///
    /// # Errors
    /// [`UnknownParticipant`] if the room does not exist or no participant of this id is in it.
    fn kick(
        &mut self,
        room: &RoomName,
        participant: PublicId,
        now: Instant,
    ) -> Result<(), UnknownParticipant> {
        let target = Target::Participant(room, participant.0);
        self.may(Actor::Anybody, Action::Moderate, target)?;
        self.remove_participant(participant.0, LeaveReason::Kicked, now);
        Ok(())
    }

    /// Changes a participant and tells its room.
    ///
    /// # Errors
    /// [`UnknownParticipant`] if the room does not exist or no participant of this id is in it.
    fn change(
        &mut self,
        room: &RoomName,
        participant: PublicId,
        change: Change,
        now: Instant,
    ) -> Result<Participant, UnknownParticipant> {
        let target = Target::Participant(room, participant.0);
        self.may(Actor::Anybody, Action::Moderate, target)?;
        let changed = self.apply(participant.0, change, now);
        changed.ok_or(UnknownParticipant::Participant)
    }

    /// Changes a member and tells its room; `None` if the member does not exist.
    pub(super) fn apply(
        &mut self,
        id: ParticipantId,
        change: Change,
        now: Instant,
    ) -> Option<Participant> {
        let (room, member) = self.registry.member_mut(id)?;
        let room = room.clone();
        let settings = &member.shared.settings;
        let mut events = Vec::new();
        let muted = change.muted.filter(|muted| *muted != settings.muted());
        if let Some(muted) = muted {
            settings.mute(muted);
            events.push(Event::Muted {
                participant: PublicId(id),
                muted,
            });
        }
        let gain_db = change.gain_db.filter(|gain_db| *gain_db != member.gain_db);
        let name = change.name.map(Name::into_string);
        let name = name.filter(|name| *name != member.name);
        let described = gain_db.is_some() || name.is_some();
        if let Some(gain_db) = gain_db {
            settings.amplify(Gain::from(Decibels(gain_db)));
            member.gain_db = gain_db;
        }
        if let Some(name) = name {
            member.name = name;
            self.monitoring.mark_renamed(id);
        }
        let participant = member.public();
        if described {
            events.push(Event::Changed {
                participant: participant.clone(),
            });
        }
        if let Some(muted) = muted
            && let Some(room) = self.registry.change_floor(&room)
        {
            match muted {
                true => room.floor.mute(id, now),
                false => room.floor.unmute(id),
            }
        }
        for event in &events {
            self.broadcast(&room, event);
        }
        Some(participant)
    }
}
