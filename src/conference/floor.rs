//! The rooms' floors at work: requests in, permits to the mixer and messages to the participants out.
//!
//! A request is answered at once, on the thread it came on. What the mixer saw of each participant is read from its
//! telemetry, every 20 ms: events may be dropped, and a floor must not hang on one.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mixer::ParticipantId;
use mixer::command::Telemetry;
use mixer::permit::Permit;
use mixer::tone::Tone;
use serde_json::Value;

use super::commands::refusal;
use super::effect::Effects;
use super::machine::Machine;
use super::metrics::{MetricFamily, MetricKind, MetricSample};
use super::placement::Placement;
use super::request::ReplyTo;
use super::room::Room;
use super::{CommandError, FloorError, UnknownSession};
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
#[derive(Debug, Clone, Default)]
pub(super) struct FloorCounts {
    pub(super) granted: u64,
    pub(super) queued: u64,
    pub(super) denied: u64,
    pub(super) revoked: [u64; RevokeCause::ALL.len()],
}

/// What a participant had sent when its telemetry was last read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SentCounts {
    packets: u64,
    voiced: u64,
}

/// A request about the floor of a session's room; the session is named by its secret.
#[derive(Debug)]
pub(super) enum FloorRequest {
    /// Asks for the floor.
    Ask(String, Request, ReplyTo<Result<Answer, FloorError>>),
    /// Lets go of the floor, or waits for it no longer.
    Release(String, ReplyTo<Result<(), UnknownSession>>),
    /// Where the session stands with the floor.
    Standing(String, ReplyTo<Result<FloorStanding, UnknownSession>>),
}

impl Machine {
    /// Answers a request about a floor.
    pub(super) fn on_floor(&mut self, request: FloorRequest, now: Instant) {
        match request {
            FloorRequest::Ask(session, request, reply) => {
                let answer = self.floor_request(&session, request, now);
                self.effects.reply(reply, answer);
            }
            FloorRequest::Release(session, reply) => {
                let answer = self.floor_release(&session, now);
                self.effects.reply(reply, answer);
            }
            FloorRequest::Standing(session, reply) => {
                let answer = self.floor_standing(&session, now);
                self.effects.reply(reply, answer);
            }
        }
    }

    /// Asks for the floor of the session's room.
    ///
    /// # Errors
    /// [`FloorError`], the same for a session that never was and one that is over.
    fn floor_request(
        &mut self,
        session: &str,
        request: Request,
        now: Instant,
    ) -> Result<Answer, FloorError> {
        let (id, name) = self.at_floor(session)?;
        self.count_request(id, now)?;
        let room = self.registry.change_floor(&name).ok_or(UnknownSession)?;
        let counts = &mut self.counters.floor;
        let answer = ask(
            &self.placement,
            &mut self.effects,
            counts,
            room,
            id,
            request,
            now,
        );
        Ok(answer)
    }

    /// Lets go of the floor, or waits for it no longer. Who does neither has done so already.
    ///
    /// Not counted: a key that comes up is never to be missed, and only a request makes a release of any effect.
    ///
    /// # Errors
    /// [`UnknownSession`].
    fn floor_release(&mut self, session: &str, now: Instant) -> Result<(), UnknownSession> {
        let (id, name) = self.at_floor(session)?;
        if let Some(room) = self.registry.change_floor(&name) {
            room.floor.release(id, now);
        }
        Ok(())
    }

    /// Where the session stands with the floor.
    ///
    /// # Errors
    /// [`UnknownSession`].
    fn floor_standing(&self, session: &str, now: Instant) -> Result<FloorStanding, UnknownSession> {
        let (id, name) = self.at_floor(session)?;
        let room = self.registry.rooms.get(&name).ok_or(UnknownSession)?;
        Ok(room.floor.standing(id, now).into())
    }

    /// The participant whose session it is, and its room.
    fn at_floor(&self, session: &str) -> Result<(ParticipantId, RoomName), UnknownSession> {
        let id = self.session(session)?;
        let name = self.registry.place(id).ok_or(UnknownSession)?;
        Ok((id, name.clone()))
    }

