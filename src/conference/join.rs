//! One join, from the seat to the member, and the way back from every step of it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use mixer::command::Shared;
use mixer::format::{Layout, TickLength};
use mixer::participant::{Participant, ParticipantConfig};
use mixer::profile::{Profile, Recipe};
use mixer::{ParticipantId, RoomId};

use super::error::Refusal;
use super::floor::SentCounts;
use super::member::{IceSession, Member, StreamRecipe};
use super::placement::layout;
use super::room::Room;
use super::{Conference, JoinError, Overloaded, State};
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
        match &result {
            Ok(_) => {
                self.inner.counts.joins.fetch_add(1, Relaxed);
            }
            Err(error) => self.refuse(Refusal::of(error)),
        }
        result
    }

    /// Counts a join that was refused because too many come from its address.
    pub fn refuse_too_many(&self) {
        self.refuse(Refusal::Rate);
    }

    /// Counts a join that nobody had time to look at.
    pub fn refuse_waiting(&self) -> Overloaded {
        self.refuse(Refusal::Waiting);
        Overloaded::Waiting
    }

    fn refuse(&self, refusal: Refusal) {
        self.inner.counts.refused[refusal as usize].fetch_add(1, Relaxed);
    }

    fn try_join(&self, join: Join) -> Result<Joined, JoinError> {
        {
            let state = self.lock();
            if let Some(room) = self.unknown_of(&state, &join.listen) {
                return Err(JoinError::UnknownChannel { room });
            }
            if let Some(room) = state.refusing_of(&join.room, &join.listen) {
                return Err(JoinError::MonitoringRefused { room });
            }
        }
        let seat = self.reserve(&join.room, join.mode)?;
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
        seat.enter(member, wishes, Box::new(participant), accepted)
    }

    /// Holds a place in a room, making the room if that is how rooms come about here.
    ///
    /// - `mode`: that of the room if it is made.
    pub(super) fn reserve(
        &self,
        name: &RoomName,
        mode: Option<Mode>,
    ) -> Result<Seat<'_>, JoinError> {
        let limits = &self.inner.limits;
        let mut state = self.lock();
        if state.stopping {
            return Err(Overloaded::Stopping.into());
        }
        let room = state.registry.rooms.get(name).map(|room| room.id);
        if !state.placement.admits(room) {
            return Err(Overloaded::Mixer.into());
        }
        if state.registry.sessions() >= limits.max_sessions {
            return Err(Overloaded::Sessions {
                limit: limits.max_sessions,
            }
            .into());
        }
        let id = state.registry.new_participant_id();
        if !state.registry.rooms.contains_key(name) {
            if !limits.open_rooms {
                return Err(JoinError::UnknownRoom);
            }
            let mut config = limits.room;
            config.floor.mode = mode.unwrap_or(config.floor.mode);
            self.make_room(&mut state, name, config, false)?;
        }
        let State {
            registry,
            placement,
            ..
        } = &mut *state;
        let room = registry.rooms.get_mut(name).ok_or(JoinError::UnknownRoom)?;
        if room.is_full() {
            return Err(JoinError::RoomFull {
                limit: room.config.max_participants,
            });
        }
        let mixer = placement.mixer_of(room.id).ok_or(Overloaded::Link)?;
        room.seats += 1;
        registry.seats += 1;
        Ok(Seat {
            conference: self,
            room: name.clone(),
            room_id: room.id,
            mixer,
            id,
            profile: room.config.profile,
            tick: room.config.tick,
            layout: layout(&room.config),
            filled: false,
        })
    }
}

/// What a join asks for that is applied once its member has entered.
struct JoinWish {
    priority: u8,
    listen: Vec<MonitorEntry>,
}

/// A place in a room, held while the join is under way. Dropped unfilled, it is free again, and so is a room that was
/// made for it.
pub(super) struct Seat<'a> {
    conference: &'a Conference,
    room: RoomName,
    room_id: RoomId,
    mixer: MixerId,
    id: ParticipantId,
    profile: Profile,
    tick: TickLength,
    layout: Layout,
    filled: bool,
}

impl Seat<'_> {
    /// Hands the codecs to the mixer and the peer to the network, and enters the member.
    fn enter(
        mut self,
        member: Member,
        wishes: JoinWish,
        participant: Box<Participant>,
        accepted: Accepted,
    ) -> Result<Joined, JoinError> {
        let now = Instant::now();
        let conference = self.conference;
        let mut state = conference.lock();
        if state.stopping {
            return Err(Overloaded::Stopping.into());
        }
        let room = self.room_in(&mut state).ok_or(JoinError::UnknownRoom)?;
        // Before the mixer knows it, so that where there is a floor not one packet is heard without it.
        let permit = room.floor.first_permit();
        member.shared.settings.set_permit(permit);
        if state.placement.add(self.room_id, participant).is_err() {
            return Err(Overloaded::Link.into());
        }
        if conference.inner.rtc.start(accepted.peer).is_err() {
            state.placement.remove(self.id);
            return Err(Overloaded::Link.into());
        }
        let joined = Joined {
            participant: PublicId(self.id),
            session: member.session.clone(),
            etag: member.ice.etag.clone(),
            answer: accepted.answer,
        };
        let event = Event::Joined {
            participant: member.public(),
        };
        tracing::info!(room = %self.room, participant = %joined.participant, name = member.name, "joined");
        self.release(&mut state);
        let talks = member.talks;
        state.registry.add(&self.room, member);
        if let Some(room) = self.room_in(&mut state) {
            room.floor.join(self.id, talks, wishes.priority);
        }
        if let Some(room) = state.registry.rooms.get(&self.room) {
            conference.broadcast(room, &event);
            if !room.links.is_empty() {
                state.monitoring.mark_links_stale();
            }
        }
        if !wishes.listen.is_empty() {
            state.monitoring.set(self.id, &self.room, wishes.listen);
        }
        conference.sync_monitors(&mut state, now);
        Ok(joined)
    }

    /// The room, if it is still the one the seat was taken in.
    fn room_in<'s>(&self, state: &'s mut State) -> Option<&'s mut Room> {
        let room = state.registry.rooms.get_mut(&self.room)?;
        (room.id == self.room_id).then_some(room)
    }

    fn release(&mut self, state: &mut State) {
        self.filled = true;
        state.registry.seats -= 1;
        if let Some(room) = self.room_in(state) {
            room.seats -= 1;
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if !self.filled {
            let conference = self.conference;
            let mut state = conference.lock();
            self.release(&mut state);
            state.end_if_over(&self.room);
        }
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
