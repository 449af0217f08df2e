//! One join, from the reserved seat to the entered member, and the undoing of each step.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Instant;

use mixer::command::Shared;
use mixer::format::{Layout, TickLength};
use mixer::participant::{Participant, ParticipantConfig};
use mixer::profile::{Profile, Recipe};
use mixer::{ParticipantId, RoomId};
use tokio::task::spawn_blocking;

use super::effect::{NetworkOrder, QueueFull};
use super::error::Refusal;
use super::floor::SentCounts;
use super::handle::Place;
use super::machine::Machine;
use super::member::{IceSession, Member, StreamRecipe};
use super::performer::Luggage;
use super::placement::layout;
use super::request::Request;
use super::rights::{Action, Actor, Target};
use super::room::Room;
use super::{Conference, JoinError, Limits, Overloaded};
use crate::floor::Mode;
use crate::protocol::{Event, MonitorEntry, Name, PublicId, RoomName};
use crate::queues::MixerId;
use crate::rate_limit::MessageLimit;
use crate::rtc::{AcceptOptions, RtcHandle};

/// A request to join a room.
#[derive(Debug, Clone)]
pub struct Join {
    /// The room to join.
    pub room: RoomName,
    /// The participant's name; the server chooses one if absent.
    pub name: Option<Name>,
    /// The profile of the participant's encoded stream; the room's profile if absent.
    pub profile: Option<Profile>,
    /// Highest priority at which the participant may request the floor; 0 is the lowest.
    pub priority: u8,
    /// The rooms to listen to besides the joined room.
    pub listen: Vec<MonitorEntry>,
    /// The mode of the room if this join creates it; the server's default if absent.
    pub mode: Option<Mode>,
    /// The client's SDP offer.
    pub offer: String,
}

/// The answer to a successful join.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The participant's public id.
    pub participant: PublicId,
    /// The secret that identifies the session.
    pub session: String,
    /// The ETag of the present ICE session.
    pub etag: String,
    /// The SDP answer.
    pub answer: String,
}

impl Conference {
    /// Joins a participant to a room.
    ///
    /// Reading the offer and building codecs takes some milliseconds and runs on the blocking
    /// thread pool. The future must be run to its end.
    ///
    /// # Errors
    /// [`JoinError`]; nothing of the join is left behind.
    pub async fn join(&self, join: Join) -> Result<Joined, JoinError> {
        let result = self.try_join(join).await;
        if let Err(error @ JoinError::Offer(_)) = &result {
            self.tell(CountRefusal(Refusal::of(error))).await;
        }
        result
    }

    async fn try_join(&self, join: Join) -> Result<Joined, JoinError> {
        let listen = join.listen.clone();
        let held = self.reserve(&join.room, join.mode, listen).await?;
        let (rtc, limits, seat) = (self.rtc.clone(), self.limits, held.seat().clone());
        let built = spawn_blocking(move || build(&rtc, &limits, &seat, join));
        // The task fails only when it panics or the runtime ends.
        let built = built
            .await
            .unwrap_or_else(|error| match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => Err(Overloaded::Stopping.into()),
            });
        held.enter(built?).await
    }

    /// Reserves a seat in a room, creating the room if the server has open rooms.
    ///
    /// - `mode`: the mode of the room if it is created.
    /// - `listen`: the rooms that the participant will listen to.
    pub(super) async fn reserve(
        &self,
        room: &RoomName,
        mode: Option<Mode>,
        listen: Vec<MonitorEntry>,
    ) -> Result<HeldSeat, JoinError> {
        // This place in the request queue is taken first, so that the seat can always be given
        // back.
        let place = self.place().await;
        let seat = self
            .ask(ReserveSeat {
                room: room.clone(),
                mode,
                listen,
                drawn: rand::random(),
            })
            .await;
        Ok(HeldSeat {
            held: Some((place, seat?)),
        })
    }
}

/// A reserved seat while its join is under way. Dropping it frees the seat, and ends a room that
/// was created for it.
pub(super) struct HeldSeat {
    held: Option<(Place, Seat)>,
}

impl HeldSeat {
    fn seat(&self) -> &Seat {
        let (_, seat) = self.held.as_ref().expect("it is taken out at the end only");
        seat
    }

    /// Hands the participant to the mixer and the peer to the network thread, and enters the
    /// member.
    async fn enter(mut self, built: Built) -> Result<Joined, JoinError> {
        let (place, seat) = self.held.take().expect("it is taken out here only");
        let Built {
            member,
            wishes,
            luggage,
            joined,
        } = built;
        let enter = Enter {
            seat,
            member: Box::new(member),
            wishes,
        };
        place.ask(luggage, enter).await.map(|()| joined)
    }
}

impl Drop for HeldSeat {
    fn drop(&mut self) {
        if let Some((place, seat)) = self.held.take() {
            place.tell(AbandonSeat(seat));
        }
    }
}

/// All parts built for a join before the member enters.
struct Built {
    member: Member,
    wishes: JoinWish,
    luggage: Luggage,
    joined: Joined,
}

