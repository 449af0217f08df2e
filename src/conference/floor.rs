//! The rooms' floors at work: requests in, permits to the mixer and messages to the participants out.
//!
//! A request is answered at once, on the thread it came on. What the mixer saw of each participant is read from its
//! telemetry, every 20 ms: events may be dropped, and a floor must not hang on one.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mixer::ParticipantId;
use mixer::command::Telemetry;
use mixer::permit::Permit;
use mixer::tone::Tone;
use serde_json::Value;

use super::metrics::{MetricFamily, MetricKind, MetricSample};
use super::placement::Placement;
use super::registry::Registry;
use super::room::Room;
use super::{CommandError, Conference, FloorError, State, UnknownSession, refusal};
use crate::floor::{Action, Answer, Request, RevokeCause, Standing};
use crate::protocol::{Event, FloorCommand, FloorStanding, RoomName};
use crate::rate_limit::{Limited, RetryAfter, TooMany, Verdict};

/// How often the floors look at their timers and at what the mixer saw.
const ROUND: Duration = Duration::from_millis(20);

/// Rounds between two looks at those who neither hold a floor nor take one by talking: they can only be told that they
/// talk to nobody, which needs no hurry.
const ROUNDS_PER_LOOK: u32 = 5;

/// When the floors were last observed, and how often.
#[derive(Debug)]
pub(super) struct FloorRounds {
    last: Instant,
    count: u32,
}

/// What happened to the floors since the start.
#[derive(Debug, Default)]
pub(super) struct FloorCounts {
    pub(super) granted: AtomicU64,
    pub(super) queued: AtomicU64,
    pub(super) denied: AtomicU64,
    pub(super) revoked: [AtomicU64; RevokeCause::ALL.len()],
}

/// What a participant had sent when its telemetry was last read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SentCounts {
    packets: u64,
    voiced: u64,
}

impl Conference {
    /// Asks for the floor of the session's room.
    ///
    /// # Errors
    /// [`FloorError`], the same for a session that never was and one that is over.
    pub fn floor_request(&self, session: &str, request: Request) -> Result<Answer, FloorError> {
        self.at_floor(session, |placement, room, id, now| {
            self.count_request(room, id, now)?;
            Ok(self.ask(placement, room, id, request, now))
        })?
    }

    /// Lets go of the floor, or waits for it no longer. Who does neither has done so already.
    ///
    /// Not counted: a key that comes up is never to be missed, and only a request makes a release of any effect.
    ///
    /// # Errors
    /// [`UnknownSession`].
    pub fn floor_release(&self, session: &str) -> Result<(), UnknownSession> {
        self.at_floor(session, |_, room, id, now| room.floor.release(id, now))
    }

    /// Where the session stands with the floor.
    ///
    /// # Errors
    /// [`UnknownSession`].
    pub fn floor_standing(&self, session: &str) -> Result<FloorStanding, UnknownSession> {
        self.at_floor(session, |_, room, id, now| {
            room.floor.standing(id, now).into()
        })
    }

    /// Counts a request for the floor that came over HTTP.
    fn count_request(
        &self,
        room: &mut Room,
        id: ParticipantId,
        now: Instant,
    ) -> Result<(), FloorError> {
        let mut members = room.members.iter_mut();
        let member = members.find(|member| member.id == id);
        let member = member.ok_or(UnknownSession)?;
        if member.messages.take(now) == Verdict::Pass {
            return Ok(());
        }
        self.inner.counts.count_limited(Limited::FloorRequest);
        Err(FloorError::TooMany(TooMany {
            what: Limited::FloorRequest,
            retry_after: RetryAfter(self.inner.limits.rates.messages.interval),
        }))
    }

    fn at_floor<T>(
        &self,
        session: &str,
        act: impl FnOnce(&mut Placement, &mut Room, ParticipantId, Instant) -> T,
    ) -> Result<T, UnknownSession> {
        let now = Instant::now();
        let mut state = self.lock();
        let id = state.registry.of_session(session).ok_or(UnknownSession)?;
        let name = state.registry.place(id).cloned().ok_or(UnknownSession)?;
        let State {
            registry,
            placement,
            ..
        } = &mut *state;
        let room = registry.rooms.get_mut(&name).ok_or(UnknownSession)?;
        let outcome = act(placement, room, id, now);
        self.apply_floor_actions(placement, &name, room);
        Ok(outcome)
    }

