//! One join, from the seat to the member, and the way back from every step of it.

use std::sync::Arc;
use std::time::Instant;

use mixer::command::Shared;
use mixer::format::{Layout, TickLength};
use mixer::participant::{Participant, ParticipantConfig};
use mixer::profile::{Profile, Recipe};
use mixer::{ParticipantId, RoomId};

use super::effect::{NetworkOrder, QueueFull};
use super::error::Refusal;
use super::floor::SentCounts;
use super::machine::Machine;
use super::member::{IceSession, Member, StreamRecipe};
use super::performer::Luggage;
use super::placement::layout;
use super::room::Room;
use super::{Conference, JoinError, Overloaded};
use crate::floor::Mode;
use crate::protocol::{Event, MonitorEntry, Name, PublicId, RoomName};
use crate::queues::MixerId;
use crate::rate_limit::MessageLimit;
use crate::rtc::{AcceptOptions, Accepted};

/// Somebody wants in.
#[derive(Debug, Clone)]
pub struct Join {
    /// Where.
    pub room: RoomName,
    /// Under which name; made up when absent.
    pub name: Option<Name>,
    /// How to encode what it hears; the room's profile when absent.
    pub profile: Option<Profile>,
    /// The most important it may ask for the floor as, 0 the least.
    pub priority: u8,
    /// The rooms it listens to beside this one.
    pub listen: Vec<MonitorEntry>,
    /// The mode of the room if this join makes it; the server's default when absent.
    pub mode: Option<Mode>,
    /// Its SDP offer.
    pub offer: String,
}

/// Somebody is in.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The id others see.
    pub participant: PublicId,
    /// The secret that stands for this session.
    pub session: String,
    /// Names the present ICE session.
    pub etag: String,
    /// The SDP answer.
    pub answer: String,
}

impl Conference {
    /// Lets somebody in.
    ///
    /// Reads the offer and builds codecs: some milliseconds of work on the calling thread.
    ///
    /// Real-time: never (blocks on CPU work).
    ///
    /// # Errors
    /// [`JoinError`]; nothing of the attempt is left behind.
    pub fn join(&self, join: Join) -> Result<Joined, JoinError> {
        let result = self.try_join(join);
        let mut turn = self.lock();
        match &result {
            Ok(_) => turn.counters.joins += 1,
            Err(error) => turn.counters.refuse_join(Refusal::of(error)),
        }
        result
    }

    fn try_join(&self, join: Join) -> Result<Joined, JoinError> {
        self.lock().admit_monitor(&join.room, &join.listen)?;
        let held = self.reserve(&join.room, join.mode)?;
        let seat = &held.seat;
        let profile = join.profile.unwrap_or(seat.profile);
        let options = AcceptOptions {
            mixer: seat.mixer,
            thrifty: profile == Profile::Thin,
            uplink_bitrate_bps: Some(profile.usual_bps()),
        };
        let accepted = self.inner.rtc.accept(&join.offer, seat.id, options)?;
        let shared = Arc::<Shared>::default();
        shared.settings.set_reachable(false);
        let listens = accepted.listens.then(|| {
            // Silence costs a thin network as much as a voice does.
            let hangover_ms = match accepted.limits.wants_little() {
                true => 0,
                false => self.inner.limits.hangovers.of_ms(profile),
            };
            Recipe::new(profile, &accepted.limits, seat.tick).with_hangover(hangover_ms)
        });
        let participant = Participant::who_sends(
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
        let member = Member {
            id: seat.id,
            session: secret::<24>(),
            name,
            gain_db: 0.0,
            talking: false,
            connected: false,
            talks: accepted.talks,
            listens: accepted.listens,
            ear: listens
                .filter(|_| !accepted.talks)
                .map(|recipe| StreamRecipe {
                    recipe,
                    tick: seat.tick,
                }),
            channel: false,
            sent: SentCounts::default(),
            messages: MessageLimit::new(self.inner.limits.rates.messages),
            ice: IceSession {
                etag: secret::<8>(),
                client_ufrag: accepted.client_ufrag.clone(),
                former_ufrag: None,
            },
            shared,
        };
        let wishes = JoinWish {
            priority: join.priority,
            listen: join.listen,
        };
        held.enter(member, wishes, Box::new(participant), accepted)
    }

    /// Holds a place in a room, making the room if that is how rooms come about here.
    ///
    /// - `mode`: that of the room if it is made.
    pub(super) fn reserve(
        &self,
        name: &RoomName,
        mode: Option<Mode>,
    ) -> Result<HeldSeat<'_>, JoinError> {
        let seat = self.lock().reserve(name, mode)?;
        Ok(HeldSeat {
            conference: self,
            seat,
            filled: false,
        })
    }
}

