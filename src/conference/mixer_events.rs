//! Handles mixer events: talking participants, refused commands and failed rooms.

use std::collections::BTreeMap;
use std::time::Instant;

use mixer::ParticipantId;
use mixer::output::{Event as MixerEvent, Refused};

use super::effect::Effect;
use super::machine::Machine;
use crate::protocol::{Event, LeaveReason, PublicId, RoomName};

impl Machine {
    /// Handles an event of a mixer.
    pub(super) fn on_mixer(&mut self, event: MixerEvent, now: Instant) {
        match event {
            MixerEvent::Talking { participant, .. } => self.set_talking(participant, true),
            MixerEvent::Stopped { participant, .. } => self.set_talking(participant, false),
            MixerEvent::RoomFault { room } => {
                if let Some(name) = self.registry.room_of(room).cloned() {
                    self.on_fault(&name, now);
                }
            }
            MixerEvent::Refused(refused) => self.on_refused(refused, now),
        }
    }

    /// Handles a command that the mixer refused; ends a room or a participant that the mixer does
    /// not have.
    fn on_refused(&mut self, refused: Refused, now: Instant) {
        match refused {
            Refused::Room(id) => {
                let Some(name) = self.registry.room_of(id).cloned() else {
                    return;
                };
                if self.placement.has_failed(id) {
                    self.on_fault(&name, now);
                } else {
                    tracing::error!(room = %name, "the mixer thread refused a command for the room");
                }
            }
            Refused::Participant(id) => {
                let Some((_, member)) = self.registry.member_mut(id) else {
                    return;
                };
                if member.shared.telemetry.was_refused() {
                    self.on_no_place(id, now);
                } else {
                    let participant = PublicId(id);
                    tracing::error!(%participant, "the mixer thread refused a command for the participant");
                }
            }
        }
    }

    /// Ends the session of a participant that the mixer had no place for: such a participant would
    /// neither hear nor be heard.
    fn on_no_place(&mut self, id: ParticipantId, now: Instant) {
        let participant = PublicId(id);
        tracing::error!(
            %participant,
            "the mixer thread had no capacity for the participant; the session ends"
        );
        self.remove_participant(id, LeaveReason::Lost, now);
    }

    /// Handles a room that has failed on its mixer: all its members must join again, and a
    /// permanent room is built anew.
    fn on_fault(&mut self, name: &RoomName, now: Instant) {
        tracing::error!(room = %name, "the room failed on its mixer thread and was closed; its participants must join again");
        self.counters.faults += 1;
        self.remove_all(name, LeaveReason::Lost, now);
        let fresh_id = self.registry.new_room_id();
        let Machine {
            registry,
            placement,
            effects,
            ..
        } = self;
        let Some(room) = registry.rooms.get_mut(name) else {
            return;
        };
        placement.forget_room(room.id);
        // Joins under way hold the old room id and fail.
        room.id = fresh_id;
        room.seats = 0;
        let added = placement.add_room(effects, fresh_id, &room.config, room.capacity);
        if added.is_err() {
            effects.push(Effect::Unwatch(room.watch));
            registry.rooms.remove(name);
        }
    }

    fn set_talking(&mut self, id: ParticipantId, talking: bool) {
        let Some((room, member)) = self.registry.member_mut(id) else {
            return;
        };
        if member.talking == talking {
            return;
        }
        member.talking = talking;
        let room = room.clone();
        let participant = PublicId(id);
        let event = if talking {
            Event::Talking { participant }
        } else {
            Event::Stopped { participant }
        };
        self.broadcast(&room, &event);
    }

    /// Broadcasts the levels of talking participants, and makes up for mixer events that were
    /// dropped: talking states, failed rooms and refused participants.
    pub(super) fn report(&mut self, now: Instant) {
        self.end_failed(now);
        let stale: Vec<(ParticipantId, bool)> = self
            .registry
            .rooms
            .values()
            .flat_map(|room| &room.members)
            .filter(|member| member.talking != member.is_heard())
            .map(|member| (member.id, member.is_heard()))
            .collect();
        for (id, talking) in stale {
            self.set_talking(id, talking);
        }
        for room in self.registry.rooms.values() {
            let levels: BTreeMap<PublicId, i32> = room
                .members
                .iter()
                .filter(|member| member.talking)
                .map(|member| {
                    (
                        PublicId(member.id),
                        -i32::from(member.shared.telemetry.level().wire()),
                    )
                })
                .collect();
            if !levels.is_empty() {
                self.effects.broadcast(room, &Event::Levels { levels });
            }
        }
    }

    /// Ends the rooms that have failed on their mixer, and the sessions that their mixer had no
    /// capacity for.
    fn end_failed(&mut self, now: Instant) {
        let rooms = self.registry.rooms.iter();
        let failed = rooms.filter(|(_, room)| self.placement.has_failed(room.id));
        let failed: Vec<RoomName> = failed.map(|(name, _)| name.clone()).collect();
        for name in failed {
            self.on_fault(&name, now);
        }
        let members = self.registry.rooms.values().flat_map(|room| &room.members);
        let refused = members.filter(|member| member.shared.telemetry.was_refused());
        let refused: Vec<ParticipantId> = refused.map(|member| member.id).collect();
        for id in refused {
            self.on_no_place(id, now);
        }
    }
}