    /// Carries out a command. What follows from it is still to be [enacted](Conference::enact), so that the one who
    /// waits for the answer gets it first.
    ///
    /// # Errors
    /// The refusal, for the sender.
    pub(super) fn command_floor(
        &self,
        state: &mut State,
        from: ParticipantId,
        command: FloorCommand,
        order_id: Option<Value>,
        now: Instant,
    ) -> Result<Option<Event>, Event> {
        let State {
            registry,
            placement,
            ..
        } = state;
        let Some(room) = registry.room_with(from) else {
            return Err(refusal(&CommandError::UnknownSession, order_id));
        };
        match command {
            FloorCommand::Request(request) => {
                let answer = self.ask(placement, room, from, request, now);
                Ok(Some(floor_answer(answer, order_id)))
            }
            FloorCommand::Position => {
                let position = room.floor.position(from);
                Ok(Some(Event::floor_queued(position, order_id)))
            }
            FloorCommand::Release => {
                room.floor.release(from, now);
                Ok(order_id.map(|id| Event::Ok { id }))
            }
            FloorCommand::Grant(to) => match room.floor.grant(from, to.0, now) {
                Ok(()) => Ok(order_id.map(|id| Event::Ok { id })),
                Err(error) => Err(refusal(&error.into(), order_id)),
            },
        }
    }

    fn ask(
        &self,
        placement: &mut Placement,
        room: &mut Room,
        from: ParticipantId,
        request: Request,
        now: Instant,
    ) -> Answer {
        let before = room.floor.standing(from, now);
        let answer = room.floor.request(from, request, now);
        let counts = &self.inner.counts.floor;
        let (count, tone) = match answer {
            // What it has already is no news to it.
            Answer::Granted(_) if matches!(before, Standing::Granted(_)) => (&counts.granted, None),
            Answer::Granted(_) => (&counts.granted, Some(Tone::Grant)),
            Answer::Queued(_) => (&counts.queued, None),
            Answer::Denied(_) => (&counts.denied, Some(Tone::Deny)),
        };
        count.fetch_add(1, Relaxed);
        if let Some(tone) = tone {
            play(placement, room, from, tone);
        }
        answer
    }

    /// Does what a room's floor wants done.
    pub(super) fn apply_floor_actions(
        &self,
        placement: &mut Placement,
        name: &RoomName,
        room: &mut Room,
    ) {
        for action in room.floor.take_actions() {
            match action {
                Action::Permit(id, permit) => allow(placement, room, id, permit),
                Action::Permits => {
                    for member in &room.members {
                        let permit = room.floor.permit(member.id);
                        member.shared.settings.set_permit(permit);
                    }
                }
                Action::Granted(id, grant) => {
                    play(placement, room, id, Tone::Grant);
                    self.send_to(room, id, &Event::floor_granted(grant, None));
                }
                Action::Denied(id, denial) => {
                    play(placement, room, id, Tone::Deny);
                    self.send_to(room, id, &Event::floor_denied(denial, None));
                }
                Action::Unpermitted(id) => {
                    let cause = RevokeCause::NoPermissionToSend;
                    self.count_revoke(cause);
                    play(placement, room, id, Tone::Deny);
                    let event = Event::floor_revoked(name.clone(), id, None, cause, Duration::ZERO);
                    self.send_to(room, id, &event);
                }
                Action::Inactive => {
                    tracing::debug!(room = %name, "nobody has taken the floor for a while");
                }
                Action::Revoked { participant, .. } => {
                    play(placement, room, participant, Tone::End);
                    self.announce(name, room, action);
                }
                Action::Taken { .. }
                | Action::Released { .. }
                | Action::Idle { .. }
                | Action::QueueChanged => self.announce(name, room, action),
            }
        }
    }

    /// Tells the room.
    fn announce(&self, name: &RoomName, room: &Room, action: Action) {
        if let Action::Revoked { cause, .. } = action {
            self.count_revoke(cause);
        }
        if let Some(event) = room.announcement(name, action) {
            self.broadcast(room, &event);
        }
    }

    /// Tells one participant, if its data channel is open.
    fn send_to(&self, room: &Room, id: ParticipantId, event: &Event) {
        if room.member(id).is_some_and(|member| member.channel) {
            let text: Arc<str> = event.to_json().into();
            self.inner.rtc.send_text(vec![id], text);
        }
    }

    fn count_revoke(&self, cause: RevokeCause) {
        let place = RevokeCause::ALL.iter().position(|it| *it == cause);
        if let Some(place) = place {
            self.inner.counts.floor.revoked[place].fetch_add(1, Relaxed);
        }
    }

    /// Shows every floor what the mixer saw and what time it is, if a round is over.
    pub(super) fn observe_floors(&self, state: &mut State, now: Instant) {
        let State {
            registry,
            placement,
            rounds,
            ..
        } = state;
        let Some(look) = rounds.next(now) else {
            return;
        };
        let Registry { rooms, floors, .. } = registry;
        floors.retain(|name| {
            let room = rooms.get_mut(name);
            let Some(room) = room.filter(|room| room.config.floor.mode.has_floor()) else {
                return false;
            };
            let overheard = room.subscribers.is_some();
            room.floor.set_overheard(overheard, now);
            room.observe(look, now);
            self.apply_floor_actions(placement, name, room);
            // Where nobody is there is nothing to look at; who comes in brings it back.
            !room.members.is_empty()
        });
    }