/// Answers the offer and builds the codecs, which takes some milliseconds.
///
/// Real-time: never (blocks on CPU work).
fn build(rtc: &RtcHandle, limits: &Limits, seat: &Seat, join: Join) -> Result<Built, JoinError> {
    let profile = join.profile.unwrap_or(seat.profile);
    let options = AcceptOptions {
        mixer: seat.mixer,
        thrifty: profile == Profile::Thin,
        uplink_bitrate_bps: Some(profile.usual_bps()),
    };
    let accepted = rtc.accept(&join.offer, seat.id, options)?;
    let shared = Arc::<Shared>::default();
    shared.settings.set_reachable(false);
    let listens = accepted.listens.then(|| {
        // On a thin network, comfort packets after the last sound cost as much as a voice does.
        let hangover_ms = match accepted.limits.wants_little() {
            true => 0,
            false => limits.hangovers.of_ms(profile),
        };
        Recipe::new(profile, &accepted.limits, seat.tick).with_hangover(hangover_ms)
    });
    let participant = Participant::with_uplink_codec(
        accepted.codec,
        ParticipantConfig {
            id: seat.id,
            talks: accepted.talks,
            listens,
            layout: seat.layout,
            tick: seat.tick,
        },
        shared.clone(),
    );
    let name = match join.name {
        Some(name) => name.into_string(),
        None => format!("guest-{:04x}", seat.id.0 >> 16),
    };
    let stream = listens.filter(|_| !accepted.talks);
    let member = Member {
        id: seat.id,
        session: secret::<24>(),
        name,
        gain_db: 0.0,
        talking: false,
        connected: false,
        talks: accepted.talks,
        listens: accepted.listens,
        ear: stream.map(|recipe| StreamRecipe {
            recipe,
            tick: seat.tick,
        }),
        channel: false,
        sent: SentCounts::default(),
        messages: MessageLimit::new(limits.rates.messages),
        ice: IceSession {
            etag: secret::<8>(),
            client_ufrag: accepted.client_ufrag,
            former_ufrag: None,
        },
        shared,
    };
    let joined = Joined {
        participant: PublicId(member.id),
        session: member.session.clone(),
        etag: member.ice.etag.clone(),
        answer: accepted.answer,
    };
    Ok(Built {
        member,
        wishes: JoinWish {
            priority: join.priority,
            listen: join.listen,
        },
        luggage: Luggage {
            participant: Some(Box::new(participant)),
            peer: Some(accepted.peer),
        },
        joined,
    })
}

/// Reserves a seat in a room, creating the room if the server has open rooms.
#[derive(Debug)]
pub(super) struct ReserveSeat {
    pub(super) room: RoomName,
    /// The mode of the room if it is created.
    pub(super) mode: Option<Mode>,
    /// The rooms that the participant will listen to.
    pub(super) listen: Vec<MonitorEntry>,
    /// A random number from which the participant's id is made.
    pub(super) drawn: u32,
}

/// Enters the member that holds the seat; frees the seat if that fails. The boxes for the mixer and
/// for the network thread come with the request.
#[derive(Debug)]
pub(super) struct Enter {
    pub(super) seat: Seat,
    pub(super) member: Box<Member>,
    pub(super) wishes: JoinWish,
}

/// Frees the seat of a failed join, and ends a room that was created for it.
#[derive(Debug)]
pub(super) struct AbandonSeat(pub(super) Seat);

/// Counts a join that was refused before it reached the machine.
#[derive(Debug)]
pub(super) struct CountRefusal(pub(super) Refusal);

/// Wishes of a join that are applied once its member has entered.
#[derive(Debug)]
pub(super) struct JoinWish {
    pub(super) priority: u8,
    pub(super) listen: Vec<MonitorEntry>,
}

/// A seat in a room, reserved for a join.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    room: RoomName,
    room_id: RoomId,
    mixer: MixerId,
    id: ParticipantId,
    profile: Profile,
    tick: TickLength,
    layout: Layout,
}

#[cfg(test)]
impl Seat {
    pub(super) fn id(&self) -> ParticipantId {
        self.id
    }

    pub(super) fn room(&self) -> &RoomName {
        &self.room
    }

    pub(super) fn room_id(&self) -> RoomId {
        self.room_id
    }
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

impl Request for CountRefusal {
    type Answer = ();

    fn handle(self, machine: &mut Machine, _: Instant) {
        machine.counters.refuse_join(self.0);
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

    /// Enters the member that holds the seat.
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
        tracing::info!(room = %seat.room, participant = %PublicId(seat.id), name = member.name, "joined");
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

    /// Frees the seat of a failed join, and ends a room that was created for it.
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

    /// Returns the seat's room, if it is still the one in which the seat was reserved.
    fn room_of_seat(&mut self, seat: &Seat) -> Option<&mut Room> {
        let room = self.registry.rooms.get_mut(&seat.room)?;
        (room.id == seat.room_id).then_some(room)
    }
}

/// Returns `N` random bytes from the thread's cryptographic generator, in hexadecimal.
pub(super) fn secret<const N: usize>() -> String {
    let bytes: [u8; N] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_secret_is_long_and_never_repeats() {
        assert_eq!(secret::<24>().len(), 48);
        assert_ne!(secret::<24>(), secret::<24>());
    }
}
