//! Changes and removals of participants.

use std::time::Instant;

use mixer::{Decibels, Gain, ParticipantId};

use super::UnknownParticipant;
use super::handle::Request;
use super::machine::Machine;
use super::rights::{Action, Actor, Target};
use crate::protocol::{Change, Event, LeaveReason, Name, Participant, PublicId, RoomName};

/// Mutes, renames or amplifies a participant, and tells its room; the answer is the participant's
/// new state.
///
/// # Errors
/// [`UnknownParticipant`] if the room does not exist or no participant of this id is in it.
#[derive(Debug)]
pub(crate) struct ChangeParticipant {
    pub(crate) room: RoomName,
    pub(crate) participant: PublicId,
    pub(crate) change: Change,
}

/// Removes a participant from its room.
///
/// # Errors
/// [`UnknownParticipant`] if the room does not exist or no participant of this id is in it.
#[derive(Debug)]
pub(crate) struct KickParticipant {
    pub(crate) room: RoomName,
    pub(crate) participant: PublicId,
}

impl Request for ChangeParticipant {
    type Answer = Result<Participant, UnknownParticipant>;

    fn handle(self, machine: &mut Machine, now: Instant) -> Self::Answer {
        let id = self.participant.0;
        let target = Target::Participant(&self.room, id);
        machine.may(Actor::Anybody, Action::Moderate, target)?;
        let changed = machine.apply(id, self.change, now);
        changed.ok_or(UnknownParticipant::Participant)
    }
}

impl Request for KickParticipant {
    type Answer = Result<(), UnknownParticipant>;

    fn handle(self, machine: &mut Machine, now: Instant) -> Self::Answer {
        let id = self.participant.0;
        let target = Target::Participant(&self.room, id);
        machine.may(Actor::Anybody, Action::Moderate, target)?;
        machine.remove_participant(id, LeaveReason::Kicked, now);
        Ok(())
    }
}

impl Machine {
    /// Mutes, renames or amplifies a member, and tells its room; `None` if the member does not
    /// exist.
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