    /// Whether anybody is in a room with a floor.
    pub(super) fn has_floors(&self) -> bool {
        !self.lock().registry.floors.is_empty()
    }
}

impl FloorCounts {
    pub(super) fn families(&self) -> [MetricFamily; 2] {
        let outcomes = [
            ("granted", &self.granted),
            ("queued", &self.queued),
            ("denied", &self.denied),
        ];
        let outcome = |(word, count): (&str, &AtomicU64)| {
            MetricSample::of("outcome", word, count.load(Relaxed) as f64)
        };
        let revoke = |(cause, count): (&RevokeCause, &AtomicU64)| {
            MetricSample::of("cause", cause.reason(), count.load(Relaxed) as f64)
        };
        [
            MetricFamily {
                name: "mixminus_floor_requests_total",
                help: "Requests for a floor, by what they came to at once.",
                kind: MetricKind::Counter,
                samples: outcomes.into_iter().map(outcome).collect(),
            },
            MetricFamily {
                name: "mixminus_floor_revokes_total",
                help: "Floors taken back, and talkers told that they have none, by cause.",
                kind: MetricKind::Counter,
                samples: RevokeCause::ALL
                    .iter()
                    .zip(&self.revoked)
                    .map(revoke)
                    .collect(),
            },
        ]
    }
}

impl FloorRounds {
    pub(super) fn new(now: Instant) -> FloorRounds {
        FloorRounds {
            last: now,
            count: 0,
        }
    }

    /// Whether a round is over, and then whether everybody is to be looked at.
    fn next(&mut self, now: Instant) -> Option<bool> {
        if now.saturating_duration_since(self.last) < ROUND {
            return None;
        }
        self.last = now;
        self.count = self.count.wrapping_add(1);
        Some(self.count.is_multiple_of(ROUNDS_PER_LOOK))
    }
}

impl SentCounts {
    fn of(telemetry: &Telemetry) -> SentCounts {
        SentCounts {
            packets: telemetry.received_total.load(Relaxed),
            voiced: telemetry.voiced_total.load(Relaxed),
        }
    }
}

impl Room {
    /// What everybody sent before now tells the floor nothing: there was none.
    pub(super) fn forget_sent(&mut self) {
        for member in &mut self.members {
            member.sent = SentCounts::of(&member.shared.telemetry);
        }
    }

    /// Tells the floor who sent, who has been heard to the end, and the time.
    ///
    /// - `look`: at everybody, and not only at those who hold it.
    fn observe(&mut self, look: bool, now: Instant) {
        let look = look || self.config.floor.implicit;
        let holders: Vec<ParticipantId> =
            self.floor.holders(now).map(|it| it.participant).collect();
        let draining: Vec<ParticipantId> = self.floor.draining().collect();
        if look || !holders.is_empty() {
            for member in &mut self.members {
                let telemetry = &member.shared.telemetry;
                if look || holders.contains(&member.id) {
                    let sent = SentCounts::of(telemetry);
                    let before = std::mem::replace(&mut member.sent, sent);
                    if sent.packets != before.packets {
                        let muted = member.shared.settings.muted();
                        let voiced = sent.voiced != before.voiced && !muted;
                        self.floor.media(member.id, voiced, now);
                    }
                }
                if draining.contains(&member.id) && telemetry.permit() == Permit::Closed {
                    self.floor.drained(member.id, now);
                }
            }
        }
        self.floor.tick(now);
    }
}

/// Tells the mixer what one participant's voice may do.
fn allow(placement: &mut Placement, room: &Room, id: ParticipantId, permit: Permit) {
    let Some(member) = room.member(id) else {
        return;
    };
    member.shared.settings.set_permit(permit);
    // Its words may all have come before; and whoever waits for their end waits for a tick.
    if matches!(permit, Permit::Held | Permit::Draining) {
        placement.attend(id);
    }
}

/// Plays a tone to one participant, if its room is set so.
fn play(placement: &mut Placement, room: &Room, id: ParticipantId, tone: Tone) {
    if room.config.floor_tones
        && let Some(member) = room.member(id)
    {
        member.shared.settings.play(tone);
        placement.attend(id);
    }
}

/// An answer as the asker reads it.
fn floor_answer(answer: Answer, id: Option<Value>) -> Event {
    match answer {
        Answer::Granted(grant) => Event::floor_granted(grant, id),
        Answer::Queued(position) => Event::floor_queued(position, id),
        Answer::Denied(denial) => Event::floor_denied(denial, id),
    }
}
