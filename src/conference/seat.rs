//! The machine's part of a join: reserves a seat in the room, and makes the participant a member.

use std::time::Instant;

use mixer::codec::Profile;
use mixer::format::{Layout, TickLength};
use mixer::{ParticipantId, RoomId};

use super::effect::{NetworkOrder, QueueFull};
use super::error::Refusal;
use super::handle::Request;
use super::machine::Machine;
use super::member::Member;
use super::placement::layout;
use super::rights::{Action, Actor, Target};
use super::room::Room;
use super::{JoinError, Overloaded};
use crate::floor::Mode;
use crate::protocol::{Event, MonitorEntry, PublicId, RoomName};
use crate::queues::MixerId;

/// Reserves a seat in a room, creating the room if the server has open rooms.
#[derive(Debug)]
pub(super) struct ReserveSeat {
    pub(super) room: RoomName,
    /// The mode of the room if it is created.
    pub(super) mode: Option<Mode>,
    /// The rooms that the participant will monitor.
    pub(super) listen: Vec<MonitorEntry>,
    /// A random number from which the participant's id is made.
    pub(super) drawn: u32,
}

/// Makes the participant with a seat a member of the room; frees the seat if that fails. The
/// participant for the mixer and the peer for the network thread come with the request (see
/// [`Luggage`](super::performer::Luggage)).
#[derive(Debug)]
pub(super) struct Enter {
    pub(super) seat: Seat,
    pub(super) member: Box<Member>,
    pub(super) wishes: JoinWish,
}

/// Frees the seat of a failed join, and ends a room that was created for the join.
#[derive(Debug)]
pub(super) struct AbandonSeat(pub(super) Seat);

/// Settings of a join that take effect once the participant is a member of the room.
#[derive(Debug)]
pub(super) struct JoinWish {
    pub(super) priority: u8,
    pub(super) listen: Vec<MonitorEntry>,
}

/// A seat in a room, reserved for a join, with the room's settings that the join must build for.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) room: RoomName,
    pub(super) room_id: RoomId,
    pub(super) mixer: MixerId,
    pub(super) id: ParticipantId,
    pub(super) profile: Profile,
    pub(super) tick: TickLength,
    pub(super) layout: Layout,
}

impl Request for ReserveSeat {
    type Answer = Result<Seat, JoinError>;

    fn handle(self, machine: &mut Machine, _: Instant) -> Self::Answer {
        let may_monitor = machine.may_monitor(Actor::Newcomer(&self.room), &self.listen);
        let reserved = may_monitor.map_err(JoinError::from);
        let reserved = reserved.and_then(|()| machine.reserve(&self.room, self.mode, self.drawn));
        if let Err(error) = &reserved {
            machine.counters.refuse_join(Refusal::of(error));
        }
        reserved
    }
}

impl Request for Enter {
    type Answer = Result<(), JoinError>;

    fn handle(self, machine: &mut Machine, now: Instant) -> Self::Answer {
        let entered = machine.enter(&self.seat, *self.member, self.wishes, now);
        match &entered {
            Ok(()) => machine.counters.joins += 1,
            Err(error) => {
                machine.counters.refuse_join(Refusal::of(error));
                machine.abandon(&self.seat);
            }
        }
        entered
    }
}

impl Request for AbandonSeat {
    type Answer = ();

    fn handle(self, machine: &mut Machine, _: Instant) {
        machine.abandon(&self.0);
    }
}

impl Machine {
    /// Reserves a seat in a room, creating the room if the server has open rooms.
    fn reserve(
        &mut self,
        name: &RoomName,
        mode: Option<Mode>,
        drawn: u32,
    ) -> Result<Seat, JoinError> {
        if self.stopping {
            return Err(Overloaded::Stopping.into());
        }
        let room = self.registry.rooms.get(name).map(|room| room.id);
        if !self.placement.admits(room) {
            return Err(Overloaded::Mixer.into());
        }
        let limit = self.limits.max_sessions;
        if self.registry.sessions() >= limit {
            return Err(Overloaded::Sessions { limit }.into());
        }
        let id = self.registry.new_participant_id(drawn);
        let may = self.may(Actor::Newcomer(name), Action::Join, Target::Room(name));
        may.map_err(|_| JoinError::UnknownRoom)?;
        if !self.registry.rooms.contains_key(name) {
            let mut config = self.limits.room;
            config.floor.mode = mode.unwrap_or(config.floor.mode);
            self.make_room(name, config, false)?;
        }
        let room = self.registry.rooms.get_mut(name);
        let room = room.ok_or(JoinError::UnknownRoom)?;
        if room.is_full() {
            return Err(JoinError::RoomFull {
                limit: room.config.max_participants,
            });
        }
        let mixer = self.placement.mixer_of(room.id).ok_or(Overloaded::Link)?;
        room.seats += 1;
        self.registry.seats += 1;
        Ok(Seat {
            room: name.clone(),
            room_id: room.id,
            mixer,
            id,
            profile: room.config.profile,
            tick: room.config.tick,
            layout: layout(&room.config),
        })
    }

    /// Sends the participant to the mixer and the peer to the network thread, and adds the member
    /// to the room.
    fn enter(
        &mut self,
        seat: &Seat,
        member: Member,
        wishes: JoinWish,
        now: Instant,
    ) -> Result<(), JoinError> {
        if self.stopping {
            return Err(Overloaded::Stopping.into());
        }
        let room = self.room_of_seat(seat).ok_or(JoinError::UnknownRoom)?;
        // The permit is set before the mixer knows the participant, so that in a room with a floor
        // no packet is heard without the floor.
        let permit = room.floor.first_permit();
        member.shared.settings.set_permit(permit);
        let full = |_: QueueFull| Overloaded::Link;
        self.effects.check_network().map_err(full)?;
        let added = self.placement.add(&mut self.effects, seat.room_id, seat.id);
        added.map_err(full)?;
        self.effects.tell_network(NetworkOrder::Start);
        let event = Event::Joined {
            participant: member.public(),
        };
        tracing::info!(room = %seat.room, participant = %PublicId(seat.id), name = member.name, "a participant joined");
        self.release(seat);
        let talks = member.talks;
        self.registry.add(&seat.room, member);
        if let Some(room) = self.registry.change_floor(&seat.room) {
            room.floor.join(seat.id, talks, wishes.priority);
        }
        if let Some(room) = self.registry.rooms.get(&seat.room) {
            self.effects.broadcast(room, &event);
            if !room.links.is_empty() {
                self.monitoring.mark_links_stale();
            }
        }
        if !wishes.listen.is_empty() {
            self.monitoring.set(seat.id, &seat.room, wishes.listen);
        }
        self.sync_monitors(now);
        Ok(())
    }

    /// Frees the seat of a failed join, and ends a room that was created for the join.
    fn abandon(&mut self, seat: &Seat) {
        self.release(seat);
        self.end_if_over(&seat.room);
    }

    fn release(&mut self, seat: &Seat) {
        self.registry.seats -= 1;
        if let Some(room) = self.room_of_seat(seat) {
            room.seats -= 1;
        }
    }

    /// Returns the room of a seat; `None` if the room has ended or was built anew since the seat
    /// was reserved.
    fn room_of_seat(&mut self, seat: &Seat) -> Option<&mut Room> {
        let room = self.registry.rooms.get_mut(&seat.room)?;
        (room.id == seat.room_id).then_some(room)
    }
}
