//! Joins a participant to a room: reserves a seat, builds the participant and its peer, and adds
//! the member; undoes these steps if the join fails. The machine's part is in [`super::seat`].

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Instant;

use mixer::codec::{Encoding, Profile};
use mixer::format::TickLength;
use mixer::room::{Participant, ParticipantConfig, Shared};
use tokio::task::spawn_blocking;

use super::error::Refusal;
use super::floor::SentCounts;
use super::handle::Place;
use super::handle::Request;
use super::machine::Machine;
use super::member::{IceSession, Member, StreamEncoding};
use super::performer::Luggage;
use super::seat::{AbandonSeat, Enter, JoinWish, ReserveSeat, Seat};
use super::{Conference, JoinError, Limits, Overloaded};
use crate::floor::Mode;
use crate::protocol::{MonitorEntry, Name, PublicId, RoomName};
use crate::rate_limit::MessageLimit;
use crate::rtc::{AcceptOptions, Accepted, RtcHandle};

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
    /// The rooms to monitor besides the joined room.
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
    /// thread pool. The future must be awaited to its end: if it is dropped, a seat may stay
    /// reserved, or a participant may stay whose session no client knows.
    ///
    /// # Errors
    /// [`JoinError`]; the steps that were already done have been undone.
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
    /// - `listen`: the rooms that the participant will monitor.
    pub(super) async fn reserve(
        &self,
        room: &RoomName,
        mode: Option<Mode>,
        listen: Vec<MonitorEntry>,
    ) -> Result<HeldSeat, JoinError> {
        // A place in the request queue is taken first, for the request that fills or frees the
        // seat.
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
/// was created for the join.
pub(super) struct HeldSeat {
    held: Option<(Place, Seat)>,
}

impl HeldSeat {
    fn seat(&self) -> &Seat {
        let (_, seat) = self.held.as_ref().expect("it is taken out at the end only");
        seat
    }

    /// Hands the participant to the mixer and the peer to the network thread, and adds the member
    /// to the room.
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

/// The parts of a join that are built from the client's offer.
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
    let encoding = (accepted.listens).then(|| encoding(profile, &accepted, seat.tick, limits));
    let member = seat.member(join.name, &accepted, encoding, limits);
    let participant = Participant::with_uplink_codec(
        accepted.codec,
        ParticipantConfig {
            id: seat.id,
            talks: accepted.talks,
            listens: encoding,
            layout: seat.layout,
            tick: seat.tick,
        },
        member.shared.clone(),
    );
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

/// Returns how the stream to a client is encoded.
///
/// - `tick`: length of a tick of the client's room.
fn encoding(profile: Profile, accepted: &Accepted, tick: TickLength, limits: &Limits) -> Encoding {
    // For a client that asks for a very low bitrate, packets after the last sound cost as much as
    // voice.
    let hangover_ms = match accepted.limits.wants_little() {
        true => 0,
        false => limits.hangovers.of_ms(profile),
    };
    Encoding::new(profile, &accepted.limits, tick).with_hangover(hangover_ms)
}

/// Counts a join that was refused outside the machine.
#[derive(Debug)]
pub(super) struct CountRefusal(pub(super) Refusal);

impl Request for CountRefusal {
    type Answer = ();

    fn handle(self, machine: &mut Machine, _: Instant) {
        machine.counters.refuse_join(self.0);
    }
}

impl Seat {
    /// Creates the member for the seat, with a new session secret and a new ETag.
    ///
    /// - `name`: the member's name; made from its id if absent.
    /// - `encoding`: how the member's stream is encoded, if the member receives one.
    fn member(
        &self,
        name: Option<Name>,
        accepted: &Accepted,
        encoding: Option<Encoding>,
        limits: &Limits,
    ) -> Member {
        let shared = Arc::<Shared>::default();
        shared.settings.set_reachable(false);
        let unnamed = || format!("guest-{:04x}", self.id.0 >> 16);
        let stream = encoding.filter(|_| !accepted.talks);
        Member {
            id: self.id,
            session: secret::<24>(),
            name: name.map_or_else(unnamed, Name::into_string),
            gain_db: 0.0,
            talking: false,
            connected: false,
            talks: accepted.talks,
            listens: accepted.listens,
            stream: stream.map(|encoding| StreamEncoding {
                encoding,
                tick: self.tick,
            }),
            channel: false,
            sent: SentCounts::default(),
            messages: MessageLimit::new(limits.rates.messages),
            ice: IceSession {
                etag: secret::<8>(),
                client_ufrag: accepted.client_ufrag.clone(),
                former_ufrag: None,
            },
            shared,
        }
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