    /// Counts a request for the floor that came over HTTP.
    fn count_request(&mut self, id: ParticipantId, now: Instant) -> Result<(), FloorError> {
        let (_, member) = self.registry.member_mut(id).ok_or(UnknownSession)?;
        if member.messages.take(now) == Verdict::Pass {
            return Ok(());
        }
        self.counters.count_limited(Limited::FloorRequest);
        Err(FloorError::TooMany(TooMany {
            what: Limited::FloorRequest,
            retry_after: RetryAfter(self.limits.rates.messages.interval),
        }))
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// The refusal, for the sender.
    pub(super) fn command_floor(
        &mut self,
        from: ParticipantId,
        command: FloorCommand,
        order_id: Option<Value>,
        now: Instant,
    ) -> Result<Option<Event>, Event> {
        let name = self.registry.place(from).cloned();
        let Some(room) = name.and_then(|name| self.registry.change_floor(&name)) else {
            return Err(refusal(&CommandError::UnknownSession, order_id));
        };
        match command {
            FloorCommand::Request(request) => {
                let counts = &mut self.counters.floor;
                let answer = ask(
                    &self.placement,
                    &mut self.effects,
                    counts,
                    room,
                    from,
                    request,
                    now,
                );
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

    /// Does what the floors want done that the input at hand has changed. It is the last that is done for an input, so that
    /// the answer goes before what follows from it.
    pub(super) fn settle_floors(&mut self) {
        while let Some(name) = self.registry.changed_floors.pop_first() {
            self.apply_floor_actions(&name);
        }
    }

    /// Does what a room's floor wants done.
    pub(super) fn apply_floor_actions(&mut self, name: &RoomName) {
        let Machine {
            registry,
            placement,
            counters,
            effects,
            ..
        } = self;
        let Some(room) = registry.rooms.get_mut(name) else {
            return;
        };
        for action in room.floor.take_actions() {
            match action {
                Action::Permit(id, permit) => allow(placement, effects, room, id, permit),
                Action::Permits => {
                    for member in &room.members {
                        let permit = room.floor.permit(member.id);
                        member.shared.settings.set_permit(permit);
                    }
                }
                Action::Granted(id, grant) => {
                    play(placement, effects, room, id, Tone::Grant);
                    effects.send_to(room, id, &Event::floor_granted(grant, None));
                }
                Action::Denied(id, denial) => {
                    play(placement, effects, room, id, Tone::Deny);
                    effects.send_to(room, id, &Event::floor_denied(denial, None));
                }
                Action::Unpermitted(id) => {
                    let cause = RevokeCause::NoPermissionToSend;
                    counters.floor.count_revoke(cause);
                    play(placement, effects, room, id, Tone::Deny);
                    let event = Event::floor_revoked(name.clone(), id, None, cause, Duration::ZERO);
                    effects.send_to(room, id, &event);
                }
                Action::Inactive => {
                    tracing::debug!(room = %name, "nobody has taken the floor for a while");
                }
                Action::Revoked {
                    participant, cause, ..
                } => {
                    counters.floor.count_revoke(cause);
                    play(placement, effects, room, participant, Tone::End);
                    announce(effects, name, room, action);
                }
                Action::Taken { .. }
                | Action::Released { .. }
                | Action::Idle { .. }
                | Action::QueueChanged => announce(effects, name, room, action),
            }
        }
    }

    /// Shows every floor what the mixer saw and what time it is, if a round is over.
    pub(super) fn observe_floors(&mut self, now: Instant) {
        let Some(look) = self.rounds.next(now) else {
            return;
        };
        let mut floors = std::mem::take(&mut self.registry.floors);
        floors.retain(|name| {
            let room = self.registry.rooms.get_mut(name);
            let Some(room) = room.filter(|room| room.config.floor.mode.has_floor()) else {
                return false;
            };
            let overheard = room.subscribers.is_some();
            room.floor.set_overheard(overheard, now);
            room.observe(look, now);
            // Where nobody is there is nothing to look at; who comes in brings it back.
            let is_used = !room.members.is_empty();
            self.apply_floor_actions(name);
            is_used
        });
        self.registry.floors.append(&mut floors);
    }

    /// When the floors are to be looked at next, if anybody is in a room with a floor.
    pub(super) fn next_round(&self) -> Option<Instant> {
        (!self.registry.floors.is_empty()).then(|| self.rounds.due())
    }
}

impl FloorCounts {
    fn count_revoke(&mut self, cause: RevokeCause) {
        let place = RevokeCause::ALL.iter().position(|it| *it == cause);
        if let Some(place) = place {
            self.revoked[place] += 1;
        }
    }

    pub(super) fn families(&self) -> [MetricFamily; 2] {
        let outcomes = [
            ("granted", self.granted),
            ("queued", self.queued),
            ("denied", self.denied),
        ];
        let outcome = |(word, count): (&str, u64)| MetricSample::of("outcome", word, count as f64);
        let revoke = |(cause, count): (&RevokeCause, &u64)| {
            MetricSample::of("cause", cause.reason(), *count as f64)
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

    /// When the next round begins.
    fn due(&self) -> Instant {
        self.last + ROUND
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

/// Asks for the floor of a room.
fn ask(
    placement: &Placement,
    effects: &mut Effects,
    counts: &mut FloorCounts,
    room: &mut Room,
    from: ParticipantId,
    request: Request,
    now: Instant,
) -> Answer {
    let before = room.floor.standing(from, now);
    let answer = room.floor.request(from, request, now);
    let (count, tone) = match answer {
        // What it has already is no news to it.
        Answer::Granted(_) if matches!(before, Standing::Granted(_)) => (&mut counts.granted, None),
        Answer::Granted(_) => (&mut counts.granted, Some(Tone::Grant)),
        Answer::Queued(_) => (&mut counts.queued, None),
        Answer::Denied(_) => (&mut counts.denied, Some(Tone::Deny)),
    };
    *count += 1;
    if let Some(tone) = tone {
        play(placement, effects, room, from, tone);
    }
    answer
}

/// Tells the room what its floor does.
fn announce(effects: &mut Effects, name: &RoomName, room: &Room, action: Action) {
    if let Some(event) = room.announcement(name, action) {
        effects.broadcast(room, &event);
    }
}

/// Tells the mixer what one participant's voice may do.
fn allow(
    placement: &Placement,
    effects: &mut Effects,
    room: &Room,
    id: ParticipantId,
    permit: Permit,
) {
    let Some(member) = room.member(id) else {
        return;
    };
    member.shared.settings.set_permit(permit);
    // Its words may all have come before; and whoever waits for their end waits for a tick.
    if matches!(permit, Permit::Held | Permit::Draining) {
        placement.attend(effects, id);
    }
}

/// Plays a tone to one participant, if its room is set so.
fn play(placement: &Placement, effects: &mut Effects, room: &Room, id: ParticipantId, tone: Tone) {
    if room.config.floor_tones
        && let Some(member) = room.member(id)
    {
        member.shared.settings.play(tone);
        placement.attend(effects, id);
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