/// A seat while the join is under way. Dropped unfilled, it is free again, and so is a room that was made for it.
pub(super) struct HeldSeat<'a> {
    conference: &'a Conference,
    seat: Seat,
    filled: bool,
}

impl HeldSeat<'_> {
    /// Hands the codecs to the mixer and the peer to the network, and enters the member.
    fn enter(
        mut self,
        member: Member,
        wishes: JoinWish,
        participant: Box<Participant>,
        accepted: Accepted,
    ) -> Result<Joined, JoinError> {
        let joined = Joined {
            participant: PublicId(self.seat.id),
            session: member.session.clone(),
            etag: member.ice.etag.clone(),
            answer: accepted.answer,
        };
        let mut turn = self.conference.lock();
        turn.performer().luggage = Luggage {
            participant: Some(participant),
            peer: Some(accepted.peer),
        };
        let entered = turn.enter(&self.seat, member, wishes, Instant::now());
        // What neither the mixer nor the network has taken is freed here.
        turn.performer().luggage = Luggage::default();
        entered?;
        self.filled = true;
        Ok(joined)
    }
}

impl Drop for HeldSeat<'_> {
    fn drop(&mut self) {
        if !self.filled {
            self.conference.lock().abandon(&self.seat);
        }
    }
}

/// What a join asks for that is applied once its member has entered.
pub(super) struct JoinWish {
    priority: u8,
    listen: Vec<MonitorEntry>,
}

/// A place in a room that is held for a join.
#[derive(Debug)]
pub(super) struct Seat {
    room: RoomName,
    room_id: RoomId,
    mixer: MixerId,
    id: ParticipantId,
    profile: Profile,
    tick: TickLength,
    layout: Layout,
}

impl Machine {
    /// Whether a participant of `home` may listen to these rooms.
    fn admit_monitor(&self, home: &RoomName, list: &[MonitorEntry]) -> Result<(), JoinError> {
        if let Some(room) = self.unknown_of(list) {
            return Err(JoinError::UnknownChannel { room });
        }
        match self.refusing_of(home, list) {
            Some(room) => Err(JoinError::MonitoringRefused { room }),
            None => Ok(()),
        }
    }

    /// Holds a place in a room, making the room if that is how rooms come about here.
    fn reserve(&mut self, name: &RoomName, mode: Option<Mode>) -> Result<Seat, JoinError> {
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
        let id = self.registry.new_participant_id();
        if !self.registry.rooms.contains_key(name) {
            if !self.limits.open_rooms {
                return Err(JoinError::UnknownRoom);
            }
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

    /// Enters the member that a seat was held for. Its boxes come with the request, for the mixer and for the network
    /// thread.
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
        // Before the mixer knows it, so that where there is a floor not one packet is heard without it.
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
        if let Some(room) = self.room_of_seat(seat) {
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

    /// Frees the seat of a join that failed, and ends a room that was made for it.
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

    /// The room, if it is still the one the seat was taken in.
    fn room_of_seat(&mut self, seat: &Seat) -> Option<&mut Room> {
        let room = self.registry.rooms.get_mut(&seat.room)?;
        (room.id == seat.room_id).then_some(room)
    }
}

/// `N` random bytes from the thread's cryptographic generator, in hexadecimal.
pub(super) fn secret<const N: usize>() -> String {
    let bytes: [u8; N] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_and_never_the_same() {
        assert_eq!(secret::<24>().len(), 48);
        assert_ne!(secret::<24>(), secret::<24>());
    }
}
